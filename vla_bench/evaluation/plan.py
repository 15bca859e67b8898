"""The episodes of a run: selection of tasks and variants, the plan interface, and a check of perturbations."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from vla_bench.core.episode import CLEAN, EpisodeIdentity
from vla_bench.core.errors import UnknownNameError, VlaBenchError
from vla_bench.core.files import Closing
from vla_bench.envs.perturbations import Perturbation, PerturbationError
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.run_info import RunInfo
from vla_bench.tasks import get_task, tasks_of

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv


class Plan(Protocol):
    """The episodes of a run in rounds; a round may depend on the outcomes of all earlier rounds.

    A round ends when all of its episodes are recorded, so that the next one never depends on the number of workers or
    on the order of completion. A resumed run asks for every round again and skips recorded episodes, so `next_round`
    must depend on its records only.
    """

    @property
    def episodes(self) -> Sequence[EpisodeIdentity]:
        """All episodes that the plan may ask for."""

    @property
    def verdict(self) -> str:
        """The reason for stopping before all episodes were run; "" if it did not."""

    def require_comparable(self, info: RunInfo) -> None:
        """Raise `VlaBenchError` if the plan cannot be applied to a run with this description."""

    def next_round(self, records: Mapping[EpisodeIdentity, EpisodeRecord]) -> Sequence[EpisodeIdentity]:
        """Return the next round, given the records of all rounds so far; an empty round ends the run."""


class FixedPlan:
    """All episodes in one round."""

    verdict = ""

    def __init__(self, episodes: Sequence[EpisodeIdentity]) -> None:
        self.episodes = episodes
        self._rounds = [episodes]

    def require_comparable(self, info: RunInfo) -> None:
        """Accept every run."""

    def next_round(self, records: Mapping[EpisodeIdentity, EpisodeRecord]) -> Sequence[EpisodeIdentity]:
        """Return all episodes, then an empty round."""
        return self._rounds.pop() if self._rounds else ()


def plan_episodes(
    suite: str, tasks: Sequence[str] = (), *, episodes: int, seed: int, variants: Sequence[str] = (CLEAN,)
) -> tuple[EpisodeIdentity, ...]:
    """Return `episodes` episodes of each task and variant, task by task; no `tasks` means all tasks of the suite.

    Task names may include the suite. Raise `UnknownNameError` for an unknown suite or task.
    """
    if episodes < 1:
        raise VlaBenchError(f"Cannot evaluate {episodes} episodes per task. Expected 1 or more.")
    if seed < 0:
        raise VlaBenchError(f"The seed is {seed}. Expected 0 or more.")
    names = select_tasks(suite, tasks)
    return tuple(
        EpisodeIdentity(suite, name, index, seed, variant)
        for name in names
        for variant in variants
        for index in range(episodes)
    )


def select_tasks(suite: str, tasks: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of the selected tasks in the order of the suite; no `tasks` selects all."""
    known = [task.name for task in tasks_of(suite)]
    selected = [task.removeprefix(f"{suite}.") for task in tasks]
    for name in selected:
        if name not in known:
            raise UnknownNameError(f"task of {suite}", name, known)
    return tuple(name for name in known if name in selected) if selected else tuple(known)


def check_perturbations(episodes: Iterable[EpisodeIdentity], robot: str) -> None:
    """Raise `PerturbationError` for the first perturbation that is unknown or that its task does not support."""
    pairs = dict.fromkeys((episode.task_id, episode.perturbation) for episode in episodes if episode.perturbation)
    with PerturbationSupport(robot) as support:
        for task_id, perturbation in pairs:
            if reason := support.unsupported_reason(task_id, perturbation):
                raise PerturbationError(f"Task {task_id} cannot be run under {perturbation}: {reason}")


class PerturbationSupport(Closing):
    """Checks which perturbations tasks support, in the clean environment of one task at a time."""

    def __init__(self, robot: str) -> None:
        self._robot = robot
        self._task_id = ""
        self._environment: VlaBenchEnv | None = None

    def unsupported_reason(self, task_id: str, perturbation: str) -> str:
        """Return why the task does not support the perturbation; "" if it does."""
        try:
            task = get_task(task_id)
            for _, effect in Perturbation.parse(perturbation).effects():
                effect.modify_task(task)
                effect.check(self._clean_environment(task_id).simulation)
        except VlaBenchError as error:
            return str(error)
        return ""

    def close(self) -> None:
        """Close the environment."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None

    def _clean_environment(self, task_id: str) -> "VlaBenchEnv":
        from vla_bench.envs.environment import make  # loads mujoco

        if self._environment is None or self._task_id != task_id:
            self.close()
            self._environment, self._task_id = make(task_id, cameras=(), robot=self._robot), task_id
        return self._environment
