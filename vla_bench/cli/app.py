"""The Typer application: command registration, global options and error reporting."""

import errno
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

import vla_bench
from vla_bench.cli import benchmark, collection, demos, diagnosis, evaluation, reports, tools, training
from vla_bench.core.errors import VlaBenchError

_MISUSE, _INTERRUPTED = 2, 130  # exit statuses
_INTERRUPTED_MESSAGE = "Stopped. What was finished is kept; the same command goes on from there."
_USER_FIXABLE_ERRNOS = {  # a full disk, a place that one may not or cannot write to
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EFBIG, errno.EIO),
}


class _Group(TyperGroup):
    """Turns what a user can mend into one message without a traceback."""

    def invoke(self, ctx: Any) -> Any:  # a context of typer's private copy of click
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
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for add_commands in (
    tools.add_quickstart,
    tools.add_check,
    collection.add_generation_commands,
    collection.add_record,
    demos.add_demo_commands,
    training.add_finetune,
    training.add_merge,
    evaluation.add_evaluation_commands,
    reports.add_compare,
    evaluation.add_robustness,
    reports.add_failures,
    diagnosis.add_branch,
    reports.add_ledger_commands,
    reports.add_latency,
    diagnosis.add_doctor,
    benchmark.add_benchmark,
    tools.add_list,
    tools.add_docs,
    training.add_pretrain,
):
    add_commands(app)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"vla-bench {vla_bench.__version__}")
        raise typer.Exit


@app.callback()
def vla_bench_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    tasks: Annotated[
        list[Path] | None,
        typer.Option(help="Task file of your own, or folder of them; repeat for several. Also: VLA_BENCH_TASKS."),
    ] = None,
) -> None:
    """Demonstrations, fine-tuning, evaluation and a leaderboard for vision-language-action policies.

    `vla-bench quickstart` shows all of it in a quarter of an hour.
    """
    if tasks:
        vla_bench.register_tasks(*tasks)


def _exit_with_message(message: str, status: int, style: str = "red") -> typer.Exit:
    Console(stderr=True).print(Text(message, style=style), soft_wrap=True)
    return typer.Exit(status)
