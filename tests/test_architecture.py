"""The house: imports point one way, frameworks and schedulers stay in their rooms.

docs/architecture.md draws what is held here.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support import ROOT

PACKAGE = ROOT / "hpcbench"
# From the ground up: a room imports only from those before it, and from itself.
ROOMS = [
    *("errors", "process", "resources", "metrics", "safe_pickle", "locks"),
    *("words", "packages", "validation", "references", "registry", "terminal", "cli"),
    "own_loop",
    *("layers", "models", "config", "programs", "probe", "datasets", "schedule"),
    *("cluster", "devices", "records", "strategies", "frameworks", "training", "runs"),
    *("calibration", "collective", "sweeps", "checkup", "analysis", "logs"),
]
COMMANDS = [
    "train",
    "sweep",
    "scale",
    "collectives",
    "calibrate",
    "site",
    "doctor",
    "plot",
    "watch",
    "compare",
    "import_logs",
    "plot_training",
]
FRAMEWORKS = {"tensorflow", "keras", "torch", "horovod", "jax", "mpi4py"}
# Where a framework or what is compiled for one may be imported, and only when it is used.
MAY_IMPORT = {"layers", "models", "strategies", "frameworks", "collective"}


def modules() -> dict[str, ast.Module]:
    """Each module of the package by its dotted name below it."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text())
    return found


MODULES = modules()


def below(name: str) -> str:
    """A module's name below the package; the probe's own are imported from its folder."""
    name = name.removeprefix("hpcbench.")
    return f"probe.{name}" if name.split(".")[0] == "hpcbench_probe" else name


def imported(tree: ast.AST) -> set[str]:
    """The dotted names that are imported anywhere in a module, in functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = {f"{node.module}.{alias.name}" for alias in node.names}
            modules_of = {part for part in parts if below(part) in MODULES}
            names |= modules_of or {node.module}
    return names


def own(tree: ast.AST) -> set[str]:
    """The modules of this package that are imported."""
    return {below(name) for name in imported(tree)} & MODULES.keys()


def room(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def test_imports_point_one_way():
    floors = {name: floor for floor, name in enumerate(ROOMS)}
    floors |= dict.fromkeys(COMMANDS, len(ROOMS))
    # It writes a sweep's file and is hpcbench sweep from there on.
    floors["scale"] = len(ROOMS) + 1
    upward = []
    for module, tree in MODULES.items():
        if module in ("", "__main__"):
            continue
        for other in own(tree) - {""}:
            if room(other) != room(module) and floors[room(other)] >= floors[room(module)]:
                upward.append(f"{module} -> {other}")
    assert upward == []


def test_no_circle_of_files():
    """A package's own file may be imported by its modules, and does not import them."""
    arrows = {module: own(tree) - {module, ""} for module, tree in MODULES.items()}
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for other in sorted(arrows[module]):
                visit(other, (*path, module))
            done.add(module)

    for module in sorted(arrows):
        visit(module, ())


def test_frameworks_are_imported_only_in_their_rooms():
    strangers = {
        module: found
        for module, tree in MODULES.items()
        if room(module) not in MAY_IMPORT
        and (found := {name.split(".")[0] for name in imported(tree)} & FRAMEWORKS)
    }
    # Which ranks are on this host, and whether they came bound, is asked of MPI itself.
    # The probe is in a program that has imported them.
    asking = {
        "cluster.place": {"mpi4py"},
        "probe.hpcbench_probe.keras": {"keras"},
        "probe.hpcbench_probe.pytorch.facts": {"torch"},
    }
    assert strangers == asking


def test_the_probe_needs_the_standard_library_alone():
    """Nothing of ours can be imported where it runs; and nothing of ours imports it."""
    for module, tree in MODULES.items():
        names = {name.split(".")[0] for name in imported(tree)}
        if room(module) == "probe":
            assert names <= sys.stdlib_module_names | {"hpcbench_probe"} | FRAMEWORKS, module
        else:
            assert not {room(other) for other in own(tree)} & {"probe"}, module


def test_a_framework_is_loaded_only_when_it_is_used():
    """But for the modules that are all of one framework, nothing imports one at its top."""
    inside = re.compile(r"layers\.|frameworks\.(tensorflow|torch|jax)\.")
    for module, tree in MODULES.items():
        top = ast.Module([n for n in tree.body if not isinstance(n, ast.If)], [])
        names = {
            name
            for node in top.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in imported(ast.Module([node], []))
        }
        if not inside.match(module):
            assert not {name.split(".")[0] for name in names} & FRAMEWORKS, module


@pytest.mark.parametrize(
    ("words", "where"),
    [
        # Slurm's variables and commands; another scheduler is another folder beside it.
        (r"SLURM_[A-Z]", "cluster/schedulers/slurm"),
        (r"\"(sbatch|squeue|scontrol|scancel|sinfo)\"", "cluster/schedulers/slurm"),
        # What launchers tell ranks.
        (r"OMPI_COMM|HOROVOD_RANK|PMI_RANK|TORCHELASTIC", "cluster/launchers"),
    ],
)
def test_a_scheduler_and_a_launcher_are_named_in_one_place(words, where):
    naming = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(words, path.read_text())
    }
    # The probe, in another program's Python, can ask nobody.
    naming -= {"probe/hpcbench_probe/process.py"}
    assert naming
    assert all(name.startswith(where) for name in naming), naming


def test_every_setting_is_claimed_by_a_framework_or_by_all():
    from hpcbench import frameworks
    from hpcbench.config import SETTINGS_OF_ALL_FRAMEWORKS, OutputConfig, RunConfig

    settings = {*RunConfig.model_fields, *OutputConfig.model_fields}
    claimed = {name for framework in frameworks.FRAMEWORKS for name in framework.options}
    assert settings >= SETTINGS_OF_ALL_FRAMEWORKS
    assert not claimed & SETTINGS_OF_ALL_FRAMEWORKS
    assert settings == claimed | SETTINGS_OF_ALL_FRAMEWORKS


def test_files_have_one_reason_to_exist():
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in PACKAGE.rglob("*.py")
        if (lines := len(Path(path).read_text().splitlines())) > 400
    }
    assert not long


def test_what_is_imported_here_is_in_the_repository():
    """A rule of .gitignore that hides a room breaks only the clones."""
    hidden = subprocess.run(
        ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "hpcbench"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    assert [path for path in hidden if not path.endswith(".pyc")] == []
