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
    """Say for each policy with how many episodes of which code its numbers were made, where that is not one."""
    counts: dict[str, Counter[str]] = {}
    for run in runs:
        own = episodes_by_code(run.info, run.episodes["session"].tolist())
        counts.setdefault(run.info.policy, Counter()).update(own)
    return [
        f"Other code: of {policy}, {', then '.join(code_text(code, count) for code, count in by_code.items())}"
        for policy, by_code in counts.items()
        if len(by_code) > 1
    ]


def code_text(code: str, count: int) -> str:
    """Return so many episodes of this code in words."""
    return f"{count} episode{'s' * (count != 1)} ran with {f'code {code}' if code else 'code that is not recorded'}"
