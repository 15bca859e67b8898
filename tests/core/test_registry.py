"""The registry: one name, one thing, found without a list."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vla_bench.core.errors import UnknownNameError, VlaBenchError
from vla_bench.core.registry import Registry


def test_decorator_registers_under_the_functions_name_and_returns_the_function() -> None:
    skills: Registry[object] = Registry("skill")

    @skills.register
    def reach() -> str:
        return "reached"

    assert reach() == "reached"
    assert skills["reach"] is reach


def test_named_decorator_registers_under_another_name() -> None:
    skills: Registry[object] = Registry("skill")

    @skills.named("grasp-and-lift")
    def grasp_and_lift() -> None: ...

    assert list(skills) == ["grasp-and-lift"]
    assert skills["grasp-and-lift"] is grasp_and_lift


def test_two_things_of_one_name_are_refused() -> None:
    skills: Registry[object] = Registry("skill")
    skills.register(1, name="reach")
    with pytest.raises(VlaBenchError, match="Two skills are named 'reach'"):
        skills.register(2, name="reach")
    assert skills["reach"] == 1


def test_a_thing_without_a_name_is_refused() -> None:
    with pytest.raises(VlaBenchError, match="A skill needs a name"):
        Registry[object]("skill").register(3)


def test_the_same_thing_may_register_twice() -> None:
    skills: Registry[object] = Registry("skill")
    assert skills.register("x", name="reach") is skills.register("x", name="reach")
    assert len(skills) == 1


def test_names_come_sorted() -> None:
    skills: Registry[int] = Registry("skill")
    for number, name in enumerate(["push", "grasp", "open"]):
        skills.register(number, name=name)
    assert list(skills) == ["grasp", "open", "push"]


def test_an_unknown_name_says_the_nearest_ones() -> None:
    skills: Registry[int] = Registry("skill")
    skills.register(0, name="grasp")
    with pytest.raises(UnknownNameError, match=r"No skill named 'grap'\. Did you mean 'grasp'"):
        skills["grap"]
    assert "grap" not in skills


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package on disk with one module that registers itself."""
    folder = tmp_path / "some_skills"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from vla_bench.core.registry import Registry\nskills = Registry('skill', package='some_skills')\n"
    )
    (folder / "pushing.py").write_text(
        "from some_skills import skills\n@skills.register\ndef push():\n    return 'pushed'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "some_skills"
    for name in [name for name in sys.modules if name.startswith("some_skills")]:
        del sys.modules[name]


def test_a_new_file_in_the_package_is_all_that_a_new_member_needs(package: str) -> None:
    skills = __import__(package).skills
    assert f"{package}.pushing" not in sys.modules  # nothing is imported before the first look-up
    assert list(skills) == ["push"]
    assert skills["push"]() == "pushed"
