"""Common convention mistakes (gripper, frames, normalization, images), each proposing corrections.

A proposal changes the policy's card where the card states the convention; otherwise it wraps the policy.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic.fields import FieldInfo

from vla_bench.core.conventions import Orientation, turned
from vla_bench.core.geometry import axis_angle_to_quat_wxyz, quat_wxyz_to_matrix
from vla_bench.core.registry import Registry
from vla_bench.core.types import FloatArray, Observation, ProprioceptionField
from vla_bench.policies.cards import PolicyCard
from vla_bench.policies.policy import Policy, PolicyRequirements, as_chunks
from vla_bench.policies.wrappers import PolicyWrapper

ObservationTransform = Callable[[Observation], Observation]
ActionTransform = Callable[[FloatArray, Sequence[Observation]], FloatArray]  # of chunks (B, H, 7) and observations


class AlteredPolicy(PolicyWrapper):
    """A policy whose observations and actions pass through the given functions."""

    def __init__(
        self,
        policy: Policy,
        *,
        observation_transform: ObservationTransform | None = None,
        action_transform: ActionTransform | None = None,
    ) -> None:
        super().__init__(policy)
        self._observation_transform = observation_transform
        self._action_transform = action_transform

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the altered chunks, (B, H, 7)."""
        transform = self._observation_transform or (lambda observation: observation)
        inputs = [transform(observation) for observation in observations]
        chunks = as_chunks(self._policy.act(inputs, rows=rows), len(rows), self._action_dim)
        return chunks if self._action_transform is None else self._action_transform(chunks, observations)


Wrapper = Callable[[Policy], Policy]


@dataclass(frozen=True)
class ExaminedPolicy:
    """The properties of the examined policy that proposals depend on."""

    requirements: PolicyRequirements
    fields: tuple[ProprioceptionField, ...]  # of the environments
    card: PolicyCard | None = None  # None: a policy of the user
    folder: Path = Path()  # of the card

    def states(self, field: str) -> bool:
        """Return whether the card has the field."""
        return field in self._fields()

    def value(self, field: str) -> Any:
        """Return the value of the field in the card."""
        return getattr(self.card, field)

    def choices(self, field: str) -> tuple[Any, ...]:
        """Return the other values of the field, if its type is a list of choices."""
        if not self.states(field):
            return ()
        annotation = self._fields()[field].annotation
        return tuple(choice for choice in get_args(annotation) if choice != self.value(field))

    def _fields(self) -> Mapping[str, FieldInfo]:
        return {} if self.card is None else type(self.card).model_fields


@dataclass(frozen=True, eq=False)
class Proposal:
    """One proposed change, of the card or by a wrapper of the policy."""

    fix: str  # instruction to the user: a line for the card, or a sentence
    card_changes: tuple[tuple[str, Any], ...] = ()
    wrapper: Wrapper | None = None

    @classmethod
    def of_card(cls, field: str, value: Any) -> "Proposal":
        """Return the change of one field of the card."""
        return cls(f"{field} = {_toml(value)}", card_changes=((field, value),))


Mistake = Callable[[ExaminedPolicy], Iterable[Proposal]]
mistakes: Registry[Mistake] = Registry("convention mistake")


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


_GRIPPER_FIELD = "gripper"


@mistakes.named("gripper convention")
def gripper_convention(examined: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose the other gripper conventions of the card, or the opposite sign or scale without a card."""
    for choice in examined.choices(_GRIPPER_FIELD):
        yield Proposal.of_card(_GRIPPER_FIELD, choice)
    if not examined.states(_GRIPPER_FIELD):
        yield Proposal(
            "negate the last number of the actions: +1 closes the gripper here", wrapper=_with_negated_gripper
        )
        yield Proposal(
            "return 2 g - 1 for a gripper command g of 0 (open) to 1 (close)", wrapper=_with_rescaled_gripper
        )


def _with_negated_gripper(policy: Policy) -> Policy:
    return AlteredPolicy(policy, action_transform=_negate_gripper)


def _negate_gripper(chunks: FloatArray, observations: Sequence[Observation]) -> FloatArray:
    return np.concatenate([chunks[..., :6], -chunks[..., 6:]], axis=-1)


def _with_rescaled_gripper(policy: Policy) -> Policy:
    return AlteredPolicy(policy, action_transform=_rescale_gripper)


def _rescale_gripper(chunks: FloatArray, observations: Sequence[Observation]) -> FloatArray:
    return np.concatenate([chunks[..., :6], np.sign(2.0 * chunks[..., 6:] - 1.0)], axis=-1)


_POSITION, _ROTATION = slice(0, 3), slice(3, 6)
_END_EFFECTOR_FIELD = "end_effector_axis_angle"


@mistakes.named("tool frame")
def tool_frame(examined: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose that actions are given in the frame of the gripper."""
    where = _field_slice(_END_EFFECTOR_FIELD, examined.fields)
    if where is None:
        return
    for name, parts in (("motion", (_POSITION, _ROTATION)), ("rotation", (_ROTATION,))):
        fix = f"turn the {name} from the gripper's frame into the world's: actions are in the world frame here"
        yield Proposal(fix, wrapper=partial(_to_world_frame, parts, where))


@mistakes.named("rotation sign")
def rotation_sign(examined: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose the opposite sign of the rotation."""
    yield Proposal("negate the rotation of the actions", wrapper=partial(_scaled, _ROTATION, -1.0))


@mistakes.named("axis-angle of the state")
def state_axis_angle(examined: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose the other axis-angle convention of the proprioception."""
    if any(name.endswith("axis_angle") for name in examined.requirements.proprioception):
        yield from (Proposal.of_card("axis_angle", choice) for choice in examined.choices("axis_angle"))


@mistakes.named("source of the state")
def state_source(examined: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose the orientation of the hand instead of the grip site, or the reverse; they differ by a fixed rotation."""
    swaps = {_END_EFFECTOR_FIELD: "hand_axis_angle", "hand_axis_angle": _END_EFFECTOR_FIELD}
    if examined.states("proprioception"):
        own = examined.value("proprioception")
        swapped = tuple(swaps.get(name, name) for name in own)
        if swapped != own:
            yield Proposal.of_card("proprioception", swapped)


def _field_slice(name: str, fields: Sequence[ProprioceptionField]) -> slice | None:
    ends = np.cumsum([field.size for field in fields]).tolist()
    places = {field.name: slice(end - field.size, end) for field, end in zip(fields, ends, strict=True)}
    return places.get(name)


def _to_world_frame(parts: Sequence[slice], where: slice, policy: Policy) -> Policy:
    def act(chunks: FloatArray, observations: Sequence[Observation]) -> FloatArray:
        changed = np.array(chunks)
        for row, observation in enumerate(observations):
            matrix = _rotation_matrix(observation["proprioception"][where])
            for part in parts:
                changed[row, :, part] = changed[row, :, part] @ matrix.T
        return changed

    return AlteredPolicy(policy, action_transform=act)


def _scaled(part: slice, factor: float, policy: Policy) -> Policy:
    def act(chunks: FloatArray, observations: Sequence[Observation]) -> FloatArray:
        changed = np.array(chunks)
        changed[..., part] *= factor
        return changed

    return AlteredPolicy(policy, action_transform=act)


def _rotation_matrix(axis_angle: FloatArray) -> NDArray[np.float64]:
    matrix: NDArray[np.float64] = quat_wxyz_to_matrix(axis_angle_to_quat_wxyz(np.asarray(axis_angle, np.float64)))
    return matrix


_UNNORM_KEY_FIELD = "unnorm_key"


@mistakes.named("unnormalisation key")
def unnormalization_key(examined: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose the other entries of the normalization statistics of the checkpoint."""
    if examined.card is not None and examined.states(_UNNORM_KEY_FIELD):
        keys = examined.card.unnormalization_keys(examined.folder)
        yield from (
            Proposal.of_card(_UNNORM_KEY_FIELD, key)
            for key in keys
            if key != examined.value(_UNNORM_KEY_FIELD) and len(keys) > 1
        )


_ORIENTATION, _CROP, _CAMERAS = "image_orientation", "image_crop_area", "cameras"
_CROP_AREAS = (1.0, 0.9)  # none, and OpenVLA's


@mistakes.named("image orientation")
def image_orientation(examined: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose the other image orientations."""
    if not examined.requirements.cameras:
        return
    for choice in examined.choices(_ORIENTATION):
        yield Proposal.of_card(_ORIENTATION, choice)
    if not examined.states(_ORIENTATION):
        for orientation in get_args(Orientation):
            if orientation != "upright":
                fix = f"turn the images to {orientation}: the environments send them right side up"
                yield Proposal(fix, wrapper=partial(_with_turned_images, orientation))


@mistakes.named("image crop")
def image_crop(examined: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose the center crop of OpenVLA, or no crop."""
    if examined.states(_CROP):
        yield from (Proposal.of_card(_CROP, area) for area in _CROP_AREAS if area != examined.value(_CROP))


@mistakes.named("camera order")
def camera_order(examined: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose the other orders of the cameras."""
    if examined.states(_CAMERAS):
        own = examined.value(_CAMERAS)
        yield from (Proposal.of_card(_CAMERAS, order) for order in permutations(own) if order != own)


def _with_turned_images(orientation: Orientation, policy: Policy) -> Policy:
    def transform(observation: Observation) -> Observation:
        images = {name: turned(image, orientation) for name, image in observation["images"].items()}
        return {**observation, "images": images}

    return AlteredPolicy(policy, observation_transform=transform)
