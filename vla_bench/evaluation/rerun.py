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
from vla_bench.evaluation.plan import FixedPlan
from vla_bench.evaluation.protocol import EvaluationProtocol
from vla_bench.evaluation.run import RunOptions, run_evaluation
from vla_bench.policies import Policy, PolicySource, find_policy
from vla_bench.policies.wrappers import SwitchedPolicy
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.protocols import POLICY_INTERFACE, differing_fields
from vla_bench.results.run_info import RunInfo, Session
from vla_bench.results.runs import episode_records, read_run

# ~ One recorded episode once more, by its identity, beside what the ledger says of it.

COMPARED_COLUMNS = (
    *("scene_hash", "action_hash", "outcome", "reward", "steps", "progress", "phase", "final_progress", "final_phase"),
)
_DECISIVE_COLUMNS = ("scene_hash", "action_hash", "outcome")


class PolicyMismatchError(VlaBenchError):
    """A policy at hand that is not the one that a run was made with."""

    def __init__(self, folder: Path, differences: list[str]) -> None:
        super().__init__(
            f"The policy is not the one that {folder} was made with: {'; '.join(differences)}. "
            "Name its card with --policy, its checkpoint with --checkpoint."
        )


@dataclass(frozen=True)
class Rerun:
    """An episode as it is recorded, and as it came out now."""

    episode: EpisodeIdentity
    recorded: EpisodeRecord
    again: EpisodeRecord
    circumstances: tuple[str, ...]  # what was different now: versions, protocol, arithmetic, code, machine
    cpus: tuple[str, str]  # on which it was recorded, and run now

    @property
    def different(self) -> tuple[str, ...]:
        """The columns that are not equal."""
        return tuple(name for name in COMPARED_COLUMNS if getattr(self.recorded, name) != getattr(self.again, name))

    @property
    def same(self) -> bool:
        """Whether scene, actions and outcome are the same."""
        return not set(self.different) & set(_DECISIVE_COLUMNS)

    @property
    def differs_by_rounding_only(self) -> bool:
        """Whether another processor may be the reason: it is another, and of what decides only the actions differ."""
        decisive = set(self.different) & {*_DECISIVE_COLUMNS, "steps"}
        return decisive == {"action_hash"} and self.cpus[0] != self.cpus[1]


def rerun_episode(folder: Path, text: str, *, policy: str | None = None, checkpoint: Path | None = None) -> Rerun:
    """Run one episode of the run in `folder` again, alone; `text` names it as `find_episode` takes it.

    `policy` and `checkpoint` say where these are now, where that is not where they were. Raise `PolicyMismatchError` where
    they are not the same.
    """
    found = find_recorded_episode(folder, text, policy, checkpoint)
    with tempfile.TemporaryDirectory() as temporary:
        record, again = run_single_episode(found, Path(temporary) / "run", found.source)
    then = found.info
    names = ("policy:", "checkpoint_hash:")  # a card by another path is the same card
    circumstances = [line for line in then.differences(again) if not line.startswith(names)]
    if kinds := other_kind_of_scene_hash(found.record.scene_hash, record.scene_hash):
        circumstances.append(f"scene_hash: {kinds}")
    session, now = then.sessions[found.record.session], again.sessions[-1]
    circumstances += _session_differences(session, now)
    cpus = (session.hardware.cpu, now.hardware.cpu)
    return Rerun(found.record.identity, found.record, record, tuple(circumstances), cpus)


@dataclass(frozen=True)
class RecordedEpisode:
    """An episode in a run, and the policy that it was recorded with."""

    record: EpisodeRecord
    info: RunInfo
    source: PolicySource
    policy: str  # as find_policy takes it
    checkpoint: Path | None


def find_recorded_episode(folder: Path, text: str, policy: str | None, checkpoint: Path | None) -> RecordedEpisode:
    """Find an episode and its policy; see `rerun_episode`."""
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
    """Run the episode under the protocol of its run into the folder `output`; return its record and the new run's."""
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


def _session_differences(then: Session, now: Session) -> list[str]:
    names = {"hardware", "git", "threads", "policy_code"}
    return differing_fields(then.model_dump(include=names), now.model_dump(include=names))


# ~ A recorded episode up to a step, and from there on another policy: was it lost by then?

_ALL_VIDEOS = 10**6  # videos: of whatever index the episode has


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
    found = find_recorded_episode(folder, text, None, None)
    if not 0 <= at < found.record.steps:
        raise VlaBenchError(
            f"Cannot branch {found.record.identity.name} at step {at}: it has {found.record.steps} steps, 0 to "
            f"{found.record.steps - 1}."
        )
    source = BranchSource(found.source, find_policy(policy, checkpoint), at, partial(_latency_steps, found))
    with tempfile.TemporaryDirectory() as temporary:
        _require_reproduced(found, folder, Path(temporary) / "again")
        kept, videos = (Path(temporary) / "run", 0) if output is None else (output, _ALL_VIDEOS)
        return Branch(found.record, run_single_episode(found, kept, source, videos=videos)[0], at)


def _require_reproduced(found: RecordedEpisode, folder: Path, output: Path) -> None:
    if found.record.outcome == "error":
        return  # what broke may not break again; the actions up to there were the policy's
    again, _ = run_single_episode(found, output, found.source)
    if (again.scene_hash, again.action_hash) != (found.record.scene_hash, found.record.action_hash):
        raise NotReproducedError(folder, found.record)


def _latency_steps(found: RecordedEpisode) -> Iterator[int]:
    """Yield how many steps pass before each chunk of the episode takes effect: those of `DelayedPool`."""
    latency = Latency.parse(str(found.info.protocol.get("latency") or "0"))
    generator = found.record.identity.generator("latency")
    while True:
        yield latency.steps(generator)
