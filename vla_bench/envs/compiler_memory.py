"""Memory that compiling a model leaves behind: MuJoCo keeps what it read, and the C library keeps what it freed.

A worker process builds a model for each task and steps it for hours; robosuite's scenes leave 250 MB each time.
"""

import ctypes
import gc
import sys

import mujoco

_NOTHING = "<mujoco/>"


def asset_cache_bytes() -> int:
    """Return how much of meshes and textures MuJoCo keeps for models that may be compiled later."""
    return int(mujoco.mj_getCacheSize(mujoco.mj_getCache()))


def release_compiler_memory() -> None:
    """Forget assets that were read and give free memory back; models and environments in use are not touched."""
    gc.collect()  # a robosuite environment refers to itself, so that closing it frees nothing yet
    mujoco.mj_clearCache(mujoco.mj_getCache())
    mujoco.MjModel.from_xml_string(_NOTHING)  # takes the place of the last file read, which stays whole in memory
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others give memory back by themselves
        if trim is not None:
            trim(ctypes.c_size_t(0))
