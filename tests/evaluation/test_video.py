import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from numpy.typing import NDArray

from vla_bench.core.types import Observation
from vla_bench.evaluation.video import IncompleteVideoError, VideoRecorder


class Noise:
    """An environment whose images cannot be compressed."""

    def __init__(self) -> None:
        self._draw = np.random.default_rng(0)

    def state(self) -> NDArray[np.float64]:
        return np.zeros(1)

    def set_state(self, state: NDArray[np.float64]) -> None:
        pass

    def observe(self) -> Observation:
        images = {"agentview": self._draw.integers(0, 256, (64, 64, 3), dtype=np.uint8)}
        return {"images": images, "proprioception": np.zeros(0, np.float32), "instruction": ""}


@contextmanager
def _no_file_above(size_bytes: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _recorded(path: Path, frames: int) -> VideoRecorder:
    recorder = VideoRecorder(path, Noise())
    for _ in range(frames):
        recorder.add(Noise())
    return recorder


def test_a_video_has_a_frame_for_each_step(tmp_path: Path) -> None:
    _recorded(tmp_path / "v" / "a.mp4", 7).finish()
    assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "v" / "a.mp4"))[0] == 7


def test_a_video_without_disk_space_is_an_error_and_leaves_no_file(tmp_path: Path) -> None:
    with _no_file_above(2048):  # ffmpeg holds so few frames until the end
        recorder = _recorded(tmp_path / "a.mp4", 8)
        with pytest.raises(IncompleteVideoError, match=r"a\.mp4 has 0 of 8 frames\. Check whether the disk is full\."):
            recorder.finish()
    recorder.discard()
    assert not list(tmp_path.iterdir())
