"""Which episodes a run consists of."""

from collections.abc import Sequence

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import UnknownNameError, VlaBenchError
from vla_bench.tasks import tasks_of


def plan_episodes(
    suite: str, tasks: Sequence[str] = (), *, episodes: int, seed: int, variant: str = "clean"
) -> tuple[EpisodeIdentity, ...]:
    """Return `episodes` episodes of each task, task after task; no `tasks` means all of the suite's.

    A task is named with or without its suite. Raise `UnknownNameError` for what is not there.
    """
    if episodes < 1:
        raise VlaBenchError(f"Cannot evaluate {episodes} episodes a task. Expected 1 or more.")
    if seed < 0:
        raise VlaBenchError(f"The seed is {seed}. Expected 0 or more.")
    names = select_tasks(suite, tasks)
    return tuple(EpisodeIdentity(suite, name, index, seed, variant) for name in names for index in range(episodes))


def select_tasks(suite: str, tasks: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of the asked tasks in the suite's order."""
    known = [task.name for task in tasks_of(suite)]
    asked = [task.removeprefix(f"{suite}.") for task in tasks]
    for name in asked:
        if name not in known:
            raise UnknownNameError(f"task of {suite}", name, known)
    return tuple(name for name in known if name in asked) if asked else tuple(known)
