"""A real, small, untrained pi0 with its card, compared with a direct call of the transformers model."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.small_pi0 import IMAGE_TOKEN, STATISTICS, byte_tokenizer, save_small_pi0
from vla_bench.core.errors import CheckpointError, ConventionError
from vla_bench.core.types import Observation, ProprioceptionField
from vla_bench.policies import EnvironmentConventions, Policy, load_policy

pytestmark = pytest.mark.usefixtures("processor_only")

FIELDS = (
    ProprioceptionField("joint_positions", 7, "rad"),
    ProprioceptionField("end_effector_axis_angle", 3, "rad"),
    ProprioceptionField("end_effector_position", 3, "m"),
    ProprioceptionField("gripper_position", 2, "m"),
)
CONVENTIONS = EnvironmentConventions(("wrist", "agentview"), 24, FIELDS)
CARD = """
kind = "pi0"
description = "small and untrained"
checkpoint = "network"
image_size = 24
proprioception = ["end_effector_position", "end_effector_axis_angle", "gripper_position"]
"""
INSTRUCTIONS = ("reach for the cube", "go")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("cards")
    save_small_pi0(place / "network")
    return place


def loaded(folder: Path, extra: str = "", card: str = CARD) -> Policy:
    (folder / "small.toml").write_text(card + extra)
    policy = load_policy(str(folder / "small.toml"))
    policy.connect(CONVENTIONS)
    return policy


def observations(count: int) -> list[Observation]:
    draw = np.random.default_rng(1)
    return [
        {
            "images": {name: draw.integers(0, 256, (24, 24, 3), dtype=np.uint8) for name in ("wrist", "agentview")},
            "proprioception": draw.normal(size=15).astype(np.float32),
            "instruction": INSTRUCTIONS[index % 2],
        }
        for index in range(count)
    ]


def begun(policy: Policy, seeds: list[int]) -> Policy:
    policy.reset([INSTRUCTIONS[index % 2] for index in range(len(seeds))], rows=range(len(seeds)), seeds=seeds)
    return policy


def test_actions_are_those_of_transformers_model_called_directly(folder: Path, tmp_path: Path) -> None:
    seen = observations(1)
    actions = begun(loaded(folder), [5]).act(seen, rows=[0])
    model = save_small_pi0(tmp_path)
    text = byte_tokenizer().encode("reach for the cube\n", add_special_tokens=False)
    images = [seen[0]["images"][name].astype(np.float32).transpose(2, 0, 1) for name in ("agentview", "wrist")]
    given = seen[0]["proprioception"]
    state = np.concatenate([given[10:13], given[7:10], given[13:15]])
    state = (state - STATISTICS["state_mean"]) / (np.array(STATISTICS["state_std"]) + 1e-8)
    raw = model.sample_actions(
        state=torch.tensor(np.pad(state, (0, 4))[None], dtype=torch.float32),
        input_ids=torch.tensor([[IMAGE_TOKEN] * 18 + [2, *text]]),
        pixel_values=torch.tensor(np.stack(images)[None] / 255 * 2 - 1, dtype=torch.float32),
        pixel_attention_mask=torch.ones(1, 2, dtype=torch.bool),
        attention_mask=torch.ones(1, 19 + len(text), dtype=torch.long),
        noise=torch.randn(6, 10, generator=torch.Generator().manual_seed(5))[None],
    )
    expected = raw[0, :, :7].numpy() * STATISTICS["actions_std"] + STATISTICS["actions_mean"]
    assert actions.shape == (1, 6, 7)
    assert actions[0] == pytest.approx(np.clip(expected, -1, 1), abs=1e-5)
    assert np.abs(actions).min() < 1.0  # not all at the bounds


def test_a_row_acts_the_same_alone_and_among_others(folder: Path) -> None:
    seen = observations(5)
    together = begun(loaded(folder), [3, 4, 5, 6, 7]).act(seen, rows=range(5))
    alone = loaded(folder)
    alone.reset([seen[3]["instruction"]], rows=[9], seeds=[6])
    assert alone.act([seen[3]], rows=[9])[0] == pytest.approx(together[3], abs=1e-5)


def test_noise_belongs_to_the_episode(folder: Path) -> None:
    seen, policy = observations(1), loaded(folder)
    first, second = (begun(policy, [8]).act(seen, rows=[0]) for _ in range(2))
    later = policy.act(seen, rows=[0])
    other = begun(policy, [9]).act(seen, rows=[0])
    assert np.array_equal(first, second)
    assert not np.allclose(first, later)
    assert not np.allclose(first, other)


def test_half_precision_gives_nearly_the_same_actions(folder: Path) -> None:
    seen = observations(1)
    whole = begun(loaded(folder), [2]).act(seen, rows=[0])
    half = begun(loaded(folder, 'dtype = "bfloat16"\n'), [2]).act(seen, rows=[0])
    assert half == pytest.approx(whole, abs=0.1)
    assert not np.array_equal(half, whole)


def test_the_card_chooses_flow_steps_and_how_much_is_executed(folder: Path) -> None:
    seen = observations(1)
    as_saved = begun(loaded(folder), [1]).act(seen, rows=[0])
    assert np.array_equal(begun(loaded(folder, "flow_steps = 4\n"), [1]).act(seen, rows=[0]), as_saved)
    assert not np.allclose(begun(loaded(folder, "flow_steps = 1\n"), [1]).act(seen, rows=[0]), as_saved)
    chunk = 'chunk = { execution = "open_loop", steps = 2 }\n'
    assert np.array_equal(begun(loaded(folder, chunk), [1]).act(seen, rows=[0]), as_saved[:, :2])


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ('chunk = { execution = "open_loop", steps = 7 }\n', "predicts 6 actions, the card executes 7"),
        ("image_size = 32\n", "takes images of 24 pixels, but the card has 32"),
        (
            'proprioception = ["joint_positions"]\n',
            r"takes 8 numbers of proprioception, but the card lists joint_.*\(7\)",
        ),
    ],
)
def test_a_card_that_does_not_fit_is_an_error(folder: Path, extra: str, message: str) -> None:
    replaced = extra.split(" ")[0]
    card = "\n".join(line for line in CARD.splitlines() if not line.startswith(replaced)) + "\n"
    with pytest.raises(ConventionError, match=message):
        loaded(folder, extra, card)


def test_the_package_s_card_asks_for_a_checkpoint() -> None:
    with pytest.raises(CheckpointError, match=r"the card names none\. Pass a folder .* with --checkpoint PATH"):
        load_policy("pi0")


def test_the_package_s_card_takes_a_checkpoint_from_the_command_line(folder: Path) -> None:
    with pytest.raises(ConventionError, match="takes images of 24 pixels, but the card has 224"):
        load_policy("pi0", folder / "network")
