"""Cost and effect of a fixed batch shape; `ledger_identity.py` writes the table."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vla_bench.core.types import Observation
from vla_bench.evaluation.plan import plan_episodes
from vla_bench.evaluation.protocol import EvaluationProtocol
from vla_bench.evaluation.run import environment_spec
from vla_bench.policies import EnvironmentConventions, FixedBatch, Policy, load_policy

OBSERVATIONS = 32


@dataclass(frozen=True)
class PaddingCost:
    """Times of openvla-nano with one batch shape, and the fraction of changed actions without and with it."""

    shape: int
    one_observation_ms: float  # with padding
    eight_observations_ms: float
    changed_unpadded: float  # fraction of observations with other actions in a batch than alone, 0..1
    changed: float  # the same with the fixed shape, in random batches


def padding_costs(suite: str, task: str, seed: int) -> list[PaddingCost]:
    """Measure the policy on one thread with the first observations of episodes of a task."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        policy = load_policy("openvla-nano")
        spec = environment_spec(policy, None, EvaluationProtocol())
        environment = spec.make(f"{suite}.{task}")
        policy.connect(EnvironmentConventions(spec.cameras, spec.image_size, environment.proprioception_fields))
        episodes = plan_episodes(suite, (task,), episodes=OBSERVATIONS, seed=seed)
        observations = [environment.reset(seed=episode.scene_seed())[0] for episode in episodes]
        return [_padding_cost(policy, shape, observations, seed) for shape in (1, 2, 4, 8)]
    finally:
        torch.set_num_threads(before)


def _padding_cost(policy: Policy, shape: int, observations: Sequence[Observation], seed: int) -> PaddingCost:
    padded, generator = FixedBatch(policy, shape, first_spare_slot=OBSERVATIONS), np.random.default_rng(seed)
    alone = _actions(policy, observations, range(OBSERVATIONS), 1)
    first = _actions(padded, observations, range(OBSERVATIONS), 1)
    random_batches = [
        _actions(padded, observations, generator.permutation(OBSERVATIONS).tolist(), size) for size in (3, 5, 8)
    ]
    return PaddingCost(
        shape,
        _minimum_ms(lambda: _actions(padded, observations, [0], 1)),
        _minimum_ms(lambda: _actions(padded, observations, range(8), 8)),
        _changed_fraction(alone, _actions(policy, observations, range(OBSERVATIONS), shape)),
        max(_changed_fraction(first, other) for other in random_batches),
    )


def _actions(policy: Policy, observations: Sequence[Observation], order: Sequence[int], size: int) -> dict[int, bytes]:
    """Return the actions by observation, computed in batches of `size` in the given order."""
    actions: dict[int, bytes] = {}
    for start in range(0, len(order), size):
        rows = list(order[start : start + size])
        policy.reset([observations[row]["instruction"] for row in rows], rows=rows, seeds=[0] * len(rows))
        chunks = policy.act([observations[row] for row in rows], rows=rows)
        actions.update({row: chunk.tobytes() for row, chunk in zip(rows, chunks, strict=True)})
    return actions


def _changed_fraction(first: dict[int, bytes], second: dict[int, bytes]) -> float:
    return sum(first[row] != second[row] for row in first) / len(first)


def _minimum_ms(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(20):
        began = time.process_time()
        call()
        taken.append(time.process_time() - began)
    return 1000 * min(taken)
