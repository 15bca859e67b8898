"""Robustness of a policy to perturbations: clean and perturbed episodes of the same scenes, certified by the expert.

A perturbed episode is used only if the expert solves it; otherwise the episode with the next index replaces it. The
certificates are stored in a file next to the runs of all policies, which share it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vla_bench.core.episode import CLEAN
from vla_bench.core.errors import UnknownNameError, VlaBenchError
from vla_bench.envs.perturbations import Perturbation, perturbation_axes
from vla_bench.envs.perturbations.perturbation import SEVERITIES
from vla_bench.evaluation.certificates import CertificateStore, CertifiedEpisodes, Certifier
from vla_bench.evaluation.certificates.certifier import EpisodeQuota, TaskVariant
from vla_bench.evaluation.options import RunOptions
from vla_bench.evaluation.plan import FixedPlan, PerturbationSupport, plan_episodes
from vla_bench.evaluation.run import run_evaluation
from vla_bench.policies import find_policy
from vla_bench.results.certificates import CERTIFICATES_NAME, add_certificates

STORE_NAME = "certificates.sqlite"  # in the folder of the runs
_MAX_INDEX_FACTOR = 3  # searched indices per requested episode


class NoCertifiedEpisodesError(VlaBenchError):
    """The expert solved none of the episodes, so that there is nothing to measure."""

    def __init__(self, suite: str, certified: CertifiedEpisodes) -> None:
        errors = [one.error for one in certified.known.values() if one.error]
        last = f" {len(errors)} raised an error, the last one: {errors[-1].strip().splitlines()[-1]}" if errors else ""
        tried = f"The expert solved none of {len(certified.known)} episodes of {suite}"
        super().__init__(f"{tried}, so robustness cannot be measured on them.{last}")


@dataclass(frozen=True)
class RobustnessOptions:
    """The options of a robustness measurement; the `output` of `run` is a folder for the runs of all policies."""

    run: RunOptions
    axes: tuple[str, ...] = ()  # empty: all
    severities: tuple[int, ...] = SEVERITIES
    perturbations: tuple[str, ...] = field(default=())  # replace the single axes
    certificates: Path | None = None  # file shared with other runs; None: a file in `run.output`

    def variants(self) -> tuple[str, ...]:
        """Return the clean variant and every perturbation; raise `UnknownNameError` for an unknown axis."""
        for axis in self.axes:
            if axis not in perturbation_axes:
                raise UnknownNameError("perturbation axis", axis, perturbation_axes)
        singles = [
            Perturbation.of({axis: severity}) for axis in self.axes or perturbation_axes for severity in self.severities
        ]
        chosen = [Perturbation.parse(text) for text in self.perturbations] or singles
        return (CLEAN, *dict.fromkeys(str(perturbation) for perturbation in chosen))


@dataclass(frozen=True)
class RobustnessRuns:
    """The run folder of a robustness measurement, and notes."""

    policy: Path  # including the certificates of its episodes
    notes: tuple[str, ...]  # unsupported perturbations, and task variants without enough certified episodes


def measure_robustness(
    options: RobustnessOptions, on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None
) -> RobustnessRuns:
    """Certify the episodes, then run the policy on those that the expert solved; both steps can be resumed.

    Raise `NoCertifiedEpisodesError` if the expert solves no episode, and `VlaBenchError` if the tasks support none of
    the perturbations.
    """
    run = options.run
    name = find_policy(run.policy, run.checkpoint).name
    cells, notes = _supported_cells(options)
    quota = EpisodeQuota(run.episodes, _MAX_INDEX_FACTOR * run.episodes, run.seed)
    with CertificateStore(options.certificates or run.output / STORE_NAME) as store:
        certifier = Certifier(store, run.protocol.robot, run.protocol.wait_steps, run.workers)
        certified = certifier.certify(
            cells, quota, lambda done, total, result: on_progress("certificates", done, total)
        )
    usable = certified.used(cells)
    if not usable:
        raise NoCertifiedEpisodesError(run.suite, certified)
    own = replace(run, output=run.output / name)
    run_evaluation(own, lambda progress: on_progress(name, progress.done, progress.total), FixedPlan(usable))
    # A shared file may contain certificates of other tasks and variants.
    selected = {(cell.task, cell.variant) for cell in cells}
    certificates = [one for one in certified.known.values() if (one.episode.task, one.episode.variant) in selected]
    add_certificates(own.output / CERTIFICATES_NAME, certificates, usable)
    return RobustnessRuns(own.output, (*notes, *_shortage_notes(cells, certified)))


def _supported_cells(options: RobustnessOptions) -> tuple[tuple[TaskVariant, ...], tuple[str, ...]]:
    """Return the clean and the supported perturbed variants of each task, and notes about unsupported ones."""
    run, variants = options.run, options.variants()
    episodes = plan_episodes(run.suite, run.tasks, episodes=1, seed=run.seed, variants=variants)
    cells = [TaskVariant(episode.suite, episode.task, episode.variant) for episode in episodes]
    with PerturbationSupport(run.protocol.robot) as support:
        reasons = {
            cell: support.unsupported_reason(f"{cell.suite}.{cell.task}", cell.variant)
            for cell in cells
            if cell.variant != CLEAN
        }
    if reasons and all(reasons.values()):
        raise VlaBenchError(
            f"No selected task of {run.suite} supports any of these perturbations. {next(iter(reasons.values()))}"
        )
    supported = tuple(cell for cell in cells if not reasons.get(cell))
    return supported, tuple(_unsupported_notes(reasons))


def _unsupported_notes(reasons: dict[TaskVariant, str]) -> Iterator[str]:
    """Yield notes about unsupported perturbations, grouped by tasks with the same reason."""
    tasks: dict[tuple[str, str], list[str]] = {}
    for cell, reason in reasons.items():
        if reason:
            same = reason.replace(f"{cell.suite}.{cell.task}", "The task")
            tasks.setdefault((cell.variant, same), []).append(cell.task)
    variants: dict[tuple[str, str], list[str]] = {}
    for (variant, reason), names in tasks.items():
        variants.setdefault((", ".join(names), reason), []).append(variant)
    for (names_, reason), left in variants.items():
        yield f"{', '.join(left)} skipped for {names_}: {reason}"


def _shortage_notes(cells: Sequence[TaskVariant], certified: CertifiedEpisodes) -> Iterator[str]:
    quota = certified.quota
    for cell in cells:
        count = len(quota.used(cell, certified.known))
        if count < quota.episodes:
            yield f"{cell.task}, {cell.variant}: {count} of {quota.episodes} episodes among {quota.most} indices."
    errors = [one for one in certified.known.values() if one.error]
    if errors:
        last = errors[-1]
        reason = last.error.strip().splitlines()[-1]
        yield f"The trial of the expert failed in {len(errors)} episodes, such as {last.episode.name}: {reason}"
