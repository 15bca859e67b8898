"""Another policy goes on from a step of a recorded episode."""

from pathlib import Path

import pytest

from vla_bench.core.errors import ConventionError, VlaBenchError
from vla_bench.evaluation.branching import branch_episode
from vla_bench.evaluation.run import RunOptions, run_evaluation
from vla_bench.policies.policy import PolicyRequirements
from vla_bench.policies.switching import SwitchedPolicy
from vla_bench.results.ledger import LEDGER_NAME, EpisodeRecord, Ledger
from vla_bench.results.run_info import RunInfo

SUITE, TASK = "tabletop_pick", "pick_red_cube"


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "random"
    run_evaluation(RunOptions("random", SUITE, run, tasks=(TASK,), episodes=1, seed=2, workers=1, rows_per_worker=1))
    return run


def _record(run: Path) -> EpisodeRecord:
    with Ledger(run / LEDGER_NAME) as ledger:
        (record,) = ledger.records()
    return record


def test_the_expert_saves_an_episode_that_was_lost(lost: Path, tmp_path: Path) -> None:
    found = branch_episode(lost, f"{TASK}/0", 15, "expert", output=tmp_path / "branch")
    assert found.recorded.outcome == "failure"
    assert found.branched.outcome == "success"
    assert found.branched.steps > 15
    assert found.branched.scene_hash == found.recorded.scene_hash
    assert RunInfo.read(tmp_path / "branch").card["at"] == 15
    assert list((tmp_path / "branch" / "videos").glob("*.mp4"))


def test_a_branch_to_the_same_policy_is_the_same_episode(tmp_path: Path) -> None:
    run = tmp_path / "expert"
    run_evaluation(RunOptions("expert", SUITE, run, tasks=(TASK,), episodes=1, workers=1, rows_per_worker=1))
    branched = branch_episode(run, f"{TASK}/0", 11, "expert").branched
    assert (branched.action_hash, branched.outcome) == (_record(run).action_hash, "success")


def test_a_step_after_the_end_is_refused(lost: Path) -> None:
    steps = _record(lost).steps
    with pytest.raises(VlaBenchError, match=rf"at step {steps}: it has {steps} steps, 0 to {steps - 1}"):
        branch_episode(lost, f"{TASK}/0", steps, "expert")


def test_policies_that_need_different_environments_are_refused() -> None:
    class Needs:
        def __init__(self, size: int) -> None:
            self.requirements = PolicyRequirements(("agentview",), image_size=size)

    with pytest.raises(ConventionError, match="cannot serve both policies: image size 96, then 224"):
        SwitchedPolicy(Needs(96), Needs(224), 3)  # type: ignore[arg-type]
