"""The motion is meant in another frame, with another sign or on another scale."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.rotations import axis_angle_to_quat_wxyz, quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray, Observation, ProprioceptionField
from vla_bench.evaluation.doctor.mistakes.proposal import Patient, Proposal, mistakes
from vla_bench.evaluation.doctor.wrapping import Altered
from vla_bench.policies.policy import Policy

_POSITION, _ROTATION = slice(0, 3), slice(3, 6)
_HAND = "end_effector_axis_angle"


@mistakes.named("tool frame")
def tool_frame(patient: Patient) -> Iterator[Proposal]:
    """Propose that the motion is meant in the gripper's own frame."""
    where = _slice_of(_HAND, patient.fields)
    if where is None:
        return
    for name, parts in (("motion", (_POSITION, _ROTATION)), ("rotation", (_ROTATION,))):
        fix = f"turn the {name} from the gripper's frame into the world's: actions are in the world frame here"
        yield Proposal(fix, wrapping=partial(_into_world, parts, where))


@mistakes.named("rotation sign")
def rotation_sign(patient: Patient) -> Iterator[Proposal]:
    """Propose the opposite rotation."""
    yield Proposal("negate the rotation of the actions", wrapping=partial(_scaled, _ROTATION, -1.0))


@mistakes.named("axis-angle of the state")
def state_axis_angle(patient: Patient) -> Iterator[Proposal]:
    """Propose the other convention for rotations among the proprioception."""
    if any(name.endswith("axis_angle") for name in patient.requirements.proprioception):
        yield from (Proposal.of_card("axis_angle", choice) for choice in patient.choices("axis_angle"))


@mistakes.named("source of the state")
def state_source(patient: Patient) -> Iterator[Proposal]:
    """Propose the hand's orientation for that of the grip site, and the reverse: a fixed rotation lies between them."""
    swaps = {_HAND: "hand_axis_angle", "hand_axis_angle": _HAND}
    if patient.states("proprioception"):
        own = patient.value("proprioception")
        swapped = tuple(swaps.get(name, name) for name in own)
        if swapped != own:
            yield Proposal.of_card("proprioception", swapped)


def _slice_of(name: str, fields: Sequence[ProprioceptionField]) -> slice | None:
    ends = np.cumsum([field.size for field in fields]).tolist()
    places = {field.name: slice(end - field.size, end) for field, end in zip(fields, ends, strict=True)}
    return places.get(name)


def _into_world(parts: Sequence[slice], where: slice, policy: Policy) -> Policy:
    def act(chunks: FloatArray, seen: Sequence[Observation]) -> FloatArray:
        changed = np.array(chunks)
        for row, observation in enumerate(seen):
            matrix = _matrix(observation["proprioception"][where])
            for part in parts:
                changed[row, :, part] = changed[row, :, part] @ matrix.T
        return changed

    return Altered(policy, acting=act)


def _scaled(part: slice, factor: float, policy: Policy) -> Policy:
    def act(chunks: FloatArray, seen: Sequence[Observation]) -> FloatArray:
        changed = np.array(chunks)
        changed[..., part] *= factor
        return changed

    return Altered(policy, acting=act)


def _matrix(axis_angle: FloatArray) -> NDArray[np.float64]:
    matrix: NDArray[np.float64] = quat_wxyz_to_matrix(axis_angle_to_quat_wxyz(np.asarray(axis_angle, np.float64)))
    return matrix
