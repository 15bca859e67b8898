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


VARIANT = "doctor"  # of the episode identities, which no demonstration and no evaluation uses
LOOK_AHEAD = 16  # expert actions per sample


@dataclass(frozen=True, eq=False)
class ExpertSample:
    """One step of an expert episode: the observation and the following expert actions."""

    episode: int  # number of the recorded episode
    observation: Observation
    expert_actions: NDArray[np.float32]  # (LOOK_AHEAD, 7), padded with the last one at the end of the episode


@dataclass(frozen=True, eq=False)
class ExpertSamples:
    """Recorded samples, and the proprioception fields of the environments."""

    samples: tuple[ExpertSample, ...]
    fields: tuple[ProprioceptionField, ...]

    def episode_numbers(self) -> NDArray[np.int64]:
        """Return the episode of every sample, (M,)."""
        return np.array([sample.episode for sample in self.samples])

    def expert_chunks(self, horizon: int) -> NDArray[np.float32]:
        """Return the expert actions from every sample on, (M, horizon, 7)."""
        return np.stack([sample.expert_actions[:horizon] for sample in self.samples])


def record_expert_samples(
    task_ids: Sequence[str], spec: EnvironmentSpec, *, episodes: int, seed: int, stride: int = 3
) -> ExpertSamples:
    """Run the expert in `episodes` episodes, cycling over the tasks, and keep every `stride`-th step of successes.

    Raise `VlaBenchError` if the expert succeeds in no episode.
    """
    samples: list[ExpertSample] = []
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
        samples += found
    if not samples:
        raise VlaBenchError(f"The expert solved none of {episodes} episodes of {', '.join(task_ids)}.")
    return ExpertSamples(tuple(samples), fields)


def _episode_samples(
    environment: "VlaBenchEnv", episode: EpisodeIdentity, number: int, stride: int
) -> Iterator[ExpertSample]:
    from vla_bench.experts import make_expert

    environment.reset(seed=episode.scene_seed())
    world, expert = environment.simulation.world, make_expert(environment.task)
    expert.reset(world, episode.generator("expert"))
    observations: dict[int, Observation] = {}
    actions: list[NDArray[np.float32]] = []
    ended = success = False
    while not ended:
        if len(actions) % stride == 0:
            observations[len(actions)] = environment.observe()
        actions.append(expert.act(world))
        _, terminated, truncated, info = environment.advance(actions[-1])
        ended, success = terminated or truncated, bool(info["success"])
    if success:
        padded = np.stack(actions + actions[-1:] * LOOK_AHEAD)
        for step, observation in observations.items():
            yield ExpertSample(number, observation, padded[step : step + LOOK_AHEAD])
