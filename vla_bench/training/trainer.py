"""The fine-tuning loop with its learning rate schedule.

A run that is stopped after a checkpoint and resumed ends with exactly the same weights.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vla_bench.core.errors import VlaBenchError
from vla_bench.training.augmentation.samples import Draw
from vla_bench.training.batches import Batch, BatchMaker, Prefetcher, SampleOrder
from vla_bench.training.checkpoints import (
    StepResult,
    TrainingProgress,
    TrainingState,
    restore_training_state,
    save_training_state,
)
from vla_bench.training.config import FinetuneConfig, OptimizerConfig
from vla_bench.training.distributed import SINGLE_PROCESS, ProcessGroup
from vla_bench.training.objectives import Objective
from vla_bench.training.precision import autocast_context
from vla_bench.training.trackers import Tracker
from vla_bench.training.validation import Validation

# Decay after the fraction `done` of the steps that follow the warm-up: 1 for the maximum, 0 for the final rate.
# The schedules of transformers are not used: their warm-up starts at 0, so the first step would have no effect, and
# their linear decay is rounded differently; both would change the weights of recorded runs.
_DECAYS: Mapping[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "linear": lambda done: 1.0 - done,
    "constant": lambda done: 1.0,
}


@dataclass(frozen=True)
class Schedule:
    """Learning rate schedule: linear warm-up, then cosine, linear or no decay."""

    options: OptimizerConfig
    total_steps: int

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of step `step`, counted from 0."""
        options, warmup = self.options, self.options.total_warmup(self.total_steps)
        if step < warmup:
            return options.learning_rate * (step + 1) / warmup
        done = (step - warmup) / max(1, self.total_steps - warmup)
        left = _DECAYS[options.schedule](done)
        return options.learning_rate * (options.final_share + (1.0 - options.final_share) * left)


_MAX_NAMED_SAMPLES = 3  # in an error message


class TrainingDivergedError(VlaBenchError):
    """A non-finite loss or gradient."""

    def __init__(self, step: int, kept_step: int, output: Path, samples: int, culprits: Sequence[str]) -> None:
        checkpoint = (
            f"the checkpoint of step {kept_step} is stored in {output}"
            if kept_step
            else "no checkpoint had been written yet"
        )
        super().__init__(
            f"The loss or the gradient is not finite at step {step}; {checkpoint}. "
            f"{_explain_divergence(samples, culprits)}"
        )


def find_non_finite_samples(batch: Batch, loss_of: Callable[[Batch], torch.Tensor], names: Iterable[str]) -> list[str]:
    """Return the names of the samples of `batch` whose loss, computed for each alone, is not finite."""
    with torch.no_grad():
        return [
            name
            for index, name in enumerate(names)
            if not torch.isfinite(loss_of(batch.select(slice(index, index + 1)))).item()
        ]


def _explain_divergence(samples: int, culprits: Sequence[str]) -> str:
    lower = "Lower the learning rate and start again."
    if not culprits:
        return f"The loss of each of the {samples} samples of the step is finite, so the gradient overflowed. {lower}"
    if len(culprits) == samples:
        return f"The losses of all {samples} samples of the step are non-finite, so the weights have diverged. {lower}"
    named = ", ".join(culprits[:_MAX_NAMED_SAMPLES]) + (" and others" if len(culprits) > _MAX_NAMED_SAMPLES else "")
    return (
        f"The losses of {len(culprits)} of the {samples} samples of the step are non-finite: {named}. Check these "
        "demonstrations or leave them out."
    )


_RANK_SEED = 1_000_003  # gives each process its own dropout masks


class Trainer:
    """The training loop over the parameters of `model` that require a gradient.

    `validate` evaluates the network; `keep(is_best)` writes a checkpoint. A run that is stopped after a checkpoint and
    resumed ends with exactly the same weights.
    """

    def __init__(
        self,
        model: nn.Module,
        maker: BatchMaker,
        objective: Objective,
        config: FinetuneConfig,
        validate: Callable[[], Validation | None],
        keep: Callable[[bool], None],
        processes: ProcessGroup = SINGLE_PROCESS,
    ) -> None:
        self._model, self._maker, self._objective, self._config = model, maker, objective, config
        self._validate, self._keep, self._processes = validate, keep, processes
        self._device = next(model.parameters()).device
        self._trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        options = config.optimiser
        self._optimizer = torch.optim.AdamW(
            parameter_groups(self._trained.values(), options.weight_decay),
            lr=options.learning_rate,
            betas=options.betas,
            eps=options.epsilon,
            fused=True,
        )
        self._order = SampleOrder(
            len(maker.dataset),
            options.batch_size,
            options.accumulate,
            processes.count,
            config.seed,
            whole_epochs=options.epochs is not None,
        )
        self._batches = Prefetcher(self._make_batch)
        self.total_steps = options.total_steps(self._order.steps_per_epoch)
        self._schedule = Schedule(options, self.total_steps)
        self.state = TrainingState()

    @property
    def finished(self) -> bool:
        """True after the last step, or if validation stopped improving."""
        return self.state.stopped or self.state.step >= self.total_steps

    def restore(self, state_path: Path) -> None:
        """Restore the state at `state_path` if there is one, otherwise prepare the first step."""
        torch.manual_seed(self._config.seed + _RANK_SEED * self._processes.rank)
        self._processes.broadcast_weights(self._trained.values())
        if self._processes.run_on_main(state_path.is_file):
            self.state = restore_training_state(
                state_path, self._trained, self._optimizer, self._processes, self._device
            )

    def run(self, state_path: Path, tracker: Tracker, on_progress: Callable[[TrainingProgress], None]) -> TrainingState:
        """Train to the last step; write the state to `state_path` with each checkpoint."""
        self._model.train()
        try:
            while not self.finished:
                began = time.perf_counter()
                result = self.train_step(self.state.step)
                seconds = time.perf_counter() - began
                self.state.advance(result.loss, seconds)
                rate = self._order.samples_per_step / seconds
                validated = self._check(state_path)
                self._log(tracker, result, rate, validated)
                on_progress(self._progress(rate))
        finally:
            self._batches.close()
        return self.state

    def train_step(self, step: int) -> StepResult:
        """Perform optimizer step `step` on the accumulated and clipped gradient, and return its metrics.

        Raises `TrainingDivergedError` before the weights change if the loss or the gradient is not finite.
        """
        options = self._config.optimiser
        result = self.accumulate(step)
        norm = torch.nn.utils.clip_grad_norm_(self._trained.values(), options.gradient_clip or math.inf)
        if not math.isfinite(result.loss) or not math.isfinite(float(norm)):
            self._raise_diverged(step)
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.learning_rate_at(step)
        self._optimizer.step()
        return StepResult(result.loss, float(norm), result.action_l1, result.token_accuracy)

    def accumulate(self, step: int) -> StepResult:
        """Compute the gradient of the mean loss over all samples of `step`, and return the metrics."""
        self._optimizer.zero_grad(set_to_none=True)
        measured = (step + 1) % self._config.log_every == 0
        sums = np.zeros(3)
        for part in self._order.micro_batches(step, self._processes.rank):
            batch = self._batches[part.number].to(self._device)
            with autocast_context(self._config.precision, self._device):
                answer = self._objective.answer(self._model, batch)
                loss = self._objective.loss(answer, batch) * part.weight
            loss.backward()
            errors = self._errors(answer.detach(), batch) if measured else (math.nan, math.nan)
            sums += [loss.item(), errors[0] * part.weight, errors[1] * part.weight]
        self._processes.sum_gradients(self._trained.values())
        total, action_l1, accuracy = self._processes.all_reduce_sum(sums)
        return StepResult(total, math.nan, action_l1, accuracy)

    def _make_batch(self, number: int) -> Batch:
        """Return the samples of this process in batch `number`; an empty batch if it has none."""
        parts = self._order.micro_batches(number // self._config.optimiser.accumulate, self._processes.rank)
        part = next((part for part in parts if part.number == number), None)
        if part is None:  # prefetched beyond the end of an epoch
            return self._maker.batch(np.empty(0, dtype=np.int64))
        generator = np.random.default_rng([self._config.seed, 1, number])
        return self._maker.batch(part.frames, Draw(generator, part.samples, part.start))

    def _errors(self, answer: torch.Tensor, batch: Batch) -> tuple[float, float]:
        """Return the mean action error (not normalized) and the token accuracy of an answer."""
        accuracy = self._objective.token_accuracy(answer, batch)
        predicted = self._objective.predicted_actions(answer, batch)
        return self._maker.action_error(predicted, batch), math.nan if accuracy is None else accuracy

    def _check(self, state_path: Path) -> bool:
        """Validate and write a checkpoint if they are due; return whether the network was validated."""
        state, is_last = self.state, self.state.step == self.total_steps
        validates = state.step % self._config.evaluate_every == 0 or is_last
        improved = validates and state.add_validation(self._validate(), self._config.patience)
        if improved or self.finished or state.step % self._config.checkpoint_interval == 0:
            state.kept_step = state.step
            self._processes.run_on_main(lambda: self._keep(improved))
            save_training_state(state_path, state, self._trained, self._optimizer, self._processes, self._device)
        return validates

    def _log(self, tracker: Tracker, result: StepResult, rate: float, validated: bool) -> None:
        state = self.state
        if not validated and state.step % self._config.log_every and not self.finished:
            return
        values = {
            "train/loss": result.loss,
            "train/action_l1": result.action_l1,
            "train/token_accuracy": result.token_accuracy,
            "train/gradient_norm": result.gradient_norm,
            "train/learning_rate": self._schedule.learning_rate_at(state.step - 1),
            "train/epoch": state.step / self._order.steps_per_epoch,
            "train/samples_per_s": rate,
        }
        validation = state.latest_validation if validated else None
        if validation is not None:
            named = {f"validation/{name}": value for name, value in asdict(validation).items() if name != "frames"}
            values |= {name: value for name, value in named.items() if value is not None}
        tracker.log(state.step, {name: value for name, value in values.items() if not math.isnan(value)})

    def _progress(self, rate: float) -> TrainingProgress:
        state = self.state
        loss = math.nan if state.loss is None else state.loss
        learning_rate = self._schedule.learning_rate_at(state.step - 1)
        return TrainingProgress(state.step, self.total_steps, loss, learning_rate, rate, state.latest_validation)

    def _raise_diverged(self, step: int) -> None:
        found: list[str] = []
        samples = 0
        for part in self._order.micro_batches(step, self._processes.rank):
            names = [self._maker.dataset.origin_of(int(frame)) for frame in part.frames]
            found += find_non_finite_samples(self._make_batch(part.number).to(self._device), self._loss_of, names)
            samples += len(names)
        counts, names_found = zip(*self._processes.all_gather((samples, found)), strict=True)
        culprits = [name for names in names_found for name in names]
        total = sum(counts)
        raise TrainingDivergedError(step + 1, self.state.kept_step, self._config.output, total, culprits)

    def _loss_of(self, batch: Batch) -> torch.Tensor:
        with autocast_context(self._config.precision, self._device):
            return self._objective.loss(self._objective.answer(self._model, batch), batch)


def parameter_groups(parameters: Any, weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's parameter groups: weight decay for matrices only, as in Prismatic's training."""
    every = list(parameters)
    groups = [
        {"params": [value for value in every if value.ndim > 1], "weight_decay": weight_decay},
        {"params": [value for value in every if value.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
