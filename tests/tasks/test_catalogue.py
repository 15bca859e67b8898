"""Suites are read from TOML; a mistake names the file, the field and what would be right."""

import re
import shutil
from pathlib import Path

import pytest

from vla_bench.core import files
from vla_bench.core.errors import ConfigurationError, UnknownNameError
from vla_bench.core.files import data_folder
from vla_bench.envs.descriptions import describe_object
from vla_bench.tasks import catalogue, get_task, load_suite, predicates, suites, task_ids, tasks_of
from vla_bench.tasks.catalogue import parts_of
from vla_bench.tasks.task import Relation

SUITE_FILES = sorted(data_folder("tasks").glob("*.toml"))
ALL_TASKS = [get_task(task_id) for task_id in task_ids()]

GOOD = """
suite = "mine"
horizon = 100
objects = { cube = "red_cube", plate = "plate" }
initial = ["in_region(cube, middle)", "in_region(plate, right)"]

[[task]]
name = "cube_on_plate"
instruction = "put the cube on the plate"
goal = ["on(cube, plate)"]
must_not = ["moved(plate)"]
"""


def _suite(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", SUITE_FILES, ids=lambda path: path.stem)
def test_every_suite_file_loads_and_is_listed(path: Path) -> None:
    tasks = load_suite(path)
    assert tasks == tasks_of(tasks[0].suite)
    assert {task.id for task in tasks} <= set(task_ids())


def test_the_suites_are_there() -> None:
    assert len(SUITE_FILES) == len(suites())
    assert {"tabletop_object", "tabletop_pick", "robosuite"} <= set(suites())
    assert task_ids() == tuple(task_id for suite in suites() for task_id in task_ids(suite))


@pytest.mark.parametrize("suite", suites())
def test_no_two_tasks_of_a_suite_say_the_same(suite: str) -> None:
    sentences = [text for task in tasks_of(suite) for text in (task.instruction, *task.paraphrases)]
    assert len(set(sentences)) == len(sentences)


@pytest.mark.parametrize("task", ALL_TASKS, ids=lambda task: task.id)
def test_a_task_has_paraphrases_and_goals_that_can_be_checked(task: catalogue.Task) -> None:
    assert len(task.paraphrases) >= 5
    for text in (task.instruction, *task.paraphrases):
        assert text == text.strip().lower()
        assert not text.endswith(".")
    assert all(goal.name in predicates for goal in task.goal)
    known = {*task.objects, *parts_of(task.objects)}
    assert all(argument in known for goal in task.goal for argument in goal.arguments)


@pytest.mark.parametrize("task", [task for task in ALL_TASKS if task.engine == "tabletop"], ids=lambda task: task.id)
def test_the_sentences_of_a_tabletop_task_name_what_its_goal_speaks_of(task: catalogue.Task) -> None:
    words = {word for goal in task.goal for argument in goal.arguments for word in _words(task, argument)}
    for text in (task.instruction, *task.paraphrases):
        assert words <= set(re.findall(r"\w+", text)), text


def _words(task: catalogue.Task, argument: str) -> set[str]:
    """Return the words of an object's name that are also in what it is called, or those of a part's name."""
    words = set(argument.split("_"))
    return words & set(describe_object(task.objects[argument]).noun.split()) if argument in task.objects else words


def test_a_suite_gives_its_tasks_what_they_leave_out(tmp_path: Path) -> None:
    more = """
[[task]]
name = "can_on_plate"
instruction = "put the can on the plate"
objects = { can = "blue_can" }
initial = ["in_region(can, left)"]
goal = ["on(can, plate)", "released(can)"]
horizon = 7
"""
    first, second = load_suite(_suite(tmp_path, GOOD + more))
    assert (first.id, first.engine, first.scene) == ("mine.cube_on_plate", "tabletop", "table")
    assert (first.horizon, first.wait_steps, first.success_steps) == (100, 0, 1)
    assert [str(goal) for goal in first.must_not] == ["moved(plate)"]
    assert second.horizon == 7
    assert dict(second.objects) == {"cube": "red_cube", "plate": "plate", "can": "blue_can"}
    assert [str(relation) for relation in second.initial] == [
        "in_region(cube, middle)",
        "in_region(plate, right)",
        "in_region(can, left)",
    ]
    assert second.must_not == ()


MISTAKES = [
    ("horizon = 100", "horizn = 100", "horizn", "is not a known field. Expected 'horizon'."),
    ("goal = [", "gaol = [", "task.0.gaol", "is not a known field. Expected 'goal'."),
    ("horizon = 100\n", "", "horizon", "is missing."),
    ("horizon = 100", "horizon = 0", "horizon", "0: Input should be greater than or equal to 1."),
    ('name = "cube_on_plate"', 'name = "Cube on plate"', "task.0.name", "'Cube on plate': String should match"),
    ('goal = ["on(cube, plate)"]', "goal = []", "task.0.goal", "[]: "),
    ("on(cube, plate)", "onn(cube, plate)", "cube_on_plate.goal", "no predicate is named 'onn'. Expected 'on'."),
    ("on(cube, plate)", "hovers(cube, plate)", "cube_on_plate.goal", "Expected one of around, at, closed, "),
    ("on(cube, plate)", "on(cub, plate)", "cube_on_plate.goal", "no object is named 'cub'. Expected 'cube'."),
    ("moved(plate)", "moved(plates)", "cube_on_plate.must_not", "no object is named 'plates'. Expected 'plate'."),
    (
        "on(cube, plate)",
        "on(cube)",
        "cube_on_plate.goal",
        "`on(cube)` has the wrong number of arguments. Expected `on(item, support)`.",
    ),
    (
        "on(cube, plate)",
        "on cube plate",
        "cube_on_plate.goal",
        "is not of the form `name(argument, ...)`. Expected such",
    ),
    (
        "in_region(cube, middle)",
        "in_regoin(cube, middle)",
        "cube_on_plate.initial",
        "no initial relation is named 'in_regoin'. Expected 'in_region'.",
    ),
    ("in_region(cube, middle)", "in_region(cube)", "cube_on_plate.initial", "Expected `in_region(item, region)`."),
    ("in_region(cube, middle)", "in_region(cub, middle)", "cube_on_plate.initial", "named 'cub'. Expected 'cube'."),
    ("in_region(plate, right)", "in_region(cube, right)", "cube_on_plate.initial", "'cube' is placed twice."),
    ("in_region(cube, middle)", "on(cube, plat)", "cube_on_plate.initial", "named 'plat'. Expected 'plate'."),
    ("in_region(cube, middle)", "between(cube, plate)", "cube_on_plate.initial", "`between(item, first, second)`."),
    (
        "in_region(cube, middle)",
        "on(cube, cube)",
        "cube_on_plate.initial",
        "`on(cube, cube)`: cube must be placed first. Expected references that another relation places.",
    ),
    ("in_region(plate, right)", "opened(plate_door)", "cube_on_plate.initial", "no object is named 'plate_door'."),
    ("horizon = 100", "horizon = = 100", "(whole file)", "is not valid TOML"),
]


@pytest.mark.parametrize(("right", "wrong", "field", "message"), MISTAKES, ids=[wrong for _, wrong, _, _ in MISTAKES])
def test_a_mistake_names_file_field_and_what_is_right(
    tmp_path: Path, right: str, wrong: str, field: str, message: str
) -> None:
    assert GOOD.count(right) == 1
    path = _suite(tmp_path, GOOD.replace(right, wrong))
    with pytest.raises(ConfigurationError) as caught:
        load_suite(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: field `{field}`: ")
    assert message in text
    assert not text.endswith("..")


FIXTURES = GOOD.replace('plate = "plate" }', 'plate = "plate", chest = "cabinet" }')


def test_a_task_may_speak_of_the_parts_that_its_objects_declare(tmp_path: Path) -> None:
    text = FIXTURES.replace('right)"]', 'right)", "in_region(chest, left)", "opened(chest_top_drawer)"]')
    (task,) = load_suite(_suite(tmp_path, text.replace("on(cube, plate)", "in(cube, chest_top_drawer)")))
    assert str(task.goal[0]) == "in(cube, chest_top_drawer)"
    assert task.initial[-1] == Relation("opened", ("chest_top_drawer",))


def test_an_unknown_part_is_answered_with_the_nearest(tmp_path: Path) -> None:
    path = _suite(tmp_path, FIXTURES.replace("on(cube, plate)", "open(chest_top_draw)"))
    with pytest.raises(ConfigurationError, match=r"no object is named 'chest_top_draw'\. Expected 'chest_top_drawer'"):
        load_suite(path)


def test_a_part_cannot_be_placed(tmp_path: Path) -> None:
    path = _suite(tmp_path, FIXTURES.replace("in_region(plate, right)", "in_region(chest_top_drawer, right)"))
    with pytest.raises(ConfigurationError, match=r"cube_on_plate\.initial`: no object is named 'chest_top_drawer'"):
        load_suite(path)


def test_two_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    table = GOOD[GOOD.index("[[task]]") :]
    with pytest.raises(ConfigurationError, match=r"field `task\.1\.name`: 'cube_on_plate' occurs twice\. Expected"):
        load_suite(_suite(tmp_path, GOOD + table))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml: field `\(whole file\)`: cannot be read: No such file"):
        load_suite(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("look_up", "name", "message"),
    [
        (get_task, "tabletop_pick.pick_red_cub", "No task named 'tabletop_pick.pick_red_cub'. Did you mean"),
        (tasks_of, "tabletop_objects", "No suite named 'tabletop_objects'. Did you mean 'tabletop_object'"),
        (task_ids, "robosute", "No suite named 'robosute'. Did you mean 'robosuite' or 'robosuite_two_arm'?"),
        (tasks_of, "xyz", f"Known: {', '.join(suites())}."),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(look_up: object, name: str, message: str) -> None:
    assert callable(look_up)
    with pytest.raises(UnknownNameError, match=re.escape(message)):
        look_up(name)


def test_two_files_may_not_hold_the_same_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.toml", "b.toml"):
        _suite(tmp_path, GOOD, name)
    monkeypatch.setattr(files, "data_folder", lambda name: tmp_path)
    with pytest.raises(ConfigurationError, match=r"b\.toml: field `suite`: another file has a suite named 'mine'"):
        catalogue.suites()


def test_a_new_file_is_a_new_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = suites()
    for path in SUITE_FILES:
        shutil.copy(path, tmp_path)
    _suite(tmp_path, GOOD)
    monkeypatch.setattr(files, "data_folder", lambda name: tmp_path)
    assert set(catalogue.suites()) == {*before, "mine"}


@pytest.mark.parametrize("text", ["on(cube, plate)", "  on( cube ,plate )", "on(cube,plate,)"])
def test_a_relation_reads_in_any_spacing(text: str) -> None:
    assert Relation.parse(text) == Relation("on", ("cube", "plate"))


@pytest.mark.parametrize("text", ["on", "on(cube", "on(cube) plate", "on(cube-1)", "not on(cube)", ""])
def test_what_is_no_relation_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not of the form `name\(argument, \.\.\.\)`"):
        Relation.parse(text)
