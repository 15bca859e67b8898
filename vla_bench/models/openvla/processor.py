"""Prepare camera images and instructions as network inputs.

Images are resized with PIL as 8-bit images and normalized for each tower, as `PrismaticImageProcessor` of the
original code (github.com/openvla/openvla) does; the settings are those of a checkpoint's
`preprocessor_config.json`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import PreTrainedTokenizerFast

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.types import ImageArray
from vla_bench.models.openvla.config import ModelConfigError, OpenVLAConfig
from vla_bench.models.openvla.tokenization import action_prompt

ResizeStrategy = Literal["resize-naive", "letterbox", "resize-crop"]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # normalization of DINOv2
SIGLIP_MEAN, SIGLIP_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_NORMALIZATIONS = {
    "dinov2": (IMAGENET_MEAN, IMAGENET_STD),
    "siglip": (SIGLIP_MEAN, SIGLIP_STD),
    "clip": (CLIP_MEAN, CLIP_STD),
}
_Colors = tuple[tuple[float, ...], ...]  # for each tower
_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class ImageError(VlaBenchError, ValueError):
    """Images that are invalid network inputs."""


@dataclass(frozen=True)
class ImagePreparation:
    """Resizing and normalization of images for each tower."""

    strategy: ResizeStrategy
    size: int  # pixels, square
    interpolations: tuple[str, ...]  # one per tower, like the following fields
    means: _Colors
    stds: _Colors

    def __post_init__(self) -> None:
        if self.strategy not in get_args(ResizeStrategy):
            raise ModelConfigError(
                f"image_resize_strategy is {self.strategy!r}. Expected {', '.join(get_args(ResizeStrategy))}."
            )
        for interpolation in self.interpolations:
            if interpolation not in _FILTERS:
                raise ModelConfigError(f"interpolation {interpolation!r}. Expected one of {', '.join(_FILTERS)}.")

    @classmethod
    def of(cls, config: OpenVLAConfig) -> "ImagePreparation":
        """Return the settings of the pretraining of the towers."""
        normalizations = [_NORMALIZATIONS[str(tower.architecture)] for tower in config.towers]
        means, stds = zip(*normalizations, strict=True)
        strategy: Any = config.image_resize_strategy
        return cls(strategy, config.image_size, ("bicubic",) * len(means), means, stds)

    @classmethod
    def from_json(cls, content: Mapping[str, Any], config: OpenVLAConfig) -> "ImagePreparation":
        """Return the settings of `preprocessor_config.json`; raise `ModelConfigError` if they do not fit the
        network.
        """
        try:
            sizes = [list(size) for size in content["input_sizes"]]
            means, stds = (tuple(map(tuple, content[key])) for key in ("means", "stds"))
            made = cls(content["image_resize_strategy"], sizes[0][-1], tuple(content["interpolations"]), means, stds)
        except KeyError as error:
            raise ModelConfigError(f"field {error} is missing.") from None
        except (TypeError, IndexError) as error:
            raise ModelConfigError(f"a field is malformed: {error}.") from None
        towers = len(config.towers)
        if any(len(values) != towers for values in (sizes, made.interpolations, means, stds)):
            raise ModelConfigError(f"lists have wrong lengths. Expected {towers} entries, one per tower.")
        if any(size != [3, config.image_size, config.image_size] for size in sizes):
            wanted = [3, config.image_size, config.image_size]
            raise ModelConfigError(f"input_sizes are {sizes}, but the network takes {wanted}.")
        return made

    def to_json(self) -> dict[str, Any]:
        """Return the content of `preprocessor_config.json`."""
        return {
            "image_processor_type": "PrismaticImageProcessor",
            "processor_class": "PrismaticProcessor",
            "image_resize_strategy": self.strategy,
            "use_fused_vision_backbone": len(self.means) == 2,
            "input_sizes": [[3, self.size, self.size]] * len(self.means),
            "interpolations": list(self.interpolations),
            "means": [list(mean) for mean in self.means],
            "stds": [list(std) for std in self.stds],
        }

    def pixel_values(self, images: torch.Tensor) -> torch.Tensor:
        """Return (B, towers * 3, size, size) of uint8 images (B, H, W, 3), on their device."""
        scale, shift = _scaling(self.means, self.stds, images.device)
        if images.shape[1:3] == (self.size, self.size):
            seen = images.permute(0, 3, 1, 2).contiguous()[:, None]  # identical for all towers
        else:
            resized = np.stack([self._resized(image) for image in images.cpu().numpy()])
            seen = torch.from_numpy(resized).to(images.device).unflatten(1, (len(self.means), 3))
        return (seen * scale).add_(shift).flatten(1, 2)

    def _resized(self, array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return (towers * 3, size, size) of an image (H, W, 3)."""
        image = Image.fromarray(array)
        if self.strategy == "letterbox":
            image = _letterboxed(image, self.means[-1])  # that of the last tower, as in the original code
        shape = _resize_crop(image.size, self.size) if self.strategy == "resize-crop" else (self.size, self.size)
        made = {name: _center_crop(image.resize(shape, _FILTERS[name]), self.size) for name in set(self.interpolations)}
        return np.concatenate([np.asarray(made[name]).transpose(2, 0, 1) for name in self.interpolations])


def validated_image(images: Any) -> NDArray[np.uint8]:
    """Return one image (H, W, 3), uint8, from a PIL image or an array; raise `ImageError` for any other type or
    range.
    """
    if isinstance(images, Image.Image):
        return np.array(images.convert("RGB"))  # as the original code does for any mode
    array = np.asarray(images)
    wanted = "Expected uint8 of 0..255 and shape (H, W, 3), or a PIL image"
    if array.dtype != np.uint8:
        hint = ""
        if array.dtype.kind == "f" and array.size and np.nanmin(array) >= 0.0 and np.nanmax(array) <= 1.0:
            hint = "; multiply images of 0..1 by 255, round and convert them"
        raise ImageError(f"The image is {array.dtype} {array.shape}. {wanted}{hint}.")
    if array.ndim == 3 and array.shape[2] == 4:
        raise ImageError(f"The image has four channels {array.shape}. {wanted}; remove the alpha channel.")
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        hint = "; move the channels to the end" if array.ndim == 3 and array.shape[0] == 3 else ""
        raise ImageError(f"The image has shape {array.shape}. {wanted}{hint}.")
    return array


@lru_cache(maxsize=8)
def _scaling(means: _Colors, stds: _Colors, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scale and offset of image bytes, (towers, 3, 1, 1) each."""
    mean, std = (torch.tensor(values, device=device)[..., None, None] for values in (means, stds))
    return 1.0 / (255.0 * std), -mean / std


def _letterboxed(image: Image.Image, mean: Sequence[float]) -> Image.Image:
    """Return the image centered in a square of the mean color; as in the original code, it may be one pixel short."""
    width, height = image.size
    across, down = (max(image.size) - width) // 2, (max(image.size) - height) // 2
    fill = tuple(int(value * 255) for value in mean)
    square = Image.new("RGB", (width + 2 * across, height + 2 * down), fill)
    square.paste(image, (across, down))
    return square


def _resize_crop(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Return the size (width, height) with the shorter side at `shorter`, the other truncated to whole pixels."""
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _center_crop(image: Image.Image, side: int) -> Image.Image:
    left, top = (round((length - side) / 2.0) for length in image.size)
    return image.crop((left, top, left + side, top + side))


@dataclass(frozen=True)
class Processor:
    """Preparation of images and prompts for one network."""

    config: OpenVLAConfig
    tokenizer: PreTrainedTokenizerFast
    preparation: ImagePreparation | None = None  # image settings; None: those of the pretraining of the towers

    @property
    def image_preparation(self) -> ImagePreparation:
        """Resizing and normalization of images."""
        return self.preparation or ImagePreparation.of(self.config)

    def images(self, images: ImageArray | torch.Tensor) -> torch.Tensor:
        """Return `pixel_values` (B, N * towers * 3, H, W) of uint8 `images` (B, N, H, W, 3), N images as configured."""
        batch = torch.from_numpy(np.ascontiguousarray(images)) if isinstance(images, np.ndarray) else images
        wanted = self.config.num_images
        if batch.dtype != torch.uint8 or batch.ndim != 5 or batch.shape[1] != wanted or batch.shape[-1] != 3:
            raise ImageError(
                f"Images are {batch.dtype} {tuple(batch.shape)}. Expected uint8 (B, {wanted}, H, W, 3) of 0..255."
            )
        pixels = self.image_preparation.pixel_values(batch.flatten(0, 1))
        return pixels.reshape(batch.shape[0], -1, *pixels.shape[-2:])

    def tokenize_instructions(self, instructions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `input_ids`, `attention_mask` (B, L) of the prompts that ask for actions."""
        return self.prompts([action_prompt(instruction) for instruction in instructions])

    def prompts(self, prompts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `input_ids`, `attention_mask` (B, L) of whole prompts, L at least `prompt_length`."""
        rows = [self._ids(prompt) for prompt in prompts]
        length = max(self.config.prompt_length, max(map(len, rows)))
        ids = torch.full((len(rows), length), self.config.text.pad_token_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        return ids, mask

    def _ids(self, prompt: str) -> list[int]:
        ids = list(self.tokenizer.encode(prompt))
        empty = self.config.empty_token_id
        return [*ids, empty] if empty is not None and ids[-1] != empty else ids
