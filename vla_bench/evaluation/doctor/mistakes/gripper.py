"""The gripper does the opposite, or its command is read on another scale."""

from collections.abc import Iterator, Sequence

import numpy as np

from vla_bench.core.types import FloatArray, Observation
from vla_bench.evaluation.doctor.mistakes.proposal import Patient, Proposal, mistakes
from vla_bench.evaluation.doctor.wrapping import Altered
from vla_bench.policies.policy import Policy

_FIELD = "gripper"


@mistakes.named("gripper convention")
def gripper_convention(patient: Patient) -> Iterator[Proposal]:
    """Propose the card's other conventions, or for a policy without a card the opposite sign."""
    for choice in patient.choices(_FIELD):
        yield Proposal.of_card(_FIELD, choice)
    if not patient.states(_FIELD):
        yield Proposal("negate the last number of the actions: +1 closes the gripper here", wrapping=_negated)
        yield Proposal("return 2 g - 1 for a gripper command g of 0 (open) to 1 (close)", wrapping=_from_zero_one)


def _negated(policy: Policy) -> Policy:
    return Altered(policy, acting=_negate)


def _negate(chunks: FloatArray, seen: Sequence[Observation]) -> FloatArray:
    return np.concatenate([chunks[..., :6], -chunks[..., 6:]], axis=-1)


def _from_zero_one(policy: Policy) -> Policy:
    return Altered(policy, acting=_stretch)


def _stretch(chunks: FloatArray, seen: Sequence[Observation]) -> FloatArray:
    return np.concatenate([chunks[..., :6], np.sign(2.0 * chunks[..., 6:] - 1.0)], axis=-1)
