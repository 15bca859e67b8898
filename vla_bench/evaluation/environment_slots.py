"""The environment slots of one worker: each runs one episode at a time in an environment, on command."""

import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vla_bench.core.episode import EpisodeIdentity, array_hash
from vla_bench.core.types import FloatArray, Observation, ProprioceptionField
from vla_bench.evaluation.messages import (
    Abandon,
    Begin,
    Command,
    EpisodeResult,
    ErrorSource,
    Event,
    Execute,
    Finished,
    Outcome,
    Ready,
)
from vla_bench.evaluation.rollout_statistics import FurthestPhase, RolloutStatistics, RolloutStatisticsRecorder
from vla_bench.evaluation.video import VIDEO_CAMERAS, VIDEO_IMAGE_SIZE, VideoRecorder

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv
    from vla_bench.experts import Expert


_CACHE_BYTES = 40_000_000  # eight tabletop environments with models of their own, or two of robosuite


@dataclass(frozen=True)
class EnvironmentSpec:
    """How the environments of a run are made."""

    image_size: int = 224
    cameras: tuple[str, ...] = ("agentview", "wrist")
    rendering: Literal["fast", "faithful"] = "fast"
    depth: bool = False
    wait_steps: int | None = None
    robot: str = "panda"
    expert: str | None = None  # whose actions the observations carry, of `vla_bench.experts.catalogue`

    def make(self, task_id: str, perturbation: str = "") -> "VlaBenchEnv":
        """Return a new environment of this task, clean or perturbed."""
        from vla_bench.envs.environment import make  # loads mujoco

        return make(
            task_id,
            image_size=self.image_size,
            rendering=self.rendering,
            cameras=self.cameras,
            depth=self.depth,
            wait_steps=self.wait_steps,
            robot=self.robot,
            perturb=perturbation or None,
        )

    def for_video(self) -> "EnvironmentSpec":
        """Return the specification of the environments that render videos."""
        return replace(self, image_size=VIDEO_IMAGE_SIZE, cameras=VIDEO_CAMERAS, depth=False, expert=None)


@dataclass(frozen=True)
class EnvironmentFacts:
    """What a policy must know of environments besides what it asked for; the same for all tasks of a suite."""

    proprioception_fields: tuple[ProprioceptionField, ...]
    action_dim: int


class EnvironmentCache:
    """Environments by task and perturbation: a row that begins an episode takes a free one or has one made.

    Free ones are kept up to a number, and while their models fill no more than `most_bytes`: a worker that goes through
    robosuite's tasks would keep 90 MB of each task that is over.
    """

    def __init__(self, spec: EnvironmentSpec, most_free: int, most_bytes: int = _CACHE_BYTES) -> None:
        self._spec = spec
        self._most_free, self._most_bytes = most_free, most_bytes
        self._free: list[tuple[tuple[str, str], VlaBenchEnv]] = []  # the one unused for longest first

    def take(self, task_id: str, perturbation: str = "") -> "VlaBenchEnv":
        """Return an environment of this task for exclusive use."""
        for position, (free, environment) in enumerate(self._free):
            if free == (task_id, perturbation):
                del self._free[position]
                return environment
        return self._spec.make(task_id, perturbation)

    def give_back(self, task_id: str, environment: "VlaBenchEnv", perturbation: str = "") -> None:
        """Keep a healthy environment for later; those unused for longest are closed where there are too many."""
        self._free.append(((task_id, perturbation), environment))
        while len(self._free) > self._most_free or (len(self._free) > 1 and self._bytes() > self._most_bytes):
            self._free.pop(0)[1].close()

    def close(self) -> None:
        """Close all free environments."""
        while self._free:
            self._free.pop()[1].close()

    def _bytes(self) -> int:
        models = {id(model): model for _, environment in self._free for model in environment.simulation.models()}
        return sum(int(model.nbuffer) for model in models.values())  # environments of a task may share one


@dataclass
class _RunningEpisode:
    """An episode that is under way."""

    episode: EpisodeIdentity
    environment: "VlaBenchEnv"
    expert: "Expert | None" = None
    recorder: VideoRecorder | None = None
    camera: "VlaBenchEnv | None" = None
    instruction: str = ""
    scene_hash: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    actions: list[FloatArray] = field(default_factory=list)
    reward: float = 0.0
    furthest: FurthestPhase = field(default_factory=FurthestPhase)
    rollout_statistics: RolloutStatisticsRecorder | None = None  # from the reset on

    def note(self, info: Mapping[str, Any]) -> None:
        """Remember what the environment says of its state."""
        self.info = info
        self.furthest = self.furthest.after(float(info.get("progress", 0.0)), str(info.get("phase", "")))

    def result(self, outcome: Outcome, error: str = "", error_source: ErrorSource = "") -> EpisodeResult:
        """Return the record of what has happened so far."""
        actions = np.asarray(self.actions, dtype=np.float32).reshape(-1, self.environment.action_dim)
        return EpisodeResult(
            outcome=outcome,
            error=error,
            error_source=error_source,
            instruction=self.instruction,
            scene_hash=self.scene_hash,
            action_hash=array_hash(actions),
            reward=self.reward,
            steps=len(self.actions),
            progress=self.furthest.progress,
            phase=self.furthest.phase,
            rollout_statistics=RolloutStatistics()
            if self.rollout_statistics is None
            else self.rollout_statistics.rollout_statistics(),
            final_progress=float(self.info.get("progress", 0.0)),
            final_phase=str(self.info.get("phase", "")),
            subgoals=json.dumps(self.info["subgoals_reached"]) if "subgoals_reached" in self.info else "",
        )


class EnvironmentSlots:
    """Some rows of the batch. An exception in an environment ends its episode as an error and nothing else."""

    def __init__(self, spec: EnvironmentSpec, count: int) -> None:
        self._spec = spec
        self._stock = EnvironmentCache(spec, most_free=count)
        self._cameras = EnvironmentCache(spec.for_video(), most_free=1)
        self._running: dict[int, _RunningEpisode] = {}

    def try_out(self, task_id: str) -> EnvironmentFacts:
        """Make one environment, reset and render it once; return what a policy must know of it."""
        environment = self._stock.take(task_id)
        environment.reset(seed=0)
        self._stock.give_back(task_id, environment)
        return EnvironmentFacts(environment.proprioception_fields, environment.action_dim)

    def handle(self, command: Command) -> Event:
        """Carry out one command and return what came of it."""
        try:
            if isinstance(command, Begin):
                return self._begin(command)
            if isinstance(command, Execute):
                return self._execute(command)
            return self._finish(command.row, "error", command.error, "policy")
        except Exception:
            return self._fail(command, traceback.format_exc())

    def close(self) -> None:
        """Drop what is under way and close every environment."""
        for row in list(self._running):
            self._drop(row)
        self._stock.close()
        self._cameras.close()

    def _begin(self, command: Begin) -> Event:
        self._drop(command.row)
        episode = command.episode
        running = _RunningEpisode(episode, self._stock.take(episode.task_id, episode.perturbation))
        self._running[command.row] = running
        observation, info = running.environment.reset(seed=episode.scene_seed())
        running.note(info)
        running.rollout_statistics = RolloutStatisticsRecorder(running.environment)
        running.instruction = observation["instruction"]
        running.scene_hash = str(running.info["scene_hash"])
        if command.video is not None:
            running.camera = self._cameras.take(episode.task_id, episode.perturbation)
            running.camera.reset(seed=episode.scene_seed())
            running.recorder = VideoRecorder(command.video, running.camera)
            running.recorder.add(running.environment)
        if self._spec.expert is not None:
            running.expert = _make_expert(running, self._spec.expert)
        return Ready(command.row, _with_expert_action(running, observation))

    def _execute(self, command: Execute) -> Event:
        running = self._running[command.row]
        for action in np.clip(command.actions, -1.0, 1.0).astype(np.float32):
            reward, terminated, truncated, info = running.environment.advance(action)
            running.note(info)
            if running.rollout_statistics is not None:
                running.rollout_statistics.note()
            running.actions.append(action)
            running.reward += float(reward)
            if running.recorder is not None:
                running.recorder.add(running.environment)
            if terminated or truncated:
                return self._finish(command.row, "success" if running.info["success"] else "failure")
        return Ready(command.row, _with_expert_action(running, running.environment.observe()))

    def _finish(self, row: int, outcome: Outcome, error: str = "", error_source: ErrorSource = "") -> Finished:
        running = self._running[row]
        if running.recorder is not None:
            running.recorder.finish()
            running.recorder = None
        result = running.result(outcome, error, error_source)
        self._drop(row)
        return Finished(row, result)

    def _fail(self, command: Begin | Execute | Abandon, error: str) -> Finished:
        """Record an exception; the environment it came from is not used again."""
        running = self._running.pop(command.row, None)
        if running is None:  # the environment could not even be made
            assert isinstance(command, Begin)
            return Finished(command.row, EpisodeResult("error", error, "environment"))
        if running.recorder is not None:
            running.recorder.discard()
        return Finished(command.row, running.result("error", error, "environment"))

    def _drop(self, row: int) -> None:
        running = self._running.pop(row, None)
        if running is None:
            return
        if running.recorder is not None:
            running.recorder.discard()
        episode = running.episode
        if running.camera is not None:
            self._cameras.give_back(episode.task_id, running.camera, episode.perturbation)
        self._stock.give_back(episode.task_id, running.environment, episode.perturbation)


def _make_expert(running: _RunningEpisode, name: str) -> "Expert":
    from vla_bench.experts.catalogue import experts_by_name

    expert = experts_by_name[name](running.environment.task)
    expert.reset(running.environment.simulation.world, running.episode.generator("expert"))
    return expert


def _with_expert_action(running: _RunningEpisode, observation: Observation) -> Observation:
    """Add the expert's action where it was asked for: the expert needs the simulator's state, so it acts here."""
    if running.expert is None:
        return observation
    action = running.expert.act(running.environment.simulation.world)
    return {**observation, "expert_action": np.asarray(action, dtype=np.float32)}
