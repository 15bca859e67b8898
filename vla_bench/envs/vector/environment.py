"""The Gymnasium vector environment: environments of one or several tasks in worker processes."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from gymnasium.error import AlreadyPendingCallError, ClosedEnvironmentError, NoAsyncCallError
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from vla_bench.core.errors import ConventionError
from vla_bench.core.machine import usable_cores
from vla_bench.core.process_environment import process_variables
from vla_bench.core.types import FloatArray
from vla_bench.envs.environment import CAMERAS
from vla_bench.envs.options import Rendering
from vla_bench.envs.vector.shared_images import RecycledBuffers, SharedImages, image_arrays
from vla_bench.envs.vector.worker import Infos, VectorWorker, WorkerSpec, require_same_spaces
from vla_bench.tasks import get_task

# ~ The Gymnasium vector environment: many environments of one or several tasks in worker processes.

Batch = dict[str, Any]  # as `Observation`, every array with one more axis in front, a tuple of instructions
Step = tuple[Batch, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class VlaBenchVectorEnv(VectorEnv[Batch, FloatArray, NDArray[Any]]):
    """Environments in processes. Returns what `gymnasium.vector.SyncVectorEnv` of the same environments returns.

    `step_async` and `step_wait` are the halves of `step`: the world goes on while the caller computes.
    """

    def __init__(
        self,
        task_ids: Sequence[str],
        *,
        workers: int,
        autoreset_mode: AutoresetMode,
        copy: bool,
        options: dict[str, Any],
    ) -> None:
        self.num_envs, self._copy, self._pending = len(task_ids), copy, False
        self._pictures, self._processes = _start_workers(task_ids, workers, autoreset_mode, options)
        try:
            facts = [process.facts() for process in self._processes]
            for process, other in zip(self._processes, facts, strict=True):
                spaces = [(one.observation_space, one.action_space) for one in (facts[0], other)]
                require_same_spaces(task_ids[0], spaces[0], process.spec.task_ids[0], spaces[1])
        except BaseException:
            self.close_extras()
            self.closed = True
            raise
        self.metadata, self.render_mode = facts[0].metadata, facts[0].render_mode
        self.single_observation_space, self.single_action_space = facts[0].observation_space, facts[0].action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._copies: defaultdict[tuple[str, str], RecycledBuffers] = defaultdict(RecycledBuffers)
        self._small: list[Batch] = [{} for _ in self._processes]  # of each worker: observations without pictures

    @property  # type: ignore[misc]  # read only, as SyncVectorEnv has it
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Copies of the environments' generators."""
        return self.get_attr("np_random")

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """What the environments' generators were seeded with."""
        return self.get_attr("np_random_seed")

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Batch, dict[str, Any]]:
        """Begin an episode in every environment, or in those that the option `reset_mask` (N,) names.

        A number seeds environment i with `seed + i`; a sequence has a seed for each.
        """
        self._require_idle()
        seeds = (
            [seed if seed is None else seed + i for i in range(self.num_envs)] if _is_single_seed(seed) else list(seed)
        )  # type: ignore[arg-type,operator]
        mask = _reset_mask(options, self.num_envs)
        if len(seeds) != self.num_envs:
            raise ConventionError(f"There are {len(seeds)} seeds. Expected {self.num_envs}, one an environment.")
        asked = [place for place, process in enumerate(self._processes) if mask is None or mask[process.places].any()]
        for place in asked:
            places = self._processes[place].places
            self._processes[place].ask("reset_share", seeds[places], _with_mask(options, mask, places))
        infos: dict[str, Any] = {}
        for place, (small, told) in zip(asked, self._answers(asked), strict=True):
            self._small[place] = small
            infos = self._added(infos, place, told)
        return self._observations(), infos

    def step(self, actions: FloatArray) -> Step:
        """Advance every environment one control step under actions (N, 7), or more numbers for more arms."""
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: FloatArray) -> None:
        """Begin a step."""
        self._require_idle()
        actions = _validated_actions(actions, self.action_space.shape or ())
        for process in self._processes:
            process.ask("step_share", actions[process.places])
        self._pending = True

    def step_wait(self) -> Step:
        """Wait for the step that has begun and return what `step` returns."""
        if not self._pending:
            raise NoAsyncCallError("No step has begun. Call step_async() before step_wait().", "step")
        self._pending = False
        answers = self._answers(range(len(self._processes)))
        self._small = [answer[0] for answer in answers]
        rewards, terminations, truncations = (np.concatenate(parts) for parts in list(zip(*answers, strict=True))[1:4])
        infos: dict[str, Any] = {}
        for place, answer in enumerate(answers):
            infos = self._added(infos, place, answer[4])
        return self._observations(), rewards, terminations, truncations, infos

    def render(self) -> tuple[Any, ...]:
        """Return each environment's first camera's image."""
        return self._everywhere("render")

    def call(self, name: str, *arguments: Any, **keywords: Any) -> tuple[Any, ...]:
        """Call a method of every environment, or read an attribute; return what each returned."""
        return self._everywhere("call", name, *arguments, **keywords)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return an attribute of every environment."""
        return self._everywhere("call", name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every environment: to its own of a list or tuple of values, or to the one value."""
        values = list(values) if isinstance(values, list | tuple) else [values] * self.num_envs
        if len(values) != self.num_envs:
            raise ConventionError(f"There are {len(values)} values. Expected {self.num_envs}, one an environment.")
        self._require_idle()
        for process in self._processes:
            process.ask("set_attr", name, values[process.places])
        self._answers(range(len(self._processes)))

    def close_extras(self, **keywords: Any) -> None:
        """End the processes."""
        for worker in self._processes:
            worker.process.close()
        for worker in self._processes:
            worker.process.join()

    def _everywhere(self, name: str, *arguments: Any, **keywords: Any) -> tuple[Any, ...]:
        self._require_idle()
        for process in self._processes:
            process.ask(name, *arguments, **keywords)
        return tuple(value for answer in self._answers(range(len(self._processes))) for value in answer)

    def _answers(self, places: Sequence[int]) -> list[Any]:
        """Return the answers of these workers; where one failed, the environments are closed and its error raised."""
        try:
            return [self._processes[place].answer() for place in places]
        except BaseException:
            self.close()
            raise

    def _added(self, infos: dict[str, Any], place: int, told: Infos) -> dict[str, Any]:
        first = self._processes[place].spec.first
        for number, info in told:
            infos = self._add_info(infos, info, first + number)
        return infos

    def _observations(self) -> Batch:
        pictures = self._pictures.batches()
        batch: Batch = {}
        for key in self.single_observation_space:  # type: ignore[attr-defined]  # a Dict space
            if key in pictures:
                batch[key] = {name: self._own(key, name, one) for name, one in pictures[key].items()}
            else:
                batch[key] = _concatenate([small[key] for small in self._small])
        return batch

    def _own(self, kind: str, camera: str, pictures: NDArray[Any]) -> NDArray[Any]:
        return self._copies[kind, camera].copy(pictures) if self._copy else pictures

    def _require_idle(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("The vector environment is closed.")
        if self._pending:
            raise AlreadyPendingCallError("A step has begun. Call step_wait() first.", "step")


def _start_workers(
    task_ids: Sequence[str], workers: int, autoreset_mode: AutoresetMode, options: dict[str, Any]
) -> tuple[SharedImages, list[VectorWorker]]:
    """Start the processes, each with as many environments as the next or one more."""
    pictures = SharedImages(
        image_arrays(
            options["cameras"],
            options["image_size"],
            depth=options["depth"],
            segmentation=options["segmentation"],
        ),
        len(task_ids),
    )
    sizes = [len(task_ids) // workers + (place < len(task_ids) % workers) for place in range(workers)]
    firsts = [0, *accumulate(sizes)]
    shares = [
        WorkerSpec(first, tuple(task_ids[first : first + size]), options, autoreset_mode)
        for first, size in zip(firsts, sizes, strict=False)
    ]
    processes = [
        VectorWorker(share, pictures, process_variables(workers, worker)) for worker, share in enumerate(shares)
    ]
    return pictures, processes


def _concatenate(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], tuple):  # instructions
        return tuple(text for part in parts for text in part)
    return {} if isinstance(parts[0], dict) else np.concatenate(parts)  # without cameras there are no images


def _is_single_seed(seed: int | Sequence[int | None] | None) -> bool:
    return seed is None or isinstance(seed, int | np.integer)


def _reset_mask(options: dict[str, Any] | None, count: int) -> NDArray[np.bool_] | None:
    mask = (options or {}).get("reset_mask")
    if mask is not None and (not isinstance(mask, np.ndarray) or mask.shape != (count,) or mask.dtype != np.bool_):
        raise ConventionError(f"reset_mask is {mask!r}. Expected an array of {count} booleans.")
    if mask is not None and not mask.any():
        raise ConventionError("reset_mask names no environment. Expected at least one True.")
    return mask


def _with_mask(options: dict[str, Any] | None, mask: NDArray[np.bool_] | None, places: slice) -> dict[str, Any] | None:
    return options if options is None or mask is None else {**options, "reset_mask": mask[places]}


def _validated_actions(actions: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Return the actions; raise before any environment has moved where one would refuse."""
    actions = np.asarray(actions)
    if actions.shape != shape:
        raise ConventionError(f"The actions have shape {actions.shape}. Expected {shape}.")
    if not np.isfinite(actions).all():
        raise ConventionError(
            f"The action of environment {int(np.argmin(np.isfinite(actions).all(-1)))} is not finite."
        )
    return actions


# ~ How vector environments are made, by our own function and by Gymnasium's.


def make_vec(
    task_ids: str | Sequence[str],
    num_envs: int | None = None,
    *,
    num_workers: int | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    copy: bool = True,
    image_size: int = 224,
    rendering: Rendering = "fast",
    cameras: tuple[str, ...] = CAMERAS,
    depth: bool = False,
    wait_steps: int | None = None,
    perturb: str | None = None,
    robot: str = "panda",
    segmentation: bool = False,
) -> VlaBenchVectorEnv:
    """Return `num_envs` environments (one a task by default) in `num_workers` processes (one a core by default).

    Environment i is of task i modulo the number of tasks; the other options are those of `make`. With `copy=False` the
    pictures that `step` and `reset` return are the shared memory itself, and change with the next call. A script that
    calls this must be a file and do so under `if __name__ == "__main__":`.

    Raises:
        UnknownNameError: for an unknown task, camera or perturbation axis.
        ConventionError: where the tasks' observations or actions do not fit into one batch.
    """
    asked = [task_ids] if isinstance(task_ids, str) else list(task_ids)
    for task_id in asked:
        get_task(task_id)
    count = len(asked) if num_envs is None else num_envs
    cores = usable_cores()
    for name, value in (("task_ids", len(asked)), ("num_envs", count), ("num_workers", num_workers or cores)):
        if value < 1:
            raise ConventionError(f"{name} is {value}. Expected 1 or more.")
    options = {
        "image_size": image_size,
        "rendering": rendering,
        "cameras": tuple(cameras),
        "depth": depth,
        "wait_steps": wait_steps,
        "perturb": perturb,
        "robot": robot,
        "segmentation": segmentation,
    }
    return VlaBenchVectorEnv(
        [asked[i % len(asked)] for i in range(count)],
        workers=min(count, num_workers or cores),
        autoreset_mode=AutoresetMode(autoreset_mode),
        copy=copy,
        options=options,
    )


def make_vec_registered(
    num_envs: int, task_id: str, render_mode: str | None = None, **options: Any
) -> VlaBenchVectorEnv:
    """Serve `gymnasium.make_vec`, which passes a render mode."""
    return make_vec(task_id, num_envs, **options)
