"""Throughput at an operating point: measured after a warm-up, without the padding of batches."""

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
    """A policy that advances a fake clock by one second per call and predicts two actions."""

    now = 0.0

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        self.now += 1.0
        return np.zeros((len(rows), 2, 7), dtype=np.float32)


def test_operating_point_has_two_batches_of_environments() -> None:
    assert OperatingPoint.of(16, 8) == OperatingPoint(8, 4, 16)
    assert OperatingPoint.of(1, 16) == OperatingPoint(2, 1, 1)  # not more workers than environments
    assert OperatingPoint.of(4, 3) == OperatingPoint(3, 3, 4)


def test_time_begins_after_the_warm_up_and_ends_the_run() -> None:
    slow = _Slow()
    timed = _TimedPolicy(slow, 10.0, rows=2, clock=lambda: slow.now)
    observations: list[Observation] = [{}, {}]  # type: ignore[list-item]
    for _ in range(3):
        timed.act(observations, rows=[0, 1])
    for _ in range(4):
        slow.now += 1.5  # no environment is ready
        timed.act(observations, rows=[0, 7])  # slot 7 is padding
    with pytest.raises(_TimeLimitReached):
        timed.act(observations, rows=[0, 1])
    result = timed.throughput()
    assert result == Throughput(actions=8, seconds=10.0, policy_s=4.0)
    assert (result.actions_per_s, result.bound, result.episodes_per_hour(160)) == (0.8, "the simulation", 18.0)
    assert Throughput(8, 10.0, 9.5).bound == "the policy"


def _shrunk_7b() -> OpenVLAConfig:
    """Return the published architecture with its vocabulary, decoding and image size, but tiny layers."""
    tower = TowerConfig(32, 2, 2, 64, patch_size=14)
    return replace(
        openvla_7b_config(),
        featurizer=replace(tower, num_register_tokens=4),
        fused_featurizer=tower,
        text=TextConfig(32064, 32, 64, 2, 2, 2),
    )


@pytest.mark.parametrize(
    ("network", "dtype"),
    [
        ("openvla-nano", "float32"),
        pytest.param("openvla-7b", "bfloat16", marks=pytest.mark.slow),
    ],
)
def test_operating_point_is_measured_in_a_run(
    network: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ARCHITECTURES, "openvla-7b", _shrunk_7b)  # type: ignore[arg-type]  # a dictionary
    policy = random_weights_policy(DeviceSetup("cpu", network, dtype, (2,)))
    result = measure_operating_point(
        policy, OperatingPoint(1, 2, 2), "tabletop_object.red_cube_in_basket", 0.5, tmp_path / "run"
    )
    assert result.seconds >= 0.5
    assert result.actions > 0
    assert 0.0 < result.policy_share < 1.0
    assert (tmp_path / "run" / "run.json").is_file()
