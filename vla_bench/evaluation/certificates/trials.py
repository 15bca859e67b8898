"""Letting the expert try episodes, without pictures; an episode whose physics is known is not tried again."""

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from vla_bench.core.episode import CLEAN, EpisodeIdentity
from vla_bench.results.certificates import Certificate

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv

_IMAGE_SIZE = 16  # pixels; nothing is drawn


@dataclass(frozen=True)
class TrialJob:
    """Episodes of one task under one perturbation."""

    episodes: tuple[EpisodeIdentity, ...]
    robot: str
    wait_steps: int | None
    known: Mapping[EpisodeIdentity, tuple[Certificate, ...]]  # by the clean episode of the same scene


@dataclass(frozen=True)
class TrialResult:
    """What came of a job."""

    job: TrialJob
    certificates: tuple[Certificate, ...]
    seconds: float


def run_trials(job: TrialJob) -> TrialResult:
    """Certify the episodes one after another; one that raises gets a certificate that says so."""
    began = time.perf_counter()
    certificates = tuple(_certificate(job, episode) for episode in job.episodes)
    return TrialResult(job, certificates, time.perf_counter() - began)


def certify(environment: "VlaBenchEnv", episode: EpisodeIdentity, known: Sequence[Certificate] = ()) -> Certificate:
    """Return whether the expert solves the episode in its environment, clean or perturbed.

    `known` are certificates of the same scene under other perturbations: one with the same physics holds here too. The
    expert's own draws are those of the clean episode, so that what it does follows from the physics alone.
    """
    from vla_bench.envs.perturbations.physics import physics_hash  # loads mujoco
    from vla_bench.experts import make_expert

    _, info = environment.reset(seed=episode.scene_seed())
    scene, physics = str(info["scene_hash"]), physics_hash(environment.simulation)
    for other in known:
        if other.physics_hash == physics:
            return replace(other, episode=episode, scene_hash=scene)
    world, expert = environment.simulation.world, make_expert(environment.task)
    expert.reset(world, replace(episode, variant=CLEAN).generator("expert"))
    steps, ended = 0, False
    while not ended:
        _, terminated, truncated, info = environment.advance(expert.act(world))
        steps, ended = steps + 1, terminated or truncated
    return Certificate(episode, scene, physics, bool(info["success"]), steps, episode.variant)


def _certificate(job: TrialJob, episode: EpisodeIdentity) -> Certificate:
    try:
        environment = _environment(episode.task_id, episode.perturbation, job.robot, job.wait_steps)
        return certify(environment, episode, job.known.get(replace(episode, variant=CLEAN), ()))
    except Exception:
        return Certificate(episode, "", "", False, 0, episode.variant, error=traceback.format_exc())


@lru_cache(maxsize=1)
def _environment(task_id: str, perturbation: str, robot: str, wait_steps: int | None) -> "VlaBenchEnv":
    from vla_bench.envs.environment import make  # loads mujoco

    return make(
        task_id,
        image_size=_IMAGE_SIZE,
        cameras=(),
        wait_steps=wait_steps,
        robot=robot,
        perturb=perturbation or None,
    )
