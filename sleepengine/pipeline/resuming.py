"""Go on with a run that was interrupted, to the same end bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sleepengine.errors import StateError
from sleepengine.pipeline import checkpoint, header
from sleepengine.pipeline.configuration.config import load
from sleepengine.pipeline.configuration.tables import Plugins
from sleepengine.pipeline.experiments.runner import Options, result_of
from sleepengine.pipeline.experiments.table import runner_of
from sleepengine.pipeline.header import digest, versions
from sleepengine.pipeline.outcome import RunResult
from sleepengine.pipeline.parallel import Parallel
from sleepengine.pipeline.parts import Given, ModelGiven, OptimizerMaker, Parts, brought
from sleepengine.pipeline.problems.bundle import Data
from sleepengine.pipeline.problems.dataset import Part
from sleepengine.pipeline.problems.loaders import Loaders
from sleepengine.pipeline.run_folder import CONFIG, META, RunFolder
from sleepengine.pipeline.running import checked
from sleepengine.pipeline.training.evaluate import LossFn
from sleepengine.pipeline.training.network import Network


def resume(
    path: str | Path,
    *,
    data_folder: str | Path | None = None,
    model: ModelGiven | None = None,
    data: Data | None = None,
    loader: Iterable[Any] | Loaders | None = None,
    loss_fn: LossFn | None = None,
    optimizer: OptimizerMaker | None = None,
    plugins: Plugins | None = None,
    progress: bool = True,
    options: Options | None = None,
    plugin_names: Sequence[str] = (),
) -> RunResult:
    """Continue the run in the folder `path` from its checkpoint; a finished run is returned as is.

    What `run` was given from Python (model, data, loader, plugins, ...) must be given again; the
    data folder and the number of workers are remembered. Lines that were written after the
    checkpoint are cut off and written again.

    Raises:
        FileError: no run folder, no checkpoint, or one of its files is damaged.
        StateError: the configuration, the data or the model is another one now.
        KeyboardInterrupt: after Ctrl-C, once the running step is finished and saved.
    """
    folder = RunFolder.open(path)
    with folder.held():
        return _resume(
            folder,
            None if data_folder is None else str(Path(data_folder).absolute()),
            Given(model, brought(data, loader), loss_fn, optimizer),
            plugins,
            options or Options(progress=progress),
            plugin_names,
        )


def _resume(
    folder: RunFolder,
    data_folder: str | None,
    given: Given,
    plugins: Plugins | None,
    options: Options,
    plugin_names: Sequence[str],
) -> RunResult:
    """Everything is read and checked before anything is written."""
    header.check(folder.meta, folder.path / META)
    if folder.meta["status"] == "finished":
        result = result_of(folder)
        folder.tidy()
        return result
    text = folder.config()
    if digest(text) != folder.meta["config_sha256"]:
        raise StateError(
            f"{folder.path / CONFIG} was changed since the run began, so it cannot go on to the "
            "same end; start a new run with the changed file"
        )
    saved = checkpoint.check(folder.load_checkpoint(), folder.checkpoint)
    if "workers" in saved:
        folder.cut_back(saved)
        return Parallel(folder, options, plugin_names, saved).run()
    place = saved["data_folder"] if data_folder is None else data_folder
    config = load(folder.path / CONFIG, plugins=plugins, own_model=given.model is not None)
    parts = Parts.of(config, None if place is None else Path(place), given)
    checkpoint.check_fits(saved, _check_same(folder, parts), folder.checkpoint)
    folder.cut_back(saved)
    return runner_of(parts, folder, options, place, saved).run()


def _check_same(folder: RunFolder, parts: Parts) -> Network:
    """Data and model must look as they did; another torch may round otherwise, which is told."""
    network = checked(parts)
    now: dict[str, dict[str, object]] = {
        "data": {
            "name": parts.data.name,
            **{part.value: len(parts.data.split(part)) for part in Part},
        },
        "model": {
            "parameters": sum(p.numel() for p in network.model.parameters()),
            "maskable": network.maskable,
        },
        "versions": {name: versions()[name] for name in ("sleepengine", "torch")},
    }
    for what, facts in now.items():
        for name, value in facts.items():
            before = folder.meta[what].get(name)
            if before != value:
                raise StateError(f"{what}: {name} was {before!r} when the run began, now {value!r}")
    return network
