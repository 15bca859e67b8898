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

# ~ Policies that see or act otherwise than they mean to.

ObservationTransform = Callable[[Observation], Observation]
ActionTransform = Callable[
    [FloatArray, Sequence[Observation]], FloatArray
]  # chunks (B, H, 7) and what was seen before them


class AlteredPolicy(PolicyWrapper):
    """A policy whose observations and actions pass through functions."""

    def __init__(
        self, policy: Policy, *, seeing: ObservationTransform | None = None, acting: ActionTransform | None = None
    ) -> None:
        super().__init__(policy)
        self._seeing, self._acting = seeing, acting

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the altered chunks, (B, H, 7)."""
        seen = observations if self._seeing is None else [self._seeing(observation) for observation in observations]
        chunks = as_chunks(self._policy.act(seen, rows=rows), len(rows), self._action_dim)
        return chunks if self._acting is None else self._acting(chunks, observations)


# ~ What a mistake proposes, and to whom.

Wrapping = Callable[[Policy], Policy]


@dataclass(frozen=True)
class ExaminedPolicy:
    """The policy under examination, as far as a mistake needs to know it."""

    requirements: PolicyRequirements
    fields: tuple[ProprioceptionField, ...]  # what the environments send
    card: PolicyCard | None = None  # None: a user's own class
    folder: Path = Path()  # where the card lies

    def states(self, field: str) -> bool:
        """Whether the card has the field."""
        return field in self._fields()

    def value(self, field: str) -> Any:
        """Return what the card says."""
        return getattr(self.card, field)

    def choices(self, field: str) -> tuple[Any, ...]:
        """Return what else the card could say, where its type lists all that it may say."""
        if not self.states(field):
            return ()
        annotation = self._fields()[field].annotation
        return tuple(choice for choice in get_args(annotation) if choice != self.value(field))

    def _fields(self) -> Mapping[str, FieldInfo]:
        return {} if self.card is None else type(self.card).model_fields


@dataclass(frozen=True, eq=False)
class Proposal:
    """One change, to the card or around the policy."""

    fix: str  # what to do, if it helps: a line for the card, or a sentence
    card_changes: tuple[tuple[str, Any], ...] = ()
    wrapping: Wrapping | None = None

    @classmethod
    def of_card(cls, field: str, value: Any) -> "Proposal":
        """Return the change of one field."""
        return cls(f"{field} = {_toml(value)}", card_changes=((field, value),))


Mistake = Callable[[ExaminedPolicy], Iterable[Proposal]]
mistakes: Registry[Mistake] = Registry("convention mistake")


def _toml(value: Any) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(item) for item in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


# ~ Plausible mistakes, a module a family: each proposes changes that would undo it.
# ~
# ~ A proposal changes the policy's card where the card states the convention, else it wraps the policy.


# ~ The gripper does the opposite, or its command is read on another scale.

_GRIPPER_FIELD = "gripper"


@mistakes.named("gripper convention")
def gripper_convention(patient: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose the card's other conventions, or for a policy without a card the opposite sign."""
    for choice in patient.choices(_GRIPPER_FIELD):
        yield Proposal.of_card(_GRIPPER_FIELD, choice)
    if not patient.states(_GRIPPER_FIELD):
        yield Proposal(
            "negate the last number of the actions: +1 closes the gripper here", wrapping=_with_negated_gripper
        )
        yield Proposal(
            "return 2 g - 1 for a gripper command g of 0 (open) to 1 (close)", wrapping=_with_rescaled_gripper
        )


def _with_negated_gripper(policy: Policy) -> Policy:
    return AlteredPolicy(policy, acting=_negate_gripper)


def _negate_gripper(chunks: FloatArray, seen: Sequence[Observation]) -> FloatArray:
    return np.concatenate([chunks[..., :6], -chunks[..., 6:]], axis=-1)


def _with_rescaled_gripper(policy: Policy) -> Policy:
    return AlteredPolicy(policy, acting=_rescale_gripper)


def _rescale_gripper(chunks: FloatArray, seen: Sequence[Observation]) -> FloatArray:
    return np.concatenate([chunks[..., :6], np.sign(2.0 * chunks[..., 6:] - 1.0)], axis=-1)


# ~ The motion is meant in another frame, with another sign or on another scale.

_POSITION, _ROTATION = slice(0, 3), slice(3, 6)
_END_EFFECTOR_FIELD = "end_effector_axis_angle"


@mistakes.named("tool frame")
def tool_frame(patient: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose that the motion is meant in the gripper's own frame."""
    where = _field_slice(_END_EFFECTOR_FIELD, patient.fields)
    if where is None:
        return
    for name, parts in (("motion", (_POSITION, _ROTATION)), ("rotation", (_ROTATION,))):
        fix = f"turn the {name} from the gripper's frame into the world's: actions are in the world frame here"
        yield Proposal(fix, wrapping=partial(_to_world_frame, parts, where))


@mistakes.named("rotation sign")
def rotation_sign(patient: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose the opposite rotation."""
    yield Proposal("negate the rotation of the actions", wrapping=partial(_scaled, _ROTATION, -1.0))


@mistakes.named("axis-angle of the state")
def state_axis_angle(patient: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose the other convention for rotations among the proprioception."""
    if any(name.endswith("axis_angle") for name in patient.requirements.proprioception):
        yield from (Proposal.of_card("axis_angle", choice) for choice in patient.choices("axis_angle"))


@mistakes.named("source of the state")
def state_source(patient: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose the hand's orientation for that of the grip site, and the reverse: a fixed rotation lies between them."""
    swaps = {_END_EFFECTOR_FIELD: "hand_axis_angle", "hand_axis_angle": _END_EFFECTOR_FIELD}
    if patient.states("proprioception"):
        own = patient.value("proprioception")
        swapped = tuple(swaps.get(name, name) for name in own)
        if swapped != own:
            yield Proposal.of_card("proprioception", swapped)


def _field_slice(name: str, fields: Sequence[ProprioceptionField]) -> slice | None:
    ends = np.cumsum([field.size for field in fields]).tolist()
    places = {field.name: slice(end - field.size, end) for field, end in zip(fields, ends, strict=True)}
    return places.get(name)


def _to_world_frame(parts: Sequence[slice], where: slice, policy: Policy) -> Policy:
    def act(chunks: FloatArray, seen: Sequence[Observation]) -> FloatArray:
        changed = np.array(chunks)
        for row, observation in enumerate(seen):
            matrix = _rotation_matrix(observation["proprioception"][where])
            for part in parts:
                changed[row, :, part] = changed[row, :, part] @ matrix.T
        return changed

    return AlteredPolicy(policy, acting=act)


def _scaled(part: slice, factor: float, policy: Policy) -> Policy:
    def act(chunks: FloatArray, seen: Sequence[Observation]) -> FloatArray:
        changed = np.array(chunks)
        changed[..., part] *= factor
        return changed

    return AlteredPolicy(policy, acting=act)


def _rotation_matrix(axis_angle: FloatArray) -> NDArray[np.float64]:
    matrix: NDArray[np.float64] = quat_wxyz_to_matrix(axis_angle_to_quat_wxyz(np.asarray(axis_angle, np.float64)))
    return matrix


# ~ The actions are scaled with the statistics of another data set.

_UNNORM_KEY_FIELD = "unnorm_key"


@mistakes.named("unnormalisation key")
def unnormalization_key(patient: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose the other entries of the checkpoint's statistics."""
    if patient.card is not None and patient.states(_UNNORM_KEY_FIELD):
        keys = patient.card.unnormalization_keys(patient.folder)
        yield from (
            Proposal.of_card(_UNNORM_KEY_FIELD, key)
            for key in keys
            if key != patient.value(_UNNORM_KEY_FIELD) and len(keys) > 1
        )


# ~ The images are turned, cropped or ordered otherwise than in training.

_ORIENTATION, _CROP, _CAMERAS = "image_orientation", "image_crop_area", "cameras"
_CROP_AREAS = (1.0, 0.9)  # none, and OpenVLA's


@mistakes.named("image orientation")
def image_orientation(patient: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose the other ways to turn an image."""
    if not patient.requirements.cameras:
        return
    for choice in patient.choices(_ORIENTATION):
        yield Proposal.of_card(_ORIENTATION, choice)
    if not patient.states(_ORIENTATION):
        for orientation in get_args(Orientation):
            if orientation != "upright":
                fix = f"turn the images to {orientation}: the environments send them right side up"
                yield Proposal(fix, wrapping=partial(_with_turned_images, orientation))


@mistakes.named("image crop")
def image_crop(patient: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose OpenVLA's centre crop, or none."""
    if patient.states(_CROP):
        yield from (Proposal.of_card(_CROP, area) for area in _CROP_AREAS if area != patient.value(_CROP))


@mistakes.named("camera order")
def camera_order(patient: ExaminedPolicy) -> Iterator[Proposal]:
    """Propose the cameras in another order."""
    if patient.states(_CAMERAS):
        own = patient.value(_CAMERAS)
        yield from (Proposal.of_card(_CAMERAS, order) for order in permutations(own) if order != own)


def _with_turned_images(orientation: Orientation, policy: Policy) -> Policy:
    def see(observation: Observation) -> Observation:
        images = {name: turned(image, orientation) for name, image in observation["images"].items()}
        return {**observation, "images": images}

    return AlteredPolicy(policy, seeing=see)
