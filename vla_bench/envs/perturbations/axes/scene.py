"""Axes that change the arrangement of the scene: layout and distractors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from vla_bench.core.geometry import quat_wxyz_multiply
from vla_bench.core.types import DirtyWorld, FloatArray, World
from vla_bench.envs.perturbations.perturbation import Effect, PerturbationError, perturbation_axes
from vla_bench.tasks.task import Relation, Task

if TYPE_CHECKING:
    import mujoco

    from vla_bench.envs.simulation import Simulation

_FREE_JOINT = 0  # mjtJoint.mjJNT_FREE

_PREFIX = "distractor_"
_POOL = ("yellow_cube", "black_can", "purple_cube", "milk_box", "orange_mug", "green_cube")  # in order of preference
_RADIUS_M = {"orange_mug": 0.05}  # with its handle
_DEFAULT_RADIUS_M = 0.033
_CLEARANCE_M = {"tabletop": 0.02, "robosuite": 0.045}  # by engine; robosuite keeps its own objects farther apart
_REACH_M = (0.03, 0.35)  # around the positions of the task's own objects: at the first attempt, and at the last
_ATTEMPTS = 600
_DROP_M = 0.0005
_MIN_RECEPTACLE_RADIUS_M = 0.15  # a larger item is one that other objects are placed in or on
_COLORS = {"red", "green", "blue", "yellow", "orange", "purple", "black", "white", "brown"}

_RAY_HEIGHT_M = 0.6  # above the highest item
_MIN_SURFACE_M = 0.3  # a lower surface is the floor
_MAX_UNEVENNESS_M = 0.002
_RINGS = ((0.0, 1), (0.4, 6), (0.75, 10), (1.0, 14))  # fraction of the radius, and number of points on the ring


@perturbation_axes.named("layout")
class LayoutEffect(Effect):
    """Objects and fixtures, all together: shifted by up to 1.5, 3 or 5 cm and rotated by up to 4, 8 or 15 degrees.

    Their relative arrangement stays. The rotation about their center moves nothing by more than another 1.5, 3 or 5 cm.
    A scene with bins is only shifted, because robosuite's bins are aligned with the world's axes.
    """

    def check(self, simulation: "Simulation") -> None:
        """Raise `PerturbationError` if nothing can be moved."""
        if not simulation.fixtures() and not any(_free_joints(simulation, simulation.models()[0])):
            raise PerturbationError("Axis 'layout' needs objects or fixtures that can be moved: there are none.")

    def disturb(
        self, simulation: "Simulation", model: "mujoco.MjModel", data: "mujoco.MjData", generator: np.random.Generator
    ) -> None:
        """Move free bodies and fixtures together."""
        max_shift_m = self.by_severity(0.015, 0.03, 0.05)
        shift_m, turn = max_shift_m * generator.uniform(-1.0, 1.0, 2), generator.uniform(-1.0, 1.0)
        fixtures = simulation.fixtures()
        addresses = [int(model.jnt_qposadr[joint]) for joint in _free_joints(simulation, model)]
        poses = {fixture.body: simulation.fixture_pose(fixture.body) for fixture in fixtures}
        positions = np.array(
            [*(data.qpos[address : address + 2] for address in addresses), *(p[:2] for p, _ in poses.values())]
        )
        center = positions.mean(axis=0)
        farthest_m = float(np.linalg.norm(positions - center, axis=1).max())
        max_angle_rad = min(np.radians(self.by_severity(4.0, 8.0, 15.0)), max_shift_m / max(farthest_m, 1e-9))
        motion = _Motion(center, shift_m, 0.0 if any(fixture.bin for fixture in fixtures) else turn * max_angle_rad)
        for address in addresses:
            pose = data.qpos[address : address + 7]
            pose[:3], pose[3:] = motion.apply(pose[:3], pose[3:])
        for body, (position, quat) in poses.items():
            simulation.move_fixture(body, *motion.apply(position, quat))


@dataclass(frozen=True)
class _Motion:
    """A rotation about a vertical axis, then a shift."""

    center: FloatArray  # (2,)
    shift_m: FloatArray  # (2,)
    angle_rad: float

    def apply(self, position: FloatArray, quat_wxyz: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the new pose of a body at `position` (3,) with orientation `quat_wxyz` (4,)."""
        cosine, sine = np.cos(self.angle_rad), np.sin(self.angle_rad)
        rotated = np.array([[cosine, -sine], [sine, cosine]]) @ (position[:2] - self.center)
        half = np.array([np.cos(self.angle_rad / 2), 0.0, 0.0, np.sin(self.angle_rad / 2)])
        return np.array([*(self.center + rotated + self.shift_m), position[2]]), quat_wxyz_multiply(half, quat_wxyz)


def _free_joints(simulation: "Simulation", model: "mujoco.MjModel") -> Iterator[int]:
    """Yield the free joints of the items. Objects that are no items are parked by robosuite outside the scene."""
    roots = {int(model.body_rootid[body]) for bodies in simulation.item_bodies().values() for body in bodies}
    for joint in np.flatnonzero(model.jnt_type == _FREE_JOINT):
        if int(model.jnt_bodyid[joint]) in roots:
            yield int(joint)


@perturbation_axes.named("distractors")
class DistractorsEffect(Effect):
    """One, two or three small objects in addition to those of the task."""

    def modify_task(self, task: Task) -> Task:
        """Add objects of kinds that the scene does not have and the instruction could not refer to."""
        kinds = [kind for kind in _POOL if not _is_ambiguous(kind, task)][: self.severity]
        if len(kinds) < self.severity:
            raise PerturbationError(
                f"Axis 'distractors' needs {self.severity} of {', '.join(_POOL)} that are unlike the objects of "
                f"{task.id}: there are {len(kinds)}."
            )
        asset = "guest:{}" if task.engine == "robosuite" else "{}"
        self._clearance_m = _CLEARANCE_M[task.engine]
        guests = {f"{_PREFIX}{kind}": asset.format(kind) for kind in kinds}
        relations = tuple(Relation("guest", (name,)) for name in guests) if task.engine == "tabletop" else ()
        return replace(task, objects={**task.objects, **guests}, initial=task.initial + relations)

    def check(self, simulation: "Simulation") -> None:
        """Raise `PerturbationError` if the scene has no loose object or dirt, so no surface for more objects."""
        world, model = simulation.world, simulation.models()[0]
        own = [item for item in world.items() if not item.startswith(_PREFIX)]
        roots = {model.body_rootid[body] for item in own for body in simulation.item_bodies()[item]}
        loose = any(
            model.body_jntnum[root] and model.jnt_type[model.body_jntadr[root]] == _FREE_JOINT for root in roots
        )
        if not loose and not any(len(_dirt_world(world, item)) for item in own):
            raise PerturbationError("Axis 'distractors' needs a scene in which things lie about: there are none.")

    def disturb(
        self, simulation: "Simulation", model: "mujoco.MjModel", data: "mujoco.MjData", generator: np.random.Generator
    ) -> None:
        """Place the distractors at free positions near the task's own objects."""
        import mujoco

        world = simulation.world
        guests = [item for item in world.items() if item.startswith(_PREFIX)]
        own = [_TaskObject.of(world, item) for item in world.items() if item not in guests]
        for guest in guests:
            radius_m = _RADIUS_M.get(guest.removeprefix(_PREFIX), _DEFAULT_RADIUS_M) + self._clearance_m
            position = _free_position(_FreeSpace(simulation, model, data), own, radius_m, generator)
            if position is None:
                raise PerturbationError(
                    f"The scene has no free position for {guest!r} within {_REACH_M[1]} m of its objects."
                )
            (body,) = simulation.item_bodies()[guest]
            address = model.jnt_qposadr[model.body_jntadr[body]]
            data.qpos[address : address + 3] = position - (0.0, 0.0, world.geometry(guest).bottom_m - _DROP_M)
            mujoco.mj_kinematics(model, data)


@dataclass(frozen=True)
class _TaskObject:
    """The area that one of the task's own objects keeps free."""

    positions: FloatArray  # (N, 2), of the object or of its dirt
    radius_m: float  # 0 for an object that others are placed in or on

    @classmethod
    def of(cls, world: World, item: str) -> "_TaskObject":
        dirt = _dirt_world(world, item)
        radius_m = world.geometry(item).support_radius_m
        positions = dirt if len(dirt) else world.position_world(item)[None]
        return cls(positions[:, :2].copy(), radius_m if radius_m < _MIN_RECEPTACLE_RADIUS_M else 0.0)

    def distance_m(self, position: FloatArray) -> float:
        """Return the distance of `position` (2,) from the area."""
        return float(np.linalg.norm(self.positions - position, axis=1).min()) - self.radius_m


def _dirt_world(world: World, item: str) -> FloatArray:
    return world.dirt_world(item) if isinstance(world, DirtyWorld) else np.empty((0, 3))


class _FreeSpace:
    """Free and level areas on the surfaces of a scene, found by vertical rays."""

    def __init__(self, simulation: "Simulation", model: "mujoco.MjModel", data: "mujoco.MjData") -> None:
        self._model, self._data = model, data
        world = simulation.world
        self._ray_start_m = max(float(world.position_world(item)[2]) for item in world.items()) + _RAY_HEIGHT_M
        fixtures = {fixture.body for fixture in simulation.fixtures() if not fixture.bin}
        self._fixed = {
            body
            for body in range(model.nbody)
            if model.body_weldid[body] == 0 and model.body_mocapid[body] < 0 and body not in fixtures
        }

    def height_m(self, position: FloatArray, radius_m: float) -> float | None:
        """Return the height of the surface within `radius_m` of `position` (2,); None if it is not free and level."""
        surface_m: float | None = None
        for fraction, count in _RINGS:
            for angle in np.linspace(0.0, 2 * np.pi, count, endpoint=False):
                height = self._surface_m(position + fraction * radius_m * np.array([np.cos(angle), np.sin(angle)]))
                if height is None or (surface_m is not None and abs(height - surface_m) > _MAX_UNEVENNESS_M):
                    return None
                surface_m = height
        return surface_m

    def _surface_m(self, point: FloatArray) -> float | None:
        """Return the height of the fixed surface below a point (2,); None if something else is there."""
        import mujoco

        geom = np.zeros(1, dtype=np.int32)
        start = np.array([*point, self._ray_start_m])
        distance = mujoco.mj_ray(self._model, self._data, start, np.array([0.0, 0.0, -1.0]), None, 1, -1, geom)
        height_m = self._ray_start_m - distance
        is_fixed = distance >= 0.0 and int(self._model.geom_bodyid[geom[0]]) in self._fixed
        return height_m if is_fixed and height_m > _MIN_SURFACE_M else None


def _free_position(
    free_space: _FreeSpace, own: Sequence[_TaskObject], radius_m: float, generator: np.random.Generator
) -> FloatArray | None:
    """Return the first free position among random ones, (3,); None if there is none.

    The window of the random positions grows from attempt to attempt.
    """
    centers = np.concatenate([item.positions for item in own])
    for reach_m in np.linspace(*_REACH_M, _ATTEMPTS):
        position = generator.uniform(centers.min(axis=0) - reach_m, centers.max(axis=0) + reach_m)
        if all(item.distance_m(position) > radius_m for item in own):
            height_m = free_space.height_m(position, radius_m)
            if height_m is not None:
                return np.array([*position, height_m])
    return None


def _is_ambiguous(kind: str, task: Task) -> bool:
    """Return whether the scene has such an object, or the instruction could refer to it by its noun alone."""
    if kind in task.objects.values():
        return True
    color, _, noun = kind.partition("_")
    words = " ".join((task.instruction, *task.paraphrases)).split()
    preceding = [words[index - 1] if index else "" for index, word in enumerate(words) if word in (noun, color)]
    return task.engine == "robosuite" and any(word not in _COLORS or word == color for word in preceding)
