"""The Typer application: groups of commands, global options and error reporting."""

import errno
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

import vla_bench
from vla_bench.core.errors import VlaBenchError

_MISUSE, _INTERRUPTED = 2, 130  # exit statuses
_INTERRUPTED_MESSAGE = "Interrupted. Finished work is kept; the same command resumes."
_USER_FIXABLE_ERRNOS = {  # a full disk, or a path that cannot be written
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EFBIG, errno.EIO),
}
_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"]}


class CommandEntry(NamedTuple):
    """A command or a group of commands that is imported when it is used."""

    group: str  # in the help output
    module: str  # below `vla_bench.cli`
    attribute: str  # a function, or a `typer.Typer` with sub-commands
    summary: str  # one line of the help output


COMMANDS: dict[str, CommandEntry] = {
    "generate-demos": CommandEntry(
        "Data", "collection", "generate_demos", "Generate demonstrations with scripted experts."
    ),
    "record": CommandEntry("Data", "collection", "record", "Record demonstrations by a device: policy or person."),
    "inspect": CommandEntry("Data", "demos", "inspect_demos", "Summarize demonstrations and write a contact sheet."),
    "replay": CommandEntry("Data", "demos", "replay", "Replay recorded actions and compare the outcomes."),
    "render": CommandEntry("Data", "demos", "render", "Re-render recorded states with other cameras or sizes."),
    "demos": CommandEntry("Data", "demos", "file_commands", "Merge, split, filter and export demonstration files."),
    "finetune": CommandEntry("Training", "training", "finetune", "Fine-tune a base checkpoint on demonstrations."),
    "merge": CommandEntry("Training", "training", "merge", "Merge an adapter into its base checkpoint."),
    "pretrain": CommandEntry("Training", "training", "pretrain", "Pretrain a small OpenVLA from random weights."),
    "run": CommandEntry("Evaluation", "evaluation", "run", "Evaluate a policy on the tasks of a suite."),
    "robustness": CommandEntry("Evaluation", "evaluation", "robustness", "Measure the success lost to perturbations."),
    "rerun": CommandEntry("Evaluation", "diagnosis", "rerun", "Run a recorded episode again and compare it."),
    "branch": CommandEntry("Evaluation", "diagnosis", "branch", "Continue a recorded episode with another policy."),
    "doctor": CommandEntry("Evaluation", "diagnosis", "doctor", "Find convention mistakes of a policy."),
    "leaderboard": CommandEntry("Reports", "reports", "leaderboard", "Write one leaderboard of several runs."),
    "compare": CommandEntry("Reports", "reports", "compare", "Compare policies on identical episodes."),
    "controls": CommandEntry("Reports", "reports", "show_controls", "Show a run compared with its controls."),
    "failures": CommandEntry("Reports", "reports", "failures", "Group failed episodes by their cause."),
    "latency": CommandEntry("Reports", "reports", "latency", "Plot success against policy latency."),
    "tables": CommandEntry("Reports", "reports", "tables", "Regenerate or check all pages of some runs."),
    "ledger": CommandEntry("Reports", "reports", "ledger_commands", "Inspect the ledger of a run."),
    "quickstart": CommandEntry("Tools", "tools", "quickstart", "Run the whole pipeline once, on a small scale."),
    "list": CommandEntry("Tools", "tools", "list_commands", "List tasks, policies, suites, robots or axes."),
    "check": CommandEntry("Tools", "tools", "check", "Check task files without running a policy."),
    "docs": CommandEntry("Tools", "tools", "docs_commands", "Write generated pages of documentation."),
    "benchmark": CommandEntry("Tools", "benchmark", "benchmark", "Measure speed and memory against peers."),
}


class _LazyGroup(TyperGroup):
    """The top-level group: imports the module of a command when it is invoked and reports errors as one message."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, entry in COMMANDS.items():  # enough for the help output, without importing any module
            self.add_command(TyperCommand(name, help=entry.summary, rich_help_panel=entry.group))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # a context of typer's private copy of click
        name, _, rest = super().resolve_command(ctx, args)
        return name, None if name is None else load_command(name), rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except VlaBenchError as error:
            raise _exit_with_message(str(error), _MISUSE) from None
        except OSError as error:
            if error.errno not in _USER_FIXABLE_ERRNOS:
                raise
            raise _exit_with_message(f"{error.strerror}: {error.filename or 'writing output'}", _MISUSE) from None
        except KeyboardInterrupt as interrupt:
            raise _exit_with_message(str(interrupt) or _INTERRUPTED_MESSAGE, _INTERRUPTED, style="yellow") from None


app = typer.Typer(
    name="vla-bench",
    cls=_LazyGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings=_SETTINGS,
)


def load_command(name: str) -> Any:
    """Return the command `name`, or its group of sub-commands, with all options; imports its module."""
    entry = COMMANDS[name]
    found = getattr(import_module(f"vla_bench.cli.{entry.module}"), entry.attribute)
    parent = typer.Typer(rich_markup_mode="markdown")
    if isinstance(found, typer.Typer):
        parent.add_typer(found, name=name, context_settings=_SETTINGS)
    else:
        parent.command(name, context_settings=_SETTINGS)(found)
    return get_group(parent).commands[name]


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"vla-bench {vla_bench.__version__}")
        raise typer.Exit


@app.callback()
def vla_bench_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    tasks: Annotated[
        list[Path] | None,
        typer.Option(help="Your own task file or folder of task files; repeat for several. Also: VLA_BENCH_TASKS."),
    ] = None,
) -> None:
    """Demonstrations, fine-tuning, evaluation and a leaderboard for vision-language-action policies.

    Example: `vla-bench quickstart` runs the whole pipeline in 15 minutes.
    """
    if tasks:
        vla_bench.register_tasks(*tasks)


def _exit_with_message(message: str, status: int, style: str = "red") -> typer.Exit:
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(message, style=style), soft_wrap=True)
    return typer.Exit(status)
