"""Certify perturbed episodes of every task: the fraction that the expert solves, by axis and severity.

Each certificate is written to `<output>.sqlite` immediately: an interrupted run resumes, and a run with more
`--episodes`, axes or suites adds the missing ones. Certificates of tasks or axes whose code has changed are ignored.
`vla-bench robustness --certificates <output>.sqlite` reads them. Nothing is rendered. The episodes are those of an
evaluation with seed 0.
"""

import argparse
import csv
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from provenance import command, hardware, software
from task_options import add_task_options, selected_tasks

from vla_bench.core.episode import CLEAN, EpisodeIdentity
from vla_bench.core.files import written_whole
from vla_bench.envs.perturbations import perturbation_axes
from vla_bench.envs.perturbations.perturbation import SEVERITIES
from vla_bench.evaluation.certificates import CertificateStore, Certifier
from vla_bench.evaluation.certificates.certifier import EpisodeQuota, TaskVariant, TrialResult
from vla_bench.evaluation.plan import PerturbationSupport
from vla_bench.results.certificates import Certificate
from vla_bench.results.statistics import wilson
from vla_bench.tasks import get_task

_LOW = 0.8  # cells with a lower success rate are listed


@dataclass(frozen=True)
class CellRow:
    """The certified episodes of a task under one axis and severity."""

    task: str
    axis: str
    severity: int
    episodes: int  # whose unperturbed episode the expert solves
    solved: int
    shared: int  # certified by another episode with the same physics
    failed_episodes: str  # indices

    @property
    def rate(self) -> float:
        """Fraction of the episodes that the expert solves."""
        return self.solved / self.episodes if self.episodes else 0.0


def main() -> None:
    """Run the missing certifications and write the tables."""
    options = _parse(sys.argv[1:])
    tasks = selected_tasks(options, tabletop_first=True)
    variants = [
        f"{axis}={severity}" for axis in options.axis or sorted(perturbation_axes) for severity in options.severity
    ]
    with PerturbationSupport(options.robot) as support:
        lacking = {(task, variant): support.unsupported_reason(task, variant) for task in tasks for variant in variants}
    cells = [
        TaskVariant(get_task(task).suite, get_task(task).name, variant)
        for task in tasks
        for variant in (CLEAN, *variants)
        if not lacking.get((task, variant))
    ]
    quota = EpisodeQuota(options.episodes, options.episodes)
    with CertificateStore(options.output.with_suffix(".sqlite")) as store:
        certifier = Certifier(store, options.robot, workers=options.workers)
        known = certifier.certify(cells, quota, _progress()).known
        date = store.last_date()
    rows = [row for cell in cells if cell.variant != CLEAN and (row := _row(cell, quota, known)) is not None]
    _write(options.output, rows, _facts(options, known, date), lacking)


def _progress() -> Callable[[int, int, TrialResult | None], None]:
    began, here = time.monotonic(), 0

    def report(done: int, total: int, result: TrialResult | None) -> None:
        nonlocal here
        if result is None:
            print(f"{done} certificates exist already")
            return
        here += len(result.certificates)
        first = result.certificates[0].episode
        left_min = (time.monotonic() - began) / here * (total - done) / 60
        print(f"\r{done}/{total} {first.task_id} {first.variant}, {left_min:.0f} min left  ", end="", flush=True)
        for one in result.certificates:
            if one.error:
                print(f"\n{one.episode.name} failed with an error: {one.error}")

    return report


def _row(cell: TaskVariant, quota: EpisodeQuota, known: Mapping[EpisodeIdentity, Certificate]) -> CellRow | None:
    axis, severity = cell.variant.split("=")
    mine = [known[own] for index in range(quota.episodes) if (own := cell.episode(index, quota.seed)) in known]
    mine = [one for one in mine if not one.error]
    if not mine:
        return None
    return CellRow(
        task=f"{cell.suite}.{cell.task}",
        axis=axis,
        severity=int(severity),
        episodes=len(mine),
        solved=sum(one.solved for one in mine),
        shared=sum(one.shown_in != cell.variant for one in mine),
        failed_episodes=" ".join(str(one.episode.index) for one in mine if not one.solved),
    )


def _write(
    output: Path, rows: Sequence[CellRow], facts: Mapping[str, str], lacking: Mapping[tuple[str, str], str]
) -> None:
    with written_whole(output.with_suffix(".csv")) as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(CellRow.__dataclass_fields__)
        writer.writerows([getattr(row, name) for name in CellRow.__dataclass_fields__] for row in rows)
    page = report(rows, facts, lacking)
    with written_whole(output.with_suffix(".md")) as path:
        path.write_text(page, encoding="utf-8")
    print(f"\n{page}")


def report(rows: Sequence[CellRow], facts: Mapping[str, str], lacking: Mapping[tuple[str, str], str]) -> str:
    """Return the page as Markdown."""
    severities = sorted({row.severity for row in rows})
    header = " | ".join(f"severity {severity}" for severity in severities)
    rule = "|---|--:|" + "--:|" * len(severities) + "--:|"
    lines = ["# Certification: perturbed episodes that the expert solves", "", "## By axis", ""]
    lines += [f"| axis | tasks | {header} | shared |", rule]
    lines += [_line(axis, _of(rows, "axis", axis), severities) for axis in dict.fromkeys(row.axis for row in rows)]
    lines += [_line("all", rows, severities), "", "## By task", "", f"| task | axes | {header} | shared |", rule]
    tasks = dict.fromkeys(row.task for row in rows)
    lines += [_line(f"`{task}`", _of(rows, "task", task), severities, "axis") for task in tasks]
    return "\n".join([*lines, "", *_worst(rows), "", *_without(lacking), "", *_notes(facts), ""])


def _line(name: str, rows: Sequence[CellRow], severities: Iterable[int], counted: str = "task") -> str:
    cells = [_share([row for row in rows if row.severity == severity]) for severity in severities]
    number = len({getattr(row, counted) for row in rows})
    shared = sum(row.shared for row in rows) / sum(row.episodes for row in rows)
    return f"| {name} | {number} | {' | '.join(cells)} | {100 * shared:.0f} % |"


def _share(rows: Sequence[CellRow]) -> str:
    solved, episodes = sum(row.solved for row in rows), sum(row.episodes for row in rows)
    if not episodes:
        return "-"
    share = wilson(solved, episodes)
    return f"{100 * share.rate:.1f} % [{100 * share.low:.0f}, {100 * share.high:.0f}]"


def _of(rows: Iterable[CellRow], field: str, value: str) -> list[CellRow]:
    return [row for row in rows if getattr(row, field) == value]


def _worst(rows: Sequence[CellRow]) -> Iterator[str]:
    yield f"## Cells below {100 * _LOW:.0f} %"
    yield ""
    low = sorted((row for row in rows if row.rate < _LOW), key=lambda row: (row.rate, row.severity, row.axis, row.task))
    for row in low:
        yield (
            f"- `{row.task}` under `{row.axis}={row.severity}`: {row.solved} of {row.episodes}; "
            f"failed episodes: {row.failed_episodes}"
        )
    if not low:
        yield "None."


def _without(lacking: Mapping[tuple[str, str], str]) -> Iterator[str]:
    yield "## Unsupported axes"
    yield ""
    reasons: dict[tuple[str, str], list[str]] = {}
    for (task, variant), reason in lacking.items():
        if reason:
            reasons.setdefault((variant.split("=")[0], reason.replace(task, "the task")), []).append(task)
    for (axis, reason), tasks in reasons.items():
        yield f"- {axis}: {', '.join(f'`{task}`' for task in dict.fromkeys(tasks))}. {reason}"
    if not reasons:
        yield "None: every task supports every axis."


def _notes(facts: Mapping[str, str]) -> Iterator[str]:
    yield "Rates are over episodes whose unperturbed version the expert solves, with Wilson 95 % intervals over the"
    yield "pooled episodes. *Shared*: fraction of the certificates without a trial of their own, because the hashes of"
    yield "model and state are equal to those of an episode that the expert has run. A perturbed episode that the"
    yield "expert does not solve is replaced by an episode with a later index (docs/perturbations.md)."
    yield ""
    yield from (f"- {name.capitalize()}: {f'`{fact}`' if name == 'command' else fact}" for name, fact in facts.items())


def _facts(options: argparse.Namespace, known: Mapping[EpisodeIdentity, Certificate], date: str) -> dict[str, str]:
    clean = [one for one in known.values() if one.episode.variant == CLEAN and one.episode.index < options.episodes]
    unsolved = " ".join(one.episode.name for one in clean if not one.solved) or "none"
    return {
        "episodes": f"indices 0 to {options.episodes - 1} of seed 0 of each cell; robot {options.robot}",
        "clean episodes that the expert does not solve": f"{unsolved} (of {len(clean)})",
        "date of the last certificate": date,
        "hardware": hardware(),
        "software": software("mujoco", "robosuite", "numpy"),
        "command": command(),
    }


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/certification"), help="path without suffix")
    parser.add_argument("--episodes", type=int, default=5, help="episodes per task, axis and severity")
    parser.add_argument("--axis", action="append", choices=sorted(perturbation_axes), help="may be given several times")
    parser.add_argument("--severity", action="append", type=int, choices=SEVERITIES, help="may be given several times")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="worker processes")
    parser.add_argument("--robot", default="panda")
    add_task_options(parser)
    options = parser.parse_args(arguments)
    options.severity = options.severity or list(SEVERITIES)
    if options.episodes < 1 or options.workers < 1:
        parser.error("--episodes and --workers must be 1 or more")
    return options


if __name__ == "__main__":
    main()
