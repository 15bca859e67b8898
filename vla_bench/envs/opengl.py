"""Loading MuJoCo, which loads the machine's OpenGL as it is imported."""

import os
import sys

from vla_bench.core.errors import RenderingError

_CHOICE = "MUJOCO_GL"


def load_mujoco(*, draws: bool = True) -> None:
    """Import MuJoCo with off-screen OpenGL; raise `RenderingError` where the machine has none.

    `MUJOCO_GL` chooses the kind. Where it says nothing, this is EGL on Linux: MuJoCo's own choice needs a display.
    Where nothing is to be drawn (`draws` false), a machine without OpenGL will do.
    """
    if sys.platform == "linux":
        os.environ.setdefault(_CHOICE, "egl")
    try:
        import mujoco  # noqa: F401
    except Exception as error:  # whatever the OpenGL stack raises: it differs from backend to backend
        chosen = os.environ.get(_CHOICE, "")
        if draws:
            raise RenderingError(f"{_CHOICE}={chosen} gives {type(error).__name__}: {error}") from error
        _load_without_opengl(chosen)


def _load_without_opengl(chosen: str) -> None:
    os.environ[_CHOICE] = "disabled"
    try:
        import mujoco  # noqa: F401
    finally:
        os.environ[_CHOICE] = chosen
