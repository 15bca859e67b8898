"""Which perturbations the tasks of a run have: told before any worker starts."""

from collections.abc import Iterable

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.envs.perturbations import PerturbationError


def check_perturbations(episodes: Iterable[EpisodeIdentity], robot: str) -> None:
    """Raise `PerturbationError` for the first perturbation that a task does not have, or that is none."""
    places = {(episode.task_id, episode.perturbation): None for episode in episodes if episode.perturbation}
    for task_id, perturbation in places:
        reason = why_not(task_id, perturbation, robot)
        if reason:
            raise PerturbationError(f"{task_id} cannot be run under {perturbation}: {reason}")


def why_not(task_id: str, perturbation: str, robot: str) -> str:
    """Return why the task does not have the perturbation; "" where it has."""
    from vla_bench.envs.environment import make  # loads mujoco

    try:
        make(task_id, cameras=(), robot=robot, perturb=perturbation).close()
    except VlaBenchError as error:
        return str(error)
    return ""
