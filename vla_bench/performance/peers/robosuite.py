"""robosuite's `Lift`, created as documented."""

from __future__ import annotations

from typing import Any

TITLE = "robosuite `Lift`"
DISTRIBUTIONS = ("robosuite", "mujoco")
_CAMERAS = ("agentview", "robot0_eye_in_hand", "frontview", "birdview")


def make(options: dict[str, Any]) -> Any:
    """Return the workload; a reset compiles the model again, which is robosuite's default."""
    import numpy as np
    import robosuite

    class Stock:
        def __init__(self) -> None:
            self._env = robosuite.make(
                "Lift",
                robots="Panda",
                has_renderer=False,
                has_offscreen_renderer=options["cameras"] > 0,
                use_camera_obs=options["cameras"] > 0,
                camera_names=list(_CAMERAS[: max(1, options["cameras"])]),
                camera_heights=options["image_size"],
                camera_widths=options["image_size"],
                control_freq=20,
                horizon=400,
            )
            self._generator = np.random.default_rng(0)

        def step(self) -> bool:
            return bool(self._env.step(self._generator.uniform(-0.3, 0.3, 7))[2])

        def reset(self) -> None:
            self._env.reset()

    return Stock()
