"""Batches of tensors from demonstrations, in an order that the seed alone decides."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

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
        self._sees_proprioception = bool(shape.proprioception_dim) and statistics.proprioception is not None
        self._stop = _stop_token(processor)
        texts = pipeline.texts(dataset.instructions)
        self._prompt_rows = {text: row for row, text in enumerate(texts)}
        self._prompts = processor.actions_for(texts) if texts else None

    def actions(self, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the chunks that should be predicted, (B, chunk_size, 7), in the units of actions."""
        return self.dataset.chunks(frames, self._chunk_size)

    def answers(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the token ids that are learnt of frames as they were recorded, (B, tokens).

        They are the actions', and, where tokens come one by one, the `</s>` that ends them: OpenVLA takes the loss on
        both and on nothing of the prompt (`RLDSBatchTransform`).
        """
        return self._answers(self._statistics.action.normalise(self.actions(frames)))

    def batch(self, frames: NDArray[np.int64], draw: Draw | None = None) -> Batch:
        """Return the batch of these frames, augmented by the numbers of `draw` where it is given."""
        if self._prompts is None:
            raise ValueError("There is no frame in this data set.")
        samples = self._samples(frames)
        if draw is not None:
            samples = self._pipeline(samples, draw)
        prompt = [self._prompt_rows[text] for text in samples.instructions]
        actions = self._statistics.action.normalise(samples.actions)
        return Batch(
            input_ids=self._prompts[0][prompt],
            attention_mask=self._prompts[1][prompt],
            pixel_values=self._processor.images(samples.images),
            proprioception=self._normalised(samples.proprioception),
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
            self._statistics.action.unnormalise(value.float().cpu().numpy()) for value in (predicted, batch.actions)
        )
        return float(np.abs(np.subtract(*pair)).mean())

    def _answers(self, normalised: NDArray[np.float32]) -> NDArray[np.int64]:
        rows = self._tokenizer.encode(normalised).reshape(len(normalised), int(np.prod(normalised.shape[1:])))
        return rows if self._stop is None else np.pad(rows, ((0, 0), (0, 1)), constant_values=self._stop)

    def _samples(self, frames: NDArray[np.int64]) -> Samples:
        dataset = self.dataset
        return Samples(
            images=dataset.images_of(frames),
            actions=self.actions(frames),
            proprioception=dataset.proprioception[frames],
            instructions=tuple(dataset.instructions[index] for index in dataset.instruction_index[frames]),
        )

    def _normalised(self, proprioception: NDArray[np.float32]) -> torch.Tensor | None:
        if not self._sees_proprioception or self._statistics.proprioception is None:
            return None
        return torch.from_numpy(self._statistics.proprioception.normalise(proprioception))


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
