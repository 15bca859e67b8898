"""Execution of predicted action chunks: open loop, receding horizon, temporal ensemble. Each wraps any policy."""

from collections.abc import Sequence

import numpy as np

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import FloatArray, Observation
from vla_bench.policies.policy import Policy, as_chunks
from vla_bench.policies.wrappers import PolicyWrapper


class OpenLoop(PolicyWrapper):
    """Execute the first `execute` actions of every predicted chunk, at most all of them, then predict again."""

    def __init__(self, policy: Policy, execute: int) -> None:
        super().__init__(policy)
        if execute < 1:
            raise VlaBenchError(f"The number of executed actions of a chunk is {execute}. Expected 1 or more.")
        self._execute = execute

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the first actions of the predicted chunks, (B, execute, 7)."""
        chunks = as_chunks(self._policy.act(observations, rows=rows), len(rows), self._action_dim)
        if chunks.shape[1] < self._execute:
            raise VlaBenchError(f"Cannot execute {self._execute} actions: the policy predicts {chunks.shape[1]}.")
        return chunks[:, : self._execute]


class RecedingHorizon(OpenLoop):
    """Execute fewer actions than are predicted, then predict again, as in Diffusion Policy (Chi et al., 2023).

    A policy that predicts no more than the executed actions is an error.
    """

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return the first actions of the predicted chunks, (B, execute, 7)."""
        chunks = as_chunks(self._policy.act(observations, rows=rows), len(rows), self._action_dim)
        if chunks.shape[1] <= self._execute:
            raise VlaBenchError(
                f"A receding horizon executes fewer actions than are predicted, not {self._execute} of "
                f"{chunks.shape[1]}. To execute whole chunks, use open_loop."
            )
        return chunks[:, : self._execute]


class TemporalEnsemble(PolicyWrapper):
    """Predict at every step and execute the weighted mean of all predictions made for that step.

    The i-th oldest prediction for a step has weight exp(-decay * i), as in ACT (Zhao et al., 2023): with a positive
    decay the oldest has the largest weight, which smooths the motion.
    """

    def __init__(self, policy: Policy, decay: float = 0.01) -> None:
        super().__init__(policy)
        if not decay >= 0:
            raise VlaBenchError(f"The decay of a temporal ensemble is {decay}. Expected 0 or more.")
        self._decay = decay
        # environment slot -> remaining chunks, oldest first, each (h, 7)
        self._pending: dict[int, list[FloatArray]] = {}

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        """Discard the chunks of these slots and start new episodes in the wrapped policy."""
        for row in rows:
            self._pending[row] = []
        super().reset(instructions, rows=rows, seeds=seeds)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        """Return one action per slot, (B, 1, 7)."""
        chunks = as_chunks(self._policy.act(observations, rows=rows), len(rows), self._action_dim)
        actions = [self._next_action(row, chunk) for row, chunk in zip(rows, chunks, strict=True)]
        stacked: FloatArray = np.stack(actions)
        return stacked[:, None, :]

    def _next_action(self, row: int, chunk: FloatArray) -> FloatArray:
        predictions = [*self._pending.get(row, []), chunk]
        weights = np.exp(-self._decay * np.arange(len(predictions)))
        first = np.stack([prediction[0] for prediction in predictions])  # (predictions, 7)
        action: FloatArray = (weights / weights.sum()) @ first
        self._pending[row] = [prediction[1:] for prediction in predictions if len(prediction) > 1]
        return action.astype(np.float32)
