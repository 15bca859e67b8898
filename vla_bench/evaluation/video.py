"""Video recording of an episode as MP4, rendered by a second environment that copies the state of the first."""

from collections.abc import Generator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import CONTROL_HZ, ImageArray, Observation

VIDEO_IMAGE_SIZE = 256  # pixels per camera
VIDEO_CAMERAS = ("agentview", "wrist")


class StateSource(Protocol):
    """The environment whose episode is recorded."""

    def state(self) -> NDArray[np.float64]:
        """Return the complete simulation state."""


class StateRenderer(Protocol):
    """An environment with the same scene that renders the frames of the video."""

    def set_state(self, state: NDArray[np.float64]) -> None:
        """Set the simulation state."""

    def observe(self) -> Observation:
        """Return an observation with the images of the current state."""


class IncompleteVideoError(VlaBenchError):
    """A video with missing frames, as on a full disk; the exit status of ffmpeg does not show this."""

    def __init__(self, path: Path, found: int, frames: int) -> None:
        super().__init__(f"The video {path} has {found} of {frames} frames. Check whether the disk is full.")


class VideoRecorder:
    """Writes one frame per step, with the cameras side by side, and renames the file when it is complete.

    A separate environment renders the frames, so that recording does not change the episode.
    """

    def __init__(self, path: Path, renderer: StateRenderer) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._temporary = path.with_name(f".{path.name}.tmp{path.suffix}")
        self._renderer = renderer
        self._writer: Generator[None, bytes | None, None] | None = None
        self._frames = 0

    def add(self, source: StateSource) -> None:
        """Append a frame of the current state of `source`."""
        self._renderer.set_state(source.state())
        frame = _combine_cameras(self._renderer.observe())
        if self._writer is None:
            self._writer = _open_writer(self._temporary, frame)
        self._writer.send(frame.tobytes())
        self._frames += 1

    def finish(self) -> None:
        """Close the file and rename it; raise `IncompleteVideoError` if frames are missing."""
        self._close()
        if (found := _count_frames(self._temporary)) != self._frames:
            raise IncompleteVideoError(self._path, found, self._frames)
        self._temporary.replace(self._path)

    def discard(self) -> None:
        """Close the file and delete it."""
        self._close()
        self._temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _combine_cameras(observation: Observation) -> ImageArray:
    return np.ascontiguousarray(np.concatenate(list(observation["images"].values()), axis=1))


def _count_frames(path: Path) -> int:
    import imageio_ffmpeg

    try:
        return int(imageio_ffmpeg.count_frames_and_secs(str(path))[0])
    except RuntimeError:  # ffmpeg cannot read it
        return 0


def _open_writer(path: Path, frame: ImageArray) -> Generator[None, bytes | None, None]:
    import imageio_ffmpeg

    height, width = frame.shape[:2]
    writer: Generator[None, bytes | None, None] = imageio_ffmpeg.write_frames(
        str(path), (width, height), fps=CONTROL_HZ, quality=7, output_params=["-loglevel", "error"]
    )
    writer.send(None)
    return writer
