"""Diagnosis of wrong conventions in policy cards."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from pydantic import Field

from vla_bench.cli.diagnosis import verdict
from vla_bench.core.conventions import GripperConvention, Orientation
from vla_bench.core.errors import ConventionError, VlaBenchError
from vla_bench.core.types import FloatArray, Observation
from vla_bench.evaluation.doctor import Diagnosis, DoctorOptions, diagnose, examine
from vla_bench.evaluation.doctor.expert_samples import LOOK_AHEAD, ExpertSample, ExpertSamples
from vla_bench.evaluation.environment_slots import EnvironmentSpec
from vla_bench.policies.cards import PolicyCard
from vla_bench.policies.conventions import actions_to_close_positive, image_for_policy
from vla_bench.policies.policy import Policy, PolicyBase, PolicyRequirements

_SIZE = 24
_SPEC = EnvironmentSpec(image_size=_SIZE, cameras=("agentview",))


class SpotCard(PolicyCard):
    """Conventions of a policy that follows a bright spot."""

    gripper: GripperConvention = "close_positive"
    image_orientation: Orientation = "upright"
    image_crop_area: Annotated[float, Field(gt=0, le=1)] = 1.0


@dataclass
class SpotPolicy(PolicyBase):
    """Moves toward the spot and closes above the middle; the policy has fixed conventions, its card may differ."""

    card: SpotCard
    sees: Orientation = "upright"
    acts: GripperConvention = "close_positive"

    @property
    def requirements(self) -> PolicyRequirements:
        return PolicyRequirements(cameras=("agentview",), image_size=_SIZE)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        chunks = []
        for observation in observations:
            shown = image_for_policy(observation["images"]["agentview"], self.card.image_orientation, 1.0)
            action = _towards(image_for_policy(shown, self.sees, 1.0))  # undoes what it was trained with
            if self.acts == "open_one":
                action[6] = 0.5 - 0.5 * action[6]
            chunks.append(np.tile(action, (4, 1)))
        return actions_to_close_positive(np.stack(chunks), self.card.gripper)


def _towards(image: FloatArray) -> FloatArray:
    row, column = np.argwhere(image[..., 0] == image[..., 0].max()).mean(axis=0) / (_SIZE - 1) - 0.5
    return np.array([row, column, row * column, 0.2 * row, 0.2 * column, 0.1, 1.0 if row < 0 else -1.0], np.float32)


@pytest.fixture(scope="module")
def expert_samples() -> ExpertSamples:
    generator, moments = np.random.default_rng(0), []
    for number in range(80):
        image = generator.integers(0, 60, (_SIZE, _SIZE, 3), dtype=np.uint8)
        row, column = generator.integers(2, _SIZE - 2, 2)
        image[row - 1 : row + 2, column - 1 : column + 2] = 255
        observation: Observation = {
            "images": {"agentview": image},
            "proprioception": np.zeros(0, np.float32),
            "instruction": "follow the spot",
        }
        actions = np.tile(_towards(image), (LOOK_AHEAD, 1))
        moments.append(ExpertSample(number // 8, observation, actions))
    return ExpertSamples(tuple(moments), ())


def _diagnosis(expert_samples: ExpertSamples, card: SpotCard, sees: Orientation, acts: GripperConvention) -> Diagnosis:
    def build(changed: PolicyCard | None) -> Policy:
        assert isinstance(changed, SpotCard)
        return SpotPolicy(changed, sees, acts)

    return examine(build, card, Path(), expert_samples, _SPEC)


def _card(**fields: object) -> SpotCard:
    return SpotCard.model_validate({"kind": "spot", "description": "follows a spot", **fields})


def test_a_right_card_is_healthy(expert_samples: ExpertSamples) -> None:
    diagnosis = _diagnosis(expert_samples, _card(), "upright", "close_positive")
    assert not diagnosis.fixes
    assert not diagnosis.lost
    assert verdict(diagnosis)[0].startswith("No mistake found")


def test_a_policy_that_modifies_observations_does_not_change_the_samples(expert_samples: ExpertSamples) -> None:
    class Blackening(SpotPolicy):
        def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
            actions = super().act(observations, rows=rows)
            for observation in observations:
                observation["images"]["agentview"][:] = 0
            return actions

    before = [expert_sample.observation["images"]["agentview"].copy() for expert_sample in expert_samples.samples]
    card = _card()
    assert not examine(lambda _: Blackening(card), card, Path(), expert_samples, _SPEC).fixes
    after = [expert_sample.observation["images"]["agentview"] for expert_sample in expert_samples.samples]
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("trained", ["mirrored", "upside_down", "rotated_180"])
def test_turned_images_are_named(expert_samples: ExpertSamples, trained: Orientation) -> None:
    diagnosis = _diagnosis(expert_samples, _card(), trained, "close_positive")
    assert [fix.fix for fix in diagnosis.fixes] == [f'image_orientation = "{trained}"']
    assert diagnosis.after[3] < 0.05 < diagnosis.before[3]


def test_a_wrong_gripper_is_named(expert_samples: ExpertSamples) -> None:
    diagnosis = _diagnosis(expert_samples, _card(gripper="close_one"), "upright", "open_one")
    assert [fix.fix for fix in diagnosis.fixes] == ['gripper = "open_one"']
    assert 'Fix: gripper = "open_one"' in " ".join(verdict(diagnosis))


def test_two_mistakes_at_once_are_both_named(expert_samples: ExpertSamples) -> None:
    diagnosis = _diagnosis(expert_samples, _card(), "mirrored", "open_one")
    assert {fix.fix for fix in diagnosis.fixes} == {'image_orientation = "mirrored"', 'gripper = "open_one"'}


def test_an_untrained_policy_is_reported_as_no_better_than_a_constant(expert_samples: ExpertSamples) -> None:
    class Blind(SpotPolicy):
        def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
            return np.random.default_rng(len(rows)).uniform(-1, 1, (len(rows), 1, 7)).astype(np.float32)

    diagnosis = examine(lambda card: Blind(_card()), _card(), Path(), expert_samples, _SPEC)
    assert diagnosis.lost
    assert "no better than a constant one" in verdict(diagnosis)[-1]


def test_the_expert_cannot_be_compared_with_itself() -> None:
    with pytest.raises(ConventionError, match="is the expert"):
        diagnose(DoctorOptions("expert", "tabletop_pick"))


def test_too_few_episodes_are_refused() -> None:
    with pytest.raises(VlaBenchError, match="3 episodes are too few for a significant result"):
        DoctorOptions("noop", "tabletop_pick", episodes=3)


@pytest.mark.slow
def test_a_real_network_with_two_mistakes_in_its_card(tmp_path: Path) -> None:
    card = tmp_path / "wrong.toml"
    card.write_text(
        """kind = "openvla"
description = "openvla-nano with two mistakes"
checkpoint = "baselines/openvla-nano/base"
cameras = ["agentview", "wrist"]
image_size = 96
image_orientation = "upside_down"
gripper = "open_positive"
proprioception = ["end_effector_position", "gripper_position", "joint_positions"]
action_from = "expected"
"""
    )
    diagnosis = diagnose(DoctorOptions(str(card), "tabletop_pick", tasks=("pick_red_cube",), episodes=10))
    fixes = {fix.mistake: fix.fix for fix in diagnosis.fixes}
    assert fixes["image orientation"] == 'image_orientation = "upright"'
    assert fixes["gripper convention"] in ('gripper = "close_positive"', 'gripper = "close_one"')
    assert diagnosis.after[3] < 0.5 < diagnosis.before[3]
