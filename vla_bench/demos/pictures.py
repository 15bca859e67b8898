"""Demonstrations to look at: a contact sheet of a file, and a video of each demonstration."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vla_bench.core.errors import DemonstrationFileError, MissingExtraError
from vla_bench.core.paths import written_whole
from vla_bench.core.types import ImageArray
from vla_bench.demos.demonstration import Demonstration
from vla_bench.demos.store import DemonstrationFile

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont

_THUMBNAIL = 128  # pixels
_GAP = 4
_CAPTION = 22
_LABEL = 15
_INK, _SUBDUED, _PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)
_VIDEO_HEIGHT = 256  # at least, so that a small camera can be watched


def write_contact_sheet(path: Path | str, output: Path, *, rows: int = 20, frames: int = 8) -> Path:
    """Write a PNG with one row a demonstration: `frames` moments from start to end, all cameras, what was asked.

    A file with more demonstrations than `rows` is sampled evenly, so that every task shows.
    """
    from PIL import Image

    with DemonstrationFile(path) as file:
        names = _evenly(file.names, rows)
        if not names:
            raise DemonstrationFileError(file.path, "there is no demonstration in it")
        strips = [_strip(name, file.read(name), frames) for name in names]
    width = max(strip.width for strip in strips)
    sheet = Image.new("RGB", (width + 2 * _GAP, sum(strip.height for strip in strips) + 2 * _GAP), _PAPER)
    top = _GAP
    for strip in strips:
        sheet.paste(strip, (_GAP, top))
        top += strip.height
    with written_whole(output) as temporary:
        sheet.save(temporary, format="PNG")
    return output


def write_videos(path: Path | str, folder: Path, *, names: Sequence[str] | None = None) -> list[Path]:
    """Write one mp4 a demonstration, cameras side by side, in real time; `names` chooses among them."""
    written = []
    with DemonstrationFile(path) as file:
        for name in file.names if names is None else names:
            demonstration = file.read(name)
            output = folder / f"{name}_{demonstration.identity.task}.mp4"
            _write_video(output, demonstration, file.header.control_hz)
            written.append(output)
    return written


def _strip(name: str, demonstration: Demonstration, frames: int) -> "Image":
    """Return a caption over the frames of one demonstration: time to the right, cameras downwards."""
    from PIL import Image, ImageDraw

    moments = np.unique(np.linspace(0, demonstration.steps - 1, frames).round().astype(int))
    cell = _THUMBNAIL + _GAP
    size = (frames * cell, _CAPTION + len(demonstration.images) * cell + _LABEL)
    strip = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(strip)
    outcome = "success" if demonstration.success else "FAILURE"
    draw.text((0, 3), demonstration.instruction, fill=_INK, font=_font(15))
    facts = f"{name}   {demonstration.identity.task_id}   {demonstration.steps} steps   {outcome}"
    draw.text((size[0] - _GAP, 5), facts, fill=_SUBDUED, font=_font(12), anchor="ra")
    for column, moment in enumerate(moments):
        for row, images in enumerate(demonstration.images.values()):
            picture = Image.fromarray(images[moment]).resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
            strip.paste(picture, (column * cell, _CAPTION + row * cell))
        label = f"{moment}  {demonstration.phases[moment]}"
        draw.text((column * cell, size[1] - _LABEL - 2), label, fill=_SUBDUED, font=_font(11))
    return strip


def _write_video(output: Path, demonstration: Demonstration, frames_per_second: int) -> None:
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise MissingExtraError("Writing videos", "imageio-ffmpeg", "video") from error

    frames: ImageArray = np.concatenate(list(demonstration.images.values()), axis=2)  # (T, H, cameras * W, 3)
    scale = -(-_VIDEO_HEIGHT // frames.shape[1])
    frames = frames.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2  # what the codec takes
    with written_whole(output) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary), (width, height), fps=frames_per_second, macro_block_size=2, ffmpeg_log_level="error"
        )
        writer.send(None)
        for frame in frames[:, :height, :width]:
            writer.send(np.ascontiguousarray(frame))
        writer.close()


def _evenly(names: Sequence[str], count: int) -> list[str]:
    """Return at most `count` of `names`, spread over all of them."""
    chosen = np.unique(np.linspace(0, len(names) - 1, min(count, len(names))).round().astype(int))
    return [names[i] for i in chosen]


def _font(size: int) -> "FreeTypeFont | ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(size)
