"""Branches from a step of a recorded episode to another policy."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from vla_bench.core.errors import ConventionError, VlaBenchError
from vla_bench.core.types import FloatArray, Observation
from vla_bench.evaluation.options import RunOptions
from vla_bench.evaluation.protocol import EvaluationProtocol
from vla_bench.evaluation.rerun import NotReproducedError, branch_episode
from vla_bench.evaluation.run import run_evaluation
from vla_bench.policies.policy import Policy, PolicyBase, PolicyRequirements
from vla_bench.policies.wrappers import SwitchedPolicy
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.ledger import LEDGER_NAME, Ledger
from vla_bench.results.run_info import RunInfo

SUITE, TASK = "tabletop_pick", "pick_red_cube"


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "random"
    run_evaluation(RunOptions("random", SUITE, run, tasks=(TASK,), episodes=1, seed=2, workers=1, slots_per_worker=1))
    return run


def _record(run: Path) -> EpisodeRecord:
    with Ledger(run / LEDGER_NAME) as ledger:
        (record,) = ledger.records()
    return record


@pytest.mark.slow
def test_the_expert_completes_a_failed_episode(lost: Path, tmp_path: Path) -> None:
    found = branch_episode(lost, f"{TASK}/0", 15, "expert", output=tmp_path / "branch")
    assert found.recorded.outcome == "failure"
    assert found.branched.outcome == "success"
    assert found.branched.steps > 15
    assert found.branched.scene_hash == found.recorded.scene_hash
    assert RunInfo.read(tmp_path / "branch").card["at"] == 15
    assert list((tmp_path / "branch" / "videos").glob("*.mp4"))


def test_a_branch_to_the_same_policy_is_the_same_episode(tmp_path: Path) -> None:
    run = tmp_path / "expert"
    run_evaluation(RunOptions("expert", SUITE, run, tasks=(TASK,), episodes=1, workers=1, slots_per_worker=1))
    branched = branch_episode(run, f"{TASK}/0", 11, "expert").branched
    assert (branched.action_hash, branched.outcome) == (_record(run).action_hash, "success")


def test_a_step_after_the_end_is_refused(lost: Path) -> None:
    steps = _record(lost).steps
    with pytest.raises(VlaBenchError, match=rf"at step {steps}: it has {steps} steps, 0 to {steps - 1}"):
        branch_episode(lost, f"{TASK}/0", steps, "expert")


@pytest.mark.slow
def test_a_branch_of_a_perturbed_episode_counts_the_steps_of_its_latency(tmp_path: Path) -> None:
    """With 120 ms each answer of the random policy comes three steps late: step 30 is that of the world, not of it."""
    run, protocol = tmp_path / "late", EvaluationProtocol(latency="120ms+-20")
    variants = ("colour=1,lighting=2",)
    options = RunOptions("random", SUITE, run, tasks=(TASK,), episodes=1, seed=2, workers=1, protocol=protocol)
    run_evaluation(replace(options, variants=variants))
    found = branch_episode(run, f"{TASK}/0", 30, "expert", output=tmp_path / "branch")
    assert found.branched.scene_hash == found.recorded.scene_hash
    assert found.branched.variant == found.recorded.variant == variants[0]
    assert RunInfo.read(tmp_path / "branch").protocol["latency"] == "120ms±20"


def test_the_second_policy_predicts_actions_that_take_effect_after_the_switch() -> None:
    def constant(value: float) -> Policy:
        class Constant(PolicyBase):
            def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
                return np.full((len(rows), 4, 7), value, np.float32)

        return Constant()

    policy = SwitchedPolicy(constant(0.1), constant(0.2), 10, lambda: repeat(3))
    policy.reset(["go"], rows=[0], seeds=[0])
    seen: Observation = {"images": {}, "proprioception": np.zeros(1, np.float32), "instruction": "go"}
    chunks = [policy.act([seen], rows=[0]) for _ in range(2)]
    assert [chunk.shape[1] for chunk in chunks] == [4, 4], "steps 3 to 7 are the first policy's, then 3 pass: 10"
    assert [float(chunk[0, 0, 0]) for chunk in chunks] == pytest.approx([0.1, 0.2])


def test_an_episode_that_is_not_reproduced_is_not_branched(lost: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(lost, changed)
    record = replace(_record(lost), action_hash="of other actions")
    (changed / LEDGER_NAME).unlink()
    with Ledger(changed / LEDGER_NAME) as ledger:
        ledger.append(record)
    with pytest.raises(NotReproducedError, match=r"cannot be restored\. `vla-bench rerun .*pick_red_cube/clean/2/0`"):
        branch_episode(changed, f"{TASK}/0", 5, "expert")


def test_policies_that_need_different_environments_are_refused() -> None:
    class Needs:
        def __init__(self, size: int) -> None:
            self.requirements = PolicyRequirements(("agentview",), image_size=size)

    with pytest.raises(ConventionError, match="cannot serve both policies: image size 96, then 224"):
        SwitchedPolicy(Needs(96), Needs(224), 3)  # type: ignore[arg-type]
