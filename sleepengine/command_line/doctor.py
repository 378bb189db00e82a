"""`sleepengine doctor`: versions, devices, and what is installed of what is optional."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import metadata

import click

from sleepengine.command_line.options import debug_option

NEEDED = (
    "torch", "pytorch-ignite", "numpy", "pyyaml", "pydantic", "safetensors", "click", "rich",
    "tqdm",
)  # fmt: skip
OPTIONAL: Mapping[str, str] = {
    "scikit-learn": "the embedded data set digits: pip install 'sleepengine[data]'",
    "matplotlib": "charts in reports and plan --plot: pip install 'sleepengine[report]'",
    "jinja2": "report pages: pip install 'sleepengine[report]'",
    "scipy": "sparse matrices as masks: pip install 'sleepengine[sparse]'",
    "torch-pruning": "finding nodes in a model: pip install 'sleepengine[graph]'",
    "networkx": "structure as a graph: pip install 'sleepengine[graph]'",
    "onnx": "export to ONNX: pip install 'sleepengine[onnx]'",
    "onnxscript": "export to ONNX: pip install 'sleepengine[onnx]'",
    "onnxruntime": "running what was exported: pip install 'sleepengine[onnx]'",
    "tensorboard": "events for TensorBoard: pip install 'sleepengine[tensorboard]'",
}
WELL, LACKING = 0, 1


@click.command()
@debug_option
def doctor() -> int:
    """Print versions, devices, and what the optional packages are for."""
    click.echo(f"sleepengine     {_version('sleepengine') or 'from a source tree'}")
    click.echo(f"python          {platform.python_version()} on {platform.platform()}")
    lacking = [name for name in NEEDED if _version(name) is None]
    for name in NEEDED:
        click.echo(f"{name:<15} {_version(name) or 'MISSING: pip install sleepengine'}")
    click.echo("\ndevices")
    for line in ("  torch is missing",) if "torch" in lacking else _devices():
        click.echo(f"  {line}")
    click.echo("\noptional")
    for name, purpose in OPTIONAL.items():
        found = _version(name)
        click.echo(f"  {name:<15} {found or 'not installed'} ({purpose.split(':')[0]})")
        if found is None:
            click.echo(f"  {'':<15} {purpose.split(': ')[1]}")
    return LACKING if lacking else WELL


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    import torch

    from sleepengine.pipeline.worker_count import cores

    lines = [f"cpu: {cores()} cores, {torch.get_num_threads()} threads of PyTorch"]
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        memory = properties.total_memory / 2**30
        lines.append(f"cuda:{number}: {properties.name}, {memory:.0f} GiB")
    if torch.backends.mps.is_available():
        lines.append("mps: Apple's GPU")
    return lines if len(lines) > 1 else [*lines, "no GPU that PyTorch can use"]
