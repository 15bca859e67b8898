"""A real, small, untrained network behind its card."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig

from tests.models.small import INSTRUCTIONS, small_checkpoint
from vla_bench.core.errors import CheckpointError, ConventionError, UnknownNameError, VlaBenchError
from vla_bench.core.types import Observation, ProprioceptionField
from vla_bench.models.adapters import BaseReference, merge, save_adapter
from vla_bench.models.adapters.bottleneck import BottleneckAdapter, BottleneckConfig
from vla_bench.models.adapters.lora import LowRankAdapter
from vla_bench.models.network_record import Conventions
from vla_bench.models.normalization import VectorStatistics
from vla_bench.models.openvla.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from vla_bench.models.openvla.weights import weights_digest
from vla_bench.policies import EnvironmentConventions, Policy, load_policy
from vla_bench.policies.openvla import OpenVLAPolicy

pytestmark = pytest.mark.usefixtures("processor_only")

FIELDS = (
    ProprioceptionField("gripper_position", 2, "m"),
    ProprioceptionField("joint_positions", 7, "rad"),
    ProprioceptionField("end_effector_position", 3, "m"),
)
CONVENTIONS = EnvironmentConventions(("agentview", "wrist"), 32, FIELDS)
CARD = """
kind = "openvla"
description = "small and untrained"
checkpoint = "network"
cameras = ["agentview", "wrist"]
image_size = 32
proprioception = ["end_effector_position", "gripper_position"]
"""


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return small_checkpoint()


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    save_checkpoint(tmp_path / "network", checkpoint)
    return tmp_path


def loaded(folder: Path, extra: str = "", card: str = CARD) -> Policy:
    (folder / "small.toml").write_text(card + extra)
    policy = load_policy(str(folder / "small.toml"))
    policy.connect(CONVENTIONS)
    return policy


def observations(count: int) -> list[Observation]:
    draw = np.random.default_rng(1)
    return [
        {
            "images": {name: draw.integers(0, 256, (32, 32, 3), dtype=np.uint8) for name in ("agentview", "wrist")},
            "proprioception": draw.normal(size=12).astype(np.float32),
            "instruction": INSTRUCTIONS[index % 2],
        }
        for index in range(count)
    ]


def acted(policy: Policy, seen: Sequence[Observation]) -> np.ndarray:
    rows = range(len(seen))
    policy.reset([observation["instruction"] for observation in seen], rows=rows, seeds=[0] * len(seen))
    return policy.act(seen, rows=rows)


def test_actions_are_those_of_the_network_in_the_environment_s_units(folder: Path, checkpoint: Checkpoint) -> None:
    seen = observations(3)
    actions = acted(loaded(folder), seen)
    statistics = checkpoint.statistics["made_up"]
    assert statistics.proprioception is not None
    proprioception = np.stack([np.r_[item["proprioception"][9:12], item["proprioception"][:2]] for item in seen])
    images = np.stack([[item["images"]["agentview"], item["images"]["wrist"]] for item in seen])
    ids, mask = checkpoint.processor.tokenize_instructions([item["instruction"] for item in seen])
    with torch.inference_mode():
        logits = checkpoint.model.action_logits(
            ids,
            mask,
            checkpoint.processor.images(images),
            torch.from_numpy(statistics.proprioception.normalize(proprioception)),
        )
    expected = statistics.action.unnormalize(checkpoint.action_tokenizer.most_likely_action(logits).numpy())
    assert actions.shape == (3, checkpoint.config.chunk_size, 7)
    np.testing.assert_allclose(actions, np.clip(expected, -1, 1), atol=1e-6)
    assert np.ptp(actions, axis=0).max() > 0.01, "different observations, different actions"


def test_a_row_does_not_depend_on_its_batch(folder: Path) -> None:
    policy, seen = loaded(folder), observations(5)
    together = acted(policy, seen)
    for row, observation in enumerate(seen):
        policy.reset([observation["instruction"]], rows=[row], seeds=[0])
        np.testing.assert_array_equal(policy.act([observation], rows=[row])[0], together[row])


def test_an_instruction_holds_for_its_row_until_the_next_episode(folder: Path) -> None:
    policy, (seen, _) = loaded(folder), observations(2)
    policy.reset(INSTRUCTIONS, rows=[0, 1], seeds=[0, 0])
    first, second = policy.act([seen, seen], rows=[0, 1])
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(policy.act([seen], rows=[1])[0], second)


def test_the_expected_action_lies_between_the_bins(folder: Path) -> None:
    seen = observations(2)
    likeliest, mean = acted(loaded(folder), seen), acted(loaded(folder, 'action_from = "expected"'), seen)
    assert not np.allclose(likeliest, mean)
    assert np.abs(mean[..., :6]).max() < np.abs(likeliest[..., :6]).max()  # an untrained network is unsure


def test_the_chunk_is_executed_as_the_card_says(folder: Path) -> None:
    seen = observations(2)
    whole = acted(loaded(folder), seen)
    part = acted(loaded(folder, 'chunk = { execution = "open_loop", steps = 1 }'), seen)
    np.testing.assert_array_equal(part, whole[:, :1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('["agentview", "wrist"]', '["wrist"]'), "takes 2 images, but the card lists 1 cameras"),
        (("image_size = 32", "image_size = 64"), "needs images of 64 pixels, but they have 32"),
        (
            ('"end_effector_position", ', ""),
            r"takes 5 numbers of proprioception, but the card lists gripper_position \(2\)",
        ),
        (
            ('["end_effector_position", "gripper_position"]', "[]"),
            "takes 5 numbers of proprioception, but the card lists none",
        ),
        (('"gripper_position"', '"gripper_opening"'), "'gripper_opening' .did you mean 'gripper_position'"),
        (
            ("image_size", 'chunk = { execution = "open_loop", steps = 3 }\nimage_size'),
            "predicts 2 actions, .* executes 3",
        ),
    ],
)
def test_card_network_and_environments_must_fit(folder: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConventionError, match=message):
        loaded(folder, card=CARD.replace(*change))


def test_an_unknown_normalization_key_names_those_there_are(folder: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"No normalization key .* named 'made_op'\. Did you mean 'made_up'"):
        loaded(folder, 'unnorm_key = "made_op"')


def test_statistics_without_proprioception_are_an_error(folder: Path, checkpoint: Checkpoint) -> None:
    without = {"made_up": replace(checkpoint.statistics["made_up"], proprioception=None)}
    save_checkpoint(folder / "network", replace(checkpoint, statistics=without))
    with pytest.raises(ConventionError, match="statistics have no entry for proprioception"):
        loaded(folder)


def adapter_for(folder: Path) -> Path:
    """Make an adapter on the network in `folder`, its weights moved away from doing nothing."""
    checkpoint = load_checkpoint(folder / "network")
    made = LowRankAdapter(checkpoint.model, LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]))
    for name, parameter in checkpoint.model.named_parameters():
        if "lora_B" in name:
            parameter.data += 0.5 * torch.randn_like(parameter)
    (folder / "adapter").mkdir()
    reference = BaseReference(str(folder / "network"), weights_digest(folder / "network"))
    save_adapter(folder / "adapter", made, reference, checkpoint)
    return folder / "adapter"


def test_an_adapter_of_the_card_or_given_as_checkpoint_changes_the_actions(folder: Path) -> None:
    seen, base, adapter = observations(3), loaded(folder), adapter_for(folder)
    by_card = acted(loaded(folder, 'adapter = "adapter"'), seen)
    given = load_policy(str(folder / "small.toml"), adapter)
    given.connect(CONVENTIONS)
    np.testing.assert_array_equal(acted(given, seen), by_card)
    assert not np.allclose(acted(base, seen), by_card)


def test_an_adapter_kept_apart_acts_as_one_merged(folder: Path) -> None:
    seen = observations(3)
    adapter_for(folder)
    merged, apart = (loaded(folder, f'adapter = "adapter"\nmerge_adapter = {word}\n') for word in ("true", "false"))
    np.testing.assert_allclose(acted(apart, seen), acted(merged, seen), atol=1e-5)


def test_a_merged_folder_of_adapter_and_base_acts_without_the_card_s_network(folder: Path, tmp_path: Path) -> None:
    seen = observations(3)
    checkpoint = load_checkpoint(folder / "network")
    made = BottleneckAdapter(checkpoint.model, BottleneckConfig(4))
    for parameter in checkpoint.model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.2 * torch.randn_like(parameter)
    (folder / "bottleneck").mkdir()
    reference = BaseReference(str(folder / "network"), weights_digest(folder / "network"))
    save_adapter(folder / "bottleneck", made, reference, checkpoint)
    expected = acted(loaded(folder, 'adapter = "bottleneck"'), seen)
    merge(folder / "bottleneck", tmp_path / "bundle")
    save_checkpoint(folder / "network", small_checkpoint(seed=1))  # the card's own has become another
    given = load_policy(str(folder / "small.toml"), tmp_path / "bundle")
    given.connect(CONVENTIONS)
    np.testing.assert_array_equal(acted(given, seen), expected)


def test_an_adapter_of_another_base_is_an_error(folder: Path) -> None:
    adapter_for(folder)
    save_checkpoint(folder / "network", small_checkpoint(seed=1))
    with pytest.raises(CheckpointError, match="it was trained on other weights"):
        loaded(folder, 'adapter = "adapter"')


def test_a_full_checkpoint_given_takes_the_place_of_the_card_s(folder: Path, tmp_path: Path) -> None:
    seen, before = observations(3), acted(loaded(folder), observations(3))
    save_checkpoint(tmp_path / "other", small_checkpoint(seed=1))
    given = load_policy(str(folder / "small.toml"), tmp_path / "other")
    given.connect(CONVENTIONS)
    assert not np.allclose(acted(given, seen), before)


PUBLISHED_CARD = """
kind = "openvla"
description = "as published"
checkpoint = "elsewhere"
cameras = ["front", "side"]
image_size = 224
image_orientation = "mirrored"
image_crop_area = 0.9
gripper = "open_one"
unnorm_key = "bridge_orig"
proprioception = ["joint_positions"]
"""


def test_a_network_trained_here_is_shown_what_it_was_trained_on_whatever_the_card_says(
    folder: Path, checkpoint: Checkpoint
) -> None:
    shown = Conventions(("agentview", "wrist"), 32, ("end_effector_position", "gripper_position"))
    save_checkpoint(folder / "tuned", checkpoint.learned(checkpoint.statistics, shown))
    (folder / "published.toml").write_text(PUBLISHED_CARD)
    policy = load_policy(str(folder / "published.toml"), folder / "tuned")
    policy.connect(CONVENTIONS)
    np.testing.assert_array_equal(acted(policy, observations(3)), acted(loaded(folder), observations(3)))


def test_a_network_is_refused_on_another_robot_than_it_was_trained_on(folder: Path, checkpoint: Checkpoint) -> None:
    other = replace(CONVENTIONS, robot="ur5e")
    with pytest.raises(ConventionError, match="it was trained on the robot 'panda', but they have 'ur5e'"):
        loaded(folder).connect(other)
    shown = Conventions(("agentview", "wrist"), 32, ("end_effector_position", "gripper_position"), "ur5e")
    save_checkpoint(folder / "tuned", checkpoint.learned(checkpoint.statistics, shown))
    policy = load_policy(str(folder / "small.toml"), folder / "tuned")
    policy.connect(other)
    with pytest.raises(ConventionError, match="it was trained on the robot 'ur5e', but they have 'panda'"):
        policy.connect(CONVENTIONS)


def test_an_adapter_given_finds_its_own_base(folder: Path) -> None:
    adapter = adapter_for(folder)
    expected = acted(loaded(folder, 'adapter = "adapter"'), observations(3))
    (folder / "other.toml").write_text(CARD.replace('"network"', '"elsewhere"'))
    given = load_policy(str(folder / "other.toml"), adapter)
    given.connect(CONVENTIONS)
    np.testing.assert_array_equal(acted(given, observations(3)), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"q01": [float("nan")] + [-1.0] * 6}, "q01 contains non-finite numbers"),
        ({"q01": [2.0] * 7, "q99": [1.0] * 7}, "q01 is larger than q99"),
        ({"std": [1.0] * 6}, r"their shapes are .*std \(6,\)"),
    ],
)
def test_statistics_that_cannot_be_are_refused(folder: Path, change: dict[str, list[float]], message: str) -> None:
    path = folder / "network" / "dataset_statistics.json"
    content = json.loads(path.read_text())
    content["made_up"]["action"] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=f"statistics are malformed: .*{message}"):
        loaded(folder)


def test_missing_statistics_are_named(folder: Path) -> None:
    path = folder / "network" / "dataset_statistics.json"
    content = json.loads(path.read_text())
    del content["made_up"]["action"]["mean"]
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="mean missing"):
        loaded(folder)


def test_statistics_of_other_actions_are_refused_before_the_first_step(folder: Path, checkpoint: Checkpoint) -> None:
    entry = checkpoint.statistics["made_up"]
    six = VectorStatistics.of(np.random.default_rng(0).normal(size=(20, 6)))
    save_checkpoint(folder / "network", replace(checkpoint, statistics={"made_up": replace(entry, action=six)}))
    with pytest.raises(ConventionError, match="statistics describe actions of 6 numbers, but the environments take 7"):
        loaded(folder)


def test_several_statistics_want_a_key(folder: Path, checkpoint: Checkpoint) -> None:
    entry = checkpoint.statistics["made_up"]
    save_checkpoint(folder / "network", replace(checkpoint, statistics={"made_up": entry, "other": entry}))
    with pytest.raises(ConventionError, match=r"several data sets: made_up, other\. Select one in the policy card"):
        loaded(folder)


def test_weights_that_are_no_numbers_give_no_action(folder: Path) -> None:
    policy = loaded(folder)._policy  # type: ignore[attr-defined]  # what is guarded
    assert isinstance(policy, OpenVLAPolicy)
    for action_from in ("most_likely", "mean"):
        policy._card = policy._card.model_copy(update={"action_from": action_from})
        with pytest.raises(VlaBenchError, match="its weights are damaged"):
            policy._decoded(torch.full((1, 7, 256), torch.nan))
