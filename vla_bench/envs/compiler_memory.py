"""Memory that compiling a model leaves behind: MuJoCo keeps what it read, and the C library keeps what it freed.

A worker process builds a model for each task and steps it for hours; robosuite's scenes leave 250 MB each time, those
of our own engine 30.
"""

import ctypes
import sys

import mujoco

_NOTHING = "<mujoco/>"


def asset_cache_bytes() -> int:
    """Return how much of meshes and textures MuJoCo keeps for models that may be compiled later."""
    return int(mujoco.mj_getCacheSize(mujoco.mj_getCache()))


def release_compiler_memory() -> None:
    """Forget assets that were read and give free memory back; models, specifications and what uses them stay."""
    mujoco.mj_clearCache(mujoco.mj_getCache())
    mujoco.MjModel.from_xml_string(_NOTHING)  # takes the place of the last file read, which stays whole in memory
    give_back_free_memory()


def give_back_free_memory() -> None:
    """Give the system the memory that the C library keeps for later."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others give memory back by themselves
        if trim is not None:
            trim(ctypes.c_size_t(0))
