"""Architecture: imports run one way and without cycles, light modules stay light, sizes follow the style guide."""

import ast
import graphlib
import importlib
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import vla_bench

PACKAGE = Path(vla_bench.__file__).parent

# Imports between sub-packages. World and policy build on core, results as well; they meet in training and evaluation.
# Imports inside functions count.
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


def test_every_subpackage_is_on_the_map() -> None:
    """The map and the package agree, so that the loops below visit every sub-package."""
    found = {name.split(".")[1] for name in MODULES} - {"__init__"}
    assert found == set(MAY_IMPORT) | ON_TOP


def test_imports_run_one_way() -> None:
    checked, wrong = 0, []
    for name, path in BELOW.items():
        home = name.split(".")[1]
        for imported in _imports(path):
            top, _, rest = imported.partition(".")
            if top == "vla_bench" and rest != "__version__":
                checked += 1
                # `make` and `make_vec` of the top level belong to the environments
                target = "envs" if rest in ("make", "make_vec") else rest.split(".")[0]
                if target != home and target not in MAY_IMPORT[home]:
                    wrong.append(f"{name} imports {imported}")
    assert wrong == []
    assert checked > len(BELOW)


def test_heavy_libraries_stay_where_they_belong() -> None:
    used, wrong = set(), []
    for name, path in BELOW.items():
        home = name.split(".")[1]
        for imported in _imports(path):
            library = imported.split(".")[0]
            used.add(library)
            if home not in MAY_LOAD.get(library, {home}):
                wrong.append(f"{name} imports {imported}")
    assert wrong == []
    assert used >= set(MAY_LOAD)


def test_modules_have_no_import_cycles() -> None:
    """Imports inside functions count; those for type checking do not."""
    graph = {_plain(name): _imported_modules(name, path) for name, path in MODULES.items()}
    assert sum(map(len, graph.values())) > len(graph)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_every_module_imports() -> None:
    assert MODULES
    for name in sorted(set(MODULES) - {"vla_bench.__main__"}):
        importlib.import_module(_plain(name))


def test_sizes_follow_the_style_guide() -> None:
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert {name: count for name, count in lines.items() if count > 400} == {}
    modules = [name for name in lines if not name.endswith("__init__")]
    assert statistics.median(lines[name] for name in modules) > 110
    folders = Counter(name.rpartition(".")[0] for name in modules)
    folders.update(name.split(".__init__")[0].rpartition(".")[0] for name in MODULES if name.endswith("__init__"))
    assert [folder for folder, count in folders.items() if count == 1 and folder] == []


def _plain(name: str) -> str:
    return name.removesuffix(".__init__")


def _imported_modules(name: str, path: Path) -> set[str]:
    """Return the modules of the package that a module imports, without its parent packages."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        for body in ("body", "orelse"):
            statements = getattr(node, body, None)
            if isinstance(statements, list):
                setattr(node, body, [one for one in statements if not _is_for_type_checking(one)])
    known, found = {_plain(one) for one in MODULES}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in known else node.module)
    return {one for one in found & known if one != _plain(name)}


def _is_for_type_checking(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


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
