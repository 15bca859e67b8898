"""Notes below tables: conditions, unfinished runs, unpaired episodes, policy code and provenance."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import reduce

import pandas as pd

from vla_bench.results.episode_record import KEY
from vla_bench.results.protocols import differing_fields, interface_text, merged_protocol, protocol_line
from vla_bench.results.run_info import RunInfo
from vla_bench.results.runs import Run


def episodes_by_policy_code(info: RunInfo, sessions: Iterable[int]) -> Counter[str]:
    """Return the number of episodes per digest of the policy code; `sessions` holds the session of each episode."""
    codes = [session.policy_code for session in info.sessions]
    return Counter(codes[number] if number < len(codes) else "" for number in sorted(sessions))


def policy_code_notes(runs: Sequence[Run]) -> list[str]:
    """Return a note for each policy whose episodes were run with several versions of its code.

    A control counts as its policy.
    """
    counts: dict[str, Counter[str]] = {}
    for run in runs:
        own = episodes_by_policy_code(run.info, run.episodes["session"].tolist())
        counts.setdefault(run.info.policy_argument or run.info.policy, Counter()).update(own)
    return [
        f"Different code: {', then '.join(policy_code_text(policy, code, count) for code, count in by_code.items())}"
        for policy, by_code in counts.items()
        if len(by_code) > 1
    ]


def policy_code_text(policy: str, code: str, count: int) -> str:
    """Return the text for a number of episodes of a policy with one version of its code."""
    episodes = f"{count} episode{'s' * (count != 1)} of {policy}"
    return f"{episodes} ran with {f'code {code}' if code else 'code that is not recorded'}"


_USER_CODE_CONDITION = "if its own code is deterministic: seeded, on a CPU, without state from other episodes"


def leaderboard_notes(runs: Sequence[Run], frame: pd.DataFrame, *, rank_with_errors: bool = False) -> tuple[str, ...]:
    """Return notes on unfinished runs, other software versions and unpaired episodes."""
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
    """Return the notes below the tables of each suite: protocol, policy interfaces and arithmetic."""
    suites = dict.fromkeys(suite for run in runs for suite in run.suites)
    return {suite: _conditions(suite, [run for run in runs if suite in run.suites]) for suite in suites}


def provenance(runs: Sequence[Run]) -> str:
    """Return a note with machine, date, commit and seeds of the runs."""
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
    return (
        protocol_line(protocol, suite),
        f"Observations and actions: {seen}",
        _reproducible(runs),
        *policy_code_notes(runs),
    )


def _reproducible(runs: Sequence[Run]) -> str:
    """Return a note on which policies have bit-identical ledgers by design, and which do not."""
    texts: dict[str, list[str]] = {}
    for run in runs:
        numerics = run.info.numerics
        unknown = "not recorded" if not numerics.device else f"not promised: {numerics.why_not}"
        promised = _USER_CODE_CONDITION if run.info.card.get("kind") == "factory" else "yes"
        policies = texts.setdefault(promised if numerics.bit_equal else unknown, [])
        policies += [run.info.policy] * (run.info.policy not in policies)
    parts = ", ".join(f"{', '.join(policies)} ({text})" for text, policies in texts.items())
    return f"Identical ledger for any workers, batch and interruption: {parts}"


def _stopped_early(runs: Sequence[Run]) -> list[str]:
    return [
        f"Stopped by its plan: {run.folder} ({run.info.policy}): {run.info.verdict}" for run in runs if run.info.verdict
    ]


def _differing_threads(runs: Sequence[Run]) -> list[str]:
    """Yield notes on runs whose sessions used different numbers of threads, which may round differently."""
    notes = []
    for run in runs:
        threads = sorted({session.threads for session in run.info.sessions if session.threads})
        if len(threads) > 1 and run.info.numerics.batch_shape is not None:
            notes.append(
                f"Different arithmetic: the sessions of {run.folder} used {', '.join(map(str, threads))} threads."
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
        notes.append(f"Not ranked: because of errors, policies in {suites} are sorted by name.")
    return notes


def _unpaired(frame: pd.DataFrame) -> list[str]:
    """Yield notes on suites in which the policies have different episodes."""
    notes = []
    for (suite, variant), part in frame.groupby(["suite", "variant"]):
        episodes = {str(policy): set(own[list(KEY)].itertuples(index=False)) for policy, own in part.groupby("policy")}
        common = set.intersection(*episodes.values())
        if any(own != common for own in episodes.values()):
            counts = ", ".join(f"{policy} {len(own)}" for policy, own in episodes.items())
            notes.append(
                f"Not paired: the policies have different episodes of {suite} ({variant}): "
                f"{counts}; {len(common)} in common."
            )
    return notes


def _differing_scenes(frame: pd.DataFrame) -> list[str]:
    """Yield notes on episodes whose scenes differ between policies although their identity is the same."""
    scenes = frame[frame["scene_hash"] != ""].groupby(list(KEY))["scene_hash"].nunique()
    different = int((scenes > 1).sum())
    if not different:
        return []
    return [f"Different scenes: {different} of {len(scenes)} episodes do not have the same scene for every policy."]


def _differing_software(runs: Sequence[Run]) -> list[str]:
    first = runs[0]
    notes = []
    for run in runs[1:]:
        if differences := differing_fields(first.info.versions, run.info.versions):
            notes.append(f"Different versions: {first.folder} and {run.folder} differ in {'; '.join(differences)}.")
    commits = {session.git.commit for run in runs for session in run.info.sessions if session.git.commit}
    if len(commits) > 1:
        notes.append(f"The runs have {len(commits)} different commits; see the list of runs.")
    if any(session.git.dirty for run in runs for session in run.info.sessions):
        notes.append("Some runs were made with uncommitted changes; see the list of runs.")
    return notes
