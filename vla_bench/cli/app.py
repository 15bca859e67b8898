"""The application that the command modules add themselves to, and how it ends."""

import errno
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

import vla_bench
from vla_bench.cli import (
    benchmark,
    branch,
    check,
    compare,
    demos,
    docs,
    doctor,
    evaluate,
    failures,
    generate,
    latency,
    ledger,
    listing,
    merge,
    pretrain,
    quickstart,
    record,
    robustness,
    train,
)
from vla_bench.core.errors import VlaBenchError

_MISUSE, _INTERRUPTED = 2, 130  # exit statuses
_INTERRUPTED_NOTE = "Stopped. What was finished is kept; the same command goes on from there."
_OF_THE_MACHINE = {  # a full disk, a place that one may not or cannot write to
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
            raise _failed(str(error), _MISUSE) from None
        except OSError as error:
            if error.errno not in _OF_THE_MACHINE:
                raise
            raise _failed(f"{error.strerror}: {error.filename or 'writing output'}", _MISUSE) from None
        except KeyboardInterrupt as interrupt:
            raise _failed(str(interrupt) or _INTERRUPTED_NOTE, _INTERRUPTED, style="yellow") from None


app = typer.Typer(
    name="vla-bench",
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    quickstart,
    check,
    generate,
    record,
    demos,
    train,
    merge,
    evaluate,
    compare,
    robustness,
    failures,
    branch,
    ledger,
    latency,
    doctor,
    benchmark,
    listing,
    docs,
    pretrain,
):
    module.add_commands(app)


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


def _failed(message: str, status: int, style: str = "red") -> typer.Exit:
    Console(stderr=True).print(Text(message, style=style), soft_wrap=True)
    return typer.Exit(status)
