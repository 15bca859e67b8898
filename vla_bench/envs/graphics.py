"""The OpenGL context of a process, which all that draws in it shares."""

import atexit
import weakref
from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any, Protocol

import mujoco

from vla_bench.core.errors import RenderingError


class Freeable(Protocol):
    """Something that holds what only OpenGL can free."""

    def free(self) -> None:
        """Free it; do nothing when that has been done."""


class Graphics:
    """An off-screen OpenGL context. It outlives those who draw in it."""

    def __init__(self) -> None:
        try:
            self._context = mujoco.GLContext(1, 1)
            self.gl: Any = import_module("OpenGL.GL")  # only now: where nothing is drawn there need be none
        except Exception as error:  # whatever the OpenGL stack raises: it differs from backend to backend
            raise RenderingError(f"{type(error).__name__}: {error}") from error
        self._users: weakref.WeakSet[Freeable] = weakref.WeakSet()
        # What is registered last runs first: all must be freed while the OpenGL that MuJoCo loaded is there.
        atexit.register(self._close)

    def use(self) -> None:
        """Make this the context of all OpenGL calls: a program may have others."""
        self._context.make_current()

    def close_after(self, user: Freeable) -> None:
        """Free `user` before the process ends, if it has not been by then."""
        self._users.add(user)

    def _close(self) -> None:
        with suppress(Exception):  # another library has ended EGL for the whole process, and freed all that was in it
            for user in list(self._users):
                user.free()
            self._context.free()


@cache
def graphics() -> Graphics:
    """Return this process's context, made on first use; raise `RenderingError` where there can be none."""
    return Graphics()
