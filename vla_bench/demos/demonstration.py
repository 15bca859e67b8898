"""A demonstration: what was seen, done and reached in one recorded episode."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import ImageArray


@dataclass(frozen=True)
class DemonstrationSummary:
    """What is known about a demonstration without reading its arrays."""

    identity: EpisodeIdentity
    instruction: str
    success: bool
    steps: int
    scene_seed: int
    scene_hash: str
    phase_names: tuple[str, ...]

    def to_attributes(self) -> dict[str, str | int | bool]:
        """Return the attributes of the HDF5 group `demo_N`, without `model_file`."""
        return {
            "num_samples": self.steps,
            "instruction": self.instruction,
            "success": self.success,
            "suite": self.identity.suite,
            "task": self.identity.task,
            "index": self.identity.index,
            "seed": self.identity.seed,
            "variant": self.identity.variant,
            "scene_seed": self.scene_seed,
            "scene_hash": self.scene_hash,
            "phase_names": json.dumps(self.phase_names),
        }

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> "DemonstrationSummary":
        """Read what `to_attributes` returned; raise KeyError where something is missing."""
        return cls(
            identity=EpisodeIdentity(
                suite=str(attributes["suite"]),
                task=str(attributes["task"]),
                index=int(attributes["index"]),
                seed=int(attributes["seed"]),
                variant=str(attributes["variant"]),
            ),
            instruction=str(attributes["instruction"]),
            success=bool(attributes["success"]),
            steps=int(attributes["num_samples"]),
            scene_seed=int(attributes["scene_seed"]),
            scene_hash=str(attributes["scene_hash"]),
            phase_names=tuple(json.loads(attributes["phase_names"])),
        )


@dataclass(frozen=True)
class Demonstration:
    """One recorded episode of T steps; row t of every array belongs to the moment before action t."""

    identity: EpisodeIdentity
    instruction: str
    success: bool
    scene_seed: int
    scene_hash: str
    images: Mapping[str, ImageArray]  # camera name -> (T, H, W, 3), right side up
    proprioception: NDArray[np.float32]  # (T, P), fields as in the file's header
    actions: NDArray[np.float32]  # (T, 7), what the expert wanted at the state reached: the label to learn from
    executed_actions: NDArray[np.float32]  # (T, 7), what moved the robot: `actions` plus the noise
    rewards: NDArray[np.float32]  # (T,), received for action t
    dones: NDArray[np.bool_]  # (T,), true where action t ended the episode (robomimic's name)
    states: NDArray[np.float64]  # (T, D), the simulator's state, for rendering again
    phases: tuple[str, ...]  # (T,), what the expert was doing
    model_xml: str
    depth: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  # camera name -> (T, H, W) [m]

    @property
    def steps(self) -> int:
        """Number of actions."""
        return len(self.actions)

    def summary(self) -> DemonstrationSummary:
        """Return everything but the arrays; phase names in the order of their first step."""
        return DemonstrationSummary(
            identity=self.identity,
            instruction=self.instruction,
            success=self.success,
            steps=self.steps,
            scene_seed=self.scene_seed,
            scene_hash=self.scene_hash,
            phase_names=tuple(dict.fromkeys(self.phases)),
        )
