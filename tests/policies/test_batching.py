"""Batches of one shape: a row's actions do not depend on the other rows of its batch."""

from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.models.small import INSTRUCTIONS, small_checkpoint
from tests.models.small_oft import small_oft_checkpoint
from tests.models.small_pi0 import save_small_pi0
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import FloatArray, Observation, ProprioceptionField
from vla_bench.models.openvla.checkpoint import save_checkpoint
from vla_bench.models.openvla_oft.checkpoint import save_oft_checkpoint
from vla_bench.policies import EnvironmentConventions, FixedBatch, Policy, PolicyBase, PolicyRequirements, load_policy

pytestmark = pytest.mark.usefixtures("processor_only")

FIELDS = (
    ProprioceptionField("end_effector_position", 3, "m"),
    ProprioceptionField("hand_axis_angle", 3, "rad"),
    ProprioceptionField("gripper_position", 2, "m"),
)
SHAPE, SPARE = 4, 100


class Noting(PolicyBase):
    """Moves by the first number of its proprioception, and notes what it is asked."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.told: dict[int, str] = {}

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self.told.update(zip(rows, instructions, strict=True))

    def padding_group(self, instruction: str) -> Hashable:
        return len(instruction)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        assert [self.told[row] for row in rows] == [observation["instruction"] for observation in observations]
        self.calls.append(list(rows))
        return np.stack([np.full((2, 7), observation["proprioception"][0]) for observation in observations])


def seen(number: int, instruction: str) -> Observation:
    return {"images": {}, "proprioception": np.array([number], dtype=np.float32), "instruction": instruction}


def test_rows_are_split_and_filled_up_to_the_shape() -> None:
    inner = Noting()
    policy = FixedBatch(inner, SHAPE, first_spare_slot=SPARE)
    policy.reset(["go"] * 6, rows=range(6), seeds=[0] * 6)
    actions = policy.act([seen(number, "go") for number in range(6)], rows=range(6))
    assert inner.calls == [[0, 1, 2, 3], [4, 5, SPARE, SPARE + 1]]
    assert actions.shape == (6, 2, 7)
    assert actions[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_rows_of_different_padding_groups_are_computed_apart_and_come_back_in_order() -> None:
    inner = Noting()
    policy = FixedBatch(inner, 2, first_spare_slot=SPARE)
    words = ["go", "stay", "up", "left", "to"]
    policy.reset(words, rows=range(5), seeds=[0] * 5)
    actions = policy.act([seen(number, word) for number, word in enumerate(words)], rows=range(5))
    assert inner.calls == [[0, 2], [4, SPARE], [1, 3]]
    assert actions[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    policy.act([seen(3, "left")], rows=[3])
    assert inner.calls[-1] == [3, SPARE], "a spare row has the instruction of the row that it copies"


def test_what_does_not_fill_a_batch_waits_while_another_is_full() -> None:
    policy = FixedBatch(Noting(), 2, first_spare_slot=SPARE)
    policy.reset(["go"] * 3, rows=range(3), seeds=[0] * 3)
    assert policy.full_blocks([0, 1, 2]) == [[0, 1]]
    assert policy.full_blocks([2]) == [[2]]


@pytest.mark.parametrize(
    "make", [lambda: FixedBatch(Noting(), 0, first_spare_slot=1), lambda: PolicyRequirements(batch_shape=0)]
)
def test_a_batch_has_at_least_one_row(make: "type[FixedBatch]") -> None:
    with pytest.raises(VlaBenchError, match="Expected 1 or more"):
        make()


OPENVLA = """kind = "openvla"
action_from = "expected"
image_size = 24
proprioception = ["end_effector_position", "gripper_position"]
"""


def _openvla(folder: Path) -> str:
    save_checkpoint(folder / "network", small_checkpoint())
    return OPENVLA


def _openvla_autoregressive(folder: Path) -> str:
    save_checkpoint(folder / "network", small_checkpoint("autoregressive"))
    return OPENVLA


def _openvla_oft(folder: Path) -> str:
    save_oft_checkpoint(folder / "network", small_oft_checkpoint())
    fields = '["end_effector_position", "hand_axis_angle", "gripper_position"]'
    return f'kind = "openvla_oft"\nimage_size = 24\nproprioception = {fields}\nchunk_size = 8\n'


def _pi0(folder: Path) -> str:
    save_small_pi0(folder / "network")
    fields = '["end_effector_position", "hand_axis_angle", "gripper_position"]'
    return f'kind = "pi0"\nimage_size = 24\nproprioception = {fields}\n'


@pytest.mark.parametrize("write", [_openvla, _openvla_autoregressive, _openvla_oft, _pi0])
def test_a_network_acts_the_same_to_the_bit_in_any_company(tmp_path: Path, write: "type[str]") -> None:
    card = tmp_path / "small.toml"
    fields = write(tmp_path)  # type: ignore[call-overload]  # any of the functions above
    card.write_text(f'{fields}description = "small"\ncheckpoint = "network"\ncameras = ["agentview", "wrist"]\n')
    policy = FixedBatch(load_policy(str(card)), SHAPE, first_spare_slot=SPARE)
    policy.connect(EnvironmentConventions(("agentview", "wrist"), 24, FIELDS))
    draw = np.random.default_rng(1)
    observations: list[Observation] = [
        {
            "images": {name: draw.integers(0, 256, (24, 24, 3), dtype=np.uint8) for name in ("agentview", "wrist")},
            "proprioception": draw.normal(size=8).astype(np.float32),
            "instruction": INSTRUCTIONS[index % 2],
        }
        for index in range(11)
    ]
    alone = np.stack([_acted(policy, observations, [index])[0] for index in range(11)])
    assert len({chunk.tobytes() for chunk in alone}) == 11, "different observations, different actions"
    for batch in (2, 3, 5, 11):
        order = draw.permutation(11).tolist()
        for start in range(0, 11, batch):
            company = order[start : start + batch]
            np.testing.assert_array_equal(_acted(policy, observations, company), alone[company])


def _acted(policy: Policy, observations: Sequence[Observation], company: Sequence[int]) -> FloatArray:
    rows = range(len(company))
    chosen = [observations[index] for index in company]
    policy.reset([one["instruction"] for one in chosen], rows=rows, seeds=list(company))
    return policy.act(chosen, rows=rows)


class Normalizing(PolicyBase):
    """Policy that normalizes its observations in place, as many do."""

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        for observation in observations:
            observation["proprioception"] *= 0.5
            observation["images"]["wrist"] //= 2
        return np.stack([np.full((2, 7), one["proprioception"][0]) for one in observations])


def test_what_fills_a_batch_up_is_a_copy_that_may_be_written_to() -> None:
    policy = FixedBatch(Normalizing(), SHAPE, first_spare_slot=SPARE)
    policy.reset(["go"], rows=[0], seeds=[0])
    observation = seen(8, "go")
    observation["images"]["wrist"] = np.full((2, 2, 3), 100, np.uint8)
    assert policy.act([observation], rows=[0])[0, 0, 0] == 4
    assert (observation["images"]["wrist"] == 50).all(), "halved once, not once for each copy"
