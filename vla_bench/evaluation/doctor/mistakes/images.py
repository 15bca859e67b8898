"""The images are turned, cropped or ordered otherwise than in training."""

from collections.abc import Iterator
from functools import partial
from itertools import permutations
from typing import get_args

from vla_bench.core.conventions import Orientation, turned
from vla_bench.core.types import Observation
from vla_bench.evaluation.doctor.mistakes.proposal import Patient, Proposal, mistakes
from vla_bench.evaluation.doctor.wrapping import Altered
from vla_bench.policies.policy import Policy

_ORIENTATION, _CROP, _CAMERAS = "image_orientation", "image_crop_area", "cameras"
_CROP_AREAS = (1.0, 0.9)  # none, and OpenVLA's


@mistakes.named("image orientation")
def image_orientation(patient: Patient) -> Iterator[Proposal]:
    """Propose the other ways to turn an image."""
    if not patient.requirements.cameras:
        return
    for choice in patient.choices(_ORIENTATION):
        yield Proposal.of_card(_ORIENTATION, choice)
    if not patient.states(_ORIENTATION):
        for orientation in get_args(Orientation):
            if orientation != "upright":
                fix = f"turn the images to {orientation}: the environments send them right side up"
                yield Proposal(fix, wrapping=partial(_turning, orientation))


@mistakes.named("image crop")
def image_crop(patient: Patient) -> Iterator[Proposal]:
    """Propose OpenVLA's centre crop, or none."""
    if patient.states(_CROP):
        yield from (Proposal.of_card(_CROP, area) for area in _CROP_AREAS if area != patient.value(_CROP))


@mistakes.named("camera order")
def camera_order(patient: Patient) -> Iterator[Proposal]:
    """Propose the cameras in another order."""
    if patient.states(_CAMERAS):
        own = patient.value(_CAMERAS)
        yield from (Proposal.of_card(_CAMERAS, order) for order in permutations(own) if order != own)


def _turning(orientation: Orientation, policy: Policy) -> Policy:
    def see(observation: Observation) -> Observation:
        images = {name: turned(image, orientation) for name, image in observation["images"].items()}
        return {**observation, "images": images}

    return Altered(policy, seeing=see)
