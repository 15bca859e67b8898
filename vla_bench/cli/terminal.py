"""Tables and progress in a terminal, a file or a pipe."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from vla_bench.results.text_tables import TextTable


_PIPED_WIDTH = 160  # characters, if the output is not a terminal


def print_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", words: int | None = None
) -> None:
    """Print rows of text; the first `words` columns are text (default: all), the others numbers.

    The first column is never truncated.
    """
    table = Table(title=title or None)
    for position, name in enumerate(header):
        is_number = words is not None and position >= words
        table.add_column(name, justify="right" if is_number else "left", no_wrap=position == 0)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH).print(table)


def print_text_table(table: "TextTable") -> None:
    """Print a table of results with its notes."""
    print_table(table.header, table.rows, title=table.title, words=table.left)
    for note in table.footnotes:
        Console().print(note, style="dim", highlight=False, soft_wrap=True)


_LOG_EVERY_S = 15.0
_QUIET_S = 30.0  # after which a log reports that nothing has changed, at most once in twice that time


class Update(Protocol):
    """Progress display."""

    def __call__(self, done: int, total: int, text: str = "") -> None:
        """Show `done` of `total` and a short text, such as a rate."""


@contextmanager
def show_progress(title: str, console: Console | None = None) -> Iterator[Update]:
    """Yield a function that shows progress while the block runs."""
    console = console or Console(stderr=True)
    with _bar(title, console) if console.is_terminal else _log(title, console) as update:
        yield update


@contextmanager
def _bar(title: str, console: Console) -> Iterator[Update]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[text]}", style="cyan"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=None, text="")

        def update(done: int, total: int, text: str = "") -> None:
            progress.update(task, completed=done, total=total, text=text)

        yield update


@contextmanager
def _log(title: str, console: Console) -> Iterator[Update]:
    began, updated_at = time.monotonic(), time.monotonic()
    last_line_at, where = -_LOG_EVERY_S, title

    def update(done: int, total: int, text: str = "") -> None:
        nonlocal last_line_at, updated_at, where
        updated_at = time.monotonic()
        elapsed_s, where = updated_at - began, f"{title} {done}/{total}"
        if done == total or elapsed_s - last_line_at >= _LOG_EVERY_S:
            last_line_at = elapsed_s
            console.print(f"{where} {text} ({elapsed_s:.0f} s)", soft_wrap=True, highlight=False)

    def print_waiting() -> None:
        if (quiet_s := time.monotonic() - updated_at) >= _QUIET_S:
            console.print(f"{where} no progress for {quiet_s:.0f} s", soft_wrap=True, highlight=False)

    with _call_periodically(2 * _QUIET_S, print_waiting):
        yield update


@contextmanager
def _call_periodically(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    """Call a function periodically from a separate thread while the block runs."""
    ended = Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            do()

    thread = Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
