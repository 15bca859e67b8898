"""A one-dimensional environment without simulator, for fast tests of the rollout.

Slots, workers, pool and rollout under test are the real ones; the tests of whole runs use the real environments.
"""

import os
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import FloatArray, Observation, ProprioceptionField
from vla_bench.evaluation.environment_slots import EnvironmentSlots, EnvironmentSpec
from vla_bench.evaluation.messages import Command, Event

HORIZON = 12
FIELDS = (ProprioceptionField("position", 1, "m"),)


def episodes(count: int, task: str = "reach") -> list[EpisodeIdentity]:
    return [EpisodeIdentity("tiny", task, index) for index in range(count)]


class TinyEnvironment:
    """Succeeds when the first elements of the actions sum to 3; some tasks fail in different ways."""

    def __init__(self, task_id: str) -> None:
        self.kind = task_id.removeprefix("tiny.")
        if self.kind == "unmakeable":
            raise RuntimeError("no such world")
        self.proprioception_fields, self.action_dim = FIELDS, 7
        self.task = SimpleNamespace(horizon=HORIZON, goal=(), aims=())
        self.simulation = SimpleNamespace(world=self, gripper_force_n=lambda: 0.0, models=lambda: ())
        self.position, self.steps, self.goal, self.renders = 0.0, 0, 3.0, 0

    def reset(self, seed: int) -> tuple[Observation, dict[str, Any]]:
        self.position, self.steps, self.scene_seed = 0.0, 0, seed
        return self.observe(), {"success": False, "progress": 0.0, "phase": "start", "scene_hash": f"scene {seed}"}

    def advance(self, action: FloatArray) -> tuple[float, bool, bool, dict[str, Any]]:
        if self.kind == "deadly" and self.steps == 2:
            os._exit(7)
        if self.kind == "hanging" and self.steps == 2:
            time.sleep(60)
        if self.kind == "broken" and self.steps == 2:
            raise RuntimeError("the world broke")
        self.steps += 1
        self.position += float(action[0])
        success = self.position >= self.goal - 1e-6
        info = {"success": success, "progress": min(1.0, self.position / self.goal), "phase": "reach"}
        return float(success), success, self.steps >= HORIZON and not success, info

    def observe(self) -> Observation:
        self.renders += 1
        proprioception = np.array([self.position], dtype=np.float32)
        return {"images": {}, "proprioception": proprioception, "instruction": f"{self.kind} {self.scene_seed}"}

    def items(self) -> tuple[str, ...]:
        return ()

    def end_effector_position_world(self) -> FloatArray:
        return np.array([self.position, 0.0, 0.0])

    def close(self) -> None:
        self.kind = "closed"


@dataclass(frozen=True)
class TinySpec(EnvironmentSpec):
    """Makes tiny environments, and lists those that it made in this process."""

    made: list[TinyEnvironment] = field(default_factory=list, compare=False)

    def make(self, task_id: str, perturbation: str = "") -> Any:
        self.made.append(TinyEnvironment(task_id))
        return self.made[-1]


@dataclass(frozen=True)
class ImageSpec(EnvironmentSpec):
    """Makes tiny environments with images in which every pixel is the number of steps."""

    def make(self, task_id: str, perturbation: str = "") -> Any:
        return _WithImages(task_id, self)


class _WithImages(TinyEnvironment):
    def __init__(self, task_id: str, spec: EnvironmentSpec) -> None:
        super().__init__(task_id)
        self.spec = spec

    def observe(self) -> Observation:
        square = (self.spec.image_size, self.spec.image_size)
        images = {name: np.full((*square, 3), self.steps, np.uint8) for name in self.spec.cameras}
        seen: Observation = {**super().observe(), "images": images}
        if self.spec.depth:
            seen["depth"] = {name: np.full(square, self.steps, np.float32) for name in self.spec.cameras}
        return seen


class OneProcess:
    """A pool whose slots are in this process, so that tests can inspect them."""

    def __init__(self, slots: int, spec: EnvironmentSpec | None = None) -> None:
        self.slots = slots
        self.simulated = EnvironmentSlots(spec or TinySpec(), slots)
        self._commands: list[Command] = []
        self.sent: list[Command] = []

    def send(self, command: Command) -> None:
        self._commands.append(command)
        self.sent.append(command)

    def events(self) -> list[Event]:
        assert self._commands, "the rollout waits for an event that cannot come"
        commands, self._commands = self._commands, []
        return [self.simulated.handle(command) for command in commands]
