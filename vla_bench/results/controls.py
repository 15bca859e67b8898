"""A run compared with its controls: the success lost without the instruction or without images."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vla_bench.core.errors import VlaBenchError
from vla_bench.results.episode_record import KEY
from vla_bench.results.notes import conditions_of, policy_code_notes, provenance
from vla_bench.results.pairing import require_same_episodes
from vla_bench.results.runs import Run, read_run
from vla_bench.results.statistics import Proportion
from vla_bench.results.statistics.paired import Difference, FractionLost, PairCounts, fraction_lost, mean_difference
from vla_bench.results.statistics.proportions import fixed_tasks
from vla_bench.results.text_tables import NO_VALUE, TextTable

CONTROLS_FILE = "controls/controls.json"  # in the run folder: relative path of each control
REFERENCE_POLICIES = ("expert", "noop", "random")  # other policies: one ceiling and two floors
_FLOORS = ("noop", "random")
# not in the language-use score: word order affects more than language use
_WITHOUT_LANGUAGE = ("blank-instruction", "wrong-object")
_WITHOUT_VISION = ("black-image",)


@dataclass(frozen=True)
class ControlRow:
    """One control on the episodes in common with the run, without errors."""

    name: str
    success: Proportion
    episodes: int
    drop: Difference  # success lost in the control: run minus control


@dataclass(frozen=True)
class ControlReport:
    """A run and its controls in one suite."""

    policy: str
    suite: str
    success: Proportion
    episodes: int
    rows: tuple[ControlRow, ...]
    language_use: FractionLost  # fraction of the success above the floor that is lost without the right instruction
    vision_use: FractionLost  # the same with black images
    unreplaced: int = 0  # episodes of `wrong-object` without another object to name, so with a blank instruction
    conditions: tuple[str, ...] = ()  # evaluation conditions of the run


def read_controls(folder: Path) -> list[ControlReport]:
    """Return the run in `folder` compared with its controls, per suite.

    Raise `VlaBenchError` if it has none, and `IncomparableRunsError` if a control has another protocol or other scenes.
    """
    places = control_folders(folder)
    if not places:
        raise VlaBenchError(f"{folder} has no controls. `vla-bench run ... --controls` runs them.")
    run = read_run(folder)
    made = {name: read_run(place) for name, place in places.items()}
    for control in made.values():
        require_same_episodes(run, control)
    return [_report(run, suite, made) for suite in run.suites]


def control_folders(folder: Path) -> dict[str, Path]:
    """Return the folders of the controls of a run by name; empty if it has none."""
    path = folder / CONTROLS_FILE
    if not path.is_file():
        return {}
    return {name: folder / place for name, place in json.loads(path.read_text(encoding="utf-8")).items()}


def control_table(report: ControlReport) -> TextTable:
    """Return the report as a table with both scores as notes."""
    own = (report.policy, str(report.episodes), _rate_cell(report.success), "", "")
    rows = [(row.name, str(row.episodes), _rate_cell(row.success), *_drop_cells(row.drop)) for row in report.rows]
    scores = f"Language use {_score_text(report.language_use)}, vision use {_score_text(report.vision_use)}"
    meaning = (
        "fraction of the success above the floor (no motion, random) that is lost without the right instruction "
        "(the better of blank and wrong object) and with black images, with 95 % intervals"
    )
    rest = (
        f"In {report.unreplaced} episodes of wrong-object no other object could be named, so the instruction was blank"
    )
    notes = (f"{scores}: {meaning}", *([rest] if report.unreplaced else []), *report.conditions)
    header = (f"{report.suite}: controls", "episodes", "success %", "lost, points", "95 % interval")
    return TextTable(f"{report.policy} on {report.suite}", header, (own, *rows), 1, notes)


def _report(run: Run, suite: str, controls: Mapping[str, Run]) -> ControlReport:
    own = _scored(run.episodes[run.episodes["suite"] == suite])
    frames = {name: _scored(control.episodes) for name, control in controls.items()}
    together = [run, *controls.values()]
    instructions = frames.get("wrong-object", own).reindex(own.index)["instruction"]
    return ControlReport(
        run.info.policy,
        suite,
        _rate(own),
        len(own),
        tuple(_control_row(name, own, frame) for name, frame in frames.items()),
        _fraction_lost(own, frames, _WITHOUT_LANGUAGE),
        _fraction_lost(own, frames, _WITHOUT_VISION),
        int((instructions == "").sum()),
        tuple(
            dict.fromkeys((*conditions_of([run]).get(suite, ()), *policy_code_notes(together), provenance(together)))
        ),
    )


def _control_row(name: str, own: pd.DataFrame, control: pd.DataFrame) -> ControlRow:
    pairs = own.join(control, how="inner", lsuffix="_own", rsuffix="_control")
    parts = [part for _, part in pairs.groupby("task")]
    counts = [PairCounts.of(part["success_own"], part["success_control"]) for part in parts]
    return ControlRow(
        name, _rate(pairs.rename(columns={"success_control": "success"})), len(pairs), mean_difference(counts)
    )


def _fraction_lost(own: pd.DataFrame, frames: Mapping[str, pd.DataFrame], without: tuple[str, ...]) -> FractionLost:
    """Return the score on the episodes that the run and all its controls have in common."""
    columns = (*without, *_FLOORS)
    if not all(name in frames for name in columns):
        return FractionLost(math.nan, math.nan, math.nan)
    parts = [own["success"], *(frames[name]["success"].rename(name) for name in columns)]
    common = pd.concat(parts, axis=1, join="inner").astype(bool)
    return fraction_lost([part.to_numpy() for _, part in common.groupby("task")], len(without))


def _scored(episodes: pd.DataFrame) -> pd.DataFrame:
    """Return the success of each episode without error, by identity."""
    scored = episodes[episodes["outcome"] != "error"].set_index(list(KEY))
    return pd.DataFrame({"success": scored["outcome"] == "success", "instruction": scored["instruction"]})


def _rate(scored: pd.DataFrame) -> Proportion:
    """Return the mean success rate of the tasks, as in the leaderboard."""
    tasks = scored.groupby("task")["success"]
    return fixed_tasks(tasks.sum().astype(int).tolist(), tasks.count().tolist())


def _rate_cell(share: Proportion) -> str:
    if math.isnan(share.rate):
        return NO_VALUE
    return f"{100 * share.rate:.1f} [{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _drop_cells(drop: Difference) -> tuple[str, str]:
    if math.isnan(drop.value):
        return NO_VALUE, NO_VALUE
    return f"{100 * drop.value:.1f}", f"{100 * drop.low:.1f} to {100 * drop.high:.1f}"


def _score_text(share: FractionLost) -> str:
    if math.isnan(share.value):
        return "not defined (no success above the floor)"
    return f"{share.value:.2f} [{share.low:.2f}, {share.high:.2f}]"
