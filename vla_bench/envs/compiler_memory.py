"""Giving back what MuJoCo's compiler keeps: a worker holds many environments, and few models."""

import ctypes
import sys

import mujoco

_NOTHING = "<mujoco/>"


def release_compiler_memory() -> None:
    """Free the meshes and textures that MuJoCo's compiler keeps for the next model, and return them to the system."""
    mujoco.mj_clearCache(mujoco.mj_getCache())
    mujoco.MjModel.from_xml_string(_NOTHING)  # takes the place of the last file read, which stays whole in memory
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
