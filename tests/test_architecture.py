"""Who may import whom: the layers of the packages, and one file for each optional library."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("saliency", "schedules", "sleepengine")
OURS = set(PACKAGES)

# Lower layers never import upper ones. A name is a module or package of sleepengine.
LAYERS = (
    ("errors",),
    ("names", "parametrized", "distributed", "shared_memory"),
    ("masks",),
    ("choosing", "enforcement", "files", "journal"),
    ("nodes",),
    ("actions",),
    ("compaction",),
    ("rules",),
    ("firing",),
    ("calls",),
    ("attachment", "engine"),
    ("learned", "export", "structure"),
    ("recipes", "pipeline"),
    ("report",),
    ("command_line", "__main__"),
)
ONE_FILE_EACH = ("scipy", "sklearn", "matplotlib", "jinja2", "networkx", "torch_pruning", "yaml")
MOST_LINES = 260


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Full names of all modules a file imports, except those for type checkers alone."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def layer_of(module: str) -> int | None:
    parts = module.split(".")
    if parts[0] != "sleepengine" or len(parts) < 2:
        return None
    for height, names in enumerate(LAYERS):
        if parts[1] in names:
            return height
    return None


@pytest.mark.parametrize("path", sources("schedules"), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_schedules_import_the_standard_library_only(path):
    tops = {name.split(".")[0] for name in imports(path)}
    assert tops <= set(sys.stdlib_module_names) | {"schedules"}


@pytest.mark.parametrize("path", sources("saliency"), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_saliency_imports_torch_only(path):
    tops = {name.split(".")[0] for name in imports(path)}
    assert tops <= set(sys.stdlib_module_names) | {"saliency", "torch"}


@pytest.mark.parametrize(
    "path", sources("sleepengine"), ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_lower_layers_do_not_import_upper_ones(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    height = layer_of(module)
    if module == "sleepengine.__init__":
        return
    assert height is not None, f"{module} has no place in LAYERS"
    upper = {m for m in imports(path) if (other := layer_of(m)) is not None and other > height}
    assert not upper


@pytest.mark.parametrize("library", ONE_FILE_EACH)
def test_each_optional_library_is_imported_in_one_file(library):
    files = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in sources(package)
        if any(name.split(".")[0] == library for name in imports(path))
    ]
    assert len(files) <= 1, files


@pytest.mark.parametrize(
    "path",
    [p for pkg in PACKAGES for p in sources(pkg)],
    ids=lambda p: p.relative_to(ROOT).as_posix(),
)
def test_files_hold_one_idea(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_importing_the_package_does_not_import_torch():
    import subprocess

    code = "import sys, sleepengine; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
