"""Meta-World's `pick-place-v3`, created through Gymnasium as documented."""

from __future__ import annotations

from typing import Any

TITLE = "Meta-World `pick-place-v3`"
DISTRIBUTIONS = ("metaworld", "mujoco", "gymnasium")
_CAMERAS = ("corner2", "gripperPOV", "topview", "corner")


def make(options: dict[str, Any]) -> Any:
    """Return the workload: the default state observation and an image of each camera by `render`.

    An environment renders one camera; the others are rendered by changing the camera of its renderer.
    """
    import gymnasium
    import metaworld  # type: ignore[import-not-found]  # noqa: F401  # registers the environments
    import mujoco
    import numpy as np

    cameras = _CAMERAS[: options["cameras"]]
    size = {"width": options["image_size"], "height": options["image_size"]}
    rendering = {"render_mode": "rgb_array", "camera_name": cameras[0], **size} if cameras else {}
    env = gymnasium.make("Meta-World/MT1", env_name="pick-place-v3", seed=0, **rendering)
    inner: Any = env.unwrapped
    ids = [mujoco.mj_name2id(inner.model, mujoco.mjtObj.mjOBJ_CAMERA, name) for name in cameras]
    generator = np.random.default_rng(0)

    class Stock:
        def step(self) -> bool:
            _, _, terminated, truncated, _ = env.step(generator.uniform(-0.3, 0.3, 4).astype(np.float32))
            self._render()
            return bool(terminated or truncated)

        def reset(self) -> None:
            env.reset()
            self._render()

        def _render(self) -> None:
            for camera in ids:
                inner.mujoco_renderer.camera_id = camera
                env.render()

    return Stock()
