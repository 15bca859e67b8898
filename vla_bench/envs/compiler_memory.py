"""Memory that compiling a model leaves behind: MuJoCo keeps what it read, and the C library keeps what it freed.

A worker process builds a model for each task and steps it for hours; robosuite's scenes leave 250 MB each time.
"""

import ctypes
import gc
import sys

from vla_bench.envs.native import library


def asset_cache_bytes() -> int:
    """Return how much of meshes and textures MuJoCo keeps for models that may be compiled later."""
    mujoco = library()
    mujoco.mj_getCacheSize.restype, mujoco.mj_getCacheSize.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
    return int(mujoco.mj_getCacheSize(_cache(mujoco)))


def release_compiler_memory() -> None:
    """Forget assets that were read and give free memory back; models and environments in use are not touched."""
    gc.collect()  # a robosuite environment refers to itself, so that closing it frees nothing yet
    mujoco = library()
    mujoco.mj_clearCache.restype, mujoco.mj_clearCache.argtypes = None, [ctypes.c_void_p]
    mujoco.mj_clearCache(_cache(mujoco))
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others give memory back by themselves
        if trim is not None:
            trim(ctypes.c_size_t(0))


def _cache(mujoco: ctypes.CDLL) -> ctypes.c_void_p:
    mujoco.mj_getCache.restype, mujoco.mj_getCache.argtypes = ctypes.c_void_p, []
    return ctypes.c_void_p(mujoco.mj_getCache())
