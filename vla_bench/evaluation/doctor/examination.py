"""Diagnosis of a policy: measures its action errors, tries every proposed correction, and keeps those that help."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon
from statsmodels.stats.multitest import multipletests

from vla_bench.core.errors import ConventionError, VlaBenchError
from vla_bench.core.types import FloatArray
from vla_bench.evaluation.doctor.expert_samples import LOOK_AHEAD, ExpertSamples, record_expert_samples
from vla_bench.evaluation.doctor.mistakes import ExaminedPolicy, Proposal, mistakes
from vla_bench.evaluation.environment_slots import EnvironmentSpec
from vla_bench.evaluation.plan import select_tasks
from vla_bench.evaluation.protocol import EvaluationProtocol
from vla_bench.evaluation.run import environment_spec
from vla_bench.policies import Policy, find_policy
from vla_bench.policies.cards import PolicyCard
from vla_bench.policies.loading import CardSource, PolicySource
from vla_bench.policies.policy import EnvironmentConventions, as_chunks

_ACTION_PARTS = (slice(0, 3), slice(3, 6), slice(6, 7))  # position, rotation, gripper
_MIN_SPREAD = 0.02  # lower limit of the normalization, for experts that hardly move
_ALPHA = 0.05  # probability of a false finding over all proposals of a round (Holm)
_MIN_GAIN = 0.1  # fraction of the error that a change must remove
_ROUNDS = 3  # largest number of corrected mistakes
_BATCH = 16
_UNINFORMATIVE_ERROR = 0.9  # total error above which the policy is no better than a constant action
_MAX_CHUNK_ERROR_RATIO = 1.5  # to the first action, above which the rest of a chunk should not be executed
_MIN_EPISODES = 8  # with fewer, no paired test can be significant after the Holm correction


@dataclass(frozen=True, eq=False)
class ActionErrors:
    """Action errors relative to those of the best constant action: 0 equals the expert, 1 equals a constant action.

    The arrays have one value per sample, (M,), and `by_step` one per step of the predicted chunks, (H,).
    """

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    gripper: NDArray[np.float64]
    by_step: NDArray[np.float64]

    @property
    def total(self) -> NDArray[np.float64]:
        """The mean of the three parts, (M,)."""
        mean: NDArray[np.float64] = (self.position + self.rotation + self.gripper) / 3.0
        return mean


def action_errors(predicted: FloatArray, expert: FloatArray) -> ActionErrors:
    """Compare chunks (M, H, 7) of a policy and of the expert; all but `by_step` cover the first action only."""
    predicted = np.concatenate(
        [predicted[..., :6], np.sign(predicted[..., 6:])], axis=-1
    )  # sign of the gripper command
    parts = [_relative_error(predicted[..., part], expert[..., part]) for part in _ACTION_PARTS]
    position, rotation, gripper = (error[:, 0] for error in parts)
    return ActionErrors(position, rotation, gripper, np.mean([error.mean(axis=0) for error in parts], axis=0))


def _relative_error(predicted: FloatArray, expert: FloatArray) -> NDArray[np.float64]:
    """Return the mean absolute error of each action, (M, H), divided by that of the median expert action."""
    spread = float(np.abs(expert - np.median(expert, axis=(0, 1))).mean())
    error: NDArray[np.float64] = np.abs(predicted - expert).mean(axis=-1, dtype=np.float64)
    return error / max(spread, _MIN_SPREAD)


Build = Callable[[PolicyCard | None], Policy]  # builds the policy with a card; None: a policy of the user


@dataclass(frozen=True)
class Finding:
    """The effect of one proposal."""

    mistake: str
    fix: str
    position: float  # mean relative errors with the change
    rotation: float
    gripper: float
    total: float
    before: float  # total without the change
    p_value: float  # one-sided Wilcoxon test over episodes, Holm correction over the proposals of the round
    adopted: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """The result of an examination."""

    before: tuple[float, float, float, float]  # position, rotation, gripper and total error of the unchanged policy
    after: tuple[float, float, float, float]  # with all adopted changes
    findings: tuple[Finding, ...]  # of the first round, the most effective first
    fixes: tuple[Finding, ...]  # adopted, in order
    by_step: tuple[float, ...]  # error of each predicted action, with the adopted changes
    executed: int | None  # executed actions of a chunk according to the card; None: all
    episodes: int
    samples: int
    skipped: tuple[str, ...] = field(default=())  # proposals that the policy rejected, with the reasons

    @property
    def lost(self) -> bool:
        """True if the policy is no better than a constant action, even with the adopted changes."""
        return self.after[3] > _UNINFORMATIVE_ERROR

    @property
    def chunk_too_long(self) -> bool:
        """True if the card executes actions that are much worse than the first one of their chunk."""
        executed = self.executed or len(self.by_step)
        return not self.lost and executed > self.steps_worth_executing

    @property
    def steps_worth_executing(self) -> int:
        """The number of actions of a chunk with about the same error as the first one."""
        limit = _MAX_CHUNK_ERROR_RATIO * self.by_step[0]
        return next((k for k, error in enumerate(self.by_step) if error > limit), len(self.by_step))


def examine(
    build: Build, card: PolicyCard | None, folder: Path, expert_samples: ExpertSamples, spec: EnvironmentSpec
) -> Diagnosis:
    """Find the changes that reduce the difference between the actions of the policy and of the expert.

    `build` receives cards without chunk execution, because whole chunks are compared.
    """
    bare = None if card is None else card.model_copy(update={"chunk": None})
    examination = _Examination(build, folder, expert_samples, spec)
    state = _State(bare, (), examination.errors(bare, ()))
    initial = state
    first: list[Finding] = []
    fixes: list[Finding] = []
    for number in range(_ROUNDS):
        findings, states = examination.round(state, {finding.mistake for finding in fixes})
        first = findings if number == 0 else first
        if not findings or not findings[0].adopted:
            break
        fixes.append(findings[0])
        state = states[0]
    executed = getattr(card.chunk, "steps", None) if card is not None else None
    return Diagnosis(
        _mean_errors(initial.errors),
        _mean_errors(state.errors),
        tuple(first),
        tuple(fixes),
        tuple(state.errors.by_step.tolist()),
        executed,
        len(set(expert_samples.episode_numbers())),
        len(expert_samples.samples),
        tuple(dict.fromkeys(examination.skipped)),
    )


@dataclass(frozen=True, eq=False)
class _State:
    """A policy with the adopted changes."""

    card: PolicyCard | None
    wrappers: tuple[Callable[[Policy], Policy], ...]
    errors: ActionErrors

    def changed(self, proposal: Proposal) -> tuple[PolicyCard | None, tuple[Callable[[Policy], Policy], ...]]:
        card = self.card
        if card is not None and proposal.card_changes:
            card = card.model_copy(update=dict(proposal.card_changes))
        return card, self.wrappers if proposal.wrapper is None else (*self.wrappers, proposal.wrapper)


class _Examination:
    """Computes the action errors of a policy under proposed changes."""

    def __init__(self, build: Build, folder: Path, expert_samples: ExpertSamples, spec: EnvironmentSpec) -> None:
        self._build, self._folder, self._expert_samples, self._spec = build, folder, expert_samples, spec
        self._policies: dict[str, Policy] = {}
        self.skipped: list[str] = []

    def round(self, state: _State, settled: set[str]) -> tuple[list[Finding], list[_State]]:
        """Try all proposals of the mistakes not in `settled` on top of `state`; return the most effective first."""
        examined = ExaminedPolicy(
            self._policy(state.card, ()).requirements, self._expert_samples.fields, state.card, self._folder
        )
        tried: list[tuple[str, Proposal, _State]] = []
        for name in mistakes:
            for proposal in mistakes[name](examined) if name not in settled else ():
                try:
                    card, wrappers = state.changed(proposal)
                    tried.append((name, proposal, _State(card, wrappers, self.errors(card, wrappers))))
                except VlaBenchError as error:
                    self.skipped.append(f"{proposal.fix}: {error}")
        findings = self._judged(state, tried)
        order = sorted(range(len(tried)), key=lambda k: (not findings[k].adopted, findings[k].total))
        ranked = [findings[k] for k in order]
        ranked[1:] = [replace(finding, adopted=False) for finding in ranked[1:]]  # one change per round
        return ranked, [tried[k][2] for k in order]

    def errors(self, card: PolicyCard | None, wrappers: Sequence[Callable[[Policy], Policy]]) -> ActionErrors:
        """Return the errors of the policy with this card and these wrappers."""
        predicted = self._predictions(self._policy(card, wrappers))
        return action_errors(predicted, self._expert_samples.expert_chunks(predicted.shape[1]))

    def _policy(self, card: PolicyCard | None, wrappers: Sequence[Callable[[Policy], Policy]]) -> Policy:
        key = "" if card is None else card.model_dump_json()
        if key not in self._policies:
            self._policies.clear()  # memory may be too small for two large networks
            self._policies[key] = self._build(card)
        policy = self._policies[key]
        for wrapper in wrappers:
            policy = wrapper(policy)
        spec = self._spec
        policy.connect(
            EnvironmentConventions(
                spec.cameras, spec.image_size, self._expert_samples.fields, spec.depth, robot=spec.robot
            )
        )
        return policy

    def _predictions(self, policy: Policy) -> NDArray[np.float32]:
        samples = self._expert_samples.samples
        chunks = []
        for first in range(0, len(samples), _BATCH):
            # Copies, because a policy that normalizes in place would change the samples of the next proposal.
            observations = [deepcopy(sample.observation) for sample in samples[first : first + _BATCH]]
            rows = range(len(observations))
            instructions = [observation["instruction"] for observation in observations]
            policy.reset(instructions, rows=rows, seeds=[first + row for row in rows])
            chunks.append(as_chunks(policy.act(observations, rows=rows), len(rows))[:, :LOOK_AHEAD])
        predictions: NDArray[np.float32] = np.concatenate(chunks).astype(np.float32)
        return predictions

    def _judged(self, state: _State, tried: Sequence[tuple[str, Proposal, _State]]) -> list[Finding]:
        before = self._by_episode(state.errors.total)
        p_values = [_p_value(before, self._by_episode(changed.errors.total)) for _, _, changed in tried]
        corrected = multipletests(p_values, method="holm")[1] if tried else []
        findings = []
        for (name, proposal, changed), p_value in zip(tried, corrected, strict=True):
            position, rotation, gripper, total = _mean_errors(changed.errors)
            old = _mean_errors(state.errors)[3]
            adopted = p_value < _ALPHA and total < (1 - _MIN_GAIN) * old
            fix = proposal.fix
            findings.append(Finding(name, fix, position, rotation, gripper, total, old, float(p_value), adopted))
        return findings

    def _by_episode(self, values: NDArray[np.float64]) -> NDArray[Any]:
        numbers = self._expert_samples.episode_numbers()
        return np.array([values[numbers == number].mean() for number in np.unique(numbers)])


def _p_value(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Return the p-value of the hypothesis that the change does not help, paired by episode."""
    if np.allclose(before, after):
        return 1.0
    return float(wilcoxon(before, after, alternative="greater").pvalue)


def _mean_errors(errors: ActionErrors) -> tuple[float, float, float, float]:
    parts = (errors.position, errors.rotation, errors.gripper, errors.total)
    position, rotation, gripper, total = (float(part.mean()) for part in parts)
    return position, rotation, gripper, total


@dataclass(frozen=True)
class DoctorOptions:
    """The policy to examine, and the episodes."""

    policy: str
    suite: str
    checkpoint: Path | None = None
    tasks: tuple[str, ...] = ()
    episodes: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        if self.episodes < _MIN_EPISODES:
            raise VlaBenchError(
                f"{self.episodes} episodes are too few for a significant result. Expected {_MIN_EPISODES} or more."
            )


def diagnose(options: DoctorOptions, on_stage: Callable[[str], None] = lambda stage: None) -> Diagnosis:
    """Examine a policy on expert episodes of a suite; report the stages to `on_stage`."""
    source = find_policy(options.policy, options.checkpoint)
    tasks = [f"{options.suite}.{name}" for name in select_tasks(options.suite, options.tasks)]
    card, folder, build = _policy_builder(source)
    on_stage("loading the policy")
    policy = build(None if card is None else card.model_copy(update={"chunk": None}))
    if policy.requirements.expert is not None:
        raise ConventionError(f"Policy {source.name} is the expert. Choose a policy to compare with the expert.")
    spec = environment_spec(policy, None, EvaluationProtocol())
    on_stage(f"recording {options.episodes} expert episodes")
    expert_samples = record_expert_samples(tasks, spec, episodes=options.episodes, seed=options.seed)
    on_stage(f"comparing actions of {len(expert_samples.samples)} samples")
    return examine(build, card, folder, expert_samples, spec)


def _policy_builder(source: PolicySource) -> tuple[PolicyCard | None, Path, Callable[[PolicyCard | None], Policy]]:
    if not isinstance(source, CardSource):
        return None, Path(), lambda card: source.load()
    resolved = source.resolved_card()
    return resolved, source.path.parent, lambda card: source.build(card or resolved)
