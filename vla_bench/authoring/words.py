"""Whether the language of a suite does its work: every task says what only it wants, in several ways."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from vla_bench.authoring.problems import Problem, error, warning
from vla_bench.tasks.starts import sharing_start
from vla_bench.tasks.task import Task

_FEWEST_PARAPHRASES = 5
_LONGEST_HORIZON = 2000  # control steps, 100 s


def word_problems(path: Path, tasks: Sequence[Task]) -> list[Problem]:
    """Return what is wrong with instructions, paraphrases and horizons."""
    found: list[Problem] = []
    for number, task in enumerate(tasks):
        found += _instruction(path, task, tasks[:number])
        found += _paraphrases(path, task, tasks)
        found += _horizon(path, task)
        found += _need_of_language(path, task, tasks)
    return found


def _instruction(path: Path, task: Task, earlier: Iterable[Task]) -> list[Problem]:
    twin = next((other for other in earlier if _spoken(other.instruction) == _spoken(task.instruction)), None)
    if twin is None:
        return []
    field, problem = f"{task.name}.instruction", f"{task.instruction!r} is the instruction of {twin.name} too"
    if twin in sharing_start(task, (twin,)) and frozenset(twin.goal) != frozenset(task.goal):
        return [error(path, field, f"{problem}, which begins alike and wants something else", "words of its own")]
    return [warning(path, field, problem, "words of its own")]


def _paraphrases(path: Path, task: Task, tasks: Iterable[Task]) -> list[Problem]:
    field, found = f"{task.name}.paraphrases", list[Problem]()
    spoken = [_spoken(text) for text in task.paraphrases]
    different = set(spoken) - {_spoken(task.instruction)}
    if len(different) < _FEWEST_PARAPHRASES:
        wanted = f"at least {_FEWEST_PARAPHRASES} that differ from each other and from the instruction"
        found.append(warning(path, field, f"there are {len(different)} different ones", wanted))
    for other in tasks:
        if other is not task and _spoken(other.instruction) in different and other in sharing_start(task, (other,)):
            problem = f"{other.instruction!r} is the instruction of {other.name}, which begins alike"
            found.append(error(path, field, problem, "words that only this task answers to"))
    return found


def _horizon(path: Path, task: Task) -> list[Problem]:
    field = f"{task.name}.horizon"
    if task.horizon <= task.success_steps:
        problem = f"{task.horizon} control steps end before the goal can hold for {task.success_steps}"
        return [error(path, field, problem, "about twice the steps that an expert needs")]
    if task.horizon > _LONGEST_HORIZON:
        problem = f"{task.horizon} control steps of 50 ms are {task.horizon / 20:.0f} s"
        return [
            warning(path, field, problem, f"at most {_LONGEST_HORIZON}, about twice the steps that an expert needs")
        ]
    return []


def _need_of_language(path: Path, task: Task, tasks: Iterable[Task]) -> list[Problem]:
    if len(sharing_start(task, tasks)) > 1:
        return []
    problem = "no other task of the suite begins alike and wants something else, so a policy need not read to succeed"
    return [warning(path, f"{task.name}.instruction", problem, "distractors, and tasks that want them instead")]


def _spoken(text: str) -> str:
    return " ".join(text.lower().replace(",", " ").rstrip(".!").split())
