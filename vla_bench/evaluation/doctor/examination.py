"""Try every proposal on the same moments, keep what clearly helps, and try the others on top of it."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon
from statsmodels.stats.multitest import multipletests

from vla_bench.core.errors import VlaBenchError
from vla_bench.evaluation.doctor.errors import ActionErrors, action_errors
from vla_bench.evaluation.doctor.lessons import LOOK_AHEAD, Lessons
from vla_bench.evaluation.doctor.mistakes import Patient, Proposal, mistakes
from vla_bench.evaluation.rows import EnvironmentSpec
from vla_bench.policies.cards import PolicyCard
from vla_bench.policies.policy import EnvironmentConventions, Policy, as_chunks

Build = Callable[[PolicyCard | None], Policy]  # the policy under a card; None: the user's own class

_ALPHA = 0.05  # of a false finding, over all proposals of a round (Holm)
_LEAST_GAIN = 0.1  # share of the error that a change must remove to count
_ROUNDS = 3  # mistakes that may hide behind each other
_BATCH = 16
_LOST = 0.9  # a total error above which the policy is no better than a constant action
_DRIFT = 1.5  # times the first action's error at which the rest of a chunk is not worth executing


@dataclass(frozen=True)
class Finding:
    """One proposal as tried."""

    mistake: str
    fix: str
    position: float  # mean relative errors under the change
    rotation: float
    gripper: float
    total: float
    before: float  # total without the change
    p_value: float  # one-sided Wilcoxon over episodes, Holm over the round's proposals; 1 where it does not help
    adopted: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """What the examination found."""

    before: tuple[float, float, float, float]  # position, rotation, gripper, total of the policy as it is
    after: tuple[float, float, float, float]  # with all adopted changes
    findings: tuple[Finding, ...]  # of the first round, the most helpful first
    fixes: tuple[Finding, ...]  # adopted, in order
    by_step: tuple[float, ...]  # error of each predicted action, with the changes adopted
    executed: int | None  # actions of a chunk that the card executes; None: all
    episodes: int
    moments: int
    skipped: tuple[str, ...] = field(default=())  # proposals that the policy refused, and why

    @property
    def lost(self) -> bool:
        """Whether the policy, even with the changes, is no better than a constant action."""
        return self.after[3] > _LOST

    @property
    def chunk_too_long(self) -> bool:
        """Whether the card executes actions that are much worse than the first of their chunk."""
        executed = self.executed or len(self.by_step)
        return not self.lost and executed > self.steps_worth_executing

    @property
    def steps_worth_executing(self) -> int:
        """How many actions of a chunk are about as good as the first."""
        limit = _DRIFT * self.by_step[0]
        return next((k for k, error in enumerate(self.by_step) if error > limit), len(self.by_step))


def examine(build: Build, card: PolicyCard | None, folder: Path, lessons: Lessons, spec: EnvironmentSpec) -> Diagnosis:
    """Return which changes bring the policy's actions nearer to the expert's.

    `build` makes the policy from a card without its way of executing chunks: whole chunks are judged.
    """
    bare = None if card is None else card.model_copy(update={"chunk": None})
    examination = _Examination(build, folder, lessons, spec)
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
        _means(initial.errors),
        _means(state.errors),
        tuple(first),
        tuple(fixes),
        tuple(state.errors.by_step.tolist()),
        executed,
        len(set(lessons.episode_numbers())),
        len(lessons.moments),
        tuple(dict.fromkeys(examination.skipped)),
    )


@dataclass(frozen=True, eq=False)
class _State:
    """A policy with the changes adopted so far."""

    card: PolicyCard | None
    wrappings: tuple[Callable[[Policy], Policy], ...]
    errors: ActionErrors

    def changed(self, proposal: Proposal) -> tuple[PolicyCard | None, tuple[Callable[[Policy], Policy], ...]]:
        card = self.card
        if card is not None and proposal.card_changes:
            card = card.model_copy(update=dict(proposal.card_changes))
        return card, self.wrappings if proposal.wrapping is None else (*self.wrappings, proposal.wrapping)


class _Examination:
    """Runs policies over the lessons."""

    def __init__(self, build: Build, folder: Path, lessons: Lessons, spec: EnvironmentSpec) -> None:
        self._build, self._folder, self._lessons, self._spec = build, folder, lessons, spec
        self._policies: dict[str, Policy] = {}
        self.skipped: list[str] = []

    def round(self, state: _State, settled: set[str]) -> tuple[list[Finding], list[_State]]:
        """Try all proposals of the mistakes not yet settled on top of `state`; the most helpful first."""
        patient = Patient(self._policy(state.card, ()).requirements, self._lessons.fields, state.card, self._folder)
        tried: list[tuple[str, Proposal, _State]] = []
        for name in mistakes:
            for proposal in mistakes[name](patient) if name not in settled else ():
                try:
                    card, wrappings = state.changed(proposal)
                    tried.append((name, proposal, _State(card, wrappings, self.errors(card, wrappings))))
                except VlaBenchError as error:
                    self.skipped.append(f"{proposal.fix}: {error}")
        findings = self._judged(state, tried)
        order = sorted(range(len(tried)), key=lambda k: (not findings[k].adopted, findings[k].total))
        ranked = [findings[k] for k in order]
        ranked[1:] = [replace(finding, adopted=False) for finding in ranked[1:]]  # one at a time
        return ranked, [tried[k][2] for k in order]

    def errors(self, card: PolicyCard | None, wrappings: Sequence[Callable[[Policy], Policy]]) -> ActionErrors:
        """Return the errors of the policy with this card and these wrappings."""
        predicted = self._predictions(self._policy(card, wrappings))
        return action_errors(predicted, self._lessons.expert_chunks(predicted.shape[1]))

    def _policy(self, card: PolicyCard | None, wrappings: Sequence[Callable[[Policy], Policy]]) -> Policy:
        key = "" if card is None else card.model_dump_json()
        if key not in self._policies:
            self._policies.clear()  # a large network may fit into memory only once
            self._policies[key] = self._build(card)
        policy = self._policies[key]
        for wrapping in wrappings:
            policy = wrapping(policy)
        spec = self._spec
        policy.connect(
            EnvironmentConventions(spec.cameras, spec.image_size, self._lessons.fields, spec.depth, robot=spec.robot)
        )
        return policy

    def _predictions(self, policy: Policy) -> NDArray[np.float32]:
        moments = self._lessons.moments
        chunks = []
        for first in range(0, len(moments), _BATCH):
            # Copies: a policy that normalises in place would change what the next proposal is judged by.
            observations = [deepcopy(lesson.observation) for lesson in moments[first : first + _BATCH]]
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
            position, rotation, gripper, total = _means(changed.errors)
            old = _means(state.errors)[3]
            adopted = p_value < _ALPHA and total < (1 - _LEAST_GAIN) * old
            fix = proposal.fix
            findings.append(Finding(name, fix, position, rotation, gripper, total, old, float(p_value), adopted))
        return findings

    def _by_episode(self, values: NDArray[np.float64]) -> NDArray[Any]:
        numbers = self._lessons.episode_numbers()
        return np.array([values[numbers == number].mean() for number in np.unique(numbers)])


def _p_value(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Return the p-value of "the change does not help", paired by episode."""
    if np.allclose(before, after):
        return 1.0
    return float(wilcoxon(before, after, alternative="greater").pvalue)


def _means(errors: ActionErrors) -> tuple[float, float, float, float]:
    parts = (errors.position, errors.rotation, errors.gripper, errors.total)
    position, rotation, gripper, total = (float(part.mean()) for part in parts)
    return position, rotation, gripper, total
