"""Batches of tensors from demonstrations: assembly, sample order and prefetching.

The order of samples depends on the seed alone.
"""

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from vla_bench.models.networks.network import NetworkShape
from vla_bench.models.normalization import DatasetStatistics
from vla_bench.models.openvla.action_tokens import ActionTokenizer
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.models.openvla.processor import Processor
from vla_bench.training.augmentation.pipeline import Pipeline
from vla_bench.training.augmentation.samples import Draw, Samples
from vla_bench.training.dataset import DemonstrationDataset

# ~ Batches of tensors from demonstrations, in an order that the seed alone decides.


@dataclass(frozen=True)
class Batch:
    """What the network is shown, and the tokens it should answer."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    pixel_values: torch.Tensor
    proprioception: torch.Tensor | None
    answer: torch.Tensor  # (B, tokens) ids: chunk_size * action_dim, and with autoregressive decoding a stop token
    actions: torch.Tensor | None = None  # (B, chunk_size, 7), normalised; None: the answer is not about actions

    def __len__(self) -> int:
        return len(self.input_ids)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on `device`."""
        return self._each(lambda value: value.to(device))

    def rows(self, which: slice) -> "Batch":
        """Return some rows of the batch."""
        return self._each(lambda value: value[which])

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        return replace(self, **{name: change(value) for name, value in vars(self).items() if value is not None})

    def logits(self, model: OpenVLA) -> torch.Tensor:
        """Return what `model` says at the tokens of the answer, (B, tokens, V)."""
        return model.answer_logits(
            self.input_ids, self.attention_mask, self.pixel_values, self.answer, self.proprioception
        )


class BatchMaker:
    """Turn frames of a data set into batches for one network, changed by `pipeline` where numbers are drawn for it."""

    def __init__(
        self,
        dataset: DemonstrationDataset,
        processor: Processor,
        statistics: DatasetStatistics,
        pipeline: Pipeline = Pipeline(),  # noqa: B008  # it is frozen
        network: NetworkShape | None = None,  # None: the processor's
    ) -> None:
        self.dataset = dataset
        self._processor, self._statistics, self._pipeline = processor, statistics, pipeline
        config = processor.config
        shape = network or config
        self._chunk_size = shape.chunk_size
        self._tokenizer = ActionTokenizer(config.vocab_end, config.n_action_bins)
        self._uses_proprioception = bool(shape.proprioception_dim) and statistics.proprioception is not None
        self._stop = _stop_token(processor)
        texts = pipeline.texts(dataset.instructions)
        self._prompt_rows = {text: row for row, text in enumerate(texts)}
        self._prompts = processor.tokenize_instructions(texts) if texts else None

    def actions(self, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the chunks that should be predicted, (B, chunk_size, 7), in the units of actions."""
        return self.dataset.chunks(frames, self._chunk_size)

    def answers(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the token ids that are learnt of frames as they were recorded, (B, tokens).

        They are the actions', and, where tokens come one by one, the `</s>` that ends them: OpenVLA takes the loss on
        both and on nothing of the prompt (`RLDSBatchTransform`).
        """
        return self._answers(self._statistics.action.normalize(self.actions(frames)))

    def batch(self, frames: NDArray[np.int64], draw: Draw | None = None) -> Batch:
        """Return the batch of these frames, augmented by the numbers of `draw` where it is given."""
        if self._prompts is None:
            raise ValueError("There is no frame in this data set.")
        samples = self._samples(frames)
        if draw is not None:
            samples = self._pipeline(samples, draw)
        prompt = [self._prompt_rows[text] for text in samples.instructions]
        actions = self._statistics.action.normalize(samples.actions)
        return Batch(
            input_ids=self._prompts[0][prompt],
            attention_mask=self._prompts[1][prompt],
            pixel_values=self._processor.images(samples.images),
            proprioception=self._normalized(samples.proprioception),
            answer=torch.from_numpy(self._answers(actions)),
            actions=torch.from_numpy(actions),
        )

    def action_error(self, predicted: torch.Tensor, batch: Batch) -> float:
        """Return the mean absolute error of normalised actions, in the units of actions.

        Those wanted are as the network is asked for them: changed with the images, and clipped to the statistics.
        """
        if batch.actions is None:
            return math.nan
        pair = (
            self._statistics.action.unnormalize(value.float().cpu().numpy()) for value in (predicted, batch.actions)
        )
        return float(np.abs(np.subtract(*pair)).mean())

    def _answers(self, normalized: NDArray[np.float32]) -> NDArray[np.int64]:
        rows = self._tokenizer.encode(normalized).reshape(len(normalized), int(np.prod(normalized.shape[1:])))
        return rows if self._stop is None else np.pad(rows, ((0, 0), (0, 1)), constant_values=self._stop)

    def _samples(self, frames: NDArray[np.int64]) -> Samples:
        dataset = self.dataset
        return Samples(
            images=dataset.images_of(frames),
            actions=self.actions(frames),
            proprioception=dataset.proprioception[frames],
            instructions=tuple(dataset.instructions[index] for index in dataset.instruction_index[frames]),
        )

    def _normalized(self, proprioception: NDArray[np.float32]) -> torch.Tensor | None:
        if not self._uses_proprioception or self._statistics.proprioception is None:
            return None
        return torch.from_numpy(self._statistics.proprioception.normalize(proprioception))


def frames_of_batch(number: int, frames: int, batch_size: int, seed: int) -> NDArray[np.int64]:
    """Return the frames of the `number`-th batch: every pass over the data is its own permutation.

    It depends on its arguments alone, so a resumed run goes on exactly where it stopped.
    """
    return frames_at(np.arange(number * batch_size, (number + 1) * batch_size), frames, seed)


def frames_at(positions: NDArray[np.int64], frames: int, seed: int) -> NDArray[np.int64]:
    """Return the frames at `positions` of the endless order of training over `frames` frames."""
    passes = positions // frames
    chosen = np.empty(len(positions), dtype=np.int64)
    for one in np.unique(passes):
        order = np.random.default_rng([seed, int(one)]).permutation(frames)
        chosen[passes == one] = order[positions[passes == one] % frames]
    return chosen


def _stop_token(processor: Processor) -> int | None:
    """Return what ends an answer; with parallel decoding nothing does, since its length is known."""
    return processor.tokenizer.eos_token_id if processor.config.decoding == "autoregressive" else None


# ~ Which samples each optimiser step takes, on each process.


@dataclass(frozen=True)
class MicroBatch:
    """One process's share of one batch."""

    number: int  # of the batch, counted over the whole run: random numbers follow from it
    frames: NDArray[np.int64]  # of this process
    rows: int  # of the batch, all processes together
    start: int  # row of this process's first frame
    weight: float  # share of the step's samples that this process's frames are


@dataclass(frozen=True)
class SampleOrder:
    """Split the order of training into steps, batches and shares; it depends on its fields alone.

    With `whole_epochs` every pass ends with a step of its own, smaller where samples are left over; else a step that
    ends one pass begins the next. `batch_size` is that of one process.
    """

    frames: int
    batch_size: int
    accumulate: int
    processes: int
    seed: int
    whole_epochs: bool

    @property
    def samples_per_step(self) -> int:
        """Samples of a step that is not the last of a pass."""
        return self.batch_size * self.accumulate * self.processes

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one pass over the data."""
        return math.ceil(self.frames / self.samples_per_step)

    def share(self, step: int, process: int) -> tuple[MicroBatch, ...]:
        """Return what `process` takes of step `step`, both counted from 0; no more than `accumulate` batches."""
        positions = self._positions(step)
        batches = []
        for part in range(self.accumulate):
            whole = positions[part * self.batch_size * self.processes :][: self.batch_size * self.processes]
            start = min(process * self.batch_size, len(whole))
            own = whole[start : start + self.batch_size]
            if len(own):
                frames = frames_at(own, self.frames, self.seed)
                number = step * self.accumulate + part
                batches.append(MicroBatch(number, frames, len(whole), start, len(own) / len(positions)))
        return tuple(batches)

    def _positions(self, step: int) -> NDArray[np.int64]:
        """Return the positions in the endless order that belong to `step`."""
        if not self.whole_epochs:
            return np.arange(step * self.samples_per_step, (step + 1) * self.samples_per_step)
        epoch, within = divmod(step, self.steps_per_epoch)
        first = within * self.samples_per_step
        return epoch * self.frames + np.arange(first, min(first + self.samples_per_step, self.frames))


# ~ Batches made in the background while the network computes.

T = TypeVar("T")


class Prefetcher(Generic[T]):
    """What `make` returns for a number, made ahead of being asked for.

    Whoever asks decides the order: the numbers after the one asked for are only guessed to come next. So results are
    the same as without this, and an error comes when its number is asked for. `make` runs in one other thread.
    """

    def __init__(self, make: Callable[[int], T], ahead: int = 2) -> None:
        self._make, self._ahead = make, ahead
        self._pending: dict[int, Future[T]] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")

    def __getitem__(self, number: int) -> T:
        wanted = range(number, number + 1 + self._ahead)
        for stale in self._pending.keys() - set(wanted):
            self._pending.pop(stale).cancel()
        for one in wanted:
            if one not in self._pending:
                self._pending[one] = self._thread.submit(self._make, one)
        return self._pending.pop(number).result()

    def close(self) -> None:
        """Forget what was made ahead and end the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()
