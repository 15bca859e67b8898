"""The page, the numbers and the figure of what perturbations cost a policy, from the ledgers alone."""

from collections.abc import Mapping
from pathlib import Path

from vla_bench.core.paths import written_whole
from vla_bench.results.notes import conditions_of
from vla_bench.results.robustness import robustness, robustness_table
from vla_bench.results.robustness_figure import save_robustness
from vla_bench.results.runs import read_run
from vla_bench.results.tables import TextTable, markdown_table, markdown_text


def write_robustness(run: Path, stem: Path, names: Mapping[str, str] | None = None) -> list[Path]:
    """Write `stem` with .md, .csv and, where there is anything to draw, .png for a run's folder; return the files.

    `names` are shorter ones of perturbations.
    """
    table = robustness(run)
    with written_whole(stem.with_name(f"{stem.name}.csv")) as path:
        table.to_csv(path, index=False, float_format="%.10g", lineterminator="\n")
    text, notes = robustness_table(table, names), robustness_notes(run)
    with written_whole(stem.with_name(f"{stem.name}.md")) as path:
        path.write_text(_page(text, notes), encoding="utf-8")
    drawn = save_robustness(table, stem.with_name(f"{stem.name}.png"), names)
    return [stem.with_name(f"{stem.name}{suffix}") for suffix in (".md", ".csv", *([".png"] if drawn else []))]


def robustness_notes(folder: Path) -> tuple[str, ...]:
    """Return the conditions of the run, and which tasks have no episode of a perturbation."""
    run = read_run(folder)
    tasks = set(run.episodes["task"])
    there = run.episodes.groupby("variant")["task"].agg(set)
    lacking = {str(variant): sorted(tasks - own) for variant, own in there.items() if tasks - own}
    without = [f"Without episodes of {variant}: {', '.join(names)}" for variant, names in lacking.items()]
    return (*without, *(note for notes in conditions_of([run]).values() for note in notes))


def _page(table: TextTable, notes: tuple[str, ...]) -> str:
    lines = "\n".join(f"- {markdown_text(line)}" for line in (*table.footnotes, *notes))
    return f"# {markdown_text(table.title)}\n\n{markdown_table(table)}\n\n{lines}\n"
