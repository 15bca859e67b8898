from collections.abc import Sequence

import numpy as np
import pytest

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import FloatArray, Observation
from vla_bench.policies import OpenLoop, PolicyBase, RecedingHorizon, TemporalEnsemble

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


class Drawing(PolicyBase):
    """Predicts chunks of random actions and keeps them, by row, for a reference to look at."""

    def __init__(self, horizon: int) -> None:
        self.horizon, self.draw = horizon, np.random.default_rng(0)
        self.chunks: dict[int, list[FloatArray]] = {}

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        for row in rows:
            self.chunks[row] = []

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        chunks = self.draw.uniform(-1, 1, (len(rows), self.horizon, 7)).astype(np.float32)
        for row, chunk in zip(rows, chunks, strict=True):
            self.chunks[row].append(chunk)
        return chunks


def written_out_as_in_act(chunks: list[FloatArray], step: int, decay: float) -> FloatArray:
    """ACT's evaluation loop: a table of what was predicted when, for when; the column of the step, oldest first."""
    horizon = len(chunks[0])
    table = np.full((step + 1, step + horizon, 7), np.nan)
    for time in range(step + 1):
        table[time, time : time + horizon] = chunks[time]
    column = table[:, step]
    column = column[~np.isnan(column[:, 0])]
    weights = np.exp(-decay * np.arange(len(column)))
    return (column * (weights / weights.sum())[:, None]).sum(axis=0)


@pytest.mark.parametrize("decay", [0.0, 0.01, 0.7])
def test_an_ensemble_is_act_s_table_of_predictions_whoever_else_begins_and_ends(decay: float) -> None:
    inner = Drawing(horizon=5)
    policy = TemporalEnsemble(inner, decay)
    policy.reset(["reach"] * 3, rows=[0, 1, 2], seeds=[0] * 3)
    steps = dict.fromkeys(range(3), 0)
    order = np.random.default_rng(1)
    for round_number in range(40):
        if round_number in (7, 20):  # one row starts again, the others continue
            policy.reset(["reach"], rows=[round_number % 3], seeds=[0])
            steps[round_number % 3] = 0
        rows = [int(row) for row in order.permutation(3)[: order.integers(1, 4)]]
        actions = policy.act([OBSERVATION] * len(rows), rows=rows)
        for row, action in zip(rows, actions[:, 0], strict=True):
            expected = written_out_as_in_act(inner.chunks[row], steps[row], decay)
            assert action == pytest.approx(expected, abs=1e-6)
            steps[row] += 1


def test_a_receding_horizon_executes_the_start_of_each_chunk_and_drops_the_rest() -> None:
    inner = Drawing(horizon=5)
    policy = RecedingHorizon(inner, execute=2)
    policy.reset(["reach"] * 2, rows=[0, 1], seeds=[0, 0])
    for call in range(3):
        actions = policy.act([OBSERVATION] * 2, rows=[1, 0])
        assert np.array_equal(actions, [inner.chunks[1][call][:2], inner.chunks[0][call][:2]])


def test_a_receding_horizon_needs_more_predictions_than_it_executes() -> None:
    policy = RecedingHorizon(Counting(), execute=4)
    policy.reset(["reach"], rows=[0], seeds=[0])
    with pytest.raises(VlaBenchError, match=r"fewer actions than are predicted, not 4 of 4\..* use open_loop"):
        policy.act([OBSERVATION], rows=[0])


def test_open_loop_executes_whole_chunks_too() -> None:
    policy = OpenLoop(Counting(), execute=4)
    policy.reset(["reach"], rows=[0], seeds=[0])
    assert policy.act([OBSERVATION], rows=[0]).shape == (1, 4, 7)


@pytest.mark.parametrize("decay", [-0.1, float("nan")])
def test_an_ensemble_refuses_a_decay_below_zero(decay: float) -> None:
    with pytest.raises(VlaBenchError, match=r"decay .* is (-0\.1|nan)\. Expected 0 or more"):
        TemporalEnsemble(Counting(), decay)
