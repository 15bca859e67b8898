from collections.abc import Sequence

import numpy as np
import pytest

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import FloatArray, Observation
from vla_bench.policies import OpenLoop, PolicyBase, TemporalEnsemble

OBSERVATION: Observation = {"images": {}, "proprioception": np.zeros(0, np.float32), "instruction": "reach"}


class Counting(PolicyBase):
    """At its n-th call in a row, predicts n + 0.0, n + 0.1, n + 0.2, n + 0.3."""

    def __init__(self) -> None:
        self.calls: dict[int, int] = {}

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self.calls.update(dict.fromkeys(rows, 0))

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        chunks = []
        for row in rows:
            chunks.append([[self.calls[row] + step / 10] * 7 for step in range(4)])
            self.calls[row] += 1
        return np.asarray(chunks)


def test_open_loop_executes_the_first_actions_of_each_chunk() -> None:
    policy = OpenLoop(Counting(), execute=2)
    policy.reset(["reach"] * 2, rows=[0, 1], seeds=[0, 0])
    assert policy.act([OBSERVATION] * 2, rows=[0, 1])[:, :, 0] == pytest.approx(np.array([[0.0, 0.1]] * 2))
    assert policy.act([OBSERVATION], rows=[1])[:, :, 0] == pytest.approx(np.array([[1.0, 1.1]]))


def test_open_loop_refuses_to_execute_more_than_is_predicted() -> None:
    policy = OpenLoop(Counting(), execute=5)
    policy.reset(["reach"], rows=[0], seeds=[0])
    with pytest.raises(VlaBenchError, match="Cannot execute 5 actions: the policy predicts 4"):
        policy.act([OBSERVATION], rows=[0])


def ensembled(decay: float, steps: int) -> list[float]:
    policy = TemporalEnsemble(Counting(), decay)
    policy.reset(["reach"], rows=[3], seeds=[0])
    return [float(policy.act([OBSERVATION], rows=[3])[0, 0, 0]) for _ in range(steps)]


def test_an_ensemble_without_decay_is_the_mean_of_all_predictions_for_the_step() -> None:
    # At step 2 the predictions are 0.2 (made at 0), 1.1 (made at 1), 2.0 (made at 2).
    assert ensembled(0.0, 3)[2] == pytest.approx((0.2 + 1.1 + 2.0) / 3)


def test_an_ensemble_drops_predictions_that_have_run_out() -> None:
    # Chunks have four actions: at step 5 those made at 2, 3, 4, 5 count.
    assert ensembled(0.0, 6)[5] == pytest.approx((2.3 + 3.2 + 4.1 + 5.0) / 4)


def test_with_decay_the_oldest_prediction_weighs_most() -> None:
    weights = np.exp(-np.arange(3.0))
    assert ensembled(1.0, 3)[2] == pytest.approx(float(weights @ [0.2, 1.1, 2.0] / weights.sum()))


def test_each_row_of_an_ensemble_has_a_history_that_ends_with_its_episode() -> None:
    policy = TemporalEnsemble(Counting(), 0.0)
    policy.reset(["reach"] * 2, rows=[0, 1], seeds=[0, 0])
    for _ in range(3):
        policy.act([OBSERVATION] * 2, rows=[0, 1])
    policy.reset(["reach"], rows=[0], seeds=[0])
    fresh, going_on = policy.act([OBSERVATION] * 2, rows=[0, 1])[:, 0, 0]
    assert fresh == 0.0
    assert going_on == pytest.approx((0.3 + 1.2 + 2.1 + 3.0) / 4)
