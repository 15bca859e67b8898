"""Loading of MuJoCo with an off-screen OpenGL backend that works on this machine."""

import os

from vla_bench.core.egl_devices import has_egl
from vla_bench.core.errors import RenderingError
from vla_bench.core.process_environment import BACKEND_VARIABLE, opengl_backend, opengl_variables


def load_mujoco(*, renders: bool = True) -> None:
    """Import MuJoCo, which loads OpenGL, with the backend of `opengl_backend`.

    With `renders=False` no image is needed yet: no OpenGL driver is started, and no OpenGL is required.

    Raises:
        RenderingError: if images are needed and this machine has no working OpenGL.
    """
    for name, value in opengl_variables().items():
        os.environ.setdefault(name, value)
    backend = opengl_backend(start_driver=renders)
    if backend:
        os.environ[BACKEND_VARIABLE] = backend
    try:
        import mujoco  # noqa: F401
    except Exception as error:  # the type of the error differs between OpenGL backends
        if renders:
            reason = "this machine has no libEGL.so.1: " if backend == "egl" and not has_egl() else ""
            raise RenderingError(
                f"{reason}{BACKEND_VARIABLE}={backend} gives {type(error).__name__}: {error}"
            ) from error
        _load_without_opengl(backend)


def _load_without_opengl(backend: str) -> None:
    os.environ[BACKEND_VARIABLE] = "disabled"
    try:
        import mujoco  # noqa: F401
    finally:
        os.environ[BACKEND_VARIABLE] = backend
