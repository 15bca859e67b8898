"""Axes that change where objects are: layout and distractors."""

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

    from vla_bench.envs.perturbations.free_space import FreeSpace
    from vla_bench.envs.simulation import Simulation


# ~ Things stand elsewhere: all together, fixtures too, so that they stay as they are to one another.

_FREE_JOINT = 0  # mjtJoint.mjJNT_FREE


@perturbation_axes.named("layout")
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
    for joint in np.flatnonzero(model.jnt_type == _FREE_JOINT):
        if int(model.jnt_bodyid[joint]) in roots:
            yield int(joint)


# ~ Further things stand among the others.

_PREFIX = "distractor_"
_POOL = ("yellow_cube", "black_can", "purple_cube", "milk_box", "orange_mug", "green_cube")  # the first that will do
_RADIUS_M = {"orange_mug": 0.05}  # with its handle
_USUAL_RADIUS_M = 0.033
_CLEARANCE_M = {"tabletop": 0.02, "robosuite": 0.045}  # robosuite leaves its own things more room
_REACH_M = (0.03, 0.35)  # beyond the middles of the task's own things: at the first try, and at the last
_TRIES = 600
_DROP_M = 0.0005
_FREE = 0  # mjtJoint.mjJNT_FREE
_LARGE_M = 0.15  # a thing with a larger radius is one in which, or on which, others stand
_COLORS = {"red", "green", "blue", "yellow", "orange", "purple", "black", "white", "brown"}


@perturbation_axes.named("distractors")
class DistractorsEffect(Effect):
    """One, two or three small objects that the task does not speak of stand beside its own."""

    def alter(self, task: Task) -> Task:
        """Add objects of kinds that the scene does not have and that no word of the instruction could mean."""
        kinds = [kind for kind in _POOL if not _is_ambiguous(kind, task)][: self.severity]
        if len(kinds) < self.severity:
            raise PerturbationError(f"{task.id} has every distractor that there is in its scene already.")
        asset = "guest:{}" if task.engine == "robosuite" else "{}"
        self._clearance_m = _CLEARANCE_M[task.engine]
        guests = {f"{_PREFIX}{kind}": asset.format(kind) for kind in kinds}
        relations = tuple(Relation("guest", (name,)) for name in guests) if task.engine == "tabletop" else ()
        return replace(task, objects={**task.objects, **guests}, initial=task.initial + relations)

    def check(self, simulation: "Simulation") -> None:
        """Raise `PerturbationError` where nothing lies about, so that there is no place for more."""
        world, model = simulation.world, simulation.models()[0]
        own = [item for item in world.items() if not item.startswith(_PREFIX)]
        roots = {model.body_rootid[body] for item in own for body in simulation.item_bodies()[item]}
        loose = any(model.body_jntnum[root] and model.jnt_type[model.body_jntadr[root]] == _FREE for root in roots)
        if not loose and not any(len(_dirt_world(world, item)) for item in own):
            raise PerturbationError("Axis 'distractors' needs a scene in which things lie about: there are none.")

    def disturb(
        self, simulation: "Simulation", model: "mujoco.MjModel", data: "mujoco.MjData", generator: np.random.Generator
    ) -> None:
        """Put the distractors where there is room, near the task's own things."""
        import mujoco

        from vla_bench.envs.perturbations.free_space import FreeSpace

        world = simulation.world
        guests = [item for item in world.items() if item.startswith(_PREFIX)]
        own = [_TaskObject.of(world, item) for item in world.items() if item not in guests]
        for guest in guests:
            radius_m = _RADIUS_M.get(guest.removeprefix(_PREFIX), _USUAL_RADIUS_M) + self._clearance_m
            place = _free_place(FreeSpace(simulation, model, data), own, radius_m, generator)
            if place is None:
                raise PerturbationError(f"There is no room for {guest!r} in this scene.")
            (body,) = simulation.item_bodies()[guest]
            address = model.jnt_qposadr[model.body_jntadr[body]]
            data.qpos[address : address + 3] = place - (0.0, 0.0, world.geometry(guest).bottom_m - _DROP_M)
            mujoco.mj_kinematics(model, data)


@dataclass(frozen=True)
class _TaskObject:
    """One of the task's own things, as far as a distractor must know it."""

    places: FloatArray  # (N, 2) where it is
    radius_m: float  # that is kept free around its middle; 0 for what others stand in or on

    @classmethod
    def of(cls, world: World, item: str) -> "_TaskObject":
        dirt = _dirt_world(world, item)
        radius_m = world.geometry(item).support_radius_m
        places = dirt if len(dirt) else world.position_world(item)[None]
        return cls(places[:, :2].copy(), radius_m if radius_m < _LARGE_M else 0.0)

    def room_m(self, place: FloatArray) -> float:
        """Return how far `place` (2,) is from it."""
        return float(np.linalg.norm(self.places - place, axis=1).min()) - self.radius_m


def _dirt_world(world: World, item: str) -> FloatArray:
    return world.dirt_world(item) if isinstance(world, DirtyWorld) else np.empty((0, 3))


def _free_place(
    ground: "FreeSpace", own: Sequence[_TaskObject], radius_m: float, generator: np.random.Generator
) -> FloatArray | None:
    """Return the first free of the places drawn, (3,), in a window that grows from try to try; None where none is."""
    middles = np.concatenate([thing.places for thing in own])
    for reach_m in np.linspace(*_REACH_M, _TRIES):
        place = generator.uniform(middles.min(axis=0) - reach_m, middles.max(axis=0) + reach_m)
        if all(thing.room_m(place) > radius_m for thing in own):
            height_m = ground.height_m(place, radius_m)
            if height_m is not None:
                return np.array([*place, height_m])
    return None


def _is_ambiguous(kind: str, task: Task) -> bool:
    """Return whether the scene has such a thing, or the instruction could mean it: by its noun without a colour."""
    if kind in task.objects.values():
        return True
    colour, _, noun = kind.partition("_")
    words = " ".join((task.instruction, *task.paraphrases)).split()
    before = [words[place - 1] if place else "" for place, word in enumerate(words) if word in (noun, colour)]
    return task.engine == "robosuite" and any(word not in _COLORS or word == colour for word in before)
