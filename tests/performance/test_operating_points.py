"""An operating point is measured in a real run: from when every row has acted, without rows that fill a batch."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_bench.core.types import FloatArray, Observation
from vla_bench.models.openvla.config import ARCHITECTURES, OpenVLAConfig, TextConfig, TowerConfig, openvla_7b_config
from vla_bench.performance.operating_points import (
    OperatingPoint,
    Throughput,
    _TimedPolicy,
    _TimeLimitReached,
    measure_operating_point,
    random_weights_policy,
)
from vla_bench.performance.registry import DeviceSetup
from vla_bench.policies.policy import PolicyBase


class _Slow(PolicyBase):
    """Takes a second of a clock that only it moves, and predicts two actions."""

    now = 0.0

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        self.now += 1.0
        return np.zeros((len(rows), 2, 7), dtype=np.float32)


def test_a_point_has_two_batches_of_rows() -> None:
    assert OperatingPoint.of(16, 8) == OperatingPoint(8, 4, 16)
    assert OperatingPoint.of(1, 16) == OperatingPoint(2, 1, 1)  # no more workers than rows
    assert OperatingPoint.of(4, 3) == OperatingPoint(3, 3, 4)


def test_the_time_begins_once_every_row_has_acted_and_ends_the_run() -> None:
    slow = _Slow()
    clocked = _TimedPolicy(slow, 10.0, rows=2, clock=lambda: slow.now)
    observations: list[Observation] = [{}, {}]  # type: ignore[list-item]
    for _ in range(3):
        clocked.act(observations, rows=[0, 1])
    for _ in range(4):
        slow.now += 1.5  # nobody is ready
        clocked.act(observations, rows=[0, 7])  # row 7 fills up the batch
    with pytest.raises(_TimeLimitReached):
        clocked.act(observations, rows=[0, 1])
    pace = clocked.pace()
    assert pace == Throughput(actions=8, seconds=10.0, policy_s=4.0)
    assert (pace.actions_per_s, pace.bound, pace.episodes_per_hour(160)) == (0.8, "the simulation", 18.0)
    assert Throughput(8, 10.0, 9.5).bound == "the policy"


def _shrunk_7b() -> OpenVLAConfig:
    """The published architecture with its vocabulary, decoding and image size, and little in between."""
    tower = TowerConfig(32, 2, 2, 64, patch_size=14)
    return replace(
        openvla_7b_config(),
        featurizer=replace(tower, num_register_tokens=4),
        fused_featurizer=tower,
        text=TextConfig(32064, 32, 64, 2, 2, 2),
    )


@pytest.mark.parametrize(("network", "dtype"), [("openvla-nano", "float32"), ("openvla-7b", "bfloat16")])
def test_a_point_is_measured_in_a_real_run(
    network: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "openvla-7b", _shrunk_7b)  # type: ignore[arg-type]  # a dictionary
    policy = random_weights_policy(DeviceSetup("cpu", network, dtype, (2,)))
    pace = measure_operating_point(
        policy, OperatingPoint(1, 2, 2), "tabletop_object.red_cube_in_basket", 0.5, tmp_path / "run"
    )
    assert pace.seconds >= 0.5
    assert pace.actions > 0
    assert 0.0 < pace.policy_share < 1.0
    assert (tmp_path / "run" / "run.json").is_file()
