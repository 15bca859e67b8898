"""Which perturbations the tasks of a run have: told before any worker starts."""

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.envs.perturbations import Perturbation, PerturbationError
from vla_bench.tasks import get_task

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv


def check_perturbations(episodes: Iterable[EpisodeIdentity], robot: str) -> None:
    """Raise `PerturbationError` for the first perturbation that a task does not have, or that is none."""
    places = {(episode.task_id, episode.perturbation): None for episode in episodes if episode.perturbation}
    for task_id, perturbation in places:
        reason = why_not(task_id, perturbation, robot)
        if reason:
            raise PerturbationError(f"{task_id} cannot be run under {perturbation}: {reason}")


def why_not(task_id: str, perturbation: str, robot: str) -> str:
    """Return why the task does not have the perturbation; "" where it has."""
    try:
        task = get_task(task_id)
        for _, effect in Perturbation.parse(perturbation).effects():
            effect.alter(task)
            effect.check(_clean(task_id, robot).simulation)
    except VlaBenchError as error:
        return str(error)
    return ""


@lru_cache(maxsize=1)
def _clean(task_id: str, robot: str) -> "VlaBenchEnv":
    from vla_bench.envs.environment import make  # loads mujoco

    return make(task_id, cameras=(), robot=robot)
