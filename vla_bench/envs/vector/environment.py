"""The Gymnasium vector environment: environments of one or several tasks in worker processes.

Gymnasium's `AsyncVectorEnv` has one process for each environment. For 8 environments with images of 224 pixels on two
cores it made 11 to 15 % fewer steps a second, started 3 to 4 times slower and needed 2.3 to 3 times the memory.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from gymnasium.error import AlreadyPendingCallError, ClosedEnvironmentError, NoAsyncCallError
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from vla_bench.core.env_options import CAMERAS, EnvOptions, Rendering
from vla_bench.core.errors import ConventionError
from vla_bench.core.machine import usable_cores
from vla_bench.core.process_environment import process_variables
from vla_bench.core.types import FloatArray
from vla_bench.envs.vector.shared_images import RecycledBuffers, SharedImages, image_arrays
from vla_bench.envs.vector.worker import Infos, VectorWorker, WorkerSpec, require_same_spaces
from vla_bench.tasks import get_task

Batch = dict[str, Any]  # as `Observation`, with an additional first axis of every array, and a tuple of instructions
Step = tuple[Batch, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class VlaBenchVectorEnv(VectorEnv[Batch, FloatArray, NDArray[Any]]):
    """Environments in worker processes, with the results of `gymnasium.vector.SyncVectorEnv` of the same environments.

    `step_async` and `step_wait` are the two parts of `step`: between them, workers simulate while the caller computes.
    """

    def __init__(
        self,
        task_ids: Sequence[str],
        *,
        workers: int,
        autoreset_mode: AutoresetMode,
        copy: bool,
        options: EnvOptions,
    ) -> None:
        self.num_envs, self._copy, self._pending = len(task_ids), copy, False
        self._images, self._workers = _start_workers(task_ids, workers, autoreset_mode, options)
        try:
            facts = [worker.facts() for worker in self._workers]
            for worker, other in zip(self._workers, facts, strict=True):
                spaces = [(one.observation_space, one.action_space) for one in (facts[0], other)]
                require_same_spaces(task_ids[0], spaces[0], worker.spec.task_ids[0], spaces[1])
        except BaseException:
            self.close_extras()
            self.closed = True
            raise
        self.metadata, self.render_mode = facts[0].metadata, facts[0].render_mode
        self.single_observation_space, self.single_action_space = facts[0].observation_space, facts[0].action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._copies: defaultdict[tuple[str, str], RecycledBuffers] = defaultdict(RecycledBuffers)
        self._latest: list[Batch] = [{} for _ in self._workers]  # the latest observations without images, by worker

    @property  # type: ignore[misc]  # read only, as in SyncVectorEnv
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """Copies of the environments' random generators."""
        return self.get_attr("np_random")

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seeds of the environments' random generators."""
        return self.get_attr("np_random_seed")

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Batch, dict[str, Any]]:
        """Begin an episode in every environment, or in those selected by the option `reset_mask` (N,).

        With a single seed, environment i gets `seed + i`; a sequence has one seed for each environment.
        """
        self._require_idle()
        seeds = _seeds(seed, self.num_envs)
        mask = _reset_mask(options, self.num_envs)
        if len(seeds) != self.num_envs:
            raise ConventionError(f"There are {len(seeds)} seeds. Expected {self.num_envs}, one per environment.")
        numbers = [n for n, worker in enumerate(self._workers) if mask is None or mask[worker.indices].any()]
        for number in numbers:
            indices = self._workers[number].indices
            self._workers[number].request("reset_worker", seeds[indices], _with_mask(options, mask, indices))
        infos: dict[str, Any] = {}
        for number, (observations, worker_infos) in zip(numbers, self._answers(numbers), strict=True):
            self._latest[number] = observations
            infos = self._with_infos(infos, number, worker_infos)
        return self._observations(), infos

    def step(self, actions: FloatArray) -> Step:
        """Advance every environment one control step with actions (N, 7), or (N, 14) for two arms."""
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: FloatArray) -> None:
        """Start a step in every environment."""
        self._require_idle()
        actions = _validated_actions(actions, self.action_space.shape or ())
        for worker in self._workers:
            worker.request("step_worker", actions[worker.indices])
        self._pending = True

    def step_wait(self) -> Step:
        """Wait for the step that `step_async` started and return the result of `step`."""
        if not self._pending:
            raise NoAsyncCallError("No step has been started. Call step_async() before step_wait().", "step")
        self._pending = False
        answers = self._answers(range(len(self._workers)))
        self._latest = [answer[0] for answer in answers]
        rewards, terminations, truncations = (np.concatenate(parts) for parts in list(zip(*answers, strict=True))[1:4])
        infos: dict[str, Any] = {}
        for number, answer in enumerate(answers):
            infos = self._with_infos(infos, number, answer[4])
        return self._observations(), rewards, terminations, truncations, infos

    def render(self) -> tuple[Any, ...]:
        """Return the image of each environment's first camera."""
        return self._call_workers("render")

    def call(self, name: str, *arguments: Any, **keywords: Any) -> tuple[Any, ...]:
        """Call a method of every environment, or read an attribute; return all results."""
        return self._call_workers("call", name, *arguments, **keywords)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Return the values of an attribute of every environment."""
        return self._call_workers("call", name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute of every environment to one value, or to its entry of a list or tuple of values."""
        values = list(values) if isinstance(values, list | tuple) else [values] * self.num_envs
        if len(values) != self.num_envs:
            raise ConventionError(f"There are {len(values)} values. Expected {self.num_envs}, one per environment.")
        self._require_idle()
        for worker in self._workers:
            worker.request("set_attr", name, values[worker.indices])
        self._answers(range(len(self._workers)))

    def close_extras(self, **keywords: Any) -> None:
        """End the worker processes."""
        for worker in self._workers:
            worker.process.close()
        for worker in self._workers:
            worker.process.join()

    def _call_workers(self, name: str, *arguments: Any, **keywords: Any) -> tuple[Any, ...]:
        self._require_idle()
        for worker in self._workers:
            worker.request(name, *arguments, **keywords)
        return tuple(value for answer in self._answers(range(len(self._workers))) for value in answer)

    def _answers(self, numbers: Sequence[int]) -> list[Any]:
        """Return the answers of these workers; if one failed, close the environments and raise its error."""
        try:
            return [self._workers[number].answer() for number in numbers]
        except BaseException:
            self.close()
            raise

    def _with_infos(self, infos: dict[str, Any], number: int, worker_infos: Infos) -> dict[str, Any]:
        first = self._workers[number].spec.first
        for index, info in worker_infos:
            infos = self._add_info(infos, info, first + index)
        return infos

    def _observations(self) -> Batch:
        images = self._images.batches()
        batch: Batch = {}
        for key in self.single_observation_space:  # type: ignore[attr-defined]  # a Dict space
            if key in images:
                batch[key] = {camera: self._copied(key, camera, one) for camera, one in images[key].items()}
            else:
                batch[key] = _concatenate([observations[key] for observations in self._latest])
        return batch

    def _copied(self, kind: str, camera: str, images: NDArray[Any]) -> NDArray[Any]:
        return self._copies[kind, camera].copy(images) if self._copy else images

    def _require_idle(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("The vector environment is closed.")
        if self._pending:
            raise AlreadyPendingCallError("A step has been started. Call step_wait() first.", "step")


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
    """Return `num_envs` environments (default: one for each task) in `num_workers` processes (default: one per core).

    Environment i has task i modulo the number of tasks; the other options are those of `make`. With `copy=False`, the
    images that `step` and `reset` return are the shared memory itself, and change with the next call. A script that
    calls this must be a file and do so under `if __name__ == "__main__":`.

    Raises:
        UnknownNameError: for an unknown task, camera or perturbation axis.
        ConventionError: if observations or actions of the tasks cannot be batched.
    """
    names = [task_ids] if isinstance(task_ids, str) else list(task_ids)
    for task_id in names:
        get_task(task_id)
    count = len(names) if num_envs is None else num_envs
    cores = usable_cores()
    for name, value in (("task_ids", len(names)), ("num_envs", count), ("num_workers", num_workers or cores)):
        if value < 1:
            raise ConventionError(f"{name} is {value}. Expected 1 or more.")
    options = EnvOptions(
        image_size=image_size,
        cameras=tuple(cameras),
        depth=depth,
        segmentation=segmentation,
        rendering=rendering,
        robot=robot,
        perturb=perturb,
        wait_steps=wait_steps,
    )
    return VlaBenchVectorEnv(
        [names[i % len(names)] for i in range(count)],
        workers=min(count, num_workers or cores),
        autoreset_mode=AutoresetMode(autoreset_mode),
        copy=copy,
        options=options,
    )


def make_vec_registered(
    num_envs: int, task_id: str, render_mode: str | None = None, **options: Any
) -> VlaBenchVectorEnv:
    """Return the environments for `gymnasium.make_vec`, which passes a render mode."""
    return make_vec(task_id, num_envs, **options)


def _start_workers(
    task_ids: Sequence[str], workers: int, autoreset_mode: AutoresetMode, options: EnvOptions
) -> tuple[SharedImages, list[VectorWorker]]:
    """Start the workers. Their numbers of environments differ by one at most."""
    images = SharedImages(
        image_arrays(
            options.cameras,
            options.image_size,
            depth=options.depth,
            segmentation=options.segmentation,
        ),
        len(task_ids),
    )
    sizes = [len(task_ids) // workers + (worker < len(task_ids) % workers) for worker in range(workers)]
    firsts = [0, *accumulate(sizes)]
    specs = [
        WorkerSpec(first, tuple(task_ids[first : first + size]), options, autoreset_mode)
        for first, size in zip(firsts, sizes, strict=False)
    ]
    return images, [VectorWorker(spec, images, process_variables(workers, number)) for number, spec in enumerate(specs)]


def _concatenate(parts: Sequence[Any]) -> Any:
    if isinstance(parts[0], tuple):  # instructions
        return tuple(text for part in parts for text in part)
    return {} if isinstance(parts[0], dict) else np.concatenate(parts)  # without cameras: {}


def _seeds(seed: int | Sequence[int | None] | None, count: int) -> list[int | None]:
    if seed is None:
        return [None] * count
    return [int(seed) + i for i in range(count)] if isinstance(seed, int | np.integer) else list(seed)


def _reset_mask(options: dict[str, Any] | None, count: int) -> NDArray[np.bool_] | None:
    mask = (options or {}).get("reset_mask")
    if mask is not None and (not isinstance(mask, np.ndarray) or mask.shape != (count,) or mask.dtype != np.bool_):
        raise ConventionError(f"reset_mask is {mask!r}. Expected an array of {count} booleans.")
    if mask is not None and not mask.any():
        raise ConventionError("reset_mask selects no environment. Expected at least one True.")
    return mask


def _with_mask(options: dict[str, Any] | None, mask: NDArray[np.bool_] | None, indices: slice) -> dict[str, Any] | None:
    return options if options is None or mask is None else {**options, "reset_mask": mask[indices]}


def _validated_actions(actions: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Return the actions; raise `ConventionError` for invalid ones, before any environment has moved."""
    actions = np.asarray(actions)
    if actions.shape != shape:
        raise ConventionError(f"The actions have shape {actions.shape}. Expected {shape}.")
    if not np.isfinite(actions).all():
        raise ConventionError(
            f"The action of environment {int(np.argmin(np.isfinite(actions).all(-1)))} is not finite."
        )
    return actions
