"""How vector environments are made, by our own function and by Gymnasium's."""

from collections.abc import Sequence
from typing import Any

from gymnasium.vector import AutoresetMode

from vla_bench.core.errors import ConventionError
from vla_bench.core.machine import usable_cores
from vla_bench.envs.environment import CAMERAS
from vla_bench.envs.options import Rendering
from vla_bench.envs.vector.environment import VlaBenchVectorEnv
from vla_bench.tasks import get_task


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
