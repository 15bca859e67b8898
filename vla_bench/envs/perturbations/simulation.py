"""A simulation under perturbations, which wraps that of any engine, and the hash of its physics."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.episode import array_hash
from vla_bench.core.geometry import CameraGeometry
from vla_bench.core.types import FloatArray, ImageArray, World
from vla_bench.envs.perturbations.perturbation import Effect, Perturbation
from vla_bench.envs.simulation import Disturbance, Fixture, Simulation
from vla_bench.tasks.task import Task

if TYPE_CHECKING:
    import mujoco


# ~ The fields of a compiled model that perturbations may change: kept as compiled, brought back, compared.

_FIELDS = (
    *("cam_pos", "cam_quat", "cam_fovy"),
    *("light_pos", "light_dir", "light_ambient", "light_diffuse", "light_specular"),
    *("mat_rgba", "mat_texrepeat", "mat_specular", "geom_rgba"),
    *("geom_size", "geom_pos", "geom_rbound", "geom_aabb", "bvh_aabb", "geom_friction"),
    *("body_pos", "body_quat", "body_ipos", "body_mass", "body_inertia", "body_subtreemass"),
    *("site_pos", "site_size"),
)
_HEADLIGHT = ("ambient", "diffuse", "specular")


class ModelFields:
    """A model's changeable fields as they were when this was made."""

    def __init__(self, model: "mujoco.MjModel") -> None:
        self._model = model
        self._compiled = {name: getattr(model, name).copy() for name in _FIELDS}
        self._headlight = {name: getattr(model.vis.headlight, name).copy() for name in _HEADLIGHT}

    def restore(self) -> None:
        """Bring everything back."""
        for name, values in self._compiled.items():
            getattr(self._model, name)[:] = values
        for name, values in self._headlight.items():
            getattr(self._model.vis.headlight, name)[:] = values

    def changed(self) -> list[NDArray[np.float64]]:
        """Return the present values of the fields that differ from the compiled ones."""
        now = [(getattr(self._model, name), values) for name, values in self._compiled.items()]
        now += [(getattr(self._model.vis.headlight, name), values) for name, values in self._headlight.items()]
        return [np.array(value, dtype=np.float64) for value, compiled in now if not np.array_equal(value, compiled)]


# ~ A simulation under perturbations: it wraps any engine's.


def perturbed_simulation(
    make: Callable[[Task], Simulation], task: Task, perturbation: Perturbation
) -> "PerturbedSimulation":
    """Return the simulation of `task`, made by `make` with models of its own, under `perturbation`.

    Raise `PerturbationError` for an axis that the task does not have.
    """
    effects = dict(perturbation.effects())
    for effect in effects.values():
        task = effect.alter(task)
    return PerturbedSimulation(make(task), task, effects)


class PerturbedSimulation:
    """Passes everything on, changed by the effects of each axis.

    The scene is that of the clean simulation with the same generator: each axis draws from a child generator of its
    own, so that one axis changes nothing about another.
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
        """The view that goal predicates and experts read."""
        return self._inner.world

    @property
    def instruction(self) -> str:
        """What the policy is told in this episode."""
        return self._instruction

    def reset(self, generator: np.random.Generator, disturb: Disturbance | None = None) -> None:
        """Begin an episode: the clean scene, changed."""
        children = _axis_generators(generator, self._effects)
        for fields in self._fields:
            fields.restore()
        for axis, effect in self._effects.items():
            effect.change(self._inner, children[axis])
        self._inner.models_changed()

        def disturb_all(model: mujoco.MjModel, data: mujoco.MjData) -> None:
            for axis, effect in self._effects.items():
                effect.disturb(self._inner, model, data, children[axis])
            if disturb is not None:
                disturb(model, data)

        self._instruction = self._inner.instruction
        for axis, effect in self._effects.items():
            self._instruction = effect.instruct(self._task, self._instruction, children[axis])
            effect.begin(children[axis])
        self._inner.reset(generator, disturb_all)

    def step(self, action: FloatArray) -> None:
        """Advance one control step under the action as it arrives."""
        for effect in self._effects.values():
            action = effect.act(action)
        self._inner.step(np.clip(action, -1.0, 1.0))

    def images(self) -> dict[str, ImageArray]:
        """Render every camera, as the policy sees it."""
        images = self._inner.images()
        for effect in self._effects.values():
            images = {name: effect.see(name, image) for name, image in images.items()}
        return images

    def depth(self) -> dict[str, NDArray[np.float32]]:
        """Render every camera's depth."""
        return self._inner.depth()

    def segmentation(self) -> dict[str, NDArray[np.uint8]]:
        """Render what every camera's pixels show."""
        return self._inner.segmentation()

    def cameras(self) -> dict[str, CameraGeometry]:
        """Return where every camera stands now."""
        return self._inner.cameras()

    def proprioception(self) -> NDArray[np.float32]:
        """Return the robot's own state."""
        return self._inner.proprioception()

    def succeeded(self) -> bool:
        """Whether the goal holds now."""
        return self._inner.succeeded()

    def reward(self, succeeded: bool) -> float:
        """Return this step's reward."""
        return self._inner.reward(succeeded)

    def gripper_force_n(self) -> float:
        """Return the largest normal force at a contact of the gripper."""
        return self._inner.gripper_force_n()

    def state(self) -> NDArray[np.float64]:
        """Return the whole simulation state; what an effect remembers during the episode is not in it."""
        return self._inner.state()

    def scene_state(self) -> NDArray[np.float64]:
        """Return what of the state makes the scene."""
        return self._inner.scene_state()

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Restore what `state` returned."""
        self._inner.set_state(state)

    def models(self) -> tuple[mujoco.MjModel, ...]:
        """Return the models that are simulated and drawn."""
        return self._inner.models()

    def models_changed(self) -> None:
        """Read the models again."""
        self._inner.models_changed()

    def item_bodies(self) -> Mapping[str, Iterable[int]]:
        """Return the bodies of the model that are each item's."""
        return self._inner.item_bodies()

    def fixtures(self) -> tuple[Fixture, ...]:
        """Return what stands fixed and can be put elsewhere."""
        return self._inner.fixtures()

    def fixture_pose(self, body: int) -> tuple[FloatArray, FloatArray]:
        """Return where a fixture stands."""
        return self._inner.fixture_pose(body)

    def move_fixture(self, body: int, position_world: FloatArray, quat_wxyz: FloatArray) -> None:
        """Put a fixture somewhere, for this episode."""
        self._inner.move_fixture(body, position_world, quat_wxyz)

    def arm_qpos_addresses(self) -> NDArray[np.int64]:
        """Return where the joint positions of the arms stand in `qpos`."""
        return self._inner.arm_qpos_addresses()

    def changes(self) -> tuple[NDArray[np.float64], ...]:
        """Return what differs from the clean model, for the hash of the scene; what is drawn has the same draws."""
        return tuple(self._fields[0].changed())

    def acting(self) -> tuple[str, ...]:
        """Return, as `axis=severity`, the effects that come between an action and the robot."""
        return tuple(
            f"{axis}={effect.severity}" for axis, effect in self._effects.items() if type(effect).act is not Effect.act
        )

    def model_xml(self) -> str:
        """Return the MJCF of the model as compiled."""
        return self._inner.model_xml()

    def close(self) -> None:
        """Free the simulation."""
        self._inner.close()


def _axis_generators(generator: np.random.Generator, names: Iterable[str]) -> dict[str, np.random.Generator]:
    """Return a generator for each axis that follows from `generator` and its name alone; no draw is taken away."""
    entropy = generator.spawn(1)[0].integers(2**32, size=4).tolist()
    return {name: np.random.default_rng([*entropy, *name.encode()]) for name in names}


# ~ What the physics of an episode follows from, as a hash: equal hashes, the same course under the same actions.
# ~
# ~ It covers every field of the simulated model but those that only draw, the state, and what comes between an
# ~ action and
# ~ the robot. An expert acts on these alone, so what it does under one hash it does wherever the hash is the same.

# Of MuJoCo's model, what its engine reads for drawing alone (mjmodel.h). Whatever is not named here counts as physics.
_VISUAL_PREFIXES = ("cam_", "light_", "mat_", "tex_", "skin_", "text_")
_VISUAL_FIELDS = {
    *(f"{kind}_{what}" for kind in ("geom", "site", "tendon") for what in ("rgba", "matid")),
    *(f"{kind}_group" for kind in ("geom", "site")),
}


def physics_hash(simulation: "Simulation") -> str:
    """Return the hash of a simulation as it stands, such as after a reset."""
    model = simulation.models()[0]
    acting = simulation.acting() if isinstance(simulation, PerturbedSimulation) else ()
    return array_hash(*_fields(model), *_options(model), simulation.state(), np.array(acting, dtype=str))


def _fields(model: "mujoco.MjModel") -> Iterator[NDArray[np.generic]]:
    for name in sorted(dir(model)):
        if name.startswith(("_", *_VISUAL_PREFIXES)) or name in _VISUAL_FIELDS:
            continue
        value = getattr(model, name)
        if isinstance(value, np.ndarray):
            yield np.array([name])
            yield value


def _options(model: "mujoco.MjModel") -> Iterator[NDArray[np.generic]]:
    for name in sorted(dir(model.opt)):
        value = getattr(model.opt, name)
        if not name.startswith("_") and isinstance(value, np.ndarray | float | int):
            yield np.array([name])
            yield np.asarray(value)
