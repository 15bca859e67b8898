"""The options `--suite` and `--task` of studies that run over tasks."""

import argparse

from vla_bench.tasks import get_task, suites, task_ids


def add_task_options(parser: argparse.ArgumentParser) -> None:
    """Add `--suite` and `--task`."""
    parser.add_argument("--suite", action="append", choices=suites(), help="may be given several times [default: all]")
    parser.add_argument(
        "--task",
        action="append",
        choices=task_ids(),
        metavar="SUITE.TASK",
        help="tasks to run instead of suites; may be given several times",
    )


def selected_tasks(options: argparse.Namespace, *, tabletop_first: bool = False) -> list[str]:
    """Return the ids of the selected tasks, by default all."""
    names = options.task or [name for suite in options.suite or suites() for name in task_ids(suite)]
    return sorted(names, key=lambda name: get_task(name).engine, reverse=True) if tabletop_first else names
