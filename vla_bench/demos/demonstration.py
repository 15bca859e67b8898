"""Demonstration: observations, actions, states and labels of one recorded episode."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import FloatArray, ImageArray

NOMINAL, SLIP, RECOVERY = LABELS = ("nominal", "slip", "recovery")  # of a step

_STEP_ARRAYS = (
    "proprioception",
    "actions",
    "executed_actions",
    "rewards",
    "dones",
    "states",
)  # (T, ...) arrays
_IMAGE_FIELDS = ("images", "depth", "segmentation")  # camera name -> (T, ...) array


@dataclass(frozen=True)
class DemonstrationSummary:
    """Facts about a demonstration that are known without reading its arrays."""

    identity: EpisodeIdentity
    instruction: str
    success: bool
    steps: int
    scene_seed: int
    scene_hash: str
    phase_names: tuple[str, ...]
    device: str = "expert"  # that acted
    judged_by: str = "task"  # who decided on success: `task` (its goal) or `person` (who recorded it)
    slips: int = 0  # number of injected slips
    slip_steps: int = 0
    recovery_steps: int = 0
    dropped_steps: int = 0  # no-op steps that were removed
    segment_names: tuple[str, ...] = ()  # name of each number in a segmentation

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
            "label_names": json.dumps(LABELS),
            "device": self.device,
            "judged_by": self.judged_by,
            "slips": self.slips,
            "slip_steps": self.slip_steps,
            "recovery_steps": self.recovery_steps,
            "dropped_steps": self.dropped_steps,
            "segment_names": json.dumps(self.segment_names),
        }

    @classmethod
    def from_attributes(cls, attributes: Mapping[str, Any]) -> "DemonstrationSummary":
        """Parse attributes written by `to_attributes`; raise KeyError where a required one is missing.

        Older files have no attributes about devices, slips and segmentation.
        """
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
            device=str(attributes.get("device", "expert")),
            judged_by=str(attributes.get("judged_by", "task")),
            slips=int(attributes.get("slips", 0)),
            slip_steps=int(attributes.get("slip_steps", 0)),
            recovery_steps=int(attributes.get("recovery_steps", 0)),
            dropped_steps=int(attributes.get("dropped_steps", 0)),
            segment_names=tuple(json.loads(attributes.get("segment_names", "[]"))),
        )


@dataclass(frozen=True)
class CameraTrack:
    """Pose of a camera during an episode, in OpenCV's axes: x right, y down, z forward."""

    intrinsics: FloatArray  # (3, 3) [pixels]; (0, 0) is the corner of the image
    pose_world: FloatArray  # camera-to-world [m]: (4, 4) of a fixed camera, (T, 4, 4) of a moving one

    def select_steps(self, steps: NDArray[np.int64]) -> "CameraTrack":
        """Return the poses at these steps."""
        return self if self.pose_world.ndim == 2 else replace(self, pose_world=self.pose_world[steps])


@dataclass(frozen=True)
class Demonstration:
    """One recorded episode of T steps; row t of every array is from the moment before action t."""

    identity: EpisodeIdentity
    instruction: str
    success: bool
    scene_seed: int
    scene_hash: str
    images: Mapping[str, ImageArray]  # camera name -> (T, H, W, 3), right side up
    proprioception: NDArray[np.float32]  # (T, P), fields as in the file header
    actions: NDArray[np.float32]  # (T, 7), desired at the state reached: the label to learn from
    executed_actions: NDArray[np.float32]  # (T, 7), sent to the robot: `actions` with disturbances
    rewards: NDArray[np.float32]  # (T,), received for action t
    dones: NDArray[np.bool_]  # (T,), true where action t ended the episode (robomimic's name)
    states: NDArray[np.float64]  # (T, D), simulator states, for rendering again
    phases: tuple[str, ...]  # (T,), phase of the task that the action belongs to
    labels: tuple[str, ...]  # (T,), one of `LABELS`: nominal, disturbed by a slip, or recovery from one
    model_xml: str
    depth: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  # camera name -> (T, H, W) [m]
    segmentation: Mapping[str, NDArray[np.uint8]] = field(default_factory=dict)  # camera name -> (T, H, W)
    segment_names: tuple[str, ...] = ()  # name of each number in `segmentation`
    cameras: Mapping[str, CameraTrack] = field(default_factory=dict)
    step_numbers: NDArray[np.int32] | None = None  # (T,), in the episode as executed; None where no step was removed
    device: str = "expert"
    judged_by: str = "task"

    @property
    def steps(self) -> int:
        """Number of actions."""
        return len(self.actions)

    def select_steps(self, steps: NDArray[np.int64]) -> "Demonstration":
        """Return the demonstration with only these steps, in ascending order; the last step must be among them."""
        numbers = np.arange(self.steps, dtype=np.int32) if self.step_numbers is None else self.step_numbers
        fields: dict[str, Any] = {name: getattr(self, name)[steps] for name in _STEP_ARRAYS}
        fields |= {name: tuple(getattr(self, name)[step] for step in steps) for name in ("phases", "labels")}
        fields |= {kind: {name: of[steps] for name, of in getattr(self, kind).items()} for kind in _IMAGE_FIELDS}
        cameras = {name: track.select_steps(steps) for name, track in self.cameras.items()}
        return replace(self, cameras=cameras, step_numbers=numbers[steps], **fields)

    def summary(self) -> DemonstrationSummary:
        """Return all facts except the arrays; phase names are in the order of their first step."""
        slip_starts = [now == SLIP != before for before, now in pairwise((NOMINAL, *self.labels))]
        return DemonstrationSummary(
            identity=self.identity,
            instruction=self.instruction,
            success=self.success,
            steps=self.steps,
            scene_seed=self.scene_seed,
            scene_hash=self.scene_hash,
            phase_names=tuple(dict.fromkeys(self.phases)),
            device=self.device,
            judged_by=self.judged_by,
            slips=sum(slip_starts),
            slip_steps=self.labels.count(SLIP),
            recovery_steps=self.labels.count(RECOVERY),
            dropped_steps=0 if self.step_numbers is None else int(self.step_numbers[-1]) + 1 - self.steps,
            segment_names=self.segment_names,
        )
