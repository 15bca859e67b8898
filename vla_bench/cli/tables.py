"""Tables in a terminal, a file or a pipe."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from vla_bench.results.tables import TextTable

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


def print_text_table(table: "TextTable") -> None:
    """Print a table of results and what stands under it."""
    print_table(table.header, table.rows, title=table.title, words=table.left)
    for note in table.footnotes:
        Console().print(note, style="dim", highlight=False, soft_wrap=True)
