"""What the tasks of suites say: the text that a small tokenizer is trained on."""

from collections.abc import Iterable

from vla_bench.tasks import tasks_of


def instructions_of(suites: Iterable[str]) -> tuple[str, ...]:
    """Return the instructions of every task of `suites`, those without demonstrations included."""
    return tuple(task.instruction for suite in suites for task in tasks_of(suite))
