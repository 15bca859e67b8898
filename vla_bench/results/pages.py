"""All pages that a set of runs produces, and the check that pages in a folder are up to date."""

import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from vla_bench.core.episode import CLEAN
from vla_bench.core.files import written_whole
from vla_bench.results import comparison_page
from vla_bench.results.certificates import CERTIFICATES_NAME
from vla_bench.results.comparison import compare
from vla_bench.results.controls import control_folders
from vla_bench.results.episode_record import KEY
from vla_bench.results.failures import failures_csv, failures_page, read_failures
from vla_bench.results.latency_curve import latency_ms, latency_page, read_latency_curve, save_latency_curve
from vla_bench.results.leaderboard_page import LeaderboardFiles, write_leaderboard
from vla_bench.results.pairing import read_paired_runs
from vla_bench.results.robustness import write_robustness
from vla_bench.results.runs import Run, read_run

_TEXT_SUFFIXES = (".md", ".csv", ".tex")  # figures depend on fonts, and the report on the location of the runs
_OPTIONAL_PAGES = re.compile(r"(comparison|controls|failures|latency|robustness(-.+)?)\.(md|csv|tex|png)")
_EXPERT = "expert"


@dataclass(frozen=True)
class WrittenPages:
    """Files and data written by `write_pages`."""

    leaderboard: LeaderboardFiles
    others: tuple[Path, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        return (*self.leaderboard.paths, *self.others)


def write_pages(
    folders: Iterable[Path],
    output: Path,
    *,
    rank_with_errors: bool = False,
    names: Mapping[str, str] | None = None,
) -> WrittenPages:
    """Write every table, figure and page of the runs into `output`.

    The leaderboard covers the runs with the smallest latency, with their controls. Two or more of these also give a
    comparison, failed episodes the page of failures, several latencies the latency curve, and perturbed episodes with
    certificates the robustness page; `names` are short names of perturbations. Raise `IncomparableRunsError` for runs
    whose protocols differ in more than latency.
    """
    runs = [read_run(folder) for folder in folders]
    ranked = _least_latency(runs)
    files = write_leaderboard([run.folder for run in ranked], output, rank_with_errors=rank_with_errors)
    others = [page for make in (_comparison, _failures) for page in make(ranked, output)]
    others += _robustness(ranked, output, names)
    return WrittenPages(files, (*others, *_latency(runs, output)))


def stale_pages(
    folders: Iterable[Path],
    folder: Path,
    *,
    rank_with_errors: bool = False,
    names: Mapping[str, str] | None = None,
) -> tuple[list[Path], dict[Path, str]]:
    """Compare the text pages in `folder` with the pages generated from the ledgers of the runs.

    Return the existing pages, and the first differing line of each page that differs. A page that these runs do not
    generate counts as different.
    """
    with tempfile.TemporaryDirectory() as temporary:
        made = write_pages(folders, Path(temporary), rank_with_errors=rank_with_errors, names=names).paths
        compared = [path for path in made if path.suffix in _TEXT_SUFFIXES and (folder / path.name).is_file()]
        lines = {folder / path.name: _first_difference(folder / path.name, path) for path in compared}
        others = {path.name for path in folder.glob("*")} - {path.name for path in made}
        left = [folder / name for name in sorted(others) if _OPTIONAL_PAGES.fullmatch(name)]
        lines |= dict.fromkeys(left, "not generated from these runs")
    return list(lines), {path: line for path, line in lines.items() if line}


def _least_latency(runs: Sequence[Run]) -> list[Run]:
    least = min((latency_ms(run.info.protocol) for run in runs), default=0.0)
    return [run for run in runs if latency_ms(run.info.protocol) == least]


def _comparison(runs: Sequence[Run], output: Path) -> list[Path]:
    episodes = [set(run.episodes[list(KEY)].itertuples(index=False, name=None)) for run in runs]
    if len(runs) < 2 or not set.intersection(*episodes):
        return []  # the notes of the leaderboard report it
    found = compare(read_paired_runs([run.folder for run in runs]))
    texts = {
        ".md": comparison_page.comparison_markdown,
        ".csv": comparison_page.comparison_csv,
        ".tex": comparison_page.comparison_latex,
    }
    return [_write_text(output / f"comparison{suffix}", made(found)) for suffix, made in texts.items()]


def _failures(runs: Sequence[Run], output: Path) -> list[Path]:
    expert = next((run.folder for run in runs if run.info.card.get("kind") == _EXPERT), None)
    reports = [
        read_failures(run.folder, _expert_run(run, expert))
        for run in runs
        if (run.episodes["outcome"] == "failure").any()
    ]
    if not reports:
        return []
    texts = {"failures.md": failures_page, "failures.csv": failures_csv}
    return [_write_text(output / name, made(reports)) for name, made in texts.items()]


def _expert_run(run: Run, expert: Path | None) -> Path | None:
    """Return the expert run for comparison: a control of the run, or one of the runs."""
    return control_folders(run.folder).get(_EXPERT) or expert


def _latency(runs: Sequence[Run], output: Path) -> list[Path]:
    if len({latency_ms(run.info.protocol) for run in runs}) < 2:
        return []
    folders = [run.folder for run in runs]
    with written_whole(output / "latency.png") as temporary:
        save_latency_curve(read_latency_curve(folders), temporary)
    return [_write_text(output / "latency.md", latency_page(folders)), output / "latency.png"]


def _robustness(runs: Sequence[Run], output: Path, names: Mapping[str, str] | None) -> list[Path]:
    folders = [run.folder for run in runs if _is_perturbed(run) and (run.folder / CERTIFICATES_NAME).is_file()]
    made = []
    for folder in folders:
        name = "robustness" if len(folders) == 1 else f"robustness-{folder.resolve().name}"
        made += write_robustness(folder, output / name, names)
    return made


def _is_perturbed(run: Run) -> bool:
    return bool((run.episodes["variant"] != CLEAN).any())


def _write_text(path: Path, text: str) -> Path:
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _first_difference(there: Path, made: Path) -> str:
    pairs = zip_longest(there.read_text(encoding="utf-8").split("\n"), made.read_text(encoding="utf-8").split("\n"))
    for number, (old, new) in enumerate(pairs, start=1):
        if old != new:
            return f"line {number} is {_quoted(old)}, but the ledgers give {_quoted(new)}"
    return ""


def _quoted(line: str | None) -> str:
    return "nothing" if line is None else repr(line)
