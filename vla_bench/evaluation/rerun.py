"""One recorded episode once more, by its identity, beside what the ledger says of it."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vla_bench.core.episode import EpisodeIdentity, find_episode, other_kind_of_scene_hash
from vla_bench.core.errors import VlaBenchError
from vla_bench.evaluation.plan import FixedPlan
from vla_bench.evaluation.protocol import EvaluationProtocol
from vla_bench.evaluation.run import RunOptions, run_evaluation
from vla_bench.policies import PolicySource, find_policy
from vla_bench.results.differences import differing_fields
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.ledger import LEDGER_NAME, Ledger
from vla_bench.results.protocols import INTERFACE
from vla_bench.results.run_info import RunInfo, Session
from vla_bench.results.runs import read_run, recorded

COMPARED = (
    *("scene_hash", "action_hash", "outcome", "reward", "steps", "progress", "phase", "final_progress", "final_phase"),
)
_DECISIVE = ("scene_hash", "action_hash", "outcome")


class OtherPolicyError(VlaBenchError):
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
    processors: tuple[str, str]  # on which it was recorded, and run now

    @property
    def different(self) -> tuple[str, ...]:
        """The columns that are not equal."""
        return tuple(name for name in COMPARED if getattr(self.recorded, name) != getattr(self.again, name))

    @property
    def same(self) -> bool:
        """Whether scene, actions and outcome are the same."""
        return not set(self.different) & set(_DECISIVE)

    @property
    def rounded_otherwise(self) -> bool:
        """Whether another processor may be the reason: it is another, and of what decides only the actions differ."""
        decisive = set(self.different) & {*_DECISIVE, "steps"}
        return decisive == {"action_hash"} and self.processors[0] != self.processors[1]


def rerun_episode(folder: Path, text: str, *, policy: str | None = None, checkpoint: Path | None = None) -> Rerun:
    """Run one episode of the run in `folder` again, alone; `text` names it as `find_episode` takes it.

    `policy` and `checkpoint` say where these are now, where that is not where they were. Raise `OtherPolicyError` where
    they are not the same.
    """
    found = find_recorded(folder, text, policy, checkpoint)
    with tempfile.TemporaryDirectory() as temporary:
        record, again = run_alone(found, Path(temporary) / "run", found.source)
    then = found.info
    names = ("policy:", "checkpoint_hash:")  # a card by another path is the same card
    circumstances = [line for line in then.differences(again) if not line.startswith(names)]
    if kinds := other_kind_of_scene_hash(found.record.scene_hash, record.scene_hash):
        circumstances.append(f"scene_hash: {kinds}")
    session, now = then.sessions[found.record.session], again.sessions[-1]
    circumstances += _other_place(session, now)
    processors = (session.hardware.cpu, now.hardware.cpu)
    return Rerun(found.record.identity, found.record, record, tuple(circumstances), processors)


@dataclass(frozen=True)
class RecordedEpisode:
    """An episode in a run, and the policy that it was recorded with."""

    record: EpisodeRecord
    info: RunInfo
    source: PolicySource
    policy: str  # as find_policy takes it
    checkpoint: Path | None


def find_recorded(folder: Path, text: str, policy: str | None, checkpoint: Path | None) -> RecordedEpisode:
    """Find an episode and its policy; see `rerun_episode`."""
    run = read_run(folder)
    records = {record.identity: record for record in recorded(run.episodes)}
    episode = find_episode(text, records)
    policy = policy or run.info.policy_argument or run.info.policy
    checkpoint = checkpoint or (Path(run.info.checkpoint) if run.info.checkpoint else None)
    source = find_policy(policy, checkpoint)
    card = {name: value for name, value in run.info.card.items() if name != "control"}
    if differences := differing_fields(card, source.describe()):
        raise OtherPolicyError(folder, differences)
    return RecordedEpisode(records[episode], run.info, source, policy, checkpoint)


def run_alone(
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
        rows_per_worker=1,
        control=str(info.card.get("control") or ""),
        batch_shape=info.numerics.batch_shape,
        videos=videos,
        image_size=_interface(info).get("image_size"),
        protocol=EvaluationProtocol.of_stamp(info.protocol, episode.task_id),
    )
    run_evaluation(options, plan=FixedPlan([episode]), source=source)
    with Ledger(options.output / LEDGER_NAME) as ledger:
        (record,) = ledger.records()
    return record, RunInfo.read(options.output)


def _interface(info: RunInfo) -> Mapping[str, Any]:
    interface = info.protocol.get(INTERFACE)
    return interface if isinstance(interface, dict) else {}


def _other_place(then: Session, now: Session) -> list[str]:
    names = {"hardware", "git", "threads", "policy_code"}
    return differing_fields(then.model_dump(include=names), now.model_dump(include=names))
