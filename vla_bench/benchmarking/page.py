"""`results/performance.md`: the aims and what was reached, every figure, profiles, growth, and how it was measured."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from vla_bench.benchmarking.figures import Aim, Figure, number, plain
from vla_bench.benchmarking.growth_points import Exponent, Growth
from vla_bench.benchmarking.profile_parts import Profile
from vla_bench.benchmarking.record import Record
from vla_bench.core.paths import written_whole
from vla_bench.results.tables import TextTable, markdown_table

PAGE_NAME = "performance.md"
PLOTS_FOLDER = "performance"


def write_page(record: Record, folder: Path) -> Path:
    """Write the page and return its path."""
    with written_whole(folder / PAGE_NAME) as path:
        path.write_text(page(record), encoding="utf-8")
    return folder / PAGE_NAME


def page(record: Record) -> str:
    """Return the page as Markdown."""
    lines = [
        "# Performance",
        "",
        "Medians of the turns, and their range. Every ratio is one of the same turn: what is compared takes turns,",
        "each in a process of its own, so that a busy moment of the machine hits all alike.",
        "",
        *_section(aims_table(record)),
        *_section(figures_table(record)),
        *_not_run(record),
        *_profiles(record.profiles),
        *_growths(record.growths),
        "## How it was measured",
        "",
        f"- Hardware: {record.machine}",
        f"- Software: {record.software}",
        f"- {record.how}",
        f"- Date: {record.date}",
        f"- Command: `{record.command}`",
        *_notes(record),
        "",
    ]
    return "\n".join(lines)


def aims_table(record: Record) -> TextTable:
    """Return the aims beside what was reached."""
    rows = [
        (plain(figure.title), str(aim), shown(figure), range_of(figure), "yes" if aim.met(figure.median) else "no")
        for figure, aim in _aimed(record)
    ]
    return TextTable("Aims", ("what", "aim", "reached", "lowest to highest", "met"), tuple(rows), left=1)


def figures_table(record: Record) -> TextTable:
    """Return every figure."""
    rows = [
        (outcome.measure, plain(figure.title), shown(figure), range_of(figure), str(len(figure.turns)))
        for outcome in record.outcomes
        for figure in outcome.figures
    ]
    header = ("measure", "what", "median", "lowest to highest", "turns")
    return TextTable("All figures", header, tuple(rows), left=2)


def profile_table(profile: Profile) -> TextTable:
    """Return where a step's time goes."""
    total = profile.total_ms
    rows = [
        (
            plain(part.name),
            f"{part.milliseconds:.2f}",
            f"{part.low:.2f} to {part.high:.2f}",
            f"{part.milliseconds / total:.0%}",
        )
        for part in profile.parts
    ]
    rows.append(("together", f"{total:.2f}", "", "100%"))
    title = f"A control step of `{profile.task_id}`, cameras of {profile.image_size} px"
    return TextTable(title, ("part", "ms", "lowest to highest", "share"), tuple(rows), left=1)


def growth_table(growths: Iterable[Growth]) -> TextTable:
    """Return the exponents."""
    rows = [
        (growth.title, growth.size, growth.cost, exponent_text(growth.exponent), _memory_text(growth))
        for growth in growths
    ]
    header = ("what", "size", "cost", "exponent [95 %]", "memory: exponent, MB")
    return TextTable("How cost grows", header, tuple(rows), left=3)


def points_table(growth: Growth) -> TextTable:
    """Return the points of one growth."""
    rows = [
        (number(point.size), number(point.cost), "" if point.memory_mb is None else number(point.memory_mb))
        for point in growth.points
    ]
    return TextTable(growth.title, (growth.size, growth.cost, "memory [MB]"), tuple(rows), left=0)


def shown(figure: Figure) -> str:
    """Return the median with its unit."""
    return str(figure)


def range_of(figure: Figure) -> str:
    """Return the range of the turns."""
    return "" if len(figure.turns) == 1 else f"{number(figure.low)} to {number(figure.high)}"


def exponent_text(exponent: Exponent) -> str:
    """Return `0.98 [0.95, 1.01]`."""
    return f"{exponent.value:.2f} [{exponent.low:.2f}, {exponent.high:.2f}]"


def _memory_text(growth: Growth) -> str:
    memory = [point.memory_mb for point in growth.points if point.memory_mb is not None]
    if growth.memory_exponent is None or not memory:
        return ""
    return f"{exponent_text(growth.memory_exponent)}, {number(memory[0])} to {number(memory[-1])}"


def _aimed(record: Record) -> Iterator[tuple[Figure, Aim]]:
    for outcome in record.outcomes:
        for figure in outcome.figures:
            if figure.aim is not None:
                yield figure, figure.aim


def _section(table: TextTable, level: int = 2) -> list[str]:
    return [f"{'#' * level} {table.title}", "", markdown_table(table), ""] if table.rows else []


def _not_run(record: Record) -> list[str]:
    missing = [outcome for outcome in record.outcomes if outcome.not_run]
    if not missing:
        return []
    return ["## Not run", "", *(f"- {one.title} (`{one.measure}`): {one.not_run}" for one in missing), ""]


def _notes(record: Record) -> list[str]:
    notes = dict.fromkeys(note for outcome in record.outcomes for note in outcome.notes)
    return [f"- {note}" for note in notes]


def _profiles(profiles: Iterable[Profile]) -> list[str]:
    sections = [line for profile in profiles for line in _section(profile_table(profile), level=3)]
    return ["## Where a step's time goes", "", *sections] if sections else []


def _growths(growths: tuple[Growth, ...]) -> list[str]:
    if not growths:
        return []
    plots = [f"![{growth.title}]({PLOTS_FOLDER}/{growth.name}.png)" for growth in growths]
    points = [line for growth in growths for line in _section(points_table(growth), level=3)]
    return [*_section(growth_table(growths)), *plots, "", *points]
