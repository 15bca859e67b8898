"""What it costs that batches have one shape, and what it is for; `ledger_identity.py` writes the table."""

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
    """What one batch shape costs openvla-nano, and what it is for."""

    shape: int
    one_row_ms: float  # with padding
    eight_rows_ms: float
    changed_unpadded: float  # share of rows that come out otherwise alone than in a batch of this many, 0..1
    changed: float  # the same with the shape fixed, in random company


def padding_costs(suite: str, task: str, seed: int) -> list[PaddingCost]:
    """Measure the policy alone, on one thread, with the first observations of episodes of the task."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        policy = load_policy("openvla-nano")
        spec = environment_spec(policy, None, EvaluationProtocol())
        environment = spec.make(f"{suite}.{task}")
        policy.connect(EnvironmentConventions(spec.cameras, spec.image_size, environment.proprioception_fields))
        episodes = plan_episodes(suite, (task,), episodes=OBSERVATIONS, seed=seed)
        seen = [environment.reset(seed=episode.scene_seed())[0] for episode in episodes]
        return [_padding_cost(policy, shape, seen, seed) for shape in (1, 2, 4, 8)]
    finally:
        torch.set_num_threads(before)


def _padding_cost(policy: Policy, shape: int, seen: Sequence[Observation], seed: int) -> PaddingCost:
    padded, draw = FixedBatch(policy, shape, first_spare_slot=OBSERVATIONS), np.random.default_rng(seed)
    alone = _acted(policy, seen, range(OBSERVATIONS), 1)
    first = _acted(padded, seen, range(OBSERVATIONS), 1)
    company = [_acted(padded, seen, draw.permutation(OBSERVATIONS).tolist(), size) for size in (3, 5, 8)]
    return PaddingCost(
        shape,
        _least_ms(lambda: _acted(padded, seen, [0], 1)),
        _least_ms(lambda: _acted(padded, seen, range(8), 8)),
        _share_changed(alone, _acted(policy, seen, range(OBSERVATIONS), shape)),
        max(_share_changed(first, other) for other in company),
    )


def _acted(policy: Policy, seen: Sequence[Observation], order: Sequence[int], size: int) -> dict[int, bytes]:
    """Return the actions of the observations `order`, asked for `size` at a time, by observation."""
    actions: dict[int, bytes] = {}
    for start in range(0, len(order), size):
        rows = list(order[start : start + size])
        policy.reset([seen[row]["instruction"] for row in rows], rows=rows, seeds=[0] * len(rows))
        chunks = policy.act([seen[row] for row in rows], rows=rows)
        actions.update({row: chunk.tobytes() for row, chunk in zip(rows, chunks, strict=True)})
    return actions


def _share_changed(first: dict[int, bytes], second: dict[int, bytes]) -> float:
    return sum(first[row] != second[row] for row in first) / len(first)


def _least_ms(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(20):
        began = time.process_time()
        call()
        taken.append(time.process_time() - began)
    return 1000 * min(taken)
