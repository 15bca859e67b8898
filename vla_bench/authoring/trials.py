"""Trials of experts on fresh scenes, without rendering."""

from collections.abc import Sequence
from dataclasses import dataclass

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.envs.environment import VlaBenchEnv
from vla_bench.experts import Expert


@dataclass(frozen=True)
class Trial:
    """How one episode of an expert went."""

    index: int  # of the episode
    success: bool
    steps: int  # control steps


def try_expert(environment: VlaBenchEnv, expert: Expert, identity: EpisodeIdentity) -> Trial:
    """Run one episode to its end."""
    environment.reset(seed=identity.scene_seed())
    world = environment.simulation.world
    expert.reset(world, identity.generator("expert"))
    steps, ended = 0, False
    while not ended:
        _, terminated, truncated, info = environment.advance(expert.act(world))
        steps, ended = steps + 1, terminated or truncated
    return Trial(identity.index, bool(info["success"]), steps)


def mean_steps(trials: Sequence[Trial]) -> float | None:
    """Return the mean length of the successful episodes, None where there is none."""
    lengths = [trial.steps for trial in trials if trial.success]
    return sum(lengths) / len(lengths) if lengths else None
