"""Measurements of tasks are stored as they finish, keyed by their fingerprint, and written as a table."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.authoring.task_files import TWO_TASKS, written
from vla_bench.authoring import fingerprint as fingerprints
from vla_bench.authoring.fingerprint import fingerprint
from vla_bench.authoring.page import TaskRow, read_rows, write_rows
from vla_bench.authoring.trials import Subject, Trial, TrialStore, mean_steps
from vla_bench.core.errors import ConfigurationError
from vla_bench.tasks import Goal, get_task, load_suite

TASK = get_task("tabletop_pick.pick_red_cube")
SUBJECT = Subject(TASK.id, "panda", "expert", "abc")
TRIALS = (Trial(0, True, 60), Trial(1, False, 120), Trial(2, True, 70))
DAY = "2026-11-25"


def test_outcomes_are_there_for_whoever_opens_the_store_next(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "tasks.sqlite"
    store = TrialStore(path)
    for trial in (TRIALS[2], TRIALS[0]):
        store.add(SUBJECT, trial, 0.1, DAY)
    with TrialStore(path) as other:  # while the first is still open, as after a kill
        other.add(SUBJECT, TRIALS[1], 0.1, "2026-11-26")
        assert other.trials(SUBJECT, 10) == TRIALS
        assert other.trials(SUBJECT, 2) == TRIALS[:2]
        assert other.last_date([SUBJECT]) == "2026-11-26"
    store.close()


def test_what_another_subject_did_is_not_mixed_in(tmp_path: Path) -> None:
    with TrialStore(tmp_path / "tasks.sqlite") as store:
        store.add(SUBJECT, TRIALS[0], 0.1, DAY)
        store.set_rate(SUBJECT, 40.0, 12, DAY)
        for change in ({"fingerprint": "abd"}, {"robot": "other"}, {"expert": "blind-expert"}, {"task": "a.b"}):
            assert store.trials(replace(SUBJECT, **change), 10) == ()
        assert store.rate(replace(SUBJECT, fingerprint="abd")) is None
        assert store.rate(SUBJECT) == 40.0
        assert store.last_date([replace(SUBJECT, robot="other")]) == ""


def test_the_mean_is_of_successes_alone() -> None:
    assert mean_steps(TRIALS) == 65.0
    assert mean_steps(TRIALS[1:2]) is None


def test_a_fingerprint_changes_with_what_decides_an_episode_and_with_nothing_else() -> None:
    ours = fingerprint(TASK, "panda")
    assert ours == fingerprint(replace(TASK, instruction="lift it", paraphrases=()), "panda")
    changes = (
        replace(TASK, horizon=121),
        replace(TASK, goal=(Goal("grasped", ("red_cube",)),)),
        replace(TASK, objects={**TASK.objects, "red_cube": "green_cube"}),
        replace(TASK, initial=TASK.initial[1:]),
    )
    assert len({ours, *(fingerprint(task, "panda") for task in changes)}) == 5
    assert fingerprint(TASK, "panda", (changes[0],)) not in (ours, fingerprint(TASK, "panda", (changes[1],)))


def test_a_fingerprint_covers_the_things_in_the_scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, _ = load_suite(written(tmp_path, TWO_TASKS))
    before = fingerprint(task, "panda")
    (tmp_path / "mug.xml").write_text("<mujoco/>")
    real = fingerprints.mjcf_path
    monkeypatch.setattr(
        fingerprints, "mjcf_path", lambda folder, name: tmp_path / name if name == "mug.xml" else real(folder, name)
    )
    assert fingerprint(task, "panda") != before


def test_code_counts_by_what_it_does(tmp_path: Path) -> None:
    texts = ('"""Say."""\nx = 1\n', "# why\nx = 1  # because\n", "x = 2\n")
    trees = [fingerprints._syntax_tree(written(tmp_path, text, f"{number}.py")) for number, text in enumerate(texts)]
    assert trees[0] == trees[1] != trees[2]


def test_the_code_of_a_task_is_what_its_episodes_run() -> None:
    pick, lift = fingerprints._code(TASK), fingerprints._code(get_task("robosuite.lift"))
    both = {"vla_bench.envs.environment", "vla_bench.experts.skills.pick_and_place", "vla_bench.tasks.predicates"}
    assert both <= set(pick) & set(lift)
    assert "vla_bench.envs.tabletop.simulation" in set(pick) - set(lift)
    assert "vla_bench.envs.robosuite.simulation" in set(lift) - set(pick)
    assert "vla_bench.envs.control.tabletop" in pick
    assert "vla_bench.experts.skills.articulated" not in pick
    assert "vla_bench.tasks.initial_conditions.relations" in set(pick) - set(lift)
    assert "vla_bench.envs.robosuite.items.fixtures" in lift  # of a registry whose members a task does not name
    assert "vla_bench.envs.rendering.renderer" not in pick


def test_excluded_modules_exist() -> None:
    names = {*fingerprints._EXCLUDED, *fingerprints._CHOSEN_BY_NAME, fingerprints._PERTURBED}
    assert [name for name in names if not fingerprints._file(name).is_file()] == []


ROW = TaskRow(TASK.id, "panda", 3, 2, (1,), 65.0, 70, 120, 5, 3, 1, None, "abc", DAY)


def test_a_table_reads_as_it_was_written(tmp_path: Path) -> None:
    rows = [ROW, replace(ROW, robot="other", mean_steps=None, longest_steps=None, demonstrations_per_minute=41.5)]
    write_rows(tmp_path / "tasks.csv", rows, {"command": "python x", "hardware": "none"})
    assert read_rows(tmp_path / "tasks.csv") == {(row.task, row.robot): row for row in rows}
    assert (tmp_path / "tasks.csv").read_text().startswith("# command: python x\n# hardware: none\ntask,robot,")
    assert ROW.chance == 0.2


def test_a_file_that_is_not_a_table_of_tasks_is_an_error(tmp_path: Path) -> None:
    assert read_rows(tmp_path / "none.csv") == {}
    path = written(tmp_path, "task,robot\na,b\n", "tasks.csv")
    with pytest.raises(ConfigurationError, match=r"tasks\.csv: field `\(whole file\)`: is not a table of tasks"):
        read_rows(path)
