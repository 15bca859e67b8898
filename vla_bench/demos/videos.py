"""Frames of a video by time, exactly: what LeRobot's data sets keep images in."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import DemonstrationFileError, MissingExtraError
from vla_bench.core.types import ImageArray

_CHEAPER_TO_GO_ON = 12  # frames ahead of the last one that are decoded on the way rather than sought


class VideoReader:
    """An open video. Not safe in several threads at once."""

    def __init__(self, path: Path, fps: float) -> None:
        try:
            import av
        except ImportError as error:
            raise MissingExtraError("Reading LeRobot videos", f"av ({error})", "lerobot") from error
        self._path, self._fps = path, fps
        try:
            self._container = av.open(str(path))
            self._stream: Any = self._container.streams.video[0]
        except (OSError, IndexError, ValueError) as error:
            raise DemonstrationFileError(path, f"cannot be opened as a video ({error})") from error
        self._decoded: Any = None
        self._last: Any = None  # the frame decoded last

    def frames(self, times_s: NDArray[np.float64]) -> ImageArray:
        """Return the frames shown at these times [s], in any order, (len(times_s), H, W, 3)."""
        found: dict[int, NDArray[np.uint8]] = {}
        numbers = np.rint(np.asarray(times_s) * self._fps).astype(np.int64)
        for number in np.unique(numbers):
            found[int(number)] = self._frame(int(number))
        return np.stack([found[int(number)] for number in numbers])

    def close(self) -> None:
        """Close the video."""
        self._container.close()

    def _frame(self, number: int) -> NDArray[np.uint8]:
        """Return a frame by its number, counted from time 0."""
        at = None if self._last is None else self._number(self._last)
        if at is None or not at <= number <= at + _CHEAPER_TO_GO_ON:
            self._seek(number)
        while self._last is None or self._number(self._last) < number:
            self._last = next(self._decoded, None)
            if self._last is None:
                raise DemonstrationFileError(self._path, f"it ends before {number / self._fps:.3f} s")
        if (there := self._number(self._last)) != number:
            problem = f"no frame at {number / self._fps:.3f} s (the next is at {there / self._fps:.3f} s)"
            raise DemonstrationFileError(self._path, problem)
        image: NDArray[np.uint8] = self._last.to_ndarray(format="rgb24")
        return image

    def _seek(self, number: int) -> None:
        """Go to the key frame at or before a frame."""
        time_base = float(self._stream.time_base)
        self._container.seek(int(number / self._fps / time_base), stream=self._stream, backward=True)
        self._decoded, self._last = self._container.decode(self._stream), None

    def _number(self, frame: Any) -> int:
        return round(float(frame.pts * frame.time_base) * self._fps)
