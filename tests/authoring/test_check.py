"""The check reports every mistake in a task file, one message each with file and field."""

import re
import shutil
from pathlib import Path

import pytest

import vla_bench
from tests.authoring.task_files import PARAPHRASES, TEN_LINES, TWO_TASKS, written
from vla_bench.authoring import CheckOptions, CheckReport, check_suite
from vla_bench.authoring.check import scenery_problems
from vla_bench.authoring.definition import read_definition, word_problems
from vla_bench.core.errors import UnknownNameError
from vla_bench.core.files import TASKS_VARIABLE, data_folder
from vla_bench.tasks import suite_path, suites, tasks_of

TEXT_ALONE = CheckOptions(seeds=1, expert=False)


def _check(folder: Path, text: str, options: CheckOptions = TEXT_ALONE) -> CheckReport:
    return check_suite(written(folder, text), options)


def _told(report: CheckReport) -> list[str]:
    return [str(problem) for problem in report.problems]


def test_a_sound_file_is_tried_and_nothing_is_told(tmp_path: Path) -> None:
    report = _check(tmp_path, TWO_TASKS, CheckOptions(seeds=3))
    assert report.problems == ()
    assert [task.task.name for task in report.tasks] == ["mug_on_plate", "can_on_plate"]
    assert [(task.begins_alike, task.chance) for task in report.tasks] == [(2, 0.5), (2, 0.5)]
    for task in report.tasks:
        assert [trial.success for trial in task.trials] == [True] * 3
        assert len({trial.steps for trial in task.trials}) > 1


def test_ten_lines_are_enough_but_language_should_matter(tmp_path: Path) -> None:
    report = _check(tmp_path, TEN_LINES)
    assert report.errors == ()
    path = tmp_path / "kitchen.toml"
    assert _told(report) == [
        f"warning: {path}: field `mug_on_plate.paraphrases`: it has 0 different paraphrases. Expected at least 5 that "
        "differ from each other and from the instruction.",
        f"warning: {path}: field `mug_on_plate.instruction`: no other task of the suite has the same start scenes "
        "and other goals, so a policy can succeed without the instruction. Expected distractor objects, and tasks with "
        "them as goal objects.",
    ]


def test_the_file_in_the_docs_is_right(tmp_path: Path) -> None:
    page = (Path(vla_bench.__file__).parent.parent / "docs" / "adding-a-task.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    report = _check(tmp_path, text)
    assert report.errors == ()
    for problem in report.problems:  # which the page shows as they are
        assert f"warning: kitchen.toml: field `{problem.field}`: {problem.problem}" in page.replace("\n", " ")


@pytest.mark.parametrize("suite", suites())
def test_the_text_of_every_registered_suite_is_right(suite: str) -> None:
    """Their worlds and starts are tested where every environment is made: tests/envs/test_contract.py."""
    path = suite_path(suite)
    definition = read_definition(path)
    assert definition.problems == ()
    assert definition.runnable == definition.tasks
    found = word_problems(path, definition.tasks)
    found += [problem for task in definition.tasks for problem in scenery_problems(path, task, "panda")]
    text = ("paraphrases", "horizon")
    assert [problem for problem in found if problem.severity == "error" or problem.field.endswith(text)] == []


def test_a_registered_suite_is_checked_by_its_name() -> None:
    report = check_suite("tabletop_pick", TEXT_ALONE)
    assert report.errors == ()
    assert [one.task.id for one in report.tasks] == [task.id for task in tasks_of("tabletop_pick")]


MISTAKES = [
    ("horizon = 160", "horizn = 160", "horizn", "is not a known field. Expected 'horizon'."),
    ('"orange_mug"', '"orange_mgu"', "objects.mug", "No object named 'orange_mgu'. Did you mean 'orange_mug'"),
    ('"orange_mug"', '"orange"', "objects.mug", "No object named 'orange'. Did you mean 'orange_mug'"),
    (
        "(plate, right)",
        "(plate, rihgt)",
        "mug_on_plate.initial",
        "`in_region(plate, rihgt)`: No region of the scene 'table' named",
    ),
    ("(mug, middle)", "(mgu, middle)", "mug_on_plate.initial", "no object is named 'mgu'. Expected 'mug'."),
    (
        "in_region(mug",
        "in_regoin(mug",
        "mug_on_plate.initial",
        "no initial relation is named 'in_regoin'. Expected 'in_",
    ),
    ("in_region(can, middle)", "in_region(mug, left)", "mug_on_plate.initial", "'mug' is placed twice. Expected one"),
    ('"in_region(mug, middle)", ', "", "mug_on_plate.initial", "The task does not place mug at the start."),
    ('"on(mug, plate)"', '"onto(mug, plate)"', "mug_on_plate.goal", "no predicate is named 'onto'. Expected 'on'."),
    (
        '"on(mug, plate)"',
        '"on(mug)"',
        "mug_on_plate.goal",
        "`on(mug)` has the wrong number of arguments. Expected `on(",
    ),
    (
        '"on(mug, plate)"',
        '"on(mug, dish)"',
        "mug_on_plate.goal",
        "no object is named 'dish'. Expected one of can, mug,",
    ),
    ("horizon = 160", "horizon = 1", "mug_on_plate.horizon", "1 control steps end before the goal can hold for 1."),
    ('"on(mug, plate)", ', "", "mug_on_plate.goal", "`released(mug)` is already true at the start in 1 of 1 scenes."),
    ("goal = [", 'must_not = ["released(can)"]\ngoal = [', "mug_on_plate.must_not", "`released(can)` is already true"),
    (
        "goal = [",
        "ordered = true\ngoal = [",
        "mug_on_plate.ordered",
        "true, but on(mug, plate) is the only goal.",
    ),
    ('suite = "kitchen"', 'suite = "robosuite"', "suite", "'robosuite' is already the name of the suite in "),
    (
        'suite = "kitchen"',
        'suite = "kitchen"\nscene = "tabel"',
        "scene",
        "No scene named 'tabel'. Did you mean 'table'?",
    ),
    (
        'suite = "kitchen"',
        'suite = "kitchen"\nengine = "table"',
        "engine",
        "No engine named 'table'. Did you mean 'tablet",
    ),
    ('suite = "kitchen"', "suite = kitchen", "(whole file)", "is not valid TOML"),
]


@pytest.mark.parametrize(("right", "wrong", "field", "message"), MISTAKES, ids=[mistake[1] for mistake in MISTAKES])
def test_a_mistake_is_one_error_with_file_and_field(
    tmp_path: Path, right: str, wrong: str, field: str, message: str
) -> None:
    assert TEN_LINES.count(right) == 1
    report = _check(tmp_path, TEN_LINES.replace(right, wrong))
    (problem,) = report.errors
    assert str(problem).startswith(f"error: {tmp_path / 'kitchen.toml'}: field `{field}`: {message}")


def test_all_mistakes_of_a_file_are_told_each_once(tmp_path: Path) -> None:
    text = TWO_TASKS.replace("horizon = 160", "horizon = 160\ncolour = 1")
    text = text.replace("in_region(plate, right)", "in_region(dish, right)")  # of the suite, so found in both tasks
    text = text.replace('goal = ["on(mug, plate)"', 'horizon = 0\ngoal = ["onn(mug, plate)", "on(mgu, plate)"')
    text = text.replace('name = "can_on_plate"', 'name = "mug_on_plate"')
    report = _check(tmp_path, text)
    assert [(problem.field, problem.problem) for problem in report.errors] == [
        ("task.0.horizon", "0: Input should be greater than or equal to 1"),
        ("colour", "is not a known field"),
        ("task.1.name", "'mug_on_plate' occurs twice"),
        ("mug_on_plate.initial", "no object is named 'dish'"),
        ("mug_on_plate.goal", "no predicate is named 'onn'"),
        ("mug_on_plate.goal", "no object is named 'mgu'"),
    ]
    assert report.tasks == ()


def test_a_mistake_in_one_task_keeps_no_other_from_being_run(tmp_path: Path) -> None:
    text = TWO_TASKS.replace('goal = ["on(can, plate)"', 'horizn = 3\ngoal = ["on(can, plate)"')
    report = _check(tmp_path, text)
    assert [problem.field for problem in report.errors] == ["task.1.horizn"]
    assert [task.task.name for task in report.tasks] == ["mug_on_plate"]
    assert report.tasks[0].begins_alike == 2


def test_a_region_without_room_is_named_with_the_number_of_tries(tmp_path: Path) -> None:
    crowd = ", ".join(f'mug{number} = "orange_mug"' for number in range(4))
    places = ", ".join(f'"in_region(mug{number}, left)"' for number in range(4))
    text = TEN_LINES.replace("{ mug =", f"{{ {crowd}, mug =").replace("initial = [", f"initial = [{places}, ")
    (problem,) = _check(tmp_path, text).errors
    assert problem.field == "mug_on_plate.initial"
    assert re.search(
        r"No free place was found for .* in region 'left'.* after \d{4,} tries\. Make the region larger",
        problem.problem,
    )


@pytest.mark.parametrize(
    ("goals", "message"),
    [
        ('"moved(mug)"', "no expert skill reaches moved(mug)"),
        (
            '"lifted(plate)"',
            "the expert fails in 2 of 2 scenes (episodes 0, 1). Expected a task that the expert solves",
        ),
    ],
)
def test_a_task_that_the_expert_does_not_solve_is_an_error(tmp_path: Path, goals: str, message: str) -> None:
    text = TEN_LINES.replace('"on(mug, plate)", "released(mug)"', goals).replace("160", "60")
    (problem,) = _check(tmp_path, text, CheckOptions(seeds=2)).errors
    assert message in str(problem)


def test_little_room_for_slower_policies_is_a_warning(tmp_path: Path) -> None:
    report = _check(tmp_path, TWO_TASKS.replace("160", "85"), CheckOptions(seeds=2))
    assert report.errors == ()
    assert [problem.field for problem in report.problems] == ["mug_on_plate.horizon", "can_on_plate.horizon"]
    assert "85 control steps, but the expert takes " in report.problems[0].problem


@pytest.mark.parametrize(
    ("right", "wrong", "field", "message"),
    [
        (
            '"put the can on the plate"',
            '"Put the mug on the plate."',
            "can_on_plate.instruction",
            "has the same start scenes and other goals",
        ),
        (
            '"one fashion"',
            '"put the mug on the plate"',
            "can_on_plate.paraphrases",
            "is the instruction of mug_on_plate,",
        ),
    ],
)
def test_words_that_two_tasks_answer_to_are_an_error(
    tmp_path: Path, right: str, wrong: str, field: str, message: str
) -> None:
    report = _check(tmp_path, TWO_TASKS.replace(right, wrong))
    (problem,) = report.errors
    assert problem.field == field
    assert message in problem.problem


LIFT = """
suite = "lifting"
engine = "robosuite"
scene = "robosuite"
horizon = 400
[[task]]
name = "lift"
instruction = "lift the red cube"
objects = { cube = "cube" }
goal = ["lifted(cube)"]
options = { env_name = "Lift" }
"""


@pytest.mark.parametrize(
    ("right", "wrong", "field", "message"),
    [
        ('"Lift"', '"Lft"', "options", "No robosuite environment named 'Lft'. Did you mean 'Lift'"),
        (
            '"Lift"',
            '"Lift", reward_scal = 2.0',
            "options",
            "No option of robosuite's Lift named 'reward_scal'. Did you",
        ),
        ('"Lift"', '"Lift", seed = 3', "options", "No option of robosuite's Lift named 'seed'."),
        ('"cube" }', '"cubbe" }', "objects", "No object of robosuite's Lift named 'cubbe'. Did you mean 'cube'?"),
        ("lifted(cube)", "moved(cube)", "goal", "no expert skill reaches moved(cube)"),
    ],
)
def test_a_mistake_about_robosuite_is_told_too(
    tmp_path: Path, right: str, wrong: str, field: str, message: str
) -> None:
    (problem,) = _check(tmp_path, LIFT.replace(right, wrong), CheckOptions(seeds=1)).errors
    assert str(problem).startswith(f"error: {tmp_path / 'kitchen.toml'}: field `lift.{field}`: {message}")


def test_a_robot_whose_model_lacks_a_joint_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    robots = tmp_path / "envs" / "robots"
    robots.mkdir(parents=True)
    panda = (data_folder("envs") / "robots" / "panda.toml").read_text()
    (robots / "oddarm.toml").write_text(panda.replace('"joint7"', '"joint8"'))
    path = written(tmp_path, TEN_LINES)
    monkeypatch.setenv(TASKS_VARIABLE, str(path))
    (problem,) = check_suite(path, CheckOptions(seeds=1, robot="oddarm")).errors
    assert "joint8" in str(problem)
    assert "oddarm" in str(problem)


def test_a_thing_that_does_not_lie_still_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects, own = data_folder("envs") / "objects", tmp_path / "envs" / "objects"
    own.mkdir(parents=True)
    cube = (objects / "cube.xml").read_text()
    (own / "high.xml").write_text(re.sub(r'(name="bottom" pos="0 0) [^"]*"', r'\1 -0.8"', cube))
    (own / "high_cube.toml").write_text((objects / "red_cube.toml").read_text().replace("cube.xml", "high.xml"))
    path = written(tmp_path, TWO_TASKS.replace('"blue_can"', '"high_cube"'))
    monkeypatch.setenv(TASKS_VARIABLE, str(path))
    report = check_suite(path, TEXT_ALONE)
    assert report.errors == ()
    assert {problem.problem for problem in report.problems} == {
        "'can' moves more than 1 cm in the first half second without contact in 1 of 1 scenes"
    }


def test_an_unknown_suite_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"No suite named 'tabletop_pik'\. Did you mean 'tabletop_pick'"):
        check_suite("tabletop_pik", TEXT_ALONE)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    (problem,) = check_suite(tmp_path / "none.toml", TEXT_ALONE).errors
    assert str(problem).endswith("none.toml: field `(whole file)`: cannot be read: No such file or directory.")


def test_a_copy_of_a_suite_is_not_taken_for_it(tmp_path: Path) -> None:
    shutil.copy(data_folder("tasks") / "tabletop_pick.toml", tmp_path / "mine.toml")
    (problem,) = check_suite(tmp_path / "mine.toml", TEXT_ALONE).errors
    assert problem.field == "suite"
    assert problem.expected == "another name"


def test_few_paraphrases_are_counted_without_repetitions(tmp_path: Path) -> None:
    twice = PARAPHRASES.replace("another way", "One way.").replace("fifth", "fourth")
    report = _check(tmp_path, TEN_LINES + twice)
    assert report.problems[0].problem == "it has 3 different paraphrases"
