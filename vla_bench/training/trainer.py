"""The training loop: it can stop after any kept step and go on to exactly the same weights."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vla_bench.core.errors import CheckpointError, VlaBenchError
from vla_bench.core.paths import written_whole
from vla_bench.models.losses import SmoothedTokenLoss
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.training.batches import Batch, BatchMaker, frames_of_batch
from vla_bench.training.config import FinetuneConfig
from vla_bench.training.prefetch import Prefetched
from vla_bench.training.validation import Validation

_SMOOTHING = 0.95  # of the reported loss


class TrainingDivergedError(VlaBenchError):
    """A loss that is no number."""

    def __init__(self, step: int, kept_step: int, output: Path) -> None:
        kept = (
            f"the checkpoint of step {kept_step} is kept in {output}"
            if kept_step
            else "no checkpoint had been kept yet"
        )
        super().__init__(f"The loss became infinite at step {step}; {kept}. Lower the learning rate and start again.")


@dataclass(frozen=True)
class TrainingProgress:
    """How far a run is."""

    step: int
    steps: int
    loss: float  # smoothed
    learning_rate: float
    samples_per_s: float
    validation: Validation | None  # the latest


@dataclass
class TrainingState:
    """Everything that changes while training, apart from weights and optimiser."""

    step: int = 0
    loss: float | None = None  # smoothed
    elapsed_s: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)  # one entry for each validation

    @property
    def latest_validation(self) -> Validation | None:
        """The last validation made."""
        entry = self.history[-1]["validation"] if self.history else None
        return None if entry is None else Validation(**entry)


class Trainer:
    """Train the parameters of `model` that want a gradient."""

    def __init__(
        self,
        model: OpenVLA,
        maker: BatchMaker,
        config: FinetuneConfig,
        validate: Callable[[], Validation | None],
        keep: Callable[[], None],
    ) -> None:
        self._model, self._maker, self._config = model, maker, config
        self._validate, self._keep = validate, keep
        self._batches = Prefetched(self._batch)
        self._device = next(model.parameters()).device
        self.loss = make_loss(model, config)
        self._trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
        options = config.optimiser
        self._optimiser = torch.optim.AdamW(
            self._trained.values(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
        )
        self.state = TrainingState()

    def run(self, state_path: Path, on_progress: Callable[[TrainingProgress], None]) -> TrainingState:
        """Train to the last step, going on from the state at `state_path` where there is one."""
        torch.manual_seed(self._config.seed)
        if state_path.is_file():
            self._restore(state_path)
        self._model.train()
        try:
            self._train(state_path, on_progress)
        finally:
            self._batches.close()
        return self.state

    def _train(self, state_path: Path, on_progress: Callable[[TrainingProgress], None]) -> None:
        for seconds in self._steps():
            state, options = self.state, self._config.optimiser
            if state.step % self._config.evaluate_every == 0 or state.step == options.steps:
                self._checkpoint(state_path)
            rate = options.batch_size * options.accumulate / seconds
            loss = math.nan if state.loss is None else state.loss
            learning_rate = options.learning_rate_at(state.step - 1)
            on_progress(TrainingProgress(state.step, options.steps, loss, learning_rate, rate, state.latest_validation))

    def _steps(self) -> Iterator[float]:
        """Train one step after the other and yield the seconds that each took."""
        while self.state.step < self._config.optimiser.steps:
            began = time.perf_counter()
            loss = self._step(self.state.step)
            if not math.isfinite(loss):
                kept = self.state.history[-1]["step"] if self.state.history else 0
                raise TrainingDivergedError(self.state.step + 1, kept, self._config.output)
            previous = self.state.loss
            self.state.loss = loss if previous is None else _SMOOTHING * previous + (1 - _SMOOTHING) * loss
            self.state.step += 1
            seconds = time.perf_counter() - began
            self.state.elapsed_s += seconds
            yield seconds

    def _step(self, step: int) -> float:
        options = self._config.optimiser
        self._optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for part in range(options.accumulate):
            batch = self._batches[step * options.accumulate + part].to(self._device)
            loss = self.loss(batch.logits(self._model), batch.answer) / options.accumulate
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(self._trained.values(), options.gradient_clip)
        if not math.isfinite(total) or not math.isfinite(float(norm)):
            return math.nan  # and the weights stay as they were
        for group in self._optimiser.param_groups:
            group["lr"] = options.learning_rate_at(step)
        self._optimiser.step()
        return total

    def _batch(self, number: int) -> Batch:
        config = self._config
        frames = frames_of_batch(number, len(self._maker.dataset), config.optimiser.batch_size, config.seed)
        return self._maker.batch(frames, config.augmentation, np.random.default_rng([config.seed, 1, number]))

    def _checkpoint(self, state_path: Path) -> None:
        validation = self._validate()
        entry = {"step": self.state.step, "loss": self.state.loss}
        self.state.history.append({**entry, "validation": None if validation is None else asdict(validation)})
        content = {
            "config": self._config.decisive(),
            "state": asdict(self.state),
            "weights": {name: value.detach().cpu() for name, value in self._trained.items()},
            "optimiser": self._optimiser.state_dict(),
            "random": torch.get_rng_state(),
        }
        self._keep()
        with written_whole(state_path) as temporary:
            torch.save(content, temporary)

    def _restore(self, state_path: Path) -> None:
        try:
            content = torch.load(state_path, map_location="cpu", weights_only=True)
            with torch.no_grad():
                for name, value in self._trained.items():
                    value.copy_(content["weights"][name])
            self._optimiser.load_state_dict(content["optimiser"])
            torch.set_rng_state(content["random"])
            self.state = TrainingState(**content["state"])
        except (RuntimeError, KeyError, TypeError, ValueError, EOFError, OSError) as error:
            raise CheckpointError(state_path, f"cannot be resumed ({error}); delete it to start anew") from error


def make_loss(model: OpenVLA, config: FinetuneConfig) -> SmoothedTokenLoss:
    """Return the loss of a run, on the network's device."""
    shape = model.config
    loss = SmoothedTokenLoss(shape.vocab_end, shape.n_action_bins, config.optimiser.sigma_bins)
    return loss.to(next(model.parameters()).device)
