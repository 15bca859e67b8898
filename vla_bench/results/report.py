"""The report: one HTML page that needs no network and no server."""

import base64
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vla_bench.results.error_groups import error_groups
from vla_bench.results.run_info import Session
from vla_bench.results.runs import Run
from vla_bench.results.tables import CAPTION, TextTable

_TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class FailurePhase:
    """How often episodes of one policy and suite failed in one phase."""

    phase: str
    count: int
    share: float  # of the failures, 0..1


def page(
    runs: Sequence[Run],
    frame: pd.DataFrame,
    suites: Sequence[tuple[TextTable, TextTable]],
    notes: Sequence[str],
    *,
    controls: Sequence[TextTable],
    figure: Path,
    output: Path,
) -> str:
    """Return the page with the compact and the full table of each of `suites`, and the tables of the runs' controls.

    Its links lead from `output`, the folder it will lie in, to the runs' files.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["command"] = shlex.join
    environment.filters["link"] = lambda path: quote(Path(os.path.relpath(path, output)).as_posix())
    return environment.get_template(_TEMPLATE).render(
        caption=CAPTION,
        notes=notes,
        suites=suites,
        controls=controls,
        figure=base64.b64encode(figure.read_bytes()).decode("ascii"),
        failures=failure_phases(frame),
        errors=error_groups(frame),
        runs=runs,
        git=_git,
    )


def failure_phases(frame: pd.DataFrame) -> dict[tuple[str, str], list[FailurePhase]]:
    """Return for each suite and policy in which phases its failed episodes ended, the most frequent first."""
    failed = frame[frame["outcome"] == "failure"]
    phases = {}
    for (suite, policy), part in failed.groupby(["suite", "policy"]):
        counts = part["phase"].replace("", "(none)").value_counts()
        phases[str(suite), str(policy)] = [
            FailurePhase(str(phase), int(count), int(count) / len(part)) for phase, count in counts.items()
        ]
    return phases


def _git(session: Session) -> str:
    if not session.git.commit:
        return "not run from a clone"
    return session.git.commit[:12] + (" with uncommitted changes" if session.git.dirty else "")
