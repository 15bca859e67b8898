"""A simulation under perturbations, which wraps that of any engine, and the hash of its physics."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.episode import array_hash
from vla_bench.core.geometry import CameraGeometry
from vla_bench.core.types import FloatArray, ImageArray, World
from vla_bench.envs.perturbations.perturbation import Effect, Perturbation
from vla_bench.envs.simulation import Disturbance, Fixture, Simulation
from vla_bench.tasks.task import Task

# The fields of a compiled model that perturbations may change.
_FIELDS = (
    *("cam_pos", "cam_quat", "cam_fovy"),
    *("light_pos", "light_dir", "light_ambient", "light_diffuse", "light_specular"),
    *("mat_rgba", "mat_texrepeat", "mat_specular", "geom_rgba"),
    *("geom_size", "geom_pos", "geom_rbound", "geom_aabb", "bvh_aabb", "geom_friction"),
    *("body_pos", "body_quat", "body_ipos", "body_mass", "body_inertia", "body_subtreemass"),
    *("site_pos", "site_size"),
)
_HEADLIGHT = ("ambient", "diffuse", "specular")

# Fields of MuJoCo's model that are read for rendering alone (mjmodel.h). All other fields count as physics.
_VISUAL_PREFIXES = ("cam_", "light_", "mat_", "tex_", "skin_", "text_")
_VISUAL_FIELDS = {
    *(f"{kind}_{what}" for kind in ("geom", "site", "tendon") for what in ("rgba", "matid")),
    *(f"{kind}_group" for kind in ("geom", "site")),
}


class ModelFields:
    """The values that a model's changeable fields had when this object was created."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._compiled = {name: getattr(model, name).copy() for name in _FIELDS}
        self._headlight = {name: getattr(model.vis.headlight, name).copy() for name in _HEADLIGHT}

    def restore(self) -> None:
        """Reset all fields to these values."""
        for name, values in self._compiled.items():
            getattr(self._model, name)[:] = values
        for name, values in self._headlight.items():
            getattr(self._model.vis.headlight, name)[:] = values

    def changed(self) -> list[NDArray[np.float64]]:
        """Return the current values of the fields that have changed."""
        now = [(getattr(self._model, name), values) for name, values in self._compiled.items()]
        now += [(getattr(self._model.vis.headlight, name), values) for name, values in self._headlight.items()]
        return [np.array(value, dtype=np.float64) for value, compiled in now if not np.array_equal(value, compiled)]


def perturbed_simulation(
    make: Callable[[Task], Simulation], task: Task, perturbation: Perturbation
) -> "PerturbedSimulation":
    """Return a simulation of `task` under `perturbation`, based on the clean one of `make` with models of its own.

    Raises:
        PerturbationError: if an axis does not apply to the task.
    """
    effects = dict(perturbation.effects())
    for effect in effects.values():
        task = effect.modify_task(task)
    return PerturbedSimulation(make(task), task, effects)


class PerturbedSimulation:
    """A simulation that applies the effects of each axis to another simulation, of any engine.

    The scene is that of the clean simulation with the same random generator. Each axis uses its own child generator,
    so axes do not influence one another.
    """

    def __init__(self, simulation: Simulation, task: Task, effects: dict[str, Effect]) -> None:
        self._inner, self._task, self._effects = simulation, task, effects
        for effect in effects.values():
            effect.check(simulation)
        self._fields = [ModelFields(model) for model in simulation.models()]
        self.proprioception_fields = simulation.proprioception_fields
        self.action_dim = simulation.action_dim
        self._instruction = simulation.instruction

    @property
    def world(self) -> World:
        """The view for goal predicates and experts."""
        return self._inner.world

    @property
    def instruction(self) -> str:
        """The instruction of this episode."""
        return self._instruction

    def reset(self, generator: np.random.Generator, disturb: Disturbance | None = None) -> None:
        """Begin an episode with the clean scene and apply the effects."""
        children = _axis_generators(generator, self._effects)
        for fields in self._fields:
            fields.restore()
        for axis, effect in self._effects.items():
            effect.modify_models(self._inner, children[axis])
        self._inner.models_changed()

        def disturb_all(model: mujoco.MjModel, data: mujoco.MjData) -> None:
            for axis, effect in self._effects.items():
                effect.disturb(self._inner, model, data, children[axis])
            if disturb is not None:
                disturb(model, data)

        self._instruction = self._inner.instruction
        for axis, effect in self._effects.items():
            self._instruction = effect.modify_instruction(self._task, self._instruction, children[axis])
            effect.begin_episode(children[axis])
        self._inner.reset(generator, disturb_all)

    def step(self, action: FloatArray) -> None:
        """Advance one control step with the modified action."""
        for effect in self._effects.values():
            action = effect.modify_action(action)
        self._inner.step(np.clip(action, -1.0, 1.0))

    def images(self) -> dict[str, ImageArray]:
        """Render every camera and modify the images."""
        images = self._inner.images()
        for effect in self._effects.values():
            images = {name: effect.modify_image(name, image) for name, image in images.items()}
        return images

    def depth(self) -> dict[str, NDArray[np.float32]]:
        """Render every camera's depth [m]."""
        return self._inner.depth()

    def segmentation(self) -> dict[str, NDArray[np.uint8]]:
        """Render the segment of every pixel of every camera."""
        return self._inner.segmentation()

    def cameras(self) -> dict[str, CameraGeometry]:
        """Return the current geometry of every camera."""
        return self._inner.cameras()

    def proprioception(self) -> NDArray[np.float32]:
        """Return the robot's proprioception."""
        return self._inner.proprioception()

    def succeeded(self) -> bool:
        """Return whether the goal holds now."""
        return self._inner.succeeded()

    def reward(self, succeeded: bool) -> float:
        """Return this step's reward."""
        return self._inner.reward(succeeded)

    def gripper_force_n(self) -> float:
        """Return the largest normal force at a contact of the gripper [N]."""
        return self._inner.gripper_force_n()

    def state(self) -> NDArray[np.float64]:
        """Return the whole simulation state, without what effects remember during the episode."""
        return self._inner.state()

    def scene_state(self) -> NDArray[np.float64]:
        """Return the part of the state that defines the scene."""
        return self._inner.scene_state()

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Restore a state that `state` returned."""
        self._inner.set_state(state)

    def models(self) -> tuple[mujoco.MjModel, ...]:
        """Return the model that is simulated and, with cameras, the model that is rendered."""
        return self._inner.models()

    def models_changed(self) -> None:
        """Update everything that was derived from the models."""
        self._inner.models_changed()

    def item_bodies(self) -> Mapping[str, Iterable[int]]:
        """Return the bodies of each item."""
        return self._inner.item_bodies()

    def fixtures(self) -> tuple[Fixture, ...]:
        """Return the fixtures that can be moved."""
        return self._inner.fixtures()

    def fixture_pose(self, body: int) -> tuple[FloatArray, FloatArray]:
        """Return the pose of a fixture."""
        return self._inner.fixture_pose(body)

    def move_fixture(self, body: int, position_world: FloatArray, quat_wxyz: FloatArray) -> None:
        """Move a fixture for this episode."""
        self._inner.move_fixture(body, position_world, quat_wxyz)

    def arm_qpos_addresses(self) -> NDArray[np.int64]:
        """Return the addresses of the arms' joint positions in `qpos`."""
        return self._inner.arm_qpos_addresses()

    def changes(self) -> tuple[NDArray[np.float64], ...]:
        """Return the model fields that differ from the clean model, for the scene hash."""
        return tuple(self._fields[0].changed())

    def action_effects(self) -> tuple[str, ...]:
        """Return, as `axis=severity`, the effects that modify actions."""
        return tuple(
            f"{axis}={effect.severity}"
            for axis, effect in self._effects.items()
            if type(effect).modify_action is not Effect.modify_action
        )

    def model_xml(self) -> str:
        """Return the MJCF of the compiled model."""
        return self._inner.model_xml()

    def close(self) -> None:
        """Free the simulation."""
        self._inner.close()


def physics_hash(simulation: Simulation) -> str:
    """Return a hash of everything that decides the physics of the episode from now on.

    It covers every field of the simulated model except those for rendering alone, the state, and the effects that
    modify actions. An expert depends on these alone, so under equal hashes it acts in the same way.
    """
    model = simulation.models()[0]
    acting = simulation.action_effects() if isinstance(simulation, PerturbedSimulation) else ()
    return array_hash(*_fields(model), *_options(model), simulation.state(), np.array(acting, dtype=str))


def _axis_generators(generator: np.random.Generator, names: Iterable[str]) -> dict[str, np.random.Generator]:
    """Return a generator for each axis, seeded by its name and `generator`, whose own stream does not advance."""
    entropy = generator.spawn(1)[0].integers(2**32, size=4).tolist()
    return {name: np.random.default_rng([*entropy, *name.encode()]) for name in names}


def _fields(model: mujoco.MjModel) -> Iterator[NDArray[np.generic]]:
    for name in sorted(dir(model)):
        if name.startswith(("_", *_VISUAL_PREFIXES)) or name in _VISUAL_FIELDS:
            continue
        value = getattr(model, name)
        if isinstance(value, np.ndarray):
            yield np.array([name])
            yield value


def _options(model: mujoco.MjModel) -> Iterator[NDArray[np.generic]]:
    for name in sorted(dir(model.opt)):
        value = getattr(model.opt, name)
        if not name.startswith("_") and isinstance(value, np.ndarray | float | int):
            yield np.array([name])
            yield np.asarray(value)
