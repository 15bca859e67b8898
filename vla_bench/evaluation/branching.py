"""A recorded episode up to a step, and from there on another policy: was it lost by then?"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vla_bench.core.errors import VlaBenchError
from vla_bench.evaluation.latency import Latency
from vla_bench.evaluation.rerun import RecordedEpisode, find_recorded, run_alone
from vla_bench.policies import Policy, PolicySource, find_policy
from vla_bench.policies.switching import SwitchedPolicy
from vla_bench.results.episode_record import EpisodeRecord

_ALL = 10**6  # videos: of whatever index the episode has


class NotReproducedError(VlaBenchError):
    """A recorded episode that comes out otherwise here."""

    def __init__(self, folder: Path, record: EpisodeRecord) -> None:
        name = f"{record.task}/{record.variant}/{record.seed}/{record.episode_index}"
        super().__init__(
            f"Run again, {record.identity.name} of {folder} has another scene or other actions here, so its state at a "
            f"step cannot be had. `vla-bench rerun {folder} {record.suite}.{name}` says what is different."
        )


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
    waits: Callable[[], Iterator[int]]  # steps that pass before each chunk takes effect

    @property
    def name(self) -> str:
        """The name in tables."""
        return f"{self.first.name}, {self.second.name} from step {self.at}"

    def describe(self) -> dict[str, Any]:
        """Return both descriptions and the step."""
        return {"kind": "branch", "at": self.at, "first": self.first.describe(), "second": self.second.describe()}

    def code_hash(self) -> str:
        """Return the digests of both, where either has one."""
        return ", ".join(filter(None, (self.first.code_hash(), self.second.code_hash())))

    def load(self) -> Policy:
        """Load both."""
        return SwitchedPolicy(self.first.load(), self.second.load(), self.at, self.waits)


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

    The state at the step is the recorded one: the whole episode is run again first, and `NotReproducedError` raised
    where its scene or its actions are not those of the ledger. With `output` the branch is kept there as a run, with a
    video. Raise `VlaBenchError` where the episode ended before that step.
    """
    found = find_recorded(folder, text, None, None)
    if not 0 <= at < found.record.steps:
        raise VlaBenchError(
            f"Cannot branch {found.record.identity.name} at step {at}: it has {found.record.steps} steps, 0 to "
            f"{found.record.steps - 1}."
        )
    source = BranchSource(found.source, find_policy(policy, checkpoint), at, partial(_waits, found))
    with tempfile.TemporaryDirectory() as temporary:
        _require_reproduced(found, folder, Path(temporary) / "again")
        kept, videos = (Path(temporary) / "run", 0) if output is None else (output, _ALL)
        return Branch(found.record, run_alone(found, kept, source, videos=videos)[0], at)


def _require_reproduced(found: RecordedEpisode, folder: Path, output: Path) -> None:
    if found.record.outcome == "error":
        return  # what broke may not break again; the actions up to there were the policy's
    again, _ = run_alone(found, output, found.source)
    if (again.scene_hash, again.action_hash) != (found.record.scene_hash, found.record.action_hash):
        raise NotReproducedError(folder, found.record)


def _waits(found: RecordedEpisode) -> Iterator[int]:
    """Yield how many steps pass before each chunk of the episode takes effect: those of `DelayedPool`."""
    latency = Latency.parse(str(found.info.protocol.get("latency") or "0"))
    generator = found.record.identity.generator("latency")
    while True:
        yield latency.steps(generator)
