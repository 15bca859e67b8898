"""Runs read from their folders, grouping of their episode errors, and the rules for runs in one table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.results.episode_record import COLUMNS, KEY, EpisodeRecord
from vla_bench.results.errors import IncomparableRunsError, RunFolderError
from vla_bench.results.ledger import LEDGER_NAME, read_ledger
from vla_bench.results.protocols import differing_fields, protocol_differences
from vla_bench.results.run_info import RUN_INFO_NAME, PlannedTask, RunInfo

MEDIA_FOLDERS = ("videos", "pictures")

_POLICY_EPISODE = ["policy", *KEY]  # key of an episode in a leaderboard
_INCIDENTAL_COLUMNS = [
    "wall_s",
    "policy_s",
    "card_hash",
    "session",
    "attempts",
    "error",
    "run",
    *("path_length_m", "drops", "disturbed", "peak_force_n", "subgoals"),  # columns that follow from scene and actions
]  # columns that may differ between two recordings of one episode
_MEDIA_SUFFIXES = {".mp4", ".webm", ".gif", ".png", ".jpg", ".jpeg"}


@dataclass(frozen=True)
class MediaFile:
    """A video or an image of an episode."""

    path: Path
    outcome: str  # outcome of the episode, or "" if the file name matches no recorded one


@dataclass(frozen=True)
class Run:
    """One run folder: its description and its episodes."""

    folder: Path
    info: RunInfo
    episodes: pd.DataFrame  # columns of `EpisodeRecord`

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites of the recorded episodes."""
        return tuple(sorted(self.episodes["suite"].unique()))

    def missing(self) -> list[tuple[PlannedTask, int]]:
        """Return the incomplete planned tasks with their number of missing episodes.

        Nothing is missing if the plan itself stopped the run.
        """
        if self.info.verdict:
            return []
        present = self.episodes.groupby(["suite", "task", "variant"]).size().to_dict()
        keys = {item: (item.suite, item.task, item.variant) for item in self.info.planned}
        counted = [(item, item.episodes - present.get(key, 0)) for item, key in keys.items()]
        return [(item, missing) for item, missing in counted if missing > 0]

    def media(self) -> list[MediaFile]:
        """Return the videos and images of the run, failures and errors first."""
        columns = zip(*(self.episodes[name] for name in (*KEY, "outcome")), strict=True)
        outcomes = {
            media_stem(EpisodeIdentity(suite, task, index, seed, variant)): str(outcome)
            for suite, task, variant, index, seed, outcome in columns
        }
        files = (file for name in MEDIA_FOLDERS for file in sorted((self.folder / name).rglob("[!.]*")))
        media = [
            MediaFile(file, outcomes.get(file.stem, "")) for file in files if file.suffix.lower() in _MEDIA_SUFFIXES
        ]
        return sorted(media, key=lambda medium: medium.outcome == "success")


def media_stem(episode: EpisodeIdentity) -> str:
    """Return the file name of an episode video, without suffix."""
    return f"{episode.task_id}_{episode.variant}_seed{episode.seed}_{episode.index:04d}"


def episode_records(episodes: pd.DataFrame) -> list[EpisodeRecord]:
    """Return the episodes of a run as records."""
    rows = episodes[list(COLUMNS)].itertuples(index=False, name=None)
    return [EpisodeRecord(**dict(zip(COLUMNS, row, strict=True))) for row in rows]


def read_run(folder: Path | str) -> Run:
    """Read one run; raise `RunFolderError` or `LedgerError` if it is unreadable."""
    folder = Path(folder)
    if not folder.is_dir():
        raise RunFolderError(folder, "it is not a folder" if folder.exists() else "the folder does not exist")
    if missing := [name for name in (LEDGER_NAME, RUN_INFO_NAME) if not (folder / name).is_file()]:
        raise RunFolderError(folder, f"it has no {' and no '.join(missing)}")
    info = RunInfo.read(folder)
    episodes = read_ledger(folder / LEDGER_NAME)
    if episodes.empty:
        raise RunFolderError(folder, "it has no episodes yet")
    if strangers := sorted(set(episodes["policy"]) - {info.policy}):
        raise RunFolderError(folder, f"it has episodes of {', '.join(strangers)}, but its policy is {info.policy}")
    if others := sorted(set(episodes["card_hash"]) - {"", info.card_hash}):  # empty in made-up ledgers
        raise RunFolderError(
            folder,
            f"its {RUN_INFO_NAME} does not belong to its episodes: their card is {', '.join(others)}, but the file has "
            f"{info.card_hash}. One of the files is from another run",
        )
    return Run(folder, info, episodes)


def read_comparable_runs(folders: Iterable[Path | str]) -> list[Run]:
    """Read runs for one table; raise `IncomparableRunsError` if they cannot be compared.

    Runs that share a suite must have the same protocol, and runs of the same policy the same card and checkpoint.
    """
    paths = [Path(folder) for folder in folders]
    if not paths:
        raise VlaBenchError("No run folders were given. Name at least one, as in `vla-bench leaderboard runs/*`.")
    distinct = {path.resolve(): path for path in reversed(paths)}
    runs = [read_run(path) for path in reversed(distinct.values())]
    first_of_suite: dict[str, Run] = {}
    first_of_policy: dict[str, Run] = {}
    for run in runs:
        for suite in run.suites:
            _require_same_protocol(first_of_suite.setdefault(suite, run), run, suite)
        _require_same_policy(first_of_policy.setdefault(run.info.policy, run), run)
    return runs


def merged_episodes(runs: Sequence[Run]) -> pd.DataFrame:
    """Return the episodes of the runs in one frame, with the column `run` added.

    An episode that two runs recorded identically counts once; different records raise `IncomparableRunsError`.
    """
    frame = pd.concat([run.episodes.assign(run=str(run.folder)) for run in runs], ignore_index=True)
    distinct = frame.drop_duplicates([column for column in frame.columns if column not in _INCIDENTAL_COLUMNS])
    clashing = distinct[distinct.duplicated(_POLICY_EPISODE, keep=False)].sort_values(_POLICY_EPISODE, kind="stable")
    if not clashing.empty:
        raise _conflict(clashing)
    return distinct.reset_index(drop=True)


def _require_same_protocol(first: Run, second: Run, suite: str) -> None:
    if differences := protocol_differences(first.info.protocol, second.info.protocol):
        reason = f"evaluate suite {suite} under different protocols"
        raise IncomparableRunsError(
            first.folder, second.folder, reason, differences, "Make separate leaderboards, or run one again."
        )


def _require_same_policy(first: Run, second: Run) -> None:
    cards = differing_fields(first.info.card, second.info.card, "card")
    checkpoints = differing_fields(first.info.checkpoint_hash, second.info.checkpoint_hash, "checkpoint_hash")
    if differences := [*cards, *checkpoints]:
        reason = f"both have the policy name {first.info.policy!r}, but different policies"
        raise IncomparableRunsError(
            first.folder, second.folder, reason, differences, "Give one card another name and run it again."
        )


def _conflict(clashing: pd.DataFrame) -> IncomparableRunsError:
    """Return the text for the first of the conflicting records (sorted by episode)."""
    first, second = clashing.iloc[0], clashing.iloc[1]
    fields = [name for name in clashing.columns if name not in _INCIDENTAL_COLUMNS and first[name] != second[name]]
    differences = [f"{name}: {first[name]}, then {second[name]}" for name in fields]
    name = f"{first['suite']}.{first['task']} {first['variant']} {first['episode_index']} seed {first['seed']}"
    count = len(clashing.drop_duplicates(_POLICY_EPISODE))
    reason = f"record {count} episode{'s' * (count > 1)} of {first['policy']} differently, first {name}"
    advice = "Use only one of them, or another seed for one."
    return IncomparableRunsError(Path(first["run"]), Path(second["run"]), reason, differences, advice)


_TRACEBACK = "Traceback (most recent call last):\n"


@dataclass(frozen=True)
class ErrorGroup:
    """Episode errors with the same exception."""

    line: str
    count: int
    example: str  # traceback
    episode: str  # of the example


def error_groups(frame: pd.DataFrame) -> list[ErrorGroup]:
    """Return the errors grouped by exception, most frequent first."""
    broken = frame[frame["outcome"] == "error"]
    lines = broken["error"].map(exception_line)
    groups = [ErrorGroup(str(line), len(part), *_example(part)) for line, part in broken.groupby(lines)]
    return sorted(groups, key=lambda group: (-group.count, group.line))


def exception_line(text: str) -> str:
    """Return the line of an error text that names the exception.

    Lines of the traceback itself are indented, so it is the first unindented line.
    """
    lines = text.rpartition(_TRACEBACK)[2].strip("\n").splitlines()
    if not lines:
        return text
    raised = (line for line in lines if _TRACEBACK in text and not line.startswith(" "))
    return next(raised, lines[-1]).strip()


def _example(part: pd.DataFrame) -> tuple[str, str]:
    first = part.iloc[0]
    return str(first["error"]), f"{first['task']}/{first['variant']}/{first['seed']}/{first['episode_index']}"
