"""Tables in a terminal, a file or a pipe."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

_PIPED_WIDTH = 160  # characters; a terminal says its own


def print_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", words: int | None = None
) -> None:
    """Print rows of text; the first `words` columns hold words (default: all), the others numbers.

    The first column, the name, is never cut.
    """
    table = Table(title=title or None)
    for position, name in enumerate(header):
        is_number = words is not None and position >= words
        table.add_column(name, justify="right" if is_number else "left", no_wrap=position == 0)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else _PIPED_WIDTH).print(table)
