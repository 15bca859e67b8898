"""A plan that compares a run with another run while it is in progress, and stops once the comparison is decided."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from vla_bench.core.episode import EpisodeIdentity, other_kind_of_scene_hash
from vla_bench.core.errors import VlaBenchError
from vla_bench.evaluation.run import RunOptions, requested_episodes
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
    """Ask for those of `planned` that `against` has met without an error, batch after batch, until one is decided.

    See `SequentialComparison` for `alpha`, `margin` (0..1) and what decides where the next episodes are spent. Raise
    `VlaBenchError` where there are no such episodes.
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
        """Every episode that it may ask for."""
        return tuple(self._episodes.values())

    @property
    def decision(self) -> Decision:
        """Where the comparison stands."""
        return self._comparison.decision()

    @property
    def verdict(self) -> str:
        """What was found, once the comparison has stopped."""
        found = self.decision
        if not found.stopped:
            return ""
        other = f"{self._against.info.policy} ({self._against.folder})"
        finding = _FINDINGS[found.finding].format(other=other, margin=100 * self._margin)
        value, low, high = (100 * number for number in (found.difference, found.low, found.high))
        limits, p = f"{value:+.1f} points [{low:+.0f}, {high:+.0f}]", p_value_text(found.p)
        return f"{finding}: {limits}, p {p} at level {self._alpha:g}, {found.pairs} pairs, valid at any time."

    def require_comparable(self, info: RunInfo) -> None:
        """Raise `VlaBenchError` where the run to come has another protocol than the one it is compared with."""
        if differences := protocol_differences(self._against.info.protocol, info.protocol):
            raise VlaBenchError(
                f"{self._against.folder} was run under another protocol: {'; '.join(differences)}. Use its options "
                "(they stand in its run.json), or run it again with yours."
            )

    def next_round(self, records: Mapping[EpisodeIdentity, EpisodeRecord]) -> Sequence[EpisodeIdentity]:
        """Return the batch to run next, or what is left of one."""
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
    """Return the plan of a run with these options that is compared with the run in the folder `against`."""
    if against.resolve() == options.output.resolve():
        raise VlaBenchError(f"{against} cannot be compared with itself. Choose another --output or another --against.")
    return SequentialPlan(requested_episodes(options), read_run(against), alpha=alpha, margin=margin)


class _NoComparableEpisodesError(VlaBenchError):
    """None of the planned episodes of a task were met by the run to compare with."""

    def __init__(self, against: Run, planned: Sequence[EpisodeIdentity], tasks: Sequence[str]) -> None:
        first = planned[0]
        variants = ", ".join(dict.fromkeys(episode.variant for episode in planned))
        seeds = ", ".join(map(str, sorted(set(against.episodes["seed"]))))
        super().__init__(
            f"{against.folder} has no episode of {first.suite}.{' or '.join(tasks[:3])} ({variants}) with seed "
            f"{first.seed} that ended without an error. It holds {len(against.episodes)} episodes of "
            f"{', '.join(against.suites)} with seed {seeds}: choose --suite, --task, --seed and --perturb among these."
        )


class _SceneMismatchError(VlaBenchError):
    """The same episode began in another scene than it did for the other policy."""

    def __init__(self, against: Run, ours: EpisodeRecord, scene: str) -> None:
        if kinds := other_kind_of_scene_hash(scene, ours.scene_hash):
            super().__init__(
                f"The scenes of {against.folder} cannot be compared with these: scene_hash {scene}, here "
                f"{ours.scene_hash}; {kinds}. Run the older of the two again; what was run here so far is kept."
            )
            return
        super().__init__(
            f"{against.folder} began {ours.suite}.{ours.task} {ours.variant} {ours.episode_index} seed {ours.seed} in "
            f"another scene: scene_hash {scene}, here {ours.scene_hash}. Run it again with the versions, tasks and "
            "scenes of this run; what was run here so far is kept."
        )


def _comparison_key(episode: EpisodeIdentity) -> tuple[str, int]:
    """Return the episode as the comparison knows it: a variant of a task is a task of its own there."""
    variant = "" if episode.variant == "clean" else f" ({episode.variant})"
    return f"{episode.task}{variant}", episode.index


def _recorded_outcomes(run: Run) -> dict[EpisodeIdentity, tuple[str, bool]]:
    """Return scene and success of each episode that ended without an error."""
    whole = run.episodes[run.episodes["outcome"] != "error"]
    return {
        EpisodeIdentity(row["suite"], row["task"], row["episode_index"], row["seed"], row["variant"]): (
            row["scene_hash"],
            row["outcome"] == "success",
        )
        for row in whole.to_dict("records")
    }
