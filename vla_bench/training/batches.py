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


@dataclass(frozen=True)
class Batch:
    """Network inputs and the target answer tokens of several samples."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    pixel_values: torch.Tensor
    proprioception: torch.Tensor | None
    answer: torch.Tensor  # (B, tokens) ids: chunk_size * action_dim, and with autoregressive decoding a stop token
    actions: torch.Tensor | None = None  # (B, chunk_size, 7), normalized; None where the answer is not an action

    def __len__(self) -> int:
        return len(self.input_ids)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on `device`."""
        return self._each(lambda value: value.to(device))

    def select(self, which: slice) -> "Batch":
        """Return the samples of the batch that the slice selects."""
        return self._each(lambda value: value[which])

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        return replace(self, **{name: change(value) for name, value in vars(self).items() if value is not None})

    def logits(self, model: OpenVLA) -> torch.Tensor:
        """Return the logits of `model` at the answer tokens, (B, tokens, V)."""
        return model.answer_logits(
            self.input_ids, self.attention_mask, self.pixel_values, self.answer, self.proprioception
        )


class BatchMaker:
    """Build batches for one network from the frames of a dataset, with optional augmentation."""

    def __init__(
        self,
        dataset: DemonstrationDataset,
        processor: Processor,
        statistics: DatasetStatistics,
        pipeline: Pipeline = Pipeline(),  # noqa: B008  # a frozen dataclass
        network: NetworkShape | None = None,  # None: as in the configuration of the processor
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
        """Return the target action chunks, (B, chunk_size, 7), not normalized."""
        return self.dataset.chunks(frames, self._chunk_size)

    def answers(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the target token ids of frames without augmentation, (B, tokens).

        These are the action tokens, followed by `</s>` with autoregressive decoding. OpenVLA computes the loss on both
        and on no token of the prompt (`RLDSBatchTransform`).
        """
        return self._answers(self._statistics.action.normalize(self.actions(frames)))

    def batch(self, frames: NDArray[np.int64], draw: Draw | None = None) -> Batch:
        """Return the batch of these frames, augmented with the random numbers of `draw` if given."""
        if self._prompts is None:
            raise ValueError("This dataset has no frames, so it gives no batches.")
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
        """Return the mean absolute error of normalized predictions after unnormalization.

        The targets are those of the batch: augmented with the images and clipped to the range of the statistics.
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


def frames_at(positions: NDArray[np.int64], frames: int, seed: int) -> NDArray[np.int64]:
    """Return the frames at `positions` of the endless training order of a dataset of `frames` frames.

    Every epoch is a permutation of its own. The order depends on the arguments alone, so a resumed run sees the same
    frames as an uninterrupted one.
    """
    passes = positions // frames
    chosen = np.empty(len(positions), dtype=np.int64)
    for one in np.unique(passes):
        order = np.random.default_rng([seed, int(one)]).permutation(frames)
        chosen[passes == one] = order[positions[passes == one] % frames]
    return chosen


def _stop_token(processor: Processor) -> int | None:
    """Return the token that ends an answer; None with parallel decoding, where the length is known."""
    return processor.tokenizer.eos_token_id if processor.config.decoding == "autoregressive" else None


@dataclass(frozen=True)
class MicroBatch:
    """The samples of one batch that one process takes."""

    number: int  # of the batch, counted over the whole run; seeds its random numbers
    frames: NDArray[np.int64]  # the frames of this process
    samples: int  # samples of the batch, all processes together
    start: int  # index in the batch of this process's first frame
    weight: float  # these frames as a fraction of the samples of the step


@dataclass(frozen=True)
class SampleOrder:
    """The assignment of samples to optimizer steps, batches and processes; a function of its fields alone.

    With `whole_epochs`, the last step of every epoch may be smaller than the others; otherwise the step that ends one
    epoch also takes samples of the next one. `batch_size` is the batch size of one process.
    """

    frames: int
    batch_size: int
    accumulate: int
    processes: int
    seed: int
    whole_epochs: bool

    @property
    def samples_per_step(self) -> int:
        """Number of samples in a full step."""
        return self.batch_size * self.accumulate * self.processes

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in one epoch."""
        return math.ceil(self.frames / self.samples_per_step)

    def micro_batches(self, step: int, process: int) -> tuple[MicroBatch, ...]:
        """Return the samples of `process` in step `step` (both from 0), in at most `accumulate` batches."""
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
        """Return the positions of step `step` in the endless order."""
        if not self.whole_epochs:
            return np.arange(step * self.samples_per_step, (step + 1) * self.samples_per_step)
        epoch, within = divmod(step, self.steps_per_epoch)
        first = within * self.samples_per_step
        return epoch * self.frames + np.arange(first, min(first + self.samples_per_step, self.frames))


T = TypeVar("T")


class Prefetcher(Generic[T]):
    """The results of `make(number)`, computed ahead in a background thread.

    After a request for `number`, the next `ahead` numbers are computed speculatively. The results do not depend on it,
    and an exception is raised when its number is requested. `make` runs in a single thread.
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
        """Discard the results computed ahead and end the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._pending.clear()
