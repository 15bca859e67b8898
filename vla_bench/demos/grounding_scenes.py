"""Static scenes for visual grounding: random arrangements, rendered once, with the true positions of all objects.

A full-size VLA inherits object names and positions from vision-language pretraining; a small one learns them from these
scenes in minutes (see `baselines/openvla-nano/`).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import OutputMismatchError, VlaBenchError
from vla_bench.core.files import written_whole
from vla_bench.core.types import ImageArray
from vla_bench.core.worker_pool import run_jobs
from vla_bench.demos.store import DemonstrationFile
from vla_bench.tasks import get_task, tasks_of
from vla_bench.tasks.task import Task

if TYPE_CHECKING:
    from vla_bench.envs.descriptions import Region
    from vla_bench.envs.tabletop.simulation import TabletopSimulation


def instructions_of(suites: Iterable[str]) -> tuple[str, ...]:
    """Return the instructions of all tasks of `suites`, with or without demonstrations."""
    return tuple(task.instruction for suite in suites for task in tasks_of(suite))


_SCENES_PER_JOB = 100
_WORKSPACE_M = ((-0.20, 0.22), (-0.36, 0.36), (0.82, 1.10))  # of the end-effector: x, y, z in the world frame
_ENLARGED_REGIONS = {
    "middle": (0.17, 0.19),
    "left": (0.10, 0.06),
    "right": (0.10, 0.06),
}  # half sizes [m]
_HELD_FRACTION = 0.3  # fraction of the scenes in which the gripper holds an object
_DELIVERED_FRACTION = 0.3  # fraction with an object in the basket or on the plate
_FORMAT = "vla_bench_scenes"
_CHUNK = 16  # scenes


class SceneFileError(VlaBenchError):
    """A file that is not a scene file."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path} is not a scene file: {problem}. Move the file away, so that it is generated again.")


@dataclass(frozen=True, eq=False)
class Scenes:
    """N static scenes: images, segmentation and true object positions."""

    items: tuple[str, ...]
    nouns: tuple[str, ...]  # name of each item
    colours: tuple[str, ...]
    images: ImageArray  # (N, cameras, H, W, 3)
    segments: NDArray[np.uint8]  # (N, cameras, H, W): 0 for no item, k for the k-th item, counted from 1
    proprioception: NDArray[np.float32]  # (N, P); the first three are the end-effector's position
    positions_world: NDArray[np.float32]  # (N, items, 3) [m]


@dataclass(frozen=True)
class SceneOptions:
    """Options of scene generation."""

    task: str  # whose objects the scenes contain
    count: int
    output: Path
    seed: int = 0
    image_size: int = 96
    workers: int = 2

    def configuration(self) -> dict[str, object]:
        """Return, as JSON values, the options that determine the scenes."""
        return {"task": self.task, "count": self.count, "seed": self.seed, "image_size": self.image_size}


def make_scenes(options: SceneOptions, on_progress: Callable[[int], None] = lambda done: None) -> None:
    """Render the scenes and write them to `options.output`, unless it exists; the content does not depend on `workers`.

    Raises:
        OutputMismatchError: the output holds scenes made with other options.
        SceneFileError: the output is not a scene file.
    """
    if options.output.exists():
        _require_same_options(options)
        return
    starts = range(0, options.count, _SCENES_PER_JOB)
    parts: dict[int, Scenes] = {}
    for start, part in run_jobs([(None, start) for start in starts], options.workers, SceneFactory(options)):
        parts[start] = part
        on_progress(sum(len(done.images) for done in parts.values()))
    write_scenes(_concatenate([parts[start] for start in starts]), options)


@dataclass(frozen=True)
class SceneFactory:
    """Factory of a worker's rendering function; it is pickled to the worker process."""

    options: SceneOptions

    def __call__(self) -> Callable[[int], Scenes]:
        """Return a function that renders up to `_SCENES_PER_JOB` scenes, beginning with the given index."""

        def render(start: int) -> Scenes:
            simulation = _simulation(get_task(self.options.task), self.options.image_size)
            end = min(start + _SCENES_PER_JOB, self.options.count)
            return _concatenate([_one_scene(simulation, self.options, index) for index in range(start, end)])

        return render


def write_scenes(scenes: Scenes, options: SceneOptions) -> None:
    """Write the scenes made with `options` to its output, completely or not at all."""
    with written_whole(options.output) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["format"] = _FORMAT
        file.attrs["options"] = json.dumps(options.configuration())
        for name in ("items", "nouns", "colours"):
            file.attrs[name] = list(getattr(scenes, name))
        size = (min(_CHUNK, len(scenes.images)), *scenes.images.shape[1:])
        file.create_dataset("images", data=scenes.images, compression="lzf", chunks=size)
        file.create_dataset("segments", data=scenes.segments, compression="lzf", chunks=size[:-1])
        file.create_dataset("proprioception", data=scenes.proprioception)
        file.create_dataset("positions_world", data=scenes.positions_world)


def read_scenes(path: Path) -> Scenes:
    """Read a scene file into memory; raise `SceneFileError` for another file."""
    with _opened(path) as file:
        items, nouns, colours = (tuple(map(str, file.attrs[name])) for name in ("items", "nouns", "colours"))
        arrays = (file[name][:] for name in ("images", "segments", "proprioception", "positions_world"))
        return Scenes(items, nouns, colours, *arrays)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with h5py.File(path) as file:
            if file.attrs.get("format") != _FORMAT:
                raise SceneFileError(path, f"its format is {file.attrs.get('format', 'not stated')!r}")
            yield file
    except (OSError, KeyError) as error:
        raise SceneFileError(path, str(error)) from error


def _require_same_options(options: SceneOptions) -> None:
    with _opened(options.output) as file:
        stored = json.loads(str(file.attrs.get("options", "{}")))
    wanted = options.configuration().items()
    differences = [f"{name} {stored.get(name)}, not {value}" for name, value in wanted if stored.get(name) != value]
    if differences:
        raise OutputMismatchError(options.output, differences)


def positions_in_demonstrations(path: Path, items: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Return demonstration -> positions of `items` at each step, (T, items, 3) [m], without rendering.

    Raises `UnknownNameError` where the scene of a demonstration lacks an item.
    """
    found: dict[str, NDArray[np.float32]] = {}
    simulations: dict[str, TabletopSimulation] = {}
    with DemonstrationFile(path) as file:
        for name in file.names:
            demonstration = file.read(name, cameras=())
            task = get_task(demonstration.identity.task_id)
            if task.id not in simulations:
                simulations[task.id] = _simulation(task, 96, draws=False)
            simulation = simulations[task.id]
            found[name] = np.stack([_positions_at(simulation, state, items) for state in demonstration.states])
    return found


def _positions_at(
    simulation: "TabletopSimulation", state: NDArray[np.float64], items: Sequence[str]
) -> NDArray[np.float32]:
    simulation.set_state(state)
    return _positions(simulation, items)


def _positions(simulation: "TabletopSimulation", items: Sequence[str]) -> NDArray[np.float32]:
    return np.stack([simulation.world.position_world(item) for item in items]).astype(np.float32)


def _simulation(task: Task, image_size: int, *, draws: bool = True) -> "TabletopSimulation":
    from vla_bench.envs.rendering.backend import load_mujoco

    load_mujoco(renders=draws)
    from vla_bench.core.env_options import EnvOptions
    from vla_bench.envs.tabletop.simulation import TabletopSimulation

    return TabletopSimulation(task, EnvOptions(image_size=image_size))


def _one_scene(simulation: "TabletopSimulation", options: SceneOptions, index: int) -> Scenes:
    generator = np.random.default_rng([options.seed, index])
    task = get_task(options.task)
    regions = {name: _with_larger_region(name, region) for name, region in simulation.compiled.scene.regions.items()}
    relations = [task.initial[i] for i in generator.permutation(len(task.initial))]
    simulation.arrange_at_random(relations, regions, generator)
    graspable = [item for item, description in simulation.compiled.objects.items() if description.grasp]
    receivers = [item for item in task.objects if item not in graspable]
    delivered, held = (str(item) for item in generator.choice(graspable, 2, replace=False))
    if generator.random() < _DELIVERED_FRACTION:
        _deliver(simulation, delivered, str(generator.choice(receivers)), generator)
    low, high = np.array(_WORKSPACE_M).T
    holds = generator.random() < _HELD_FRACTION
    opening = 0.6 if holds else float(generator.choice([1.0, generator.uniform(0.0, 1.0)]))
    simulation.move_gripper_to(generator.uniform(low, high), np.pi / 2 + generator.uniform(-0.7, 0.7), opening)
    if holds:
        height_m = simulation.world.geometry(held).grasp_height_m
        simulation.move_item(held, simulation.world.end_effector_position_world() - np.array([0, 0, height_m]))
    looks = simulation.compiled.looks().values()
    return Scenes(
        simulation.world.items(),
        tuple(noun for noun, _ in looks),
        tuple(colour for _, colour in looks),
        np.stack(list(simulation.images().values()))[None],
        _item_numbers(np.stack(list(simulation.segmentation().values())))[None],
        simulation.proprioception()[None],
        _positions(simulation, simulation.world.items())[None],
    )


def _item_numbers(segmentation: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 0 for pixels without an item, and k for the k-th item, counted from 1."""
    return np.maximum(segmentation, np.uint8(1)) - np.uint8(1)  # background (0) and robot (1) are not items


def _deliver(simulation: "TabletopSimulation", item: str, receiver: str, generator: np.random.Generator) -> None:
    world = simulation.world
    spread = world.geometry(receiver).support_radius_m * 0.6
    offset = np.array([*generator.uniform(-spread, spread, 2), world.geometry(receiver).support_m])
    offset[2] -= world.geometry(item).bottom_m
    simulation.move_item(item, world.position_world(receiver) + offset)


def _with_larger_region(name: str, region: "Region") -> "Region":
    return region.model_copy(update={"half_size_m": _ENLARGED_REGIONS[name]}) if name in _ENLARGED_REGIONS else region


def _concatenate(parts: Sequence[Scenes]) -> Scenes:
    def stacked(field: str) -> Any:
        return np.concatenate([getattr(part, field) for part in parts])

    first = parts[0]
    names = (first.items, first.nouns, first.colours)
    return Scenes(*names, stacked("images"), stacked("segments"), stacked("proprioception"), stacked("positions_world"))
