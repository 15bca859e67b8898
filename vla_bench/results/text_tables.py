"""Tables of text cells, written as Markdown and LaTeX (booktabs).

A table is built from text cells once and then written in each format, so that all formats show the same.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

UNFINISHED = "*"
WITH_ERRORS = "\N{DAGGER}"
_MARK_MEANINGS = {
    UNFINISHED: "unfinished: planned episodes are missing",
    WITH_ERRORS: "episodes that ended in an error are excluded; in brackets the rate with them as failures and as "
    "successes",
}
NO_VALUE = "\N{EN DASH}"


@dataclass(frozen=True)
class TextTable:
    """A table of plain text cells."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: int  # number of text columns, aligned left; the others hold numbers
    conditions: tuple[str, ...] = ()  # evaluation conditions of its numbers

    @property
    def footnotes(self) -> tuple[str, ...]:
        """The meaning of the marks in the cells, then the conditions."""
        text = " ".join(cell for row in self.rows for cell in row[self.left :])
        return (*(f"{mark} {meaning}" for mark, meaning in _MARK_MEANINGS.items() if mark in text), *self.conditions)


def markdown_table(table: TextTable) -> str:
    """Return the table without its title."""
    rule = [":--" if column < table.left else "--:" for column in range(len(table.header))]
    lines = [table.header, *table.rows]
    header, *body = (" | ".join(markdown_text(cell) for cell in line) for line in lines)
    return "\n".join(f"| {line} |" for line in (header, " | ".join(rule), *body))


def latex_file(tables: Sequence[TextTable], kind: str, caption: str) -> str:
    """Return the tables as LaTeX floats; `kind` ends their labels."""
    return "\n".join(["% Needs \\usepackage{booktabs}", *(_latex(table, kind, caption) for table in tables)])


def _latex(table: TextTable, kind: str, caption: str) -> str:
    label = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in table.title).strip("-")
    caption = " ".join([table.title + ".", caption, *(f"{note}." for note in table.footnotes)])
    lines = [
        "\\begin{table}[t]",
        "  \\centering",
        f"  \\caption{{{_latex_text(caption)}}}",
        f"  \\label{{tab:{label}-{kind}}}",
        f"  \\begin{{tabular}}{{{'l' * table.left}{'r' * (len(table.header) - table.left)}}}",
        "    \\toprule",
        f"    {_latex_row(table.header)}",
        "    \\midrule",
        *(f"    {rule}{_latex_row(row)}" for rule, row in zip(_rules(table), table.rows, strict=True)),
        "    \\bottomrule",
        "  \\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _rules(table: TextTable) -> list[str]:
    """Return the prefix of each row: a rule before the first row of each further policy."""
    names = [row[0] for row in table.rows]
    grouped = len(set(names)) < len(names)
    starts = [False, *(grouped and name != before for before, name in pairwise(names))]
    return ["\\midrule\n    " if start else "" for start in starts]


def _latex_row(cells: Sequence[str]) -> str:
    row = " & ".join(_latex_text(cell) for cell in cells) + r" \\"
    # LaTeX would read [..] as the argument of the previous line break
    return f"{{}}{row}" if row.startswith("[") else row


def _latex_text(text: str) -> str:
    return " ".join(text.split()).translate(_LATEX)


def markdown_text(text: str) -> str:
    """Return the text escaped for Markdown, on one line."""
    escaped = " ".join(text.split()).translate(_MARKDOWN)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\_", escaped)  # an underscore inside a word is literal


_LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        '"': "''",
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "±": r"$\pm$",
        WITH_ERRORS: r"\textsuperscript{$\dagger$}",
        UNFINISHED: r"\textsuperscript{*}",
        NO_VALUE: "--",
    }
)
_MARKDOWN = str.maketrans({letter: f"\\{letter}" for letter in "\\`*|<>"})
