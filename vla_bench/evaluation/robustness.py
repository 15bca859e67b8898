"""How much perturbations cost a policy: clean and perturbed episodes of the same scenes, each certified by the expert.

A perturbed episode is used only if the expert solves it, so that no drop is the fault of a scene that cannot be solved.
The certificates are the expert's own run on the same episodes, kept beside the policies' runs and shared by them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vla_bench.core.episode import CLEAN, EpisodeIdentity
from vla_bench.core.errors import UnknownNameError, VlaBenchError
from vla_bench.envs.perturbations import Perturbation, axes
from vla_bench.envs.perturbations.effect import SEVERITIES
from vla_bench.evaluation.perturbed import why_not
from vla_bench.evaluation.plan import FixedPlan, plan_episodes
from vla_bench.evaluation.run import RunOptions, run_evaluation
from vla_bench.evaluation.session import RunProgress
from vla_bench.policies import find_policy
from vla_bench.results.ledger import LEDGER_NAME, EpisodeRecord, Ledger
from vla_bench.results.robustness import CERTIFICATES

_EXPERT = "expert"


class NothingCertifiedError(VlaBenchError):
    """A policy cannot be measured where the expert solves nothing."""

    def __init__(self, suite: str, episodes: int) -> None:
        super().__init__(f"The expert solved none of {episodes} episodes of {suite}: there is nothing to measure on.")


@dataclass(frozen=True)
class RobustnessOptions:
    """What to measure; `run` says how episodes are run, its `output` is a folder for the runs of all policies."""

    run: RunOptions
    axes: tuple[str, ...] = ()  # none: all
    severities: tuple[int, ...] = SEVERITIES
    perturbations: tuple[str, ...] = field(default=())  # in place of single axes

    def variants(self) -> tuple[str, ...]:
        """Return the clean variant and every perturbation; raise `UnknownNameError` for an unknown axis."""
        for axis in self.axes:
            if axis not in axes:
                raise UnknownNameError("perturbation axis", axis, axes)
        singles = [Perturbation.of({axis: severity}) for axis in self.axes or axes for severity in self.severities]
        chosen = [Perturbation.parse(text) for text in self.perturbations] or singles
        return (CLEAN, *dict.fromkeys(str(perturbation) for perturbation in chosen))


@dataclass(frozen=True)
class RobustnessRuns:
    """Where the episodes are recorded."""

    policy: Path
    certificates: Path
    without: tuple[str, ...]  # perturbations that a task does not have, and why


def measure_robustness(
    options: RobustnessOptions, on_progress: Callable[[str, RunProgress], None] = lambda stage, progress: None
) -> RobustnessRuns:
    """Certify the episodes, then run the policy on those that the expert solved.

    Both runs go on where they stopped. Raise `NothingCertifiedError` if the expert solves nothing.
    """
    run = options.run
    name = find_policy(run.policy, run.checkpoint).name
    planned, without = _planned(options)
    certificates = replace(
        run, policy=_EXPERT, checkpoint=None, output=run.output / CERTIFICATES, videos=0, image_size=None
    )
    run_evaluation(certificates, lambda progress: on_progress("certificates", progress), FixedPlan(planned))
    with Ledger(certificates.output / LEDGER_NAME) as ledger:
        usable = certified(ledger.records(), planned)
    if not usable:
        raise NothingCertifiedError(run.suite, len(planned))
    own = replace(run, output=run.output / name)
    if name != _EXPERT:
        run_evaluation(own, lambda progress: on_progress(name, progress), FixedPlan(usable))
    return RobustnessRuns(own.output if name != _EXPERT else certificates.output, certificates.output, without)


def certified(records: Sequence[EpisodeRecord], planned: Sequence[EpisodeIdentity]) -> tuple[EpisodeIdentity, ...]:
    """Return the planned episodes that the expert solved, and whose clean twin it solved too."""
    solved = {record.identity for record in records if record.outcome == "success"}
    return tuple(episode for episode in planned if {episode, replace(episode, variant=CLEAN)} <= solved)


def _planned(options: RobustnessOptions) -> tuple[tuple[EpisodeIdentity, ...], tuple[str, ...]]:
    """Return the episodes of every perturbation that their task has, and what was left out."""
    run = options.run
    episodes = plan_episodes(run.suite, run.tasks, episodes=run.episodes, seed=run.seed, variants=options.variants())
    places = dict.fromkeys((episode.task_id, episode.perturbation) for episode in episodes)
    reasons = {place: why_not(*place, run.protocol.robot) for place in places if place[1]}
    kept = [episode for episode in episodes if not reasons.get((episode.task_id, episode.perturbation))]
    left = tuple(f"{task}, {text}: {reason}" for (task, text), reason in reasons.items() if reason)
    return tuple(kept), left
