"""Loading MuJoCo, which loads the machine's OpenGL as it is imported."""

import os
import sys

from vla_bench.core.errors import RenderingError


def load_mujoco() -> None:
    """Import MuJoCo with off-screen OpenGL; raise `RenderingError` where the machine has none.

    `MUJOCO_GL` chooses the kind. Where it says nothing, this is EGL on Linux: MuJoCo's own choice needs a display.
    """
    if sys.platform == "linux":
        os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        import mujoco  # noqa: F401
    except Exception as error:  # whatever the OpenGL stack raises: it differs from backend to backend
        chosen = f"MUJOCO_GL={os.environ.get('MUJOCO_GL', '')}"
        raise RenderingError(f"{chosen} gives {type(error).__name__}: {error}") from error
