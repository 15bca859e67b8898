"""A world made by hand: positions, contacts and containment as a test states them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from vla_bench.core.types import FloatArray, GripperGeometry, ItemGeometry, Joint

Place = tuple[float, float, float]


@dataclass
class SmallWorld:
    """Every support has a radius of 10 cm. Positions in meters in the world frame."""

    positions: dict[str, Place]
    initial: dict[str, Place] = field(default_factory=dict)  # where they differ from `positions`
    contacts: set[frozenset[str]] = field(default_factory=set)
    contained: set[tuple[str, str]] = field(default_factory=set)
    joint_positions: dict[str, float] = field(
        default_factory=dict
    )  # of the parts that move, open from 1, closed below 0.1

    def items(self) -> Sequence[str]:
        return tuple(self.positions)

    def geometry(self, item: str) -> ItemGeometry:
        return ItemGeometry(bottom_m=-0.02, top_m=0.02, support_m=0.02, support_radius_m=0.1)

    def position_world(self, item: str) -> FloatArray:
        return np.array(self.positions[item])

    def quat_wxyz_world(self, item: str) -> FloatArray:
        return np.array([1.0, 0.0, 0.0, 0.0])

    def initial_position_world(self, item: str) -> FloatArray:
        return np.array(self.initial.get(item, self.positions[item]))

    def in_contact(self, first: str, second: str) -> bool:
        return frozenset({first, second}) in self.contacts

    def inside(self, item: str, container: str) -> bool:
        return (item, container) in self.contained

    def joints(self, fixture: str) -> Sequence[Joint]:
        return tuple(
            _joint(part, position) for part, position in self.joint_positions.items() if part.startswith(fixture)
        )

    def end_effector_position_world(self) -> FloatArray:
        return np.array([0.0, 0.0, 1.0])

    def end_effector_quat_wxyz_world(self) -> FloatArray:
        return np.array([0.0, 1.0, 0.0, 0.0])

    def gripper(self) -> GripperGeometry:
        return GripperGeometry(0.08, 0.047, 0.022, 0.015, 0.025, 0.033, (0.106, 0.034))

    def gripper_opening_m(self) -> float:
        return 0.08


def touching(*pairs: tuple[str, str]) -> set[frozenset[str]]:
    """Return contacts between the pairs."""
    return {frozenset(pair) for pair in pairs}


def _joint(part: str, position: float) -> Joint:
    return Joint(
        name=part,
        position=position,
        open_from=1.0,
        closed_below=0.1,
        turns=False,
        axis_world=np.array([1.0, 0.0, 0.0]),
        anchor_world=np.zeros(3),
        handle_position_world=np.array([0.5, 0.0, 0.9]),
        handle_along_world=np.array([0.0, 0.0, 1.0]),
    )
