"""What a reader of a leaderboard must know beside its numbers."""

from collections.abc import Sequence

import pandas as pd

from vla_bench.results.differences import differing_fields
from vla_bench.results.ledger import KEY
from vla_bench.results.runs import Run


def notes_on(runs: Sequence[Run], frame: pd.DataFrame) -> tuple[str, ...]:
    """Say which runs are unfinished, were made with other software, or did not meet the same episodes."""
    return (*_unfinished(runs), *_errors(frame), *_unpaired(frame), *_other_scenes(frame), *_other_software(runs))


def _unfinished(runs: Sequence[Run]) -> list[str]:
    notes = []
    for run in runs:
        if missing := sum(count for _, count in run.missing()):
            planned = sum(item.episodes for item in run.info.planned)
            notes.append(f"Unfinished: {run.folder} ({run.info.policy}) has {planned - missing} of {planned} episodes.")
    return notes


def _errors(frame: pd.DataFrame) -> list[str]:
    broken = frame[frame["outcome"] == "error"].groupby("policy").size()
    return [
        f"{count} episode{'s' * (count > 1)} of {policy} ended in an error of the harness and "
        f"{'are' if count > 1 else 'is'} not in its success rate."
        for policy, count in broken.items()
    ]


def _unpaired(frame: pd.DataFrame) -> list[str]:
    """Compare the episodes that each policy met in a suite."""
    notes = []
    for (suite, variant), part in frame.groupby(["suite", "variant"]):
        episodes = {str(policy): set(own[list(KEY)].itertuples(index=False)) for policy, own in part.groupby("policy")}
        common = set.intersection(*episodes.values())
        if any(own != common for own in episodes.values()):
            counts = ", ".join(f"{policy} {len(own)}" for policy, own in episodes.items())
            notes.append(
                f"Not paired: the policies did not meet the same episodes of {suite} ({variant}): "
                f"{counts}; {len(common)} in common."
            )
    return notes


def _other_scenes(frame: pd.DataFrame) -> list[str]:
    """Find episodes whose scene was not the same for every policy, which their identity should have made it."""
    scenes = frame[frame["scene_hash"] != ""].groupby(list(KEY))["scene_hash"].nunique()
    different = int((scenes > 1).sum())
    if not different:
        return []
    return [f"Other scenes: {different} of {len(scenes)} episodes did not begin with the same scene for every policy."]


def _other_software(runs: Sequence[Run]) -> list[str]:
    first = runs[0]
    notes = []
    for run in runs[1:]:
        if differences := differing_fields(first.info.versions, run.info.versions):
            notes.append(f"Other versions: {first.folder} and {run.folder} differ in {'; '.join(differences)}.")
    commits = {session.git.commit for run in runs for session in run.info.sessions if session.git.commit}
    if len(commits) > 1:
        notes.append(f"The runs were made at {len(commits)} different commits; the list of runs names them.")
    if any(session.git.dirty for run in runs for session in run.info.sessions):
        notes.append("Some runs were made with uncommitted changes; the list of runs names them.")
    return notes
