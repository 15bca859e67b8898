"""Batches of tensors from demonstrations, in an order that the seed alone decides."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from vla_bench.models.normalization import DatasetStatistics
from vla_bench.models.openvla.action_tokens import ActionTokenizer
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.models.openvla.processor import Processor
from vla_bench.training.augmentation import augmented
from vla_bench.training.config import AugmentationConfig
from vla_bench.training.dataset import DemonstrationDataset


@dataclass(frozen=True)
class Batch:
    """What the network is shown, and the tokens it should answer."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    pixel_values: torch.Tensor
    proprioception: torch.Tensor | None
    answer: torch.Tensor  # (B, tokens) ids: chunk_size * action_dim, and with autoregressive decoding a stop token

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on `device`."""
        return Batch(
            self.input_ids.to(device),
            self.attention_mask.to(device),
            self.pixel_values.to(device),
            None if self.proprioception is None else self.proprioception.to(device),
            self.answer.to(device),
        )

    def logits(self, model: OpenVLA) -> torch.Tensor:
        """Return what `model` says at the tokens of the answer, (B, tokens, V)."""
        return model.answer_logits(
            self.input_ids, self.attention_mask, self.pixel_values, self.answer, self.proprioception
        )


class BatchMaker:
    """Turn frames of a data set into batches for one network."""

    def __init__(self, dataset: DemonstrationDataset, processor: Processor, statistics: DatasetStatistics) -> None:
        self.dataset = dataset
        self._processor = processor
        config = processor.config
        self._chunk_size = config.chunk_size
        self._statistics = statistics
        self._tokenizer = ActionTokenizer(config.vocab_end, config.n_action_bins)
        self._proprioception: NDArray[np.float32] | None = None
        if config.proprioception_dim and statistics.proprioception is not None:
            self._proprioception = statistics.proprioception.normalise(dataset.proprioception)
        self._stop = _stop_token(processor)
        self._prompts = processor.actions_for(dataset.instructions) if dataset.instructions else None

    def actions(self, frames: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the chunks that should be predicted, (B, chunk_size, 7), in the units of actions."""
        return self.dataset.chunks(frames, self._chunk_size)

    def answers(self, frames: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the token ids that are learnt, (B, tokens).

        They are the actions', and, where tokens come one by one, the `</s>` that ends them: OpenVLA takes the loss on
        both and on nothing of the prompt (`RLDSBatchTransform`).
        """
        tokens = self._tokenizer.encode(self._statistics.action.normalise(self.actions(frames)))
        rows = tokens.reshape(len(frames), -1)
        return rows if self._stop is None else np.pad(rows, ((0, 0), (0, 1)), constant_values=self._stop)

    def batch(
        self,
        frames: NDArray[np.int64],
        augmentation: AugmentationConfig | None = None,
        generator: np.random.Generator | None = None,
    ) -> Batch:
        """Return the batch of these frames, with changed images where an augmentation and a generator are given."""
        if self._prompts is None:
            raise ValueError("There is no frame in this data set.")
        images = self.dataset.images_of(frames)
        if augmentation is not None and generator is not None:
            images = augmented(images, augmentation, generator)
        prompt = self.dataset.instruction_index[frames]
        answer = self.answers(frames)
        proprioception = None if self._proprioception is None else torch.from_numpy(self._proprioception[frames])
        return Batch(
            input_ids=self._prompts[0][prompt],
            attention_mask=self._prompts[1][prompt],
            pixel_values=self._processor.images(images),
            proprioception=proprioception,
            answer=torch.from_numpy(answer),
        )


def frames_of_batch(number: int, frames: int, batch_size: int, seed: int) -> NDArray[np.int64]:
    """Return the frames of the `number`-th batch: every pass over the data is its own permutation.

    It depends on its arguments alone, so a resumed run goes on exactly where it stopped.
    """
    positions = np.arange(number * batch_size, (number + 1) * batch_size)
    passes = positions // frames
    chosen = np.empty(batch_size, dtype=np.int64)
    for one in np.unique(passes):
        order = np.random.default_rng([seed, int(one)]).permutation(frames)
        chosen[passes == one] = order[positions[passes == one] % frames]
    return chosen


def _stop_token(processor: Processor) -> int | None:
    """Return what ends an answer; with parallel decoding nothing does, since its length is known."""
    return processor.tokenizer.eos_token_id if processor.config.decoding == "autoregressive" else None
