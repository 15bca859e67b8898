"""Progress that suits where it goes: a bar in a terminal, a line now and then in a log."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_LOG_EVERY_S = 15.0
_QUIET_S = 30.0  # after which a log says that nothing has come, at most once in twice that: a policy may hang


class Update(Protocol):
    """Says how far the work is."""

    def __call__(self, done: int, total: int, text: str = "") -> None:
        """Show `done` of `total` and a few words, such as a rate."""


@contextmanager
def progress_shown(title: str, console: Console | None = None) -> Iterator[Update]:
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
    began, told_at = time.monotonic(), time.monotonic()
    last_line_at, where = -_LOG_EVERY_S, title

    def update(done: int, total: int, text: str = "") -> None:
        nonlocal last_line_at, told_at, where
        told_at = time.monotonic()
        elapsed_s, where = told_at - began, f"{title} {done}/{total}"
        if done == total or elapsed_s - last_line_at >= _LOG_EVERY_S:
            last_line_at = elapsed_s
            console.print(f"{where} {text} ({elapsed_s:.0f} s)", soft_wrap=True, highlight=False)

    def say_that_it_waits() -> None:
        if (quiet_s := time.monotonic() - told_at) >= _QUIET_S:
            console.print(f"{where} nothing new for {quiet_s:.0f} s", soft_wrap=True, highlight=False)

    with _every(2 * _QUIET_S, say_that_it_waits):
        yield update


@contextmanager
def _every(seconds: float, do: Callable[[], None]) -> Iterator[None]:
    """Call a function now and then, from a thread of its own, while the block runs."""
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
