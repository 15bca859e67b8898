"""Perturbed episodes are run, certified first, and skipped where the expert fails or the task has no such axis."""

from dataclasses import replace
from pathlib import Path

import pytest

from vla_bench.core.episode import CLEAN, EpisodeIdentity
from vla_bench.core.errors import UnknownNameError
from vla_bench.envs.perturbations import PerturbationError
from vla_bench.evaluation.robustness import RobustnessOptions, certified, measure_robustness
from vla_bench.evaluation.run import RunOptions, run_evaluation
from vla_bench.results.ledger import LEDGER_NAME, EpisodeRecord, Ledger

SUITE, TASK = "tabletop_pick", "pick_red_cube"


def _records(run: Path) -> list[EpisodeRecord]:
    with Ledger(run / LEDGER_NAME) as ledger:
        return ledger.records()


def test_a_perturbed_episode_has_the_seed_of_its_clean_twin() -> None:
    clean = EpisodeIdentity(SUITE, TASK, 3)
    assert replace(clean, variant="camera=2").scene_seed() == clean.scene_seed()
    assert replace(clean, variant="expert_success").scene_seed() != clean.scene_seed()
    assert replace(clean, variant="camera=2").generator("policy").random() != clean.generator("policy").random()


def test_an_unsolved_episode_or_twin_is_not_certified(tmp_path: Path) -> None:
    options = RunOptions("noop", SUITE, tmp_path / "run", tasks=(TASK,), episodes=1, workers=1, rows_per_worker=1)
    run_evaluation(options)
    failed = _records(options.output)
    planned = [record.identity for record in failed]
    assert certified(failed, planned) == ()
    solved = [replace(record, outcome="success") for record in failed]
    assert certified(solved, planned) == tuple(planned)
    perturbed = replace(planned[0], variant="camera=1")
    assert certified(solved, [*planned, perturbed]) == tuple(planned)


def test_robustness_runs_the_policy_on_what_the_expert_solved(tmp_path: Path) -> None:
    run = RunOptions("noop", SUITE, tmp_path, tasks=(TASK,), episodes=2, workers=1, rows_per_worker=2)
    options = RobustnessOptions(run, axes=("layout", "dynamics"), severities=(1,))
    made = measure_robustness(options)
    expert, own = _records(made.certificates), _records(made.policy)
    assert {record.variant for record in own} == {CLEAN, "dynamics=1", "layout=1"}
    scenes = {record.identity: record.scene_hash for record in expert}
    assert all(scenes[record.identity] == record.scene_hash for record in own)
    assert len({record.scene_hash for record in expert}) > 2  # the perturbed scenes are others
    assert [record.outcome for record in _records(measure_robustness(options).policy)] == ["failure"] * len(own)


def test_unknown_axes_and_those_that_a_task_lacks_are_told_before_anything_runs(tmp_path: Path) -> None:
    run = RunOptions("noop", SUITE, tmp_path / "run", tasks=(TASK,), episodes=1, workers=1)
    with pytest.raises(UnknownNameError, match="colour"):
        measure_robustness(RobustnessOptions(run, axes=("color",)))
    door = replace(run, suite="robosuite", tasks=("door",), variants=("size=1",))
    with pytest.raises(PerturbationError, match=r"robosuite.door cannot be run under size=1: Axis 'size' needs"):
        run_evaluation(door)
    assert not (tmp_path / "run" / LEDGER_NAME).exists()
