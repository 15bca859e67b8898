"""The joints of fixtures in a compiled model, and how far a task may have them open at the start."""

from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np

from vla_bench.core.registry import Registry
from vla_bench.envs.descriptions import JointDescription
from vla_bench.envs.scene import CompiledScene, item_prefix


@dataclass(frozen=True)
class JointInModel:
    """A joint that a description declares, by its numbers in the compiled model."""

    part: str  # the item that it moves
    description: JointDescription
    joint: int
    qpos: int
    handle: int  # a site
    furthest: float  # upper end of its range [m or rad]


def joints_of(compiled: CompiledScene, item: str) -> tuple[JointInModel, ...]:
    """Return the joints of an object's parts, or the one of a part that is given by its own name."""
    return tuple(
        _in_model(compiled.model, item_prefix(name), f"{name}_{part}", description.joint)
        for name, whole in compiled.objects.items()
        for part, description in whole.parts.items()
        if description.joint and item in (name, f"{name}_{part}")
    )


JointStart = Callable[[JointInModel, np.random.Generator], float]
joint_starts: Registry[JointStart] = Registry("initial relation of a joint")


@joint_starts.named("turned_on")
@joint_starts.register
def opened(joint: JointInModel, generator: np.random.Generator) -> float:
    """Return a position in the further half of where the joint counts as open."""
    half_way = (joint.description.open_from + joint.furthest) / 2
    return float(generator.uniform(half_way, joint.furthest))


def _in_model(model: mujoco.MjModel, prefix: str, part: str, description: JointDescription) -> JointInModel:
    joint = model.joint(prefix + description.joint).id
    handle = model.site(prefix + description.handle).id
    furthest = float(model.jnt_range[joint, 1])
    return JointInModel(part, description, joint, int(model.jnt_qposadr[joint]), handle, furthest)
