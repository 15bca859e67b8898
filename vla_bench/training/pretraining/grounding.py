"""Grounding data, batches of questions about it, and two auxiliary losses on image patches.

`AlignmentLoss` is a pairwise sigmoid loss (Zhai et al., "Sigmoid Loss for Language Image Pre-Training", 2023) between
projected patch features and the mean token embedding of each noun, as SigLIP's image-text pretraining at the size of a
patch. The decoder is not run, so this costs a tenth of a training step.

`ReferringLoss` is a binary loss at every patch after one of the decoder's middle layers: does the patch show what the
question asks for? With a loss on the answer only, a small decoder takes thousands of steps to associate the noun in the
question with the patches that show it; with this loss it takes two hundred.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from vla_bench.core.types import ImageArray
from vla_bench.models.normalization import DatasetStatistics
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.models.openvla.processor import Processor
from vla_bench.models.openvla.tokenization import question_prompt
from vla_bench.training.batches import Batch
from vla_bench.training.pretraining.questions import QuestionGenerator

_MIN_COVERAGE = 0.06  # fraction of a patch that an item has to cover


def patch_labels(segments: NDArray[np.uint8], patch_size: int, items: int) -> NDArray[np.float32]:
    """Return labels (B, patches of all cameras, items): 1 if the patch shows the item, else 0.

    `segments` is (B, cameras, H, W): 0 for background, k for the k-th item (from 1).
    """
    rows, cameras, height, width = segments.shape
    blocks = segments.reshape(rows, cameras, height // patch_size, patch_size, width // patch_size, patch_size)
    blocks = blocks.transpose(0, 1, 2, 4, 3, 5).reshape(rows, -1, patch_size * patch_size)
    coverage = [(blocks == item + 1).mean(axis=-1) for item in range(items)]
    shown: NDArray[np.float32] = (np.stack(coverage, axis=-1) >= _MIN_COVERAGE).astype(np.float32)
    return shown


_ALIGNMENT_SCALE, _ALIGNMENT_BIAS = 2.0, -3.0


@dataclass(frozen=True, eq=False)
class AlignmentFrames:
    """Images with segmentation."""

    images: ImageArray  # (N, cameras, H, W, 3)
    segments: NDArray[np.uint8]  # (N, cameras, H, W): 0 background, k the k-th noun (from 1)
    nouns: tuple[str, ...]


class AlignmentLoss:
    """The sigmoid loss between patches and nouns on random frames."""

    def __init__(self, frames: AlignmentFrames, processor: Processor) -> None:
        self._frames, self._processor = frames, processor
        tokens = [processor.tokenizer.encode(f" {noun}", add_special_tokens=False) for noun in frames.nouns]
        self._noun_tokens = [torch.tensor(ids) for ids in tokens]

    def loss(self, model: OpenVLA, rows: int, generator: np.random.Generator) -> torch.Tensor:
        """Return the loss of all pairs of a patch and a noun in `rows` random frames."""
        frames = generator.integers(0, len(self._frames.images), rows)
        pixel_values = self._processor.images(self._frames.images[frames])
        features = model.projector(model.vision_backbone(pixel_values))  # (B, patches of all cameras, width)
        embed = model.language_model.model.embed_tokens
        words = torch.stack([embed(ids).mean(dim=0) for ids in self._noun_tokens])
        logits = features @ words.T * (_ALIGNMENT_SCALE / features.shape[-1] ** 0.5) + _ALIGNMENT_BIAS
        patch_size = self._processor.config.featurizer.patch_size
        shown = patch_labels(self._frames.segments[frames], patch_size, len(self._frames.nouns))
        wanted = torch.from_numpy(shown)
        loss: torch.Tensor = functional.binary_cross_entropy_with_logits(logits, wanted)
        return loss * len(self._frames.nouns)


T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class GroundingFrames:
    """Frames of one source, with ground-truth positions."""

    images: ImageArray  # (N, cameras, H, W, 3)
    proprioception: NDArray[np.float32]  # (N, P), the fields of the network
    gripper_world: NDArray[np.float32]  # (N, 3) [m]
    positions_world: NDArray[np.float32]  # (N, items, 3) [m]
    segments: NDArray[np.uint8] | None = None  # (N, cameras, H, W) if known: 0 background, k the k-th item (from 1)


@dataclass(frozen=True, eq=False)
class GroundingData:
    """Frames of all sources, sampled in equal numbers, with the names of the items in them."""

    items: tuple[str, ...]
    nouns: Mapping[str, str]
    colours: Mapping[str, str]
    sources: Sequence[GroundingFrames]

    def alignment(self) -> AlignmentFrames:
        """Return the frames with segmentation."""
        source = next(source for source in self.sources if source.segments is not None)
        assert source.segments is not None
        return AlignmentFrames(source.images, source.segments, tuple(self.nouns[item] for item in self.items))


@dataclass(frozen=True, eq=False)
class ReferringTargets:
    """Labels of the patches that show the object of a question, for the samples where they are known."""

    rows: torch.Tensor  # (R,), indices of samples in the batch
    shown: torch.Tensor  # (R, patches of all cameras), 0 or 1


class GroundingBatches:
    """Batches of random questions about random frames."""

    def __init__(
        self, data: GroundingData, questioner: QuestionGenerator, processor: Processor, statistics: DatasetStatistics
    ) -> None:
        self._data, self._questioner, self._processor = data, questioner, processor
        self._statistics = statistics

    def batch(self, rows: int, generator: np.random.Generator) -> tuple[Batch, ReferringTargets]:
        """Return a batch of `rows` questions with their answers, in equal numbers from all sources."""
        counts = [len(part) for part in np.array_split(np.arange(rows), len(self._data.sources))]
        sampled = [generator.integers(0, len(source.images), count) for source, count in self._with(counts)]
        questions = [
            self._questioner.ask(source.positions_world[frame], source.gripper_world[frame], generator)
            for source, frames in self._with(sampled)
            for frame in frames
        ]
        ids, mask = self._processor.prompts([question_prompt(question.text) for question in questions])
        images = [source.images[frames] for source, frames in self._with(sampled)]
        proprioception = [source.proprioception[frames] for source, frames in self._with(sampled)]
        batch = Batch(
            input_ids=ids,
            attention_mask=mask,
            pixel_values=self._processor.images(np.concatenate(images)),
            proprioception=self._normalized(np.concatenate(proprioception)),
            answer=torch.from_numpy(np.stack([question.labels for question in questions])),
        )
        return batch, self._referred(sampled, [question.item for question in questions])

    def _referred(self, sampled: Sequence[NDArray[np.int64]], asked: Sequence[int | None]) -> ReferringTargets:
        patch_size = self._processor.config.featurizer.patch_size
        rows: list[int] = []
        shown: list[NDArray[np.float32]] = []
        first = 0
        for source, frames in self._with(sampled):
            if source.segments is not None:
                patches = patch_labels(source.segments[frames], patch_size, len(self._data.items))
                known = [row for row in range(len(frames)) if asked[first + row] is not None]
                rows += [first + row for row in known]
                shown += [patches[row, :, asked[first + row]] for row in known]
            first += len(frames)
        return ReferringTargets(
            torch.tensor(rows, dtype=torch.long), torch.from_numpy(np.array(shown, dtype=np.float32))
        )

    def _with(self, values: Sequence[T]) -> Iterator[tuple[GroundingFrames, T]]:
        return zip(self._data.sources, values, strict=True)

    def _normalized(self, proprioception: NDArray[np.float32]) -> torch.Tensor | None:
        statistics = self._statistics.proprioception
        return None if statistics is None else torch.from_numpy(statistics.normalize(proprioception))


_REFERRING_BIAS = -2.0


class ReferringLoss:
    """Binary loss at the patches after decoder layer `layer` (from 1), on the tokens "yes" and "no"."""

    def __init__(self, model: OpenVLA, layer: int, yes: int, no: int) -> None:
        self._model, self._layer, self._yes, self._no = model, layer, yes, no
        self._hidden: torch.Tensor | None = None

    @contextmanager
    def capture_hidden(self) -> Iterator[None]:
        """Capture the output of the layer in a forward pass inside the context."""
        layer = self._model.language_model.model.layers[self._layer - 1]
        handle = layer.register_forward_hook(self._keep)
        try:
            yield
        finally:
            handle.remove()

    def loss(self, referred: ReferringTargets) -> torch.Tensor:
        """Return the mean loss over the patches of the labeled samples; zero if there are none."""
        assert self._hidden is not None, "Call the model inside `capture_hidden` first."
        hidden = self._model.language_model.model.norm(self._hidden)
        head = self._model.language_model.lm_head.weight
        patches = hidden[referred.rows, 1 : 1 + self._model.config.num_patches]  # after the first token of the prompt
        if not len(referred.rows):
            nothing: torch.Tensor = patches.sum() * 0.0
            return nothing
        logits = patches @ (head[self._yes] - head[self._no]) + _REFERRING_BIAS
        loss: torch.Tensor = functional.binary_cross_entropy_with_logits(logits, referred.shown)
        return loss

    def _keep(self, module: torch.nn.Module, inputs: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
        self._hidden = output if isinstance(output, torch.Tensor) else output[0]
