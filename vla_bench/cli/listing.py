"""`vla-bench list`: what there is."""

import inspect
from typing import Annotated

import typer

from vla_bench.cli.tables import print_table


def add_commands(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    group = typer.Typer(no_args_is_help=True, help="List tasks, policies, suites, robots or axes of perturbation.")
    group.command("tasks")(list_tasks)
    group.command("policies")(list_policies)
    group.command("suites")(list_suites)
    group.command("robots")(list_robots)
    group.command("axes")(list_axes)
    app.add_typer(group, name="list")


def list_tasks(suite: Annotated[str | None, typer.Option("--suite", "-s", help="Only this suite's.")] = None) -> None:
    """List the tasks with their instructions."""
    from vla_bench.tasks import suites, tasks_of

    tasks = [task for name in (suites() if suite is None else (suite,)) for task in tasks_of(name)]
    rows = [(task.id, task.instruction, " and ".join(map(str, task.goal)), str(task.horizon)) for task in tasks]
    print_table(("task", "instruction", "goal", "horizon"), rows)


def list_policies() -> None:
    """List the policies that `run --policy` knows by name."""
    from vla_bench.policies import policy_descriptions

    print_table(("policy", "description"), policy_descriptions().items())


def list_suites() -> None:
    """List the suites."""
    from vla_bench.tasks import suites, tasks_of

    rows = [(name, str(len(tasks_of(name))), tasks_of(name)[0].engine) for name in suites()]
    print_table(("suite", "tasks", "engine"), rows)


def list_robots() -> None:
    """List the robots that `--robot` knows; a file in envs/robots is one."""
    from vla_bench.envs.descriptions import describe_robot, described

    robots = {name: describe_robot(name) for name in described("robots")}
    rows = [
        (name, robot.noun, str(len(robot.arm.joints)), f"{100 * robot.gripper.fingers.opening_m:.1f} cm")
        for name, robot in robots.items()
    ]
    print_table(("robot", "description", "joints", "gripper opens"), rows)


def list_axes() -> None:
    """List the axes that `--perturb` knows, and the sets of them."""
    from vla_bench.envs.perturbations import NAMED_SETS, axes

    rows = [(name, " ".join((inspect.getdoc(axes[name]) or "").split())) for name in axes]
    print_table(("axis", "severities 1, 2, 3"), rows)
    sets = [(f"{name}-1, {name}-2, {name}-3", ", ".join(members)) for name, members in NAMED_SETS.items()]
    print_table(("set", "axes"), sets)
