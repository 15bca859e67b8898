"""The model that robosuite simulates, without what is only drawn: its meshes and textures fill 60 MB each time."""

import gc
from typing import Any

import mujoco
import numpy as np

from vla_bench.envs.compiler_memory import release_compiler_memory

_CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) * 0.01  # m; of a mesh that nobody sees
_SIDES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def lighten(env: Any) -> str:
    """Let robosuite's environment simulate the same physics without pictures; return the MJCF of the whole scene."""
    whole_xml: str = env.sim.model.get_xml()
    xml = env.model.get_xml()
    for processor in env._xml_processors:
        xml = processor(xml)
    env.sim = type(env.sim)(_without_pictures(xml))
    env.sim.forward()
    env.initialize_time(env.control_freq)
    env.reset()
    for robot in env.robots:
        robot.robot_model.mujoco_model = None  # 44 MB, which only whole-body inverse kinematics reads
    gc.collect()  # a robosuite environment refers to itself: those that were closed are still there
    release_compiler_memory()
    return whole_xml


def _without_pictures(xml: str) -> mujoco.MjModel:
    spec = mujoco.MjSpec.from_string(xml)
    solid = {geom.meshname for geom in spec.geoms if geom.contype or geom.conaffinity}
    for mesh in spec.meshes:
        if mesh.name not in solid:
            mesh.file, mesh.uservert, mesh.userface = "", _CORNERS.ravel(), _SIDES.ravel()
    for texture in spec.textures:
        texture.file, texture.builtin, texture.width, texture.height = "", mujoco.mjtBuiltin.mjBUILTIN_FLAT, 1, 1
        texture.cubefiles = [""] * 6
    return spec.compile()
