"""The environment slots of one worker: each runs one episode at a time in an environment, on command."""

import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vla_bench.core.env_options import EnvOptions
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
from vla_bench.evaluation.rollout_statistics import PhaseProgress, RolloutStatistics, RolloutStatisticsRecorder
from vla_bench.evaluation.video import VIDEO_CAMERAS, VIDEO_IMAGE_SIZE, VideoRecorder

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv
    from vla_bench.experts import Expert


_CACHE_BYTES = 40_000_000  # eight tabletop environments with own models, or two of robosuite


@dataclass(frozen=True)
class EnvironmentSpec(EnvOptions):
    """Options of the environments of a run, and the expert whose actions the observations carry."""

    expert: str | None = None  # expert of `vla_bench.experts.catalogue`

    def make(self, task_id: str, perturbation: str = "") -> "VlaBenchEnv":
        """Create an environment of this task, clean or perturbed."""
        from vla_bench.envs.environment import make  # loads mujoco

        return make(task_id, **{**self.env_kwargs(), "perturb": perturbation or None})

    def for_video(self) -> "EnvironmentSpec":
        """Return the options of the environments that render videos."""
        return replace(self, image_size=VIDEO_IMAGE_SIZE, cameras=VIDEO_CAMERAS, depth=False, expert=None)


@dataclass(frozen=True)
class EnvironmentFacts:
    """Properties of the environments that policies need, equal for all tasks of a suite."""

    proprioception_fields: tuple[ProprioceptionField, ...]
    action_dim: int


class EnvironmentCache:
    """Free environments by task and perturbation, limited in number and in the memory of their models.

    The limit `max_bytes` matters for robosuite: a worker would otherwise hold 90 MB for each finished task.
    """

    def __init__(self, spec: EnvironmentSpec, max_free: int, max_bytes: int = _CACHE_BYTES) -> None:
        self._spec = spec
        self._max_free, self._max_bytes = max_free, max_bytes
        self._free: list[tuple[tuple[str, str], VlaBenchEnv]] = []  # least recently used first

    def take(self, task_id: str, perturbation: str = "") -> "VlaBenchEnv":
        """Return a free environment of this task for exclusive use, or a new one."""
        for position, (free, environment) in enumerate(self._free):
            if free == (task_id, perturbation):
                del self._free[position]
                return environment
        return self._spec.make(task_id, perturbation)

    def give_back(self, task_id: str, environment: "VlaBenchEnv", perturbation: str = "") -> None:
        """Return a healthy environment to the cache; close the least recently used ones above the limits."""
        self._free.append(((task_id, perturbation), environment))
        while len(self._free) > self._max_free or (len(self._free) > 1 and self._bytes() > self._max_bytes):
            self._free.pop(0)[1].close()

    def close(self) -> None:
        """Close all free environments."""
        while self._free:
            self._free.pop()[1].close()

    def _bytes(self) -> int:
        models = {id(model): model for _, environment in self._free for model in environment.simulation.models()}
        return sum(int(model.nbuffer) for model in models.values())  # environments of a task may share a model


@dataclass
class _RunningEpisode:
    """A running episode."""

    episode: EpisodeIdentity
    environment: "VlaBenchEnv"
    expert: "Expert | None" = None
    recorder: VideoRecorder | None = None
    video_environment: "VlaBenchEnv | None" = None
    instruction: str = ""
    scene_hash: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    actions: list[FloatArray] = field(default_factory=list)
    reward: float = 0.0
    furthest: PhaseProgress = field(default_factory=PhaseProgress)
    statistics: RolloutStatisticsRecorder | None = None  # None before the reset

    def record_info(self, info: Mapping[str, Any]) -> None:
        """Update progress and phase from the information of the environment."""
        self.info = info
        self.furthest = self.furthest.after(float(info.get("progress", 0.0)), str(info.get("phase", "")))

    def result(self, outcome: Outcome, error: str = "", error_source: ErrorSource = "") -> EpisodeResult:
        """Return the result of the episode so far."""
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
            rollout_statistics=RolloutStatistics() if self.statistics is None else self.statistics.result(),
            final_progress=float(self.info.get("progress", 0.0)),
            final_phase=str(self.info.get("phase", "")),
            subgoals=json.dumps(self.info["subgoals_reached"]) if "subgoals_reached" in self.info else "",
        )


class EnvironmentSlots:
    """The environment slots of one worker; an exception in an environment ends only its own episode, as an error."""

    def __init__(self, spec: EnvironmentSpec, count: int) -> None:
        self._spec = spec
        self._environments = EnvironmentCache(spec, max_free=count)
        self._video_environments = EnvironmentCache(spec.for_video(), max_free=1)
        self._running: dict[int, _RunningEpisode] = {}

    def try_out(self, task_id: str) -> EnvironmentFacts:
        """Create, reset and render one environment; return the properties that policies need."""
        environment = self._environments.take(task_id)
        environment.reset(seed=0)
        self._environments.give_back(task_id, environment)
        return EnvironmentFacts(environment.proprioception_fields, environment.action_dim)

    def handle(self, command: Command) -> Event:
        """Execute one command and return the resulting event."""
        try:
            if isinstance(command, Begin):
                return self._begin(command)
            if isinstance(command, Execute):
                return self._execute(command)
            return self._finish(command.slot, "error", command.error, "policy")
        except Exception:
            return self._fail(command, traceback.format_exc())

    def close(self) -> None:
        """Drop all running episodes and close every environment."""
        for slot in list(self._running):
            self._drop(slot)
        self._environments.close()
        self._video_environments.close()

    def _begin(self, command: Begin) -> Event:
        self._drop(command.slot)
        episode = command.episode
        running = _RunningEpisode(episode, self._environments.take(episode.task_id, episode.perturbation))
        self._running[command.slot] = running
        observation, info = running.environment.reset(seed=episode.scene_seed())
        running.record_info(info)
        running.statistics = RolloutStatisticsRecorder(running.environment)
        running.instruction = observation["instruction"]
        running.scene_hash = str(running.info["scene_hash"])
        if command.video is not None:
            running.video_environment = self._video_environments.take(episode.task_id, episode.perturbation)
            running.video_environment.reset(seed=episode.scene_seed())
            running.recorder = VideoRecorder(command.video, running.video_environment)
            running.recorder.add(running.environment)
        if self._spec.expert is not None:
            running.expert = _make_expert(running, self._spec.expert)
        return Ready(command.slot, _with_expert_action(running, observation))

    def _execute(self, command: Execute) -> Event:
        running = self._running[command.slot]
        for action in np.clip(command.actions, -1.0, 1.0).astype(np.float32):
            reward, terminated, truncated, info = running.environment.advance(action)
            running.record_info(info)
            if running.statistics is not None:
                running.statistics.record_step()
            running.actions.append(action)
            running.reward += float(reward)
            if running.recorder is not None:
                running.recorder.add(running.environment)
            if terminated or truncated:
                return self._finish(command.slot, "success" if running.info["success"] else "failure")
        return Ready(command.slot, _with_expert_action(running, running.environment.observe()))

    def _finish(self, slot: int, outcome: Outcome, error: str = "", error_source: ErrorSource = "") -> Finished:
        running = self._running[slot]
        if running.recorder is not None:
            running.recorder.finish()
            running.recorder = None
        result = running.result(outcome, error, error_source)
        self._drop(slot)
        return Finished(slot, result)

    def _fail(self, command: Begin | Execute | Abandon, error: str) -> Finished:
        """Return the result of an episode whose environment raised; that environment is not used again."""
        running = self._running.pop(command.slot, None)
        if running is None:  # the creation of the environment failed
            assert isinstance(command, Begin)
            return Finished(command.slot, EpisodeResult("error", error, "environment"))
        if running.recorder is not None:
            running.recorder.discard()
        return Finished(command.slot, running.result("error", error, "environment"))

    def _drop(self, slot: int) -> None:
        running = self._running.pop(slot, None)
        if running is None:
            return
        if running.recorder is not None:
            running.recorder.discard()
        episode = running.episode
        if running.video_environment is not None:
            self._video_environments.give_back(episode.task_id, running.video_environment, episode.perturbation)
        self._environments.give_back(episode.task_id, running.environment, episode.perturbation)


def _make_expert(running: _RunningEpisode, name: str) -> "Expert":
    from vla_bench.experts.catalogue import experts_by_name

    expert = experts_by_name[name](running.environment.task)
    expert.reset(running.environment.simulation.world, running.episode.generator("expert"))
    return expert


def _with_expert_action(running: _RunningEpisode, observation: Observation) -> Observation:
    """Add the action of the expert, if requested; the expert needs the simulation state, so it runs in the worker."""
    if running.expert is None:
        return observation
    action = running.expert.act(running.environment.simulation.world)
    return {**observation, "expert_action": np.asarray(action, dtype=np.float32)}
