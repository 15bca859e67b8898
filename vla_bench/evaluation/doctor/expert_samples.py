"""Samples of expert episodes: an observation and the expert's next actions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import Observation, ProprioceptionField
from vla_bench.evaluation.environment_slots import EnvironmentSpec

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv


VARIANT = "doctor"  # of the episodes' identities: no demonstration and no evaluation meets them
LOOK_AHEAD = 16  # of the expert's actions that are kept for each moment


@dataclass(frozen=True, eq=False)
class ExpertSample:
    """One moment."""

    episode: int  # number among those recorded
    observation: Observation
    expert_actions: NDArray[np.float32]  # (LOOK_AHEAD, 7), the last repeated where the episode ends


@dataclass(frozen=True, eq=False)
class ExpertSamples:
    """What was recorded, with what the environments send."""

    moments: tuple[ExpertSample, ...]
    fields: tuple[ProprioceptionField, ...]

    def episode_numbers(self) -> NDArray[np.int64]:
        """Return the episode of every moment, (M,)."""
        return np.array([expert_sample.episode for expert_sample in self.moments])

    def expert_chunks(self, horizon: int) -> NDArray[np.float32]:
        """Return the expert's actions from every moment on, (M, horizon, 7)."""
        return np.stack([expert_sample.expert_actions[:horizon] for expert_sample in self.moments])


def record_expert_samples(
    task_ids: Sequence[str], spec: EnvironmentSpec, *, episodes: int, seed: int, stride: int = 3
) -> ExpertSamples:
    """Let the expert act in `episodes` episodes, task after task in turn, and keep every `stride`-th moment.

    Raise `VlaBenchError` if the expert succeeds in none.
    """
    moments: list[ExpertSample] = []
    fields: tuple[ProprioceptionField, ...] = ()
    recorded = 0
    for number in range(episodes):
        suite, _, task = task_ids[number % len(task_ids)].partition(".")
        episode = EpisodeIdentity(suite, task, number // len(task_ids), seed, VARIANT)
        environment = spec.make(episode.task_id)
        try:
            fields = environment.proprioception_fields
            found = list(_episode_samples(environment, episode, recorded, stride))
        finally:
            environment.close()
        recorded += bool(found)
        moments += found
    if not moments:
        raise VlaBenchError(f"The expert solved none of {episodes} episodes of {', '.join(task_ids)}.")
    return ExpertSamples(tuple(moments), fields)


def _episode_samples(
    environment: "VlaBenchEnv", episode: EpisodeIdentity, number: int, stride: int
) -> Iterator[ExpertSample]:
    from vla_bench.experts import make_expert

    environment.reset(seed=episode.scene_seed())
    world, expert = environment.simulation.world, make_expert(environment.task)
    expert.reset(world, episode.generator("expert"))
    seen: dict[int, Observation] = {}
    actions: list[NDArray[np.float32]] = []
    ended = success = False
    while not ended:
        if len(actions) % stride == 0:
            seen[len(actions)] = environment.observe()
        actions.append(expert.act(world))
        _, terminated, truncated, info = environment.advance(actions[-1])
        ended, success = terminated or truncated, bool(info["success"])
    if success:
        padded = np.stack(actions + actions[-1:] * LOOK_AHEAD)
        for step, observation in seen.items():
            yield ExpertSample(number, observation, padded[step : step + LOOK_AHEAD])
