"""A recorded episode up to a step, and from there on another policy: was it lost by then?"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_bench.core.errors import VlaBenchError
from vla_bench.evaluation.rerun import find_recorded, run_alone
from vla_bench.policies import Policy, PolicySource, find_policy
from vla_bench.policies.switching import SwitchedPolicy
from vla_bench.results.ledger import EpisodeRecord

_ALL = 10**6  # videos: of whatever index the episode has


@dataclass(frozen=True)
class Branch:
    """How an episode ended as it is recorded, and with another policy from step `at` on."""

    recorded: EpisodeRecord
    branched: EpisodeRecord
    at: int


@dataclass(frozen=True)
class BranchSource:
    """The policy of a run up to a step, then another."""

    first: PolicySource
    second: PolicySource
    at: int

    @property
    def name(self) -> str:
        """The name in tables."""
        return f"{self.first.name}, {self.second.name} from step {self.at}"

    def describe(self) -> dict[str, Any]:
        """Return both descriptions and the step."""
        return {"kind": "branch", "at": self.at, "first": self.first.describe(), "second": self.second.describe()}

    def load(self) -> Policy:
        """Load both."""
        return SwitchedPolicy(self.first.load(), self.second.load(), self.at)


def branch_episode(
    folder: Path,
    text: str,
    at: int,
    policy: str,
    *,
    checkpoint: Path | None = None,
    output: Path | None = None,
) -> Branch:
    """Run an episode of the run in `folder` again up to step `at`, and let `policy` go on from that state.

    The first part has the recorded actions, as `rerun_episode` has. With `output` the branch is kept there as a run,
    with a video. Raise `VlaBenchError` where the episode ended before that step.
    """
    found = find_recorded(folder, text, None, None)
    if not 0 <= at < found.record.steps:
        raise VlaBenchError(
            f"Cannot branch {found.record.identity.name} at step {at}: it has {found.record.steps} steps, 0 to "
            f"{found.record.steps - 1}."
        )
    source = BranchSource(found.source, find_policy(policy, checkpoint), at)
    if output is not None:
        return Branch(found.record, run_alone(found, output, source, videos=_ALL)[0], at)
    with tempfile.TemporaryDirectory() as temporary:
        return Branch(found.record, run_alone(found, Path(temporary) / "run", source)[0], at)
