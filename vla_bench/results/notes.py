"""Notes below tables: conditions, unfinished runs, unpaired episodes, policy code and provenance."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import reduce

import pandas as pd

from vla_bench.results.episode_record import KEY
from vla_bench.results.protocols import differing_fields, interface_text, merged_protocol, protocol_line
from vla_bench.results.run_info import RunInfo
from vla_bench.results.runs import Run

# ~ Whether the episodes of a policy of a user's own were all run with the same code of it.


def episodes_by_policy_code(info: RunInfo, sessions: Iterable[int]) -> Counter[str]:
    """Count episodes by the digest of the code that they were run with; `sessions` has that of each episode."""
    codes = [session.policy_code for session in info.sessions]
    return Counter(codes[number] if number < len(codes) else "" for number in sorted(sessions))


def policy_code_notes(runs: Sequence[Run]) -> list[str]:
    """Say for each policy with how many episodes of which code its numbers were made, where that is not one.

    A control of a policy counts as that policy.
    """
    counts: dict[str, Counter[str]] = {}
    for run in runs:
        own = episodes_by_policy_code(run.info, run.episodes["session"].tolist())
        counts.setdefault(run.info.policy_argument or run.info.policy, Counter()).update(own)
    return [
        f"Other code: {', then '.join(policy_code_text(policy, code, count) for code, count in by_code.items())}"
        for policy, by_code in counts.items()
        if len(by_code) > 1
    ]


def policy_code_text(policy: str, code: str, count: int) -> str:
    """Return so many episodes of a policy with this code in words."""
    episodes = f"{count} episode{'s' * (count != 1)} of {policy}"
    return f"{episodes} ran with {f'code {code}' if code else 'code that is not recorded'}"


# ~ What a reader of a leaderboard must know beside its numbers.

_USER_CODE_CONDITION = "as far as its own code is: seeded, on a processor, without a memory of other episodes"


def leaderboard_notes(runs: Sequence[Run], frame: pd.DataFrame, *, rank_with_errors: bool = False) -> tuple[str, ...]:
    """Say which runs are unfinished, were made with other software, or did not meet the same episodes."""
    return (
        *_unfinished(runs),
        *_stopped_early(runs),
        *_errors(frame, rank_with_errors),
        *_unpaired(frame),
        *_differing_scenes(frame),
        *_differing_software(runs),
        *_differing_threads(runs),
    )


def conditions_of(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """Return what stands under the tables of each suite: its protocol, and how each policy sees, acts and computes."""
    suites = dict.fromkeys(suite for run in runs for suite in run.suites)
    return {suite: _conditions(suite, [run for run in runs if suite in run.suites]) for suite in suites}


def provenance(runs: Sequence[Run]) -> str:
    """Say on which machine, when, from which commit and with which seeds the runs were made."""
    sessions = [session for run in runs for session in run.info.sessions]
    machines = dict.fromkeys(f"{one.hardware.cpu}, {one.hardware.cores} cores" for one in sessions)
    commits = dict.fromkeys(
        f"{one.git.commit[:12]}{' with uncommitted changes' * one.git.dirty}" for one in sessions if one.git.commit
    )
    days = sorted({str(one.started.date()) for one in sessions})
    seeds = sorted({int(seed) for run in runs for seed in run.episodes["seed"].unique()})
    parts = {
        "on": ", ".join(machines),
        "begun": " to ".join(dict.fromkeys((days[0], days[-1]))),
        "commit": ", ".join(commits) or "not known",
        "base seed": ", ".join(map(str, seeds)),
    }
    return f"Run {'; '.join(f'{name} {text}' for name, text in parts.items())}"


def _conditions(suite: str, runs: Sequence[Run]) -> tuple[str, ...]:
    protocol = reduce(merged_protocol, (run.info.protocol for run in runs))
    interfaces: dict[str, list[str]] = {}
    for run in runs:
        policies = interfaces.setdefault(interface_text(run.info.protocol), [])
        policies += [run.info.policy] * (run.info.policy not in policies)
    seen = ", ".join(f"{', '.join(policies)} ({text})" for text, policies in interfaces.items())
    return (protocol_line(protocol, suite), f"Sees and acts: {seen}", _reproducible(runs), *policy_code_notes(runs))


def _reproducible(runs: Sequence[Run]) -> str:
    """Say for which policies the ledger is promised to come out the same to the bit, and for which it is not."""
    texts: dict[str, list[str]] = {}
    for run in runs:
        numerics = run.info.numerics
        unknown = "not recorded" if not numerics.device else f"not promised: {numerics.why_not}"
        promised = _USER_CODE_CONDITION if run.info.card.get("kind") == "factory" else "yes"
        policies = texts.setdefault(promised if numerics.bit_equal else unknown, [])
        policies += [run.info.policy] * (run.info.policy not in policies)
    parts = ", ".join(f"{', '.join(policies)} ({text})" for text, policies in texts.items())
    return f"Same ledger for any workers, batch and interruption: {parts}"


def _stopped_early(runs: Sequence[Run]) -> list[str]:
    return [
        f"Stopped by its plan: {run.folder} ({run.info.policy}): {run.info.verdict}" for run in runs if run.info.verdict
    ]


def _differing_threads(runs: Sequence[Run]) -> list[str]:
    """Find runs whose sessions computed on other numbers of threads, which may round otherwise."""
    notes = []
    for run in runs:
        threads = sorted({session.threads for session in run.info.sessions if session.threads})
        if len(threads) > 1 and run.info.numerics.batch_shape is not None:
            notes.append(
                f"Other arithmetic: the sessions of {run.folder} computed on {', '.join(map(str, threads))} threads."
            )
    return notes


def _unfinished(runs: Sequence[Run]) -> list[str]:
    notes = []
    for run in runs:
        if missing := sum(count for _, count in run.missing()):
            planned = sum(item.episodes for item in run.info.planned)
            notes.append(f"Unfinished: {run.folder} ({run.info.policy}) has {planned - missing} of {planned} episodes.")
    return notes


def _errors(frame: pd.DataFrame, rank_with_errors: bool) -> list[str]:
    broken = frame[frame["outcome"] == "error"]
    notes = [
        f"{count} episode{'s' * (count > 1)} of {policy} ended in an error and "
        f"{'are' if count > 1 else 'is'} not in its success rate."
        for policy, count in broken.groupby("policy").size().items()
    ]
    if notes and not rank_with_errors:
        suites = ", ".join(dict.fromkeys(broken["suite"]))
        notes.append(f"Not ranked: with errors, the order of policies in {suites} is that of their names.")
    return notes


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


def _differing_scenes(frame: pd.DataFrame) -> list[str]:
    """Find episodes whose scene was not the same for every policy, which their identity should have made it."""
    scenes = frame[frame["scene_hash"] != ""].groupby(list(KEY))["scene_hash"].nunique()
    different = int((scenes > 1).sum())
    if not different:
        return []
    return [f"Other scenes: {different} of {len(scenes)} episodes did not begin with the same scene for every policy."]


def _differing_software(runs: Sequence[Run]) -> list[str]:
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
