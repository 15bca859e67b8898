"""Things stand elsewhere: all together, fixtures too, so that they stay as they are to one another."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vla_bench.core.rotations import quat_wxyz_multiply
from vla_bench.core.types import FloatArray
from vla_bench.envs.perturbations.effect import Effect, PerturbationError, axes

if TYPE_CHECKING:
    import mujoco

    from vla_bench.envs.simulation import Simulation

_FREE = 0  # mjtJoint.mjJNT_FREE


@axes.named("layout")
class LayoutEffect(Effect):
    """All objects and fixtures together are shifted by up to 1.5, 3 or 5 cm and turned about their middle.

    The turn is up to 4, 8 or 15 degrees, but moves nothing by more than 1.5, 3 or 5 cm more. Bins are only shifted:
    robosuite judges what lies in them along the world's axes.
    """

    def check(self, simulation: "Simulation") -> None:
        """Raise `PerturbationError` where nothing can be put elsewhere."""
        if not simulation.fixtures() and not any(_free_joints(simulation, simulation.models()[0])):
            raise PerturbationError("Axis 'layout' needs things that can be put elsewhere: there are none here.")

    def disturb(
        self, simulation: "Simulation", model: "mujoco.MjModel", data: "mujoco.MjData", generator: np.random.Generator
    ) -> None:
        """Move free bodies and fixtures as one."""
        most_m = self.scaled(0.015, 0.03, 0.05)
        shift_m, share = most_m * generator.uniform(-1.0, 1.0, 2), generator.uniform(-1.0, 1.0)
        fixtures = simulation.fixtures()
        addresses = [int(model.jnt_qposadr[joint]) for joint in _free_joints(simulation, model)]
        poses = {fixture.body: simulation.fixture_pose(fixture.body) for fixture in fixtures}
        places = np.array(
            [*(data.qpos[address : address + 2] for address in addresses), *(place[:2] for place, _ in poses.values())]
        )
        middle = places.mean(axis=0)
        farthest_m = float(np.linalg.norm(places - middle, axis=1).max())
        most_rad = min(np.radians(self.scaled(4.0, 8.0, 15.0)), most_m / max(farthest_m, 1e-9))
        motion = _Motion(middle, shift_m, 0.0 if any(fixture.bin for fixture in fixtures) else share * most_rad)
        for address in addresses:
            pose = data.qpos[address : address + 7]
            pose[:3], pose[3:] = motion.of(pose[:3], pose[3:])
        for body, (position, quat) in poses.items():
            simulation.move_fixture(body, *motion.of(position, quat))


@dataclass(frozen=True)
class _Motion:
    """A turn about a vertical line, then a shift."""

    middle: FloatArray  # (2,)
    shift_m: FloatArray  # (2,)
    angle_rad: float

    def of(self, position: FloatArray, quat_wxyz: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return where something at `position` (3,), turned by `quat_wxyz` (4,), comes to stand."""
        cosine, sine = np.cos(self.angle_rad), np.sin(self.angle_rad)
        turned = np.array([[cosine, -sine], [sine, cosine]]) @ (position[:2] - self.middle)
        half = np.array([np.cos(self.angle_rad / 2), 0.0, 0.0, np.sin(self.angle_rad / 2)])
        return np.array([*(self.middle + turned + self.shift_m), position[2]]), quat_wxyz_multiply(half, quat_wxyz)


def _free_joints(simulation: "Simulation", model: "mujoco.MjModel") -> Iterator[int]:
    """Yield the joints of the items that are free; robosuite keeps further things out of the way, far off."""
    roots = {int(model.body_rootid[body]) for bodies in simulation.item_bodies().values() for body in bodies}
    for joint in np.flatnonzero(model.jnt_type == _FREE):
        if int(model.jnt_bodyid[joint]) in roots:
            yield int(joint)
