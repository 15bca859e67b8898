"""Demonstrations in memory: frames, chunks of actions and prompts, split by episode."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from vla_bench.core.errors import ConventionError
from vla_bench.core.types import ACTION_DIM, ImageArray
from vla_bench.demos.header import FileHeader
from vla_bench.demos.store import DemonstrationFile

Subset = Literal["train", "valid"]
_RESIZED_AT_ONCE = 64  # frames


@dataclass(frozen=True)
class FrameSelection:
    """Which part of demonstrations a network is shown, and the conventions that they must have been recorded in."""

    cameras: tuple[str, ...]
    proprioception: tuple[str, ...]  # field names; none: the network takes no proprioception
    proprioception_dim: int  # numbers that the network takes
    image_size: int  # pixels; frames are resized to this
    control_hz: int
    action_convention: str
    tasks: tuple[str, ...] = ()  # none: all


@dataclass(frozen=True, eq=False)
class DemonstrationDataset:
    """All frames of some episodes, one after the other."""

    images: ImageArray  # (frames, cameras, H, W, 3)
    proprioception: NDArray[np.float32]  # (frames, P), as recorded
    actions: NDArray[np.float32]  # (frames, 7), as recorded
    last_frame: NDArray[np.int64]  # (frames,), where the frame's episode ends
    instruction_index: NDArray[np.int64]  # (frames,)
    instructions: tuple[str, ...]
    episodes: int
    sources: tuple[tuple[str, int], ...] = ()  # of each episode: file and demonstration, and its first frame

    def __len__(self) -> int:
        return len(self.actions)

    def images_of(self, frames: NDArray[np.int64]) -> ImageArray:
        """Return the images of `frames`, (B, cameras, H, W, 3)."""
        return self.images[frames]

    def origin_of(self, frame: int) -> str:
        """Return file, demonstration and step of a frame, for messages."""
        name, first = max((source for source in self.sources if source[1] <= frame), key=lambda source: source[1])
        return f"{name} step {frame - first}"

    def chunks(self, frames: NDArray[np.int64], chunk_size: int) -> NDArray[np.float32]:
        """Return the actions from each frame on, (B, chunk_size, 7).

        Past the end of the episode the robot stands still and the gripper holds.
        """
        wanted = frames[:, None] + np.arange(chunk_size)
        last = self.last_frame[frames][:, None]
        chunk: NDArray[np.float32] = self.actions[np.minimum(wanted, last)]
        chunk[..., : ACTION_DIM - 1] *= (wanted <= last)[..., None]
        return chunk


def load_demonstrations(paths: Sequence[Path], selection: FrameSelection, subset: Subset) -> DemonstrationDataset:
    """Return the episodes of one subset of all files. Raises where a file does not fit `selection`."""
    with ExitStack() as stack:
        files = [stack.enter_context(DemonstrationFile(path)) for path in paths]
        for file in files:
            _check(file, selection)
        chosen = [(file, name) for file in files for name in _names(file, selection, subset)]
        if not chosen and subset == "train":
            wanted = f" of {', '.join(selection.tasks)}" if selection.tasks else ""
            raise ConventionError(f"{', '.join(map(str, paths))}: there is no demonstration to train on{wanted}.")
        return _filled(chosen, selection)


def suites_of(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return the suites that the demonstrations come from."""
    suites: set[str] = set()
    for path in paths:
        with DemonstrationFile(path) as file:
            suites |= {file.summary(name).identity.suite for name in file.names}
    return tuple(sorted(suites))


def _check(file: DemonstrationFile, selection: FrameSelection) -> None:
    """Raise where the file lacks something or was recorded in other conventions."""
    file.require(cameras=selection.cameras, proprioception=selection.proprioception)
    header = file.header
    problems = []
    if header.control_hz != selection.control_hz:
        problems.append(f"recorded at {header.control_hz} Hz, the policy acts at {selection.control_hz} Hz")
    if header.action_convention != selection.action_convention:
        problems.append(f"actions are {header.action_convention!r}, the policy's {selection.action_convention!r}")
    width = len(_columns(header, selection.proprioception))
    if width != selection.proprioception_dim:
        names = ", ".join(selection.proprioception) or "none"
        problems.append(
            f"{names} are {width} numbers of proprioception, the network takes {selection.proprioception_dim}"
        )
    if problems:
        raise ConventionError(f"{file.path} does not fit the policy: {'; '.join(problems)}.")


def _names(file: DemonstrationFile, selection: FrameSelection, subset: Subset) -> list[str]:
    names = file.mask(subset) if subset in file.masks() else ()
    return [name for name in names if not selection.tasks or file.summary(name).identity.task_id in selection.tasks]


def _filled(chosen: Sequence[tuple[DemonstrationFile, str]], selection: FrameSelection) -> DemonstrationDataset:
    """Copy the chosen episodes into arrays that are allocated once: images are most of the memory."""
    ends = np.cumsum([file.summary(name).steps for file, name in chosen], dtype=np.int64)
    frames = int(ends[-1]) if len(ends) else 0
    side = selection.image_size
    images = np.empty((frames, len(selection.cameras), side, side, 3), dtype=np.uint8)
    proprioception = np.empty((frames, selection.proprioception_dim), dtype=np.float32)
    actions = np.empty((frames, ACTION_DIM), dtype=np.float32)
    last_frame, instruction_index = np.empty(frames, dtype=np.int64), np.empty(frames, dtype=np.int64)
    instructions: dict[str, int] = {}
    for (file, name), end in zip(chosen, ends, strict=True):
        demonstration = file.read(name, selection.cameras)
        where = slice(int(end) - demonstration.steps, int(end))
        for number, camera in enumerate(selection.cameras):
            images[where, number] = _resized(demonstration.images[camera], side)
        columns = _columns(file.header, selection.proprioception)
        proprioception[where] = demonstration.proprioception[:, columns]
        actions[where], last_frame[where] = demonstration.actions, end - 1
        instruction_index[where] = instructions.setdefault(demonstration.instruction, len(instructions))
    starts = (0, *ends[:-1].tolist())
    sources = tuple((f"{file.path} {name}", start) for (file, name), start in zip(chosen, starts, strict=False))
    return DemonstrationDataset(
        images, proprioception, actions, last_frame, instruction_index, tuple(instructions), len(chosen), sources
    )


def _columns(header: FileHeader, names: Sequence[str]) -> NDArray[np.int64]:
    """Return the columns of the named proprioception fields, in the order named."""
    starts = np.cumsum([0, *(field.size for field in header.proprioception_fields)])
    spans = {
        field.name: np.arange(start, start + field.size)
        for field, start in zip(header.proprioception_fields, starts, strict=False)
    }
    return np.concatenate([np.empty(0, dtype=np.int64), *(spans[name] for name in names)])


def _resized(images: ImageArray, side: int) -> ImageArray:
    if images.shape[1:3] == (side, side):
        return images
    parts = []
    for start in range(0, len(images), _RESIZED_AT_ONCE):
        pixels = torch.from_numpy(images[start : start + _RESIZED_AT_ONCE]).permute(0, 3, 1, 2).float()
        pixels = functional.interpolate(pixels, size=(side, side), mode="bicubic", antialias=True)
        parts.append(pixels.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(parts)
