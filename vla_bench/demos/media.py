"""Contact sheets and videos of demonstrations."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.files import written_whole
from vla_bench.core.types import ImageArray
from vla_bench.demos.sources import DemonstrationSource, EpisodeFacts

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont


_THUMBNAIL = 128  # pixels
_GAP = 4
_CAPTION = 22
_LABEL = 15
_TEXT_COLOR, _SECONDARY_TEXT_COLOR, _BACKGROUND_COLOR = (20, 20, 20), (110, 110, 110), (255, 255, 255)
_OUTCOMES = {True: "success", False: "FAILURE", None: ""}
_VIDEO_HEIGHT = 256  # smallest height, so that small images are visible


def write_contact_sheet(source: DemonstrationSource, output: Path, *, rows: int = 20, frames: int = 8) -> Path:
    """Write a PNG with one strip for each demonstration: `frames` moments, all cameras, and the instruction.

    A source with more than `rows` demonstrations is sampled evenly, so that every task is included.
    """
    from PIL import Image

    if not source.episodes:
        raise source.fault("there is no demonstration in it")
    strips = [_strip(source, episode, frames) for episode in _sample_evenly(source.episodes, rows)]
    width = max(strip.width for strip in strips)
    sheet = Image.new("RGB", (width + 2 * _GAP, sum(strip.height for strip in strips) + 2 * _GAP), _BACKGROUND_COLOR)
    top = _GAP
    for strip in strips:
        sheet.paste(strip, (_GAP, top))
        top += strip.height
    with written_whole(output) as temporary:
        sheet.save(temporary, format="PNG")
    return output


def write_videos(source: DemonstrationSource, folder: Path, *, names: Sequence[str] | None = None) -> list[Path]:
    """Write an mp4 in real time, cameras side by side, for each demonstration, or for those in `names`."""
    written = []
    for episode in source.episodes:
        if names is None or episode.name in names:
            output = folder / f"{episode.name}_{episode.task}.mp4"
            _write_demonstration_video(output, source, episode)
            written.append(output)
    return written


def _strip(source: DemonstrationSource, episode: EpisodeFacts, frames: int) -> "Image":
    """Return the frames of one demonstration under a caption: a column for each moment, a row for each camera."""
    from PIL import Image, ImageDraw

    moments = np.unique(np.linspace(0, episode.steps - 1, frames).round().astype(np.int64))
    cell, cameras = _THUMBNAIL + _GAP, tuple(source.facts.cameras)
    size = (frames * cell, _CAPTION + len(cameras) * cell + _LABEL)
    strip = Image.new("RGB", size, _BACKGROUND_COLOR)
    draw = ImageDraw.Draw(strip)
    draw.text((0, 3), episode.instruction, fill=_TEXT_COLOR, font=_font(15))
    facts = f"{episode.name}   {episode.task_id}   {episode.steps} steps   {_OUTCOMES[episode.success]}".rstrip()
    draw.text((size[0] - _GAP, 5), facts, fill=_SECONDARY_TEXT_COLOR, font=_font(12), anchor="ra")
    for row, camera in enumerate(cameras):
        for column, image in enumerate(source.images(episode.name, camera, moments)):
            strip.paste(_thumbnail(image), (column * cell, _CAPTION + row * cell))
    labels = source.step_labels(episode.name)
    for column, moment in enumerate(moments):
        label = f"{moment}  {labels[moment]}" if labels else str(moment)
        draw.text((column * cell, size[1] - _LABEL - 2), label, fill=_SECONDARY_TEXT_COLOR, font=_font(11))
    return strip


def _thumbnail(image: ImageArray) -> "Image":
    """Return an image scaled to fit the thumbnail square, with its aspect ratio."""
    from PIL import Image

    height, width = image.shape[:2]
    scale = _THUMBNAIL / max(height, width)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    return Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)


def _write_demonstration_video(output: Path, source: DemonstrationSource, episode: EpisodeFacts) -> None:
    try:
        import imageio_ffmpeg
    except ImportError as error:  # a required dependency, so that it was removed
        raise VlaBenchError("Writing videos needs imageio-ffmpeg. Install it: `pip install imageio-ffmpeg`.") from error

    steps = np.arange(episode.steps)
    by_camera = [source.images(episode.name, camera, steps) for camera in source.facts.cameras]  # (T, H, W, 3) each
    tallest = max(images.shape[1] for images in by_camera)
    frames: ImageArray = np.concatenate([_pad_height(images, tallest) for images in by_camera], axis=2)
    scale = -(-_VIDEO_HEIGHT // frames.shape[1])
    frames = frames.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = frames.shape[1] // 2 * 2, frames.shape[2] // 2 * 2  # the codec needs even sizes
    with written_whole(output) as temporary:
        writer = imageio_ffmpeg.write_frames(
            str(temporary), (width, height), fps=source.facts.control_hz, macro_block_size=2, ffmpeg_log_level="error"
        )
        writer.send(None)
        for frame in frames[:, :height, :width]:
            writer.send(np.ascontiguousarray(frame))
        writer.close()


def _pad_height(images: ImageArray, height: int) -> ImageArray:
    """Return images padded with black rows at the bottom, (T, height, W, 3)."""
    return np.pad(images, ((0, 0), (0, height - images.shape[1]), (0, 0), (0, 0)))


def _sample_evenly(episodes: Sequence[EpisodeFacts], count: int) -> list[EpisodeFacts]:
    """Return at most `count` of `episodes`, evenly spaced."""
    chosen = np.unique(np.linspace(0, len(episodes) - 1, min(count, len(episodes))).round().astype(int))
    return [episodes[i] for i in chosen]


def _font(size: int) -> "FreeTypeFont | ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(size)
