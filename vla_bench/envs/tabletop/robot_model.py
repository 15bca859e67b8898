"""The MuJoCo specification of a robot: an arm with a gripper, built from its description."""

from collections.abc import Iterable
from pathlib import Path

import mujoco
import numpy as np

from vla_bench.core.env_options import Rendering
from vla_bench.core.geometry import axis_angle_to_quat_wxyz, quat_wxyz_multiply, quat_wxyz_to_matrix
from vla_bench.envs.descriptions import (
    ArmDescription,
    Coupling,
    EndEffectorDescription,
    GripperDescription,
    RobotDescription,
    description_path,
    mjcf_path,
)
from vla_bench.envs.mjcf import VISUAL_GROUP, read_robot_mjcf, require_names
from vla_bench.envs.rendering.mesh_simplification import FAST_FACES, simplify_visual_meshes

GRIPPER_PREFIX = "gripper_"


def robot_spec(name: str, robot: RobotDescription, rendering: Rendering) -> mujoco.MjSpec:
    """Return the specification of a robot; raise `ConfigurationError` for a described name that its MJCF lacks."""
    arm_path, gripper_path = (mjcf_path("robots", part.mjcf) for part in (robot.arm, robot.gripper))
    arm, gripper = (_load_part(path, rendering) for path in (arm_path, gripper_path))
    description = description_path("robots", name)
    _check_arm(description, robot, arm, arm_path)
    _check_gripper(description, robot, gripper, gripper_path)
    _adjust_arm(arm, robot.arm)
    _adjust_gripper(gripper, robot.gripper)
    arm.attach(gripper, frame=arm.body(robot.arm.mount_body).add_frame(), prefix=GRIPPER_PREFIX)
    return arm


def _load_part(path: Path, rendering: Rendering) -> mujoco.MjSpec:
    spec = read_robot_mjcf(path)
    _remove_visual_mass(spec)
    if rendering == "fast":
        _add_visual_copies(spec)
        simplify_visual_meshes(spec, path.parent, FAST_FACES)
    for site in spec.sites:
        site.rgba = np.zeros(4)
    return spec


def _remove_visual_mass(spec: mujoco.MjSpec) -> None:
    """Set the mass of purely visual geoms to 0: otherwise MuJoCo infers it, and appearance would change physics."""
    for body in spec.bodies:
        for geom in body.geoms:
            if not body.explicitinertial and not geom.contype and not geom.conaffinity:
                geom.mass = 0.0


def _add_visual_copies(spec: mujoco.MjSpec) -> None:
    """Render massless copies of meshes that are both visual and solid, so that the copies can be simplified."""
    solid = [geom for geom in spec.geoms if geom.meshname and geom.group == VISUAL_GROUP and geom.contype]
    meshes = {mesh.name: mesh for mesh in spec.meshes}
    for geom in solid:
        name = f"{geom.meshname}_drawn"
        if name not in meshes:
            original = meshes[geom.meshname]
            meshes[name] = spec.add_mesh(name=name, file=original.file, scale=original.scale)
        geom.parent.add_geom(
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=name,
            pos=geom.pos,
            quat=geom.quat,
            rgba=geom.rgba,
            material=geom.material,
            group=VISUAL_GROUP,
            contype=0,
            conaffinity=0,
            mass=0,
        )
        geom.group = 0


def _check_arm(description: Path, robot: RobotDescription, spec: mujoco.MjSpec, path: Path) -> None:
    arm = robot.arm
    bodies, cameras = [body.name for body in spec.bodies], [camera.name for camera in spec.cameras]
    require_names(description, "arm.mount_body", "body", [arm.mount_body], bodies, path)
    require_names(description, "arm.joints", "joint", arm.joints, [joint.name for joint in spec.joints], path)
    actuators = [actuator.name for actuator in spec.actuators]
    require_names(description, "arm.actuators", "actuator", arm.actuators, actuators, path)
    require_names(description, "arm.wrist_camera", "camera", [arm.wrist_camera], cameras, path)


def _check_gripper(description: Path, robot: RobotDescription, spec: mujoco.MjSpec, path: Path) -> None:
    gripper, fingers = robot.gripper, robot.gripper.fingers
    joints = [joint.name for joint in spec.joints]
    sites, bodies = [site.name for site in spec.sites], [body.name for body in spec.bodies]
    actuators, geoms = [actuator.name for actuator in spec.actuators], [geom.name for geom in spec.geoms]
    require_names(description, "gripper.joints", "joint", gripper.joints, joints, path)
    require_names(description, "gripper.actuators", "actuator", gripper.actuators, actuators, path)
    coupled = [name for coupling in gripper.couplings for name in (coupling.joint, coupling.follows)]
    require_names(description, "gripper.couplings", "joint", coupled, joints, path)
    require_names(description, "gripper.end_effector.site", "site", [gripper.end_effector.site], sites, path)
    require_names(description, "gripper.fingers.bodies", "body", fingers.bodies, bodies, path)
    require_names(description, "gripper.fingers.tips", "geom", fingers.tips, geoms, path)


def _adjust_arm(spec: mujoco.MjSpec, arm: ArmDescription) -> None:
    for joint, damping in zip(arm.joints, arm.joint_damping, strict=True):
        spec.joint(joint).damping = np.full_like(spec.joint(joint).damping, damping)
    for joint, inertia in zip(arm.joints, arm.joint_armature or (), strict=False):
        spec.joint(joint).armature = inertia
    if any(arm.wrist_camera_offset_m):
        camera = spec.camera(arm.wrist_camera)
        camera.pos = camera.pos + np.array(arm.wrist_camera_offset_m)


def _adjust_gripper(spec: mujoco.MjSpec, gripper: GripperDescription) -> None:
    _move_site(spec, gripper.end_effector)
    _couple(spec, gripper.couplings)
    for actuator, limit in zip(gripper.actuators, gripper.force_limits or (), strict=False):
        spec.actuator(actuator).forcelimited, spec.actuator(actuator).forcerange = True, (-limit, limit)


def _couple(gripper: mujoco.MjSpec, couplings: Iterable[Coupling]) -> None:
    for coupling in couplings:
        polynomial = [0.0, coupling.ratio, *[0.0] * 9]
        joints = {"name1": coupling.joint, "name2": coupling.follows, "objtype": mujoco.mjtObj.mjOBJ_JOINT}
        gripper.add_equality(type=mujoco.mjtEq.mjEQ_JOINT, data=polynomial, **joints)


def _move_site(gripper: mujoco.MjSpec, end_effector: EndEffectorDescription) -> None:
    """Move the end-effector's site as described."""
    site = gripper.site(end_effector.site)
    if any(end_effector.offset_m):
        site.pos = site.pos + quat_wxyz_to_matrix(site.quat) @ np.array(end_effector.offset_m)
    if end_effector.yaw_deg:
        rotation = axis_angle_to_quat_wxyz(np.array([0.0, 0.0, np.radians(end_effector.yaw_deg)]))
        site.quat = quat_wxyz_multiply(site.quat, rotation)
