"""A plan that compares a run with another run while it is in progress, and stops once the comparison is decided."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vla_bench.core.episode import EpisodeIdentity, other_kind_of_scene_hash
from vla_bench.core.errors import VlaBenchError
from vla_bench.evaluation.options import RunOptions
from vla_bench.evaluation.run import requested_episodes
from vla_bench.results.comparison_page import p_value_text
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.protocols import protocol_differences
from vla_bench.results.run_info import RunInfo
from vla_bench.results.runs import Run, read_run
from vla_bench.results.statistics.sequential import BATCH, Decision, PairedOutcome, SequentialComparison

_FINDINGS = {
    "first": "Better than {other}",
    "second": "Worse than {other}",
    "equivalent": "Within {margin:g} points of {other}",
    "undecided": "Not distinguishable from {other}",
}


class SequentialPlan:
    """Selects batches of `planned` episodes that `against` completed without error, until the comparison is decided.

    See `SequentialComparison` for `alpha`, `margin` (0..1) and the allocation of the next episodes. Raise
    `VlaBenchError` if a task has no such episodes.
    """

    def __init__(
        self,
        planned: Sequence[EpisodeIdentity],
        against: Run,
        *,
        alpha: float = 0.05,
        margin: float = 0.0,
        batch: int = BATCH,
    ) -> None:
        self._against, self._alpha, self._margin = against, alpha, margin
        self._theirs = _recorded_outcomes(against)
        self._keys = {episode: _comparison_key(episode) for episode in planned if episode in self._theirs}
        self._episodes = {key: episode for episode, key in self._keys.items()}
        indices: dict[str, list[int]] = {_comparison_key(episode)[0]: [] for episode in planned}
        for task, index in self._episodes:
            indices[task].append(index)
        if lacking := [task for task, found in indices.items() if not found]:
            raise _NoComparableEpisodesError(against, planned, lacking)
        self._comparison = SequentialComparison(indices, alpha=alpha, margin=margin, batch=batch)

    @property
    def episodes(self) -> Sequence[EpisodeIdentity]:
        """All episodes that the plan may ask for."""
        return tuple(self._episodes.values())

    @property
    def decision(self) -> Decision:
        """The current state of the comparison."""
        return self._comparison.decision()

    @property
    def verdict(self) -> str:
        """The finding, after the comparison has stopped; "" before."""
        found = self.decision
        if not found.stopped:
            return ""
        other = f"{self._against.info.policy} ({self._against.folder})"
        finding = _FINDINGS[found.finding].format(other=other, margin=100 * self._margin)
        value, low, high = (100 * number for number in (found.difference, found.low, found.high))
        limits, p = f"{value:+.1f} points [{low:+.0f}, {high:+.0f}]", p_value_text(found.p)
        return f"{finding}: {limits}, p {p} at level {self._alpha:g}, {found.pairs} pairs, valid at any time."

    def require_comparable(self, info: RunInfo) -> None:
        """Raise `VlaBenchError` if the protocols of this run and of the reference run differ."""
        if differences := protocol_differences(self._against.info.protocol, info.protocol):
            raise VlaBenchError(
                f"{self._against.folder} was run under another protocol: {'; '.join(differences)}. Use its options, "
                "which its run.json contains, or run it again with the options of this run."
            )

    def next_round(self, records: Mapping[EpisodeIdentity, EpisodeRecord]) -> Sequence[EpisodeIdentity]:
        """Return the missing episodes of the current batch, or the next batch."""
        known = [record for episode, record in records.items() if episode in self._keys]
        self._comparison.update(map(self._paired, known))
        return [self._episodes[key] for key in self._comparison.wanted()]

    def _paired(self, ours: EpisodeRecord) -> PairedOutcome:
        scene, succeeded = self._theirs[ours.identity]
        if ours.scene_hash and ours.scene_hash != scene:
            raise _SceneMismatchError(self._against, ours, scene)
        own = None if ours.outcome == "error" else ours.outcome == "success"
        return PairedOutcome(*self._keys[ours.identity], own, succeeded)


def sequential_plan(options: RunOptions, against: Path, *, alpha: float, margin: float) -> SequentialPlan:
    """Return the plan of a run with `options` that is compared with the run in the folder `against`."""
    if against.resolve() == options.output.resolve():
        raise VlaBenchError(f"{against} cannot be compared with itself. Choose another --output or another --against.")
    return SequentialPlan(requested_episodes(options), read_run(against), alpha=alpha, margin=margin)


class _NoComparableEpisodesError(VlaBenchError):
    """The reference run contains none of the planned episodes of a task."""

    def __init__(self, against: Run, planned: Sequence[EpisodeIdentity], tasks: Sequence[str]) -> None:
        first = planned[0]
        variants = ", ".join(dict.fromkeys(episode.variant for episode in planned))
        seeds = ", ".join(map(str, sorted(set(against.episodes["seed"]))))
        super().__init__(
            f"{against.folder} has no episode of {first.suite}.{' or '.join(tasks[:3])} ({variants}) with seed "
            f"{first.seed} that ended without an error. It contains {len(against.episodes)} episodes of "
            f"{', '.join(against.suites)} with seed {seeds}. Choose --suite, --task, --seed and --perturb among these."
        )


class _SceneMismatchError(VlaBenchError):
    """An episode has different scenes in the two runs."""

    def __init__(self, against: Run, ours: EpisodeRecord, scene: str) -> None:
        if kinds := other_kind_of_scene_hash(scene, ours.scene_hash):
            super().__init__(
                f"The scenes of {against.folder} cannot be compared with those of this run: scene_hash {scene}, here "
                f"{ours.scene_hash}; {kinds}. Run the older of the two again; the episodes recorded here are kept."
            )
            return
        super().__init__(
            f"Episode {ours.identity.name} has another scene in {against.folder}: scene_hash {scene}, here "
            f"{ours.scene_hash}. Run {against.folder} again with the versions, tasks and scenes of this run; the "
            "episodes recorded here are kept."
        )


def _comparison_key(episode: EpisodeIdentity) -> tuple[str, int]:
    """Return task and index of the episode in the comparison, where each variant of a task is a task of its own."""
    variant = "" if episode.variant == "clean" else f" ({episode.variant})"
    return f"{episode.task}{variant}", episode.index


def _recorded_outcomes(run: Run) -> dict[EpisodeIdentity, tuple[str, bool]]:
    """Return scene hash and success of each episode that ended without an error."""
    completed = run.episodes[run.episodes["outcome"] != "error"]
    return {
        EpisodeIdentity(row["suite"], row["task"], row["episode_index"], row["seed"], row["variant"]): (
            row["scene_hash"],
            row["outcome"] == "success",
        )
        for row in completed.to_dict("records")
    }
