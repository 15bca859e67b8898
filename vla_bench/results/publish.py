"""The files that a leaderboard is published as."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vla_bench.core.paths import written_whole
from vla_bench.results import figures, report, tables
from vla_bench.results.controls import control_folders, control_table, read_controls
from vla_bench.results.leaderboard import leaderboard, missing_episodes
from vla_bench.results.notes import conditions_of, notes_on
from vla_bench.results.runs import merged, read_comparable_runs
from vla_bench.results.tables import TextTable


@dataclass(frozen=True)
class LeaderboardFiles:
    """What `write_leaderboard` made."""

    table: pd.DataFrame
    conditions: dict[str, tuple[str, ...]]  # by suite: under which its numbers were made
    notes: tuple[str, ...]  # what a reader must know: unfinished runs, unpaired episodes, ...
    csv: Path
    markdown: Path
    latex: Path  # policies x tasks
    latex_full: Path  # a row for each policy and task
    png: Path
    pdf: Path
    report: Path
    controls: tuple[TextTable, ...] = ()  # of the runs that have controls

    def suites(self) -> list[tuple[TextTable, TextTable]]:
        """Return the compact and the full table of each suite."""
        made = (kind(self.table, self.conditions) for kind in (tables.compact, tables.full))
        return list(zip(*made, strict=True))

    @property
    def controls_markdown(self) -> Path:
        """The page of the runs' controls, which is there where a run has any."""
        return self.markdown.with_name("controls.md")

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file."""
        controls = (self.controls_markdown,) if self.controls else ()
        return (*controls, self.report, self.csv, self.markdown, self.latex, self.latex_full, self.png, self.pdf)


def write_leaderboard(
    run_folders: Iterable[Path | str], output: Path, *, rank_with_errors: bool = False
) -> LeaderboardFiles:
    """Write the runs' leaderboard as CSV, Markdown, LaTeX, figure and report page into the folder `output`."""
    runs = read_comparable_runs(run_folders)
    frame = merged(runs)
    table = leaderboard(frame, missing_episodes(runs), rank_with_errors=rank_with_errors)
    files = LeaderboardFiles(
        table=table,
        conditions=conditions_of(runs),
        notes=notes_on(runs, frame, rank_with_errors=rank_with_errors),
        csv=output / "leaderboard.csv",
        markdown=output / "leaderboard.md",
        latex=output / "leaderboard.tex",
        latex_full=output / "leaderboard_full.tex",
        png=output / "success.png",
        pdf=output / "success.pdf",
        report=output / "report.html",
        controls=tuple(
            control_table(report) for run in runs if control_folders(run.folder) for report in read_controls(run.folder)
        ),
    )
    _write(files.csv, tables.csv(table))
    _write(files.markdown, tables.markdown(table, files.notes, files.conditions))
    _write(files.latex, tables.latex_compact(table, files.conditions))
    _write(files.latex_full, tables.latex_full(table, files.conditions))
    if files.controls:
        _write(files.controls_markdown, _controls_page(files.controls))
    for path in (files.png, files.pdf):
        with written_whole(path) as temporary:
            figures.save_success(table, temporary)
    _write(
        files.report,
        report.page(runs, frame, files.suites(), files.notes, controls=files.controls, figure=files.png, output=output),
    )
    return files


def _controls_page(made: Sequence[TextTable]) -> str:
    parts = ["# Controls"]
    for table in made:
        parts += [f"## {tables.markdown_text(table.title)}", tables.markdown_table(table)]
        parts += [f"{tables.markdown_text(note)}." for note in table.footnotes]
    return "\n\n".join(parts) + "\n"


def _write(path: Path, text: str) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
