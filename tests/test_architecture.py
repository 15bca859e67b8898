"""The map of the house holds: imports run one way, light things stay light, and the wheel carries the data."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import vla_bench

PACKAGE = Path(vla_bench.__file__).parent

# What each sub-package may import of ours. Two wings stand on core, the world and the policy; results stands beside
# them; they meet in training and evaluation. Imports inside functions count.
MAY_IMPORT: dict[str, set[str]] = {
    "core": set(),
    "tasks": {"core"},
    "envs": {"core", "tasks"},
    "experts": {"core", "tasks", "envs"},
    "demos": {"core", "tasks", "envs", "experts"},
    "models": {"core"},
    "policies": {"core", "models"},
    "results": {"core"},
    "training": {"core", "demos", "models"},
    "authoring": {"core", "tasks", "envs", "experts", "results"},
    "evaluation": {"core", "tasks", "envs", "experts", "policies", "results", "authoring"},
    "performance": {"core", "tasks", "envs", "demos", "models", "policies", "results", "evaluation"},
}
ON_TOP = {"cli", "quickstart", "__main__"}  # nothing below imports these

# Heavy libraries, and the sub-packages that may import them at all.
MAY_LOAD: dict[str, set[str]] = {
    "torch": {"models", "policies", "training", "performance"},
    "transformers": {"models", "policies", "training"},
    "peft": {"models", "policies", "training"},
    "mujoco": {"envs", "experts", "performance"},
    "robosuite": {"envs", "experts", "performance"},
}


def _modules() -> dict[str, Path]:
    paths = sorted(PACKAGE.rglob("*.py"))
    return {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in paths}


def _imports(path: Path) -> Iterator[str]:
    """Every module that the file imports anywhere; `from a import b` gives `a.b`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} line {node.lineno}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


MODULES = _modules()
BELOW = {name: path for name, path in MODULES.items() if name.split(".")[1] in MAY_IMPORT}


def test_every_subpackage_has_its_place_on_the_map() -> None:
    found = {name.split(".")[1] for name in MODULES} - {"__init__"}
    assert found <= set(MAY_IMPORT) | ON_TOP


@pytest.mark.parametrize("name", BELOW)
def test_imports_run_one_way(name: str) -> None:
    home = name.split(".")[1]
    for imported in _imports(BELOW[name]):
        top, _, rest = imported.partition(".")
        if top == "vla_bench" and rest != "__version__":
            target = (
                "envs" if rest in ("make", "make_vec") else rest.split(".")[0]
            )  # these two are the environments' own
            assert target == home or target in MAY_IMPORT[home], f"{name} imports {imported}"


@pytest.mark.parametrize("name", BELOW)
def test_heavy_libraries_stay_where_they_belong(name: str) -> None:
    home = name.split(".")[1]
    for imported in _imports(BELOW[name]):
        library = imported.split(".")[0]
        assert home in MAY_LOAD.get(library, {home}), f"{name} imports {imported}"


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"vla_bench.__main__"}))
def test_every_module_imports(name: str) -> None:
    importlib.import_module(name.removesuffix(".__init__"))


def _loaded_after(program: str) -> set[str]:
    """Top-level modules that are loaded in a fresh interpreter after `program`."""
    program += "\nimport sys; print(' '.join({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "program",
    [
        "import vla_bench",
        "import vla_bench.cli",
        "import vla_bench.tasks; vla_bench.tasks.task_ids()",
        "import vla_bench.results",
        "from vla_bench.demos import DemonstrationFile",
        "import vla_bench.quickstart",
        "from vla_bench.envs.environment import make",  # it chooses the OpenGL that MuJoCo loads
        "from vla_bench import make_vec",
    ],
)
def test_light_things_load_neither_torch_nor_mujoco(program: str) -> None:
    assert not _loaded_after(program) & {"torch", "mujoco", "robosuite", "transformers"}


def test_results_do_without_torch_mujoco_and_hdf5() -> None:
    names = [name.removesuffix(".__init__") for name in MODULES if name.startswith("vla_bench.results")]
    loaded = _loaded_after("\n".join(f"import {name}" for name in names))
    assert not loaded & {"torch", "mujoco", "h5py", "transformers"}


def test_the_policy_wing_loads_no_simulator() -> None:
    wing = ("vla_bench.models", "vla_bench.policies", "vla_bench.training")
    names = [name.removesuffix(".__init__") for name in MODULES if name.startswith(wing)]
    assert "mujoco" not in _loaded_after("\n".join(f"import {name}" for name in names))
