"""A run beside its controls: what is left of its success without instruction or sight, above the floor."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vla_bench.core.errors import VlaBenchError
from vla_bench.results.ledger import KEY
from vla_bench.results.runs import Run, read_run
from vla_bench.results.statistics import Proportion, wilson
from vla_bench.results.statistics.pairs import Difference, PairCounts, mean_difference
from vla_bench.results.tables import TextTable

CONTROLS_FILE = "controls/controls.json"  # in a run's folder: where each control lies, from there
REFERENCES = ("expert", "noop", "random")  # policies of their own: the ceiling and two floors
_FLOORS = ("noop", "random")
_WITHOUT_LANGUAGE = ("blank-instruction", "wrong-object")  # what the order of words does is no matter of reading alone
_WITHOUT_VISION = ("black-image",)
_NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class ControlRow:
    """One control on the episodes that it has in common with the run, those with errors left out."""

    name: str
    success: Proportion
    episodes: int
    drop: Difference  # of the run's success without what the control takes away: run less control


@dataclass(frozen=True)
class ControlReport:
    """A run and its controls."""

    policy: str
    suite: str
    success: Proportion
    episodes: int
    rows: tuple[ControlRow, ...]

    @property
    def language_use(self) -> float:
        """Share of the success above the floor that is lost without the right instruction, 0..1; NaN at the floor."""
        return self._lost(_WITHOUT_LANGUAGE)

    @property
    def vision_use(self) -> float:
        """Share of the success above the floor that is lost with black images, 0..1; NaN at the floor."""
        return self._lost(_WITHOUT_VISION)

    def _lost(self, without: tuple[str, ...]) -> float:
        rates = {row.name: row.success.rate for row in self.rows}
        if not all(name in rates for name in (*without, *_FLOORS)):
            return math.nan
        above = self.success.rate - max(rates[name] for name in _FLOORS)
        if not above > 0:
            return math.nan
        return min(1.0, max(0.0, (self.success.rate - max(rates[name] for name in without)) / above))


def read_controls(folder: Path) -> list[ControlReport]:
    """Return the run in `folder` beside its controls, suite by suite; raise `VlaBenchError` where it has none."""
    places = control_folders(folder)
    if not places:
        raise VlaBenchError(f"{folder} has no controls. `vla-bench run ... --controls` makes them.")
    run = read_run(folder)
    frames = {name: read_run(place).episodes for name, place in places.items()}
    return [_report(run, suite, frames) for suite in run.suites]


def control_folders(folder: Path) -> dict[str, Path]:
    """Return where the controls of a run lie, by name; nothing where it has none."""
    path = folder / CONTROLS_FILE
    if not path.is_file():
        return {}
    return {name: folder / place for name, place in json.loads(path.read_text(encoding="utf-8")).items()}


def control_table(report: ControlReport) -> TextTable:
    """Return the report as a table, with the two scores under it."""
    own = (report.policy, str(report.episodes), _percent(report.success), "", "")
    rows = [(row.name, str(row.episodes), _percent(row.success), *_points(row.drop)) for row in report.rows]
    scores = f"Language use {_score(report.language_use)}, vision use {_score(report.vision_use)}"
    meaning = (
        "of the success above the floor (no motion, random), the share that is lost without the right instruction "
        "(blank, wrong object: the better) and with black images"
    )
    header = (f"{report.suite}: controls", "episodes", "success %", "lost, points", "95 % interval")
    return TextTable(f"{report.policy} on {report.suite}", header, (own, *rows), 1, (f"{scores}: {meaning}",))


def _report(run: Run, suite: str, frames: Mapping[str, pd.DataFrame]) -> ControlReport:
    own = _scored(run.episodes[run.episodes["suite"] == suite])
    rows = tuple(_row(name, own, _scored(frame)) for name, frame in frames.items())
    return ControlReport(run.info.policy, suite, _rate(own), len(own), rows)


def _row(name: str, own: pd.DataFrame, control: pd.DataFrame) -> ControlRow:
    pairs = own.join(control, how="inner", lsuffix="_own", rsuffix="_control")
    counts = [PairCounts.of(part["success_own"], part["success_control"]) for _, part in pairs.groupby("task")]
    success = wilson(int(pairs["success_control"].sum()), len(pairs))
    return ControlRow(name, success, len(pairs), mean_difference(counts))


def _scored(episodes: pd.DataFrame) -> pd.DataFrame:
    """Return the successes of the episodes without error, by identity."""
    scored = episodes[episodes["outcome"] != "error"].set_index(list(KEY))
    return pd.DataFrame({"success": scored["outcome"] == "success"})


def _rate(scored: pd.DataFrame) -> Proportion:
    return wilson(int(scored["success"].sum()), len(scored))


def _percent(share: Proportion) -> str:
    if math.isnan(share.rate):
        return _NOTHING
    return f"{100 * share.rate:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _points(drop: Difference) -> tuple[str, str]:
    if math.isnan(drop.value):
        return _NOTHING, _NOTHING
    return f"{100 * drop.value:.1f}", f"{100 * drop.low:.1f} to {100 * drop.high:.1f}"


def _score(value: float) -> str:
    return "not defined (no success above the floor)" if math.isnan(value) else f"{value:.2f}"
