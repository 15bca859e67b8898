"""Images of a dataset: in memory where they fit, otherwise read on demand."""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from vla_bench.core.types import ImageArray
from vla_bench.demos.sources import DemonstrationSource, SourceOptions, open_source

_BLOCK_FRAMES = 64  # frames read or resized at a time
_CHANNELS = 3


class ImageStore(Protocol):
    """Access to images by frame."""

    def of(self, frames: NDArray[np.int64]) -> ImageArray:
        """Return the images of `frames` in the given order, (B, cameras, H, W, 3)."""


@dataclass(frozen=True, eq=False)
class CachedImages:
    """Images in memory."""

    images: ImageArray  # (frames, cameras, H, W, 3)

    def of(self, frames: NDArray[np.int64]) -> ImageArray:
        """Return a copy of the images of `frames`."""
        return self.images[frames]


@dataclass(eq=False)
class LazyImages:
    """Images read from the sources on demand.

    Each process opens the sources at its first read, so instances can be pickled, are usable after a fork, and can be
    read from several threads.
    """

    paths: Sequence[Path]
    options: SourceOptions
    cameras: tuple[str, ...]
    side: int  # pixels
    episodes: Sequence[tuple[int, str]]  # index of the path, name of the episode
    episode_of_frame: NDArray[np.int64]  # (frames,)
    step_of_frame: NDArray[np.int64]  # (frames,), in the stored episode
    _opened: dict[int, DemonstrationSource] = field(default_factory=dict, init=False, repr=False)
    _process: int = field(default=0, init=False, repr=False)
    _lock: Any = field(default_factory=threading.Lock, init=False, repr=False)

    @property
    def size_bytes(self) -> int:
        """Size of all images in memory."""
        return len(self.step_of_frame) * len(self.cameras) * self.side * self.side * _CHANNELS

    def of(self, frames: NDArray[np.int64]) -> ImageArray:
        """Read the images of `frames`, episode by episode, and resize them."""
        self._reset_after_fork()
        with self._lock:
            return self._read(frames, self._source)

    def cached(self, sources: Sequence[DemonstrationSource]) -> CachedImages:
        """Return all images in memory, read from the open sources at `paths`."""
        frames = np.arange(len(self.step_of_frame))
        images = np.empty((len(frames), len(self.cameras), self.side, self.side, _CHANNELS), dtype=np.uint8)
        for start in range(0, len(frames), _BLOCK_FRAMES):
            images[start : start + _BLOCK_FRAMES] = self._read(
                frames[start : start + _BLOCK_FRAMES], sources.__getitem__
            )
        return CachedImages(images)

    def close(self) -> None:
        """Close the open sources; the next read opens them again."""
        for source in self._opened.values():
            source.close()
        self._opened.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": {}, "_process": 0, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def _read(self, frames: NDArray[np.int64], source: Callable[[int], DemonstrationSource]) -> ImageArray:
        images = np.empty((len(frames), len(self.cameras), self.side, self.side, _CHANNELS), dtype=np.uint8)
        episodes = self.episode_of_frame[frames]
        for episode in np.unique(episodes):
            rows = np.flatnonzero(episodes == episode)
            number, name = self.episodes[episode]
            steps = self.step_of_frame[frames[rows]]
            for column, camera in enumerate(self.cameras):
                images[rows, column] = resize_images(source(number).images(name, camera, steps), self.side)
        return images

    def _source(self, number: int) -> DemonstrationSource:
        if number not in self._opened:
            self._opened[number] = open_source(self.paths[number], self.options)
        return self._opened[number]

    def _reset_after_fork(self) -> None:
        """Forget sources opened before a fork: processes cannot share open files and videos."""
        if self._process != os.getpid():
            self._opened, self._process, self._lock = {}, os.getpid(), threading.Lock()


def resize_images(images: ImageArray, side: int) -> ImageArray:
    """Return images (N, H, W, 3) resized to `side` by `side` pixels (bicubic, antialiased)."""
    if images.shape[1:3] == (side, side):
        return images
    parts = []
    for start in range(0, len(images), _BLOCK_FRAMES):
        pixels = torch.from_numpy(images[start : start + _BLOCK_FRAMES]).permute(0, 3, 1, 2).float()
        pixels = functional.interpolate(pixels, size=(side, side), mode="bicubic", antialias=True)
        parts.append(pixels.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)
