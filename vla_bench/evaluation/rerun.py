"""Rerun of a single recorded episode: comparison with its record, and branching to another policy at a given step."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vla_bench.core.episode import EpisodeIdentity, find_episode, other_kind_of_scene_hash
from vla_bench.core.errors import VlaBenchError
from vla_bench.evaluation.latency import Latency
from vla_bench.evaluation.options import RunOptions
from vla_bench.evaluation.plan import FixedPlan
from vla_bench.evaluation.protocol import EvaluationProtocol
from vla_bench.evaluation.run import run_evaluation
from vla_bench.policies import Policy, PolicySource, find_policy
from vla_bench.policies.wrappers import SwitchedPolicy
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.protocols import POLICY_INTERFACE, differing_fields
from vla_bench.results.run_info import RunInfo, Session
from vla_bench.results.runs import episode_records, read_run

COMPARED_COLUMNS = (
    *("scene_hash", "action_hash", "outcome", "reward", "steps", "progress", "phase", "final_progress", "final_phase"),
)
_DECISIVE_COLUMNS = ("scene_hash", "action_hash", "outcome")
_ALL_VIDEOS = 10**6  # greater than the index of any episode


class PolicyMismatchError(VlaBenchError):
    """The given policy differs from the policy of the run."""

    def __init__(self, folder: Path, differences: list[str]) -> None:
        super().__init__(
            f"The policy differs from the one of the run {folder}: {'; '.join(differences)}. "
            "Name the card of the run with --policy and its checkpoint with --checkpoint."
        )


@dataclass(frozen=True)
class Rerun:
    """A recorded episode and its rerun."""

    episode: EpisodeIdentity
    recorded: EpisodeRecord
    again: EpisodeRecord
    circumstances: tuple[str, ...]  # differences in versions, protocol, numerics, code and machine
    cpus: tuple[str, str]  # of the recorded session and of the rerun

    @property
    def different(self) -> tuple[str, ...]:
        """The columns with different values."""
        return tuple(name for name in COMPARED_COLUMNS if getattr(self.recorded, name) != getattr(self.again, name))

    @property
    def same(self) -> bool:
        """True if scene, actions and outcome are equal."""
        return not set(self.different) & set(_DECISIVE_COLUMNS)

    @property
    def differs_by_rounding_only(self) -> bool:
        """True if only the actions differ and the CPUs differ, so that rounding may be the reason."""
        decisive = set(self.different) & {*_DECISIVE_COLUMNS, "steps"}
        return decisive == {"action_hash"} and self.cpus[0] != self.cpus[1]


def rerun_episode(folder: Path, text: str, *, policy: str | None = None, checkpoint: Path | None = None) -> Rerun:
    """Run one episode of the run in `folder` again, alone; `text` is its name as in `find_episode`.

    `policy` and `checkpoint` give the present locations if these have changed. Raise `PolicyMismatchError` if the
    policy differs from that of the run.
    """
    found = find_recorded_episode(folder, text, policy, checkpoint)
    with tempfile.TemporaryDirectory() as temporary:
        record, again = run_single_episode(found, Path(temporary) / "run", found.source)
    before = found.info
    names = ("policy:", "checkpoint_hash:")  # the card may have another path
    circumstances = [line for line in before.differences(again) if not line.startswith(names)]
    if kinds := other_kind_of_scene_hash(found.record.scene_hash, record.scene_hash):
        circumstances.append(f"scene_hash: {kinds}")
    session, now = before.sessions[found.record.session], again.sessions[-1]
    circumstances += _session_differences(session, now)
    cpus = (session.hardware.cpu, now.hardware.cpu)
    return Rerun(found.record.identity, found.record, record, tuple(circumstances), cpus)


@dataclass(frozen=True)
class RecordedEpisode:
    """An episode of a run, and the policy that it was recorded with."""

    record: EpisodeRecord
    info: RunInfo
    source: PolicySource
    policy: str  # argument of `find_policy`
    checkpoint: Path | None


def find_recorded_episode(folder: Path, text: str, policy: str | None, checkpoint: Path | None) -> RecordedEpisode:
    """Find an episode of a run and its policy; see `rerun_episode`."""
    run = read_run(folder)
    records = {record.identity: record for record in episode_records(run.episodes)}
    episode = find_episode(text, records)
    policy = policy or run.info.policy_argument or run.info.policy
    checkpoint = checkpoint or (Path(run.info.checkpoint) if run.info.checkpoint else None)
    source = find_policy(policy, checkpoint)
    card = {name: value for name, value in run.info.card.items() if name != "control"}
    if differences := differing_fields(card, source.describe()):
        raise PolicyMismatchError(folder, differences)
    return RecordedEpisode(records[episode], run.info, source, policy, checkpoint)


def run_single_episode(
    found: RecordedEpisode, output: Path, source: PolicySource, *, videos: int = 0
) -> tuple[EpisodeRecord, RunInfo]:
    """Run the episode under the protocol of its run; return its record and the description of the new run `output`."""
    episode, info = found.record.identity, found.info
    options = RunOptions(
        found.policy,
        episode.suite,
        output,
        checkpoint=found.checkpoint,
        tasks=(episode.task,),
        seed=episode.seed,
        workers=1,
        slots_per_worker=1,
        control=str(info.card.get("control") or ""),
        batch_shape=info.numerics.batch_shape,
        videos=videos,
        image_size=_policy_interface(info).get("image_size"),
        protocol=EvaluationProtocol.from_record(info.protocol, episode.task_id),
    )
    report = run_evaluation(options, plan=FixedPlan([episode]), source=source)
    (record,) = report.records
    return record, report.info


def _policy_interface(info: RunInfo) -> Mapping[str, Any]:
    interface = info.protocol.get(POLICY_INTERFACE)
    return interface if isinstance(interface, dict) else {}


def _session_differences(before: Session, now: Session) -> list[str]:
    names = {"hardware", "git", "threads", "policy_code"}
    return differing_fields(before.model_dump(include=names), now.model_dump(include=names))


class NotReproducedError(VlaBenchError):
    """A recorded episode that differs when it is run again here."""

    def __init__(self, folder: Path, record: EpisodeRecord) -> None:
        name = f"{record.task}/{record.variant}/{record.seed}/{record.episode_index}"
        super().__init__(
            f"The rerun of {record.identity.name} of {folder} has another scene or other actions, so its state at a "
            f"step cannot be restored. `vla-bench rerun {folder} {record.suite}.{name}` prints the differences."
        )


@dataclass(frozen=True)
class Branch:
    """A recorded episode, and the same episode with another policy from step `at` on."""

    recorded: EpisodeRecord
    branched: EpisodeRecord
    at: int


@dataclass(frozen=True)
class BranchSource:
    """A policy source that switches from the policy of a run to another one at a step."""

    first: PolicySource
    second: PolicySource
    at: int
    delays: Callable[[], Iterator[int]]  # steps before each chunk takes effect

    @property
    def name(self) -> str:
        """The name in tables."""
        return f"{self.first.name}, {self.second.name} from step {self.at}"

    def describe(self) -> dict[str, Any]:
        """Return the descriptions of both policies and the step."""
        return {"kind": "branch", "at": self.at, "first": self.first.describe(), "second": self.second.describe()}

    def code_hash(self) -> str:
        """Return the code digests of both policies, if they have any."""
        return ", ".join(filter(None, (self.first.code_hash(), self.second.code_hash())))

    def load(self) -> Policy:
        """Load both policies."""
        return SwitchedPolicy(self.first.load(), self.second.load(), self.at, self.delays)


def branch_episode(
    folder: Path,
    text: str,
    at: int,
    policy: str,
    *,
    checkpoint: Path | None = None,
    output: Path | None = None,
) -> Branch:
    """Run an episode of the run in `folder` again up to step `at`, and continue with `policy` from that state.

    The whole episode is run again first; raise `NotReproducedError` if its scene or actions differ from the ledger, so
    that the state at the step is the recorded one. With `output`, the branch is stored there as a run with a video.
    Raise `VlaBenchError` if the episode ended before that step.
    """
    found = find_recorded_episode(folder, text, None, None)
    if not 0 <= at < found.record.steps:
        raise VlaBenchError(
            f"Cannot branch {found.record.identity.name} at step {at}: it has {found.record.steps} steps, 0 to "
            f"{found.record.steps - 1}."
        )
    source = BranchSource(found.source, find_policy(policy, checkpoint), at, partial(_latency_steps, found))
    with tempfile.TemporaryDirectory() as temporary:
        _require_reproduced(found, folder, Path(temporary) / "again")
        branch_folder, videos = (Path(temporary) / "run", 0) if output is None else (output, _ALL_VIDEOS)
        return Branch(found.record, run_single_episode(found, branch_folder, source, videos=videos)[0], at)


def _require_reproduced(found: RecordedEpisode, folder: Path, output: Path) -> None:
    if found.record.outcome == "error":
        return  # the error may not occur again; the actions before it are those of the policy
    again, _ = run_single_episode(found, output, found.source)
    if (again.scene_hash, again.action_hash) != (found.record.scene_hash, found.record.action_hash):
        raise NotReproducedError(folder, found.record)


def _latency_steps(found: RecordedEpisode) -> Iterator[int]:
    """Yield the delay of each chunk of the episode [control steps], as drawn by `DelayedPool`."""
    latency = Latency.parse(str(found.info.protocol.get("latency") or "0"))
    generator = found.record.identity.generator("latency")
    while True:
        yield latency.steps(generator)
