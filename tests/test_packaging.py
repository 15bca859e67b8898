"""The wheel works outside a clone; the pinned versions agree with the declared ones."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OPTIONAL = [text for extra in PROJECT["optional-dependencies"].values() for text in extra if "vla-bench" not in text]
USED = [text for text in (*PROJECT["dependencies"], *OPTIONAL) if text not in PROJECT["optional-dependencies"]["dev"]]
DECLARED = {Requirement(text).name.lower().replace("_", "-") for text in USED}
PINNED = {
    requirement.name: next(iter(requirement.specifier)).version
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
    for requirement in [Requirement(line)]
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"


@pytest.mark.parametrize("folder", ["envs", "tasks", "policies", "baselines"])
def test_the_wheel_carries_every_file_of_the_data_folders(wheel: Path, folder: str) -> None:
    listed = subprocess.run(["git", "ls-files", folder], cwd=ROOT, check=True, capture_output=True, text=True)
    kept = {line for line in listed.stdout.splitlines() if (ROOT / line).is_file()}
    data = wheel / "vla_bench" / "data"
    carried = {path.relative_to(data).as_posix() for path in data.rglob("*") if path.is_file()}
    assert kept
    assert kept <= carried


def test_the_wheel_lists_its_tasks_outside_the_clone(wheel: Path, tmp_path: Path) -> None:
    program = "import vla_bench; from vla_bench.tasks import suites; print(vla_bench.__file__, *suites())"
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(wheel)}, check=True, capture_output=True, text=True
    )
    place, *suites = done.stdout.split()
    assert Path(place).is_relative_to(wheel)
    assert "tabletop_object" in suites


def test_nothing_but_the_package_lands_in_site_packages(wheel: Path) -> None:
    assert {path.name.split("-")[0] for path in wheel.iterdir()} == {"vla_bench"}
    assert (wheel / "vla_bench" / "py.typed").is_file()


@pytest.mark.parametrize("text", [*PROJECT["dependencies"], *OPTIONAL])
def test_pinned_version_lies_within_the_declared_bounds(text: str) -> None:
    requirement = Requirement(text)
    assert requirement.specifier.contains(PINNED[requirement.name])


def _imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


def test_every_library_that_the_package_imports_is_declared() -> None:
    # Modules in `performance/peers` run in the Python of the peer, which has the peer installed.
    modules = [path for path in (ROOT / "vla_bench").rglob("*.py") if "peers" not in path.parts]
    imported = set().union(*map(_imported, modules))
    distributions = packages_distributions()
    for name in imported - set(sys.stdlib_module_names) - {"vla_bench"}:
        providers = {provider.lower().replace("_", "-") for provider in distributions.get(name, [name])}
        assert providers & DECLARED, f"{name} is imported but not among the dependencies"
