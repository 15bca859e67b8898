"""Frames whose truth is known, and batches of questions about them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from vla_bench.core.types import ImageArray
from vla_bench.models.normalization import DatasetStatistics
from vla_bench.models.openvla.processor import Processor
from vla_bench.models.openvla.prompt import question_prompt
from vla_bench.training.alignment import AlignmentFrames
from vla_bench.training.batches import Batch
from vla_bench.training.questions import Questioner
from vla_bench.training.segments import shown_in_patches

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class GroundingFrames:
    """Frames of one source."""

    images: ImageArray  # (N, cameras, H, W, 3)
    proprioception: NDArray[np.float32]  # (N, P), the fields that the network takes
    gripper_world: NDArray[np.float32]  # (N, 3) [m]
    positions_world: NDArray[np.float32]  # (N, items, 3) [m]
    segments: NDArray[np.uint8] | None = None  # (N, cameras, H, W) where known: 0 none, k the k-th item from 1


@dataclass(frozen=True, eq=False)
class GroundingData:
    """Frames of all sources, which are drawn from equally, with the names of what is in them."""

    items: tuple[str, ...]
    nouns: Mapping[str, str]
    colours: Mapping[str, str]
    sources: Sequence[GroundingFrames]

    def alignment(self) -> AlignmentFrames:
        """Return the frames of which every pixel is known."""
        source = next(source for source in self.sources if source.segments is not None)
        assert source.segments is not None
        return AlignmentFrames(source.images, source.segments, tuple(self.nouns[item] for item in self.items))


@dataclass(frozen=True, eq=False)
class Referred:
    """Which patches show what a question asks for, for the rows of a batch where that is known."""

    rows: torch.Tensor  # (R,)
    shown: torch.Tensor  # (R, patches of all cameras), 0 or 1


class GroundingBatches:
    """Draw random frames and ask random questions about them."""

    def __init__(
        self, data: GroundingData, questioner: Questioner, processor: Processor, statistics: DatasetStatistics
    ) -> None:
        self._data, self._questioner, self._processor = data, questioner, processor
        self._statistics = statistics

    def batch(self, rows: int, generator: np.random.Generator) -> tuple[Batch, Referred]:
        """Return a batch of `rows` questions with their answers, from all sources in equal shares."""
        shares = [len(share) for share in np.array_split(np.arange(rows), len(self._data.sources))]
        drawn = [generator.integers(0, len(source.images), share) for source, share in self._with(shares)]
        questions = [
            self._questioner.ask(source.positions_world[frame], source.gripper_world[frame], generator)
            for source, frames in self._with(drawn)
            for frame in frames
        ]
        ids, mask = self._processor.prompts([question_prompt(question.text) for question in questions])
        images = [source.images[frames] for source, frames in self._with(drawn)]
        proprioception = [source.proprioception[frames] for source, frames in self._with(drawn)]
        batch = Batch(
            input_ids=ids,
            attention_mask=mask,
            pixel_values=self._processor.images(np.concatenate(images)),
            proprioception=self._normalised(np.concatenate(proprioception)),
            answer=torch.from_numpy(np.stack([question.labels for question in questions])),
        )
        return batch, self._referred(drawn, [question.item for question in questions])

    def _referred(self, drawn: Sequence[NDArray[np.int64]], asked: Sequence[int | None]) -> Referred:
        patch_size = self._processor.config.featurizer.patch_size
        rows: list[int] = []
        shown: list[NDArray[np.float32]] = []
        first = 0
        for source, frames in self._with(drawn):
            if source.segments is not None:
                patches = shown_in_patches(source.segments[frames], patch_size, len(self._data.items))
                known = [row for row in range(len(frames)) if asked[first + row] is not None]
                rows += [first + row for row in known]
                shown += [patches[row, :, asked[first + row]] for row in known]
            first += len(frames)
        return Referred(torch.tensor(rows, dtype=torch.long), torch.from_numpy(np.array(shown, dtype=np.float32)))

    def _with(self, values: Sequence[T]) -> Iterator[tuple[GroundingFrames, T]]:
        return zip(self._data.sources, values, strict=True)

    def _normalised(self, proprioception: NDArray[np.float32]) -> torch.Tensor | None:
        statistics = self._statistics.proprioception
        return None if statistics is None else torch.from_numpy(statistics.normalise(proprioception))
