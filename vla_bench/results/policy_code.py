"""Whether the episodes of a policy of a user's own were all run with the same code of it."""

from collections import Counter
from collections.abc import Iterable, Sequence

from vla_bench.results.run_info import RunInfo
from vla_bench.results.runs import Run


def episodes_by_code(info: RunInfo, sessions: Iterable[int]) -> Counter[str]:
    """Count episodes by the digest of the code that they were run with; `sessions` has that of each episode."""
    codes = [session.policy_code for session in info.sessions]
    return Counter(codes[number] if number < len(codes) else "" for number in sorted(sessions))


def mixed_code(runs: Sequence[Run]) -> list[str]:
    """Say for each policy with how many episodes of which code its numbers were made, where that is not one.

    A control of a policy counts as that policy.
    """
    counts: dict[str, Counter[str]] = {}
    for run in runs:
        own = episodes_by_code(run.info, run.episodes["session"].tolist())
        counts.setdefault(run.info.policy_argument or run.info.policy, Counter()).update(own)
    return [
        f"Other code: {', then '.join(code_text(policy, code, count) for code, count in by_code.items())}"
        for policy, by_code in counts.items()
        if len(by_code) > 1
    ]


def code_text(policy: str, code: str, count: int) -> str:
    """Return so many episodes of a policy with this code in words."""
    episodes = f"{count} episode{'s' * (count != 1)} of {policy}"
    return f"{episodes} ran with {f'code {code}' if code else 'code that is not recorded'}"
