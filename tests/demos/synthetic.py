"""Small synthetic demonstrations, made without a simulator."""

from dataclasses import replace

import numpy as np

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import ProprioceptionField
from vla_bench.demos import Demonstration, FileHeader

FIELDS = (ProprioceptionField("end_effector_position", 3, "m, world"), ProprioceptionField("gripper_position", 2, "m"))


def header(*, depth: bool = False) -> FileHeader:
    """Return a header of two 24-pixel cameras."""
    env_args = {"env_name": "vla_bench/made_up.reach-v1", "env_version": "0", "type": 2, "env_kwargs": {}}
    return FileHeader(("agentview", "wrist"), 24, FIELDS, env_args, depth=depth)


def demonstration(
    index: int = 0, *, task: str = "reach", steps: int = 11, success: bool = True, depth: bool = False
) -> Demonstration:
    """Return a demonstration whose arrays are determined by its identity."""
    identity = EpisodeIdentity("made_up", task, index)
    draw = identity.generator("test")
    actions = draw.uniform(-1, 1, (steps, 7)).astype(np.float32)
    made = Demonstration(
        identity=identity,
        instruction=f"{task} for the cube",
        success=success,
        scene_seed=identity.scene_seed(),
        scene_hash=f"hash-{index}",
        images={name: draw.integers(0, 256, (steps, 24, 24, 3), dtype=np.uint8) for name in ("agentview", "wrist")},
        proprioception=draw.normal(size=(steps, 5)).astype(np.float32),
        actions=actions,
        executed_actions=np.clip(actions + 0.1, -1, 1).astype(np.float32),
        rewards=np.eye(1, steps, steps - 1, dtype=np.float32)[0],
        dones=np.arange(steps) == steps - 1,
        states=draw.normal(size=(steps, 9)),
        phases=("reach",) * (steps - 2) + ("grasp",) * 2,
        labels=("nominal",) * steps,
        model_xml=f'<mujoco model="{task}"/>',
    )
    if not depth:
        return made
    depths = {name: draw.uniform(0.1, 2, (steps, 24, 24)).astype(np.float32) for name in made.images}
    return replace(made, depth=depths)
