"""ManiSkill's `PickCube-v1` on the CPU, created through Gymnasium as documented. Requires Vulkan."""

from __future__ import annotations

from typing import Any

TITLE = "ManiSkill `PickCube-v1`"
DISTRIBUTIONS = ("mani_skill", "sapien", "gymnasium")


def make(options: dict[str, Any]) -> Any:
    """Return the workload with at most two cameras: the default one and the wrist camera."""
    import gymnasium
    import mani_skill.envs  # type: ignore[import-not-found]  # noqa: F401  # registers the environments
    import numpy as np

    robot = "panda_wristcam" if options["cameras"] > 1 else "panda"
    env = gymnasium.make(
        "PickCube-v1",
        num_envs=1,
        robot_uids=robot,
        obs_mode="rgb" if options["cameras"] else "state",
        control_mode="pd_ee_delta_pose",
        sim_backend="cpu",
        sensor_configs={"width": options["image_size"], "height": options["image_size"]},
        max_episode_steps=400,
    )
    generator = np.random.default_rng(0)

    class Stock:
        def step(self) -> bool:
            _, _, terminated, truncated, _ = env.step(generator.uniform(-0.3, 0.3, 7).astype(np.float32))
            return bool(terminated) or bool(truncated)

        def reset(self) -> None:
            env.reset(seed=0)

    return Stock()
