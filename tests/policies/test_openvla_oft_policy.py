"""A real, small, untrained OpenVLA-OFT network behind its card."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.small_oft import small_oft_checkpoint
from vla_bench.core.errors import CheckpointError, ConventionError, UnknownNameError
from vla_bench.core.types import Observation, ProprioceptionField
from vla_bench.models.openvla_oft.checkpoint import OFTCheckpoint, save_oft_checkpoint
from vla_bench.policies import EnvironmentConventions, Policy, load_policy
from vla_bench.policies.conventions import evaluation_image, image_for_policy

pytestmark = pytest.mark.usefixtures("processor_only")

FIELDS = (
    ProprioceptionField("joint_positions", 7, "rad"),
    ProprioceptionField("end_effector_axis_angle", 3, "rad"),
    ProprioceptionField("end_effector_position", 3, "m"),
    ProprioceptionField("gripper_position", 2, "m"),
)
CONVENTIONS = EnvironmentConventions(("agentview", "wrist"), 32, FIELDS)
CARD = """
kind = "openvla_oft"
description = "small and untrained"
checkpoint = "network"
image_size = 32
proprioception = ["end_effector_position", "end_effector_axis_angle", "gripper_position"]
"""
INSTRUCTIONS = ("reach for the cube", "put the cube in the basket")


@pytest.fixture(scope="module")
def checkpoint() -> OFTCheckpoint:
    return small_oft_checkpoint()


@pytest.fixture
def folder(tmp_path: Path, checkpoint: OFTCheckpoint) -> Path:
    save_oft_checkpoint(tmp_path / "network", checkpoint)
    return tmp_path


def loaded(folder: Path, extra: str = "") -> Policy:
    (folder / "small.toml").write_text(CARD + extra)
    policy = load_policy(str(folder / "small.toml"))
    policy.connect(CONVENTIONS)
    return policy


def observations(count: int) -> list[Observation]:
    draw = np.random.default_rng(1)
    return [
        {
            "images": {name: draw.integers(0, 256, (32, 32, 3), dtype=np.uint8) for name in ("wrist", "agentview")},
            "proprioception": draw.normal(size=15).astype(np.float32),
            "instruction": INSTRUCTIONS[index % 2],
        }
        for index in range(count)
    ]


def acted(policy: Policy, seen: list[Observation]) -> np.ndarray:
    rows = range(len(seen))
    policy.reset([observation["instruction"] for observation in seen], rows=rows, seeds=[0] * len(seen))
    return policy.act(seen, rows=rows)


def test_actions_are_those_of_the_network_in_the_environment_s_units(folder: Path, checkpoint: OFTCheckpoint) -> None:
    seen = observations(1)
    actions = acted(loaded(folder), seen)
    statistics = checkpoint.statistics["made_up"]
    given, images = seen[0]["proprioception"], seen[0]["images"]
    state = np.concatenate([given[10:13], given[7:10], given[13:15]])
    q01, q99 = statistics.proprioception.q01, statistics.proprioception.q99
    state = np.clip(2 * (state - q01) / (q99 - q01 + 1e-8) - 1, -1, 1)
    prepared = [image_for_policy(evaluation_image(images[name], 24), "upright", 0.9) for name in ("agentview", "wrist")]
    ids, mask = checkpoint.processor.tokenize_instructions([INSTRUCTIONS[0]])
    with torch.no_grad():
        normalized = checkpoint.model.predict_normalized(
            ids,
            mask,
            checkpoint.processor.images(np.stack(prepared)[None]),
            torch.tensor(state[None], dtype=torch.float32),
        )[0].numpy()
    low, high = statistics.action.q01, statistics.action.q99
    moved = 0.5 * (normalized + 1) * (high - low + 1e-8) + low
    assert actions.shape == (1, 8, 7)
    assert actions[0, :, :6] == pytest.approx(np.clip(moved[:, :6], -1, 1), abs=1e-5)
    assert np.array_equal(actions[0, :, 6], -np.sign(2 * normalized[:, 6] - 1))  # 1 open becomes -1 open


def test_a_row_acts_the_same_alone_and_among_others(folder: Path) -> None:
    seen = observations(5)
    together = acted(loaded(folder), seen)
    alone = loaded(folder)
    alone.reset([seen[3]["instruction"]], rows=[7], seeds=[0])
    assert alone.act([seen[3]], rows=[7])[0] == pytest.approx(together[3], abs=1e-5)


def test_half_precision_gives_nearly_the_same_actions(folder: Path) -> None:
    seen = observations(1)
    whole, half = acted(loaded(folder), seen), acted(loaded(folder, 'dtype = "bfloat16"\n'), seen)
    assert half[..., :6] == pytest.approx(whole[..., :6], abs=0.1)
    assert not np.array_equal(half, whole)


def test_compression_and_crop_are_the_card_s(folder: Path) -> None:
    seen = observations(1)
    usual = acted(loaded(folder), seen)
    assert not np.allclose(acted(loaded(folder, "image_jpeg = false\n"), seen), usual)
    assert not np.allclose(acted(loaded(folder, "image_crop_area = 1.0\n"), seen), usual)


def test_a_network_without_proprioception_takes_none(tmp_path: Path) -> None:
    save_oft_checkpoint(tmp_path / "network", small_oft_checkpoint(proprioception_dim=0))
    with pytest.raises(ConventionError, match="takes 0 numbers of proprioception, but the card lists end_effector"):
        loaded(tmp_path)
    (tmp_path / "none.toml").write_text("\n".join(CARD.splitlines()[:-1]))
    policy = load_policy(str(tmp_path / "none.toml"))
    policy.connect(CONVENTIONS)
    assert acted(policy, observations(2)).shape == (2, 8, 7)


def test_a_card_that_does_not_fit_is_an_error(folder: Path) -> None:
    with pytest.raises(ConventionError, match="predicts 8 actions, the card executes 9"):
        loaded(folder, 'chunk = { execution = "open_loop", steps = 9 }\n')
    with pytest.raises(UnknownNameError, match=r"unnorm_key.*libero_spatial.*made_up"):
        loaded(folder, 'unnorm_key = "libero_spatial"\n')


def test_the_package_s_card_asks_for_a_checkpoint() -> None:
    with pytest.raises(CheckpointError, match=r"the card names none\. Pass a folder .* with --checkpoint PATH"):
        load_policy("openvla-oft")


def test_the_package_s_card_takes_a_checkpoint_from_the_command_line(folder: Path) -> None:
    policy = load_policy("openvla-oft", folder / "network")
    assert policy.requirements.image_size == 256
    assert policy.requirements.cameras == ("agentview", "wrist")


def test_an_openvla_checkpoint_is_told_from_an_oft_one(folder: Path) -> None:
    next((folder / "network").glob("action_head--*")).unlink()
    with pytest.raises(CheckpointError, match="is missing, so this is not an OpenVLA-OFT checkpoint"):
        load_policy("openvla-oft", folder / "network")
