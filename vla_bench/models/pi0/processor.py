"""Inputs of pi0: images, prompts and state as tensors, and the normalization of state and actions."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import load_file
from torch.nn import functional
from transformers import PI0Config, PreTrainedTokenizerBase

from vla_bench.core.errors import CheckpointError
from vla_bench.core.types import FloatArray, ImageArray
from vla_bench.models.normalization import STATISTICS_FILE, VectorStatistics, read_statistics, statistics_for

PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")  # of transformers
LEROBOT_FILE = "policy_preprocessor.json"
_EPSILON = 1e-8
_LEROBOT_STEP = "normalizer_processor"
_LEROBOT_FEATURES = {"STATE": "observation.state", "ACTION": "action"}


@dataclass(frozen=True, eq=False)
class Scaling:
    """Scaling `(x - center) / half_range` per dimension, both (D,), and its inverse."""

    center: NDArray[np.float64]
    half_range: NDArray[np.float64]

    @classmethod
    def by_deviation(cls, mean: ArrayLike, std: ArrayLike) -> "Scaling":
        """Return the scaling to mean 0 and deviation 1."""
        return cls(np.asarray(mean, dtype=np.float64), np.asarray(std, dtype=np.float64))

    @classmethod
    def by_range(cls, low: ArrayLike, high: ArrayLike) -> "Scaling":
        """Return the scaling of `low` to -1 and `high` to 1."""
        first, last = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        return cls((first + last) / 2.0, (last - first) / 2.0)

    def normalize(self, values: FloatArray) -> NDArray[np.float32]:
        """Return normalized values (..., D)."""
        scaled = (np.asarray(values, dtype=np.float64) - self.center) / (self.half_range + _EPSILON)
        return scaled.astype(np.float32)

    def unnormalize(self, values: FloatArray) -> NDArray[np.float32]:
        """Return values (..., D) in the units of the data."""
        return (np.asarray(values, dtype=np.float64) * self.half_range + self.center).astype(np.float32)


@dataclass(frozen=True)
class Pi0Normalization:
    """The scalings of one checkpoint."""

    state: Scaling
    action: Scaling


def read_normalization(folder: Path, unnorm_key: str | None, *, quantiles: bool = False) -> Pi0Normalization:
    """Return the normalization in the files of `folder`.

    The first existing source is used: `dataset_statistics.json` (entry `unnorm_key`; mean and deviation, or
    `quantiles`), `policy_preprocessor.json` of LeRobot, the statistics in the processor configuration of transformers.
    """
    if (folder / STATISTICS_FILE).is_file():
        entry = statistics_for(read_statistics(folder / STATISTICS_FILE), unnorm_key)
        if entry.proprioception is None:
            raise CheckpointError(folder, f"{STATISTICS_FILE} has no entry for proprioception")
        return Pi0Normalization(_scaling(entry.proprioception, quantiles), _scaling(entry.action, quantiles))
    if (folder / LEROBOT_FILE).is_file():
        return _from_lerobot(folder)
    for name in PROCESSOR_FILES:
        content = _json(folder / name) if (folder / name).is_file() else {}
        if content.get("state_mean") is not None:
            return _from_processor(folder / name, content)
    raise CheckpointError(
        folder,
        f"it has no statistics of state and actions. Expected {STATISTICS_FILE}, {LEROBOT_FILE} of LeRobot, "
        f"or state_mean, state_std, actions_mean, actions_std in {PROCESSOR_FILES[0]}",
    )


def _scaling(statistics: VectorStatistics, quantiles: bool) -> Scaling:
    if quantiles:
        return Scaling.by_range(statistics.q01, statistics.q99)
    return Scaling.by_deviation(statistics.mean, statistics.std)


def _from_processor(file: Path, content: Mapping[str, Any]) -> Pi0Normalization:
    names = ("state_mean", "state_std", "actions_mean", "actions_std")
    missing = [name for name in names if content.get(name) is None]
    if missing:
        raise CheckpointError(file.parent, f"{file.name} lacks {', '.join(missing)}")
    state_mean, state_std, action_mean, action_std = (content[name] for name in names)
    return Pi0Normalization(Scaling.by_deviation(state_mean, state_std), Scaling.by_deviation(action_mean, action_std))


def _from_lerobot(folder: Path) -> Pi0Normalization:
    steps = [step for step in _json(folder / LEROBOT_FILE)["steps"] if step.get("registry_name") == _LEROBOT_STEP]
    if not steps or "state_file" not in steps[0]:
        raise CheckpointError(folder, f"{LEROBOT_FILE} has no {_LEROBOT_STEP} with statistics")
    file = folder / steps[0]["state_file"]
    if not file.is_file():
        raise CheckpointError(folder, f"{file.name} is missing, but {LEROBOT_FILE} refers to it")
    tensors = {name: value.numpy() for name, value in load_file(file).items()}
    modes = steps[0]["config"]["norm_map"]
    state, action = (_lerobot_scaling(file, tensors, modes.get(kind, "IDENTITY"), kind) for kind in _LEROBOT_FEATURES)
    return Pi0Normalization(state, action)


def _lerobot_scaling(file: Path, tensors: Mapping[str, NDArray[Any]], mode: str, kind: str) -> Scaling:
    names = {"MEAN_STD": ("mean", "std"), "QUANTILES": ("q01", "q99"), "MIN_MAX": ("min", "max")}.get(mode)
    if names is None:
        raise CheckpointError(file.parent, f"{LEROBOT_FILE} normalizes {kind} by {mode}, which is not supported")
    keys = [f"{_LEROBOT_FEATURES[kind]}.{name}" for name in names]
    missing = [key for key in keys if key not in tensors]
    if missing:
        raise CheckpointError(file.parent, f"{file.name} lacks {missing[0]}")
    first, second = (tensors[key] for key in keys)
    return Scaling.by_deviation(first, second) if mode == "MEAN_STD" else Scaling.by_range(first, second)


def _json(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text())
    except json.JSONDecodeError as error:
        raise CheckpointError(file.parent, f"{file.name} is not valid JSON: {error}") from error
    return content


@dataclass(frozen=True)
class Pi0Processor:
    """Preparation of batches like `PI0Processor` of transformers, without torchvision.

    The prompt consists of image tokens, first token, instruction and line break. A camera that the network has and the
    robot lacks is omitted, which equals a masked empty image.
    """

    config: PI0Config
    tokenizer: PreTrainedTokenizerBase

    @property
    def image_size(self) -> int:
        """Size of the images [pixels], which are rendered at this size because resizing differs between projects."""
        return int(self._vlm.vision_config.image_size)

    @property
    def tokens_per_image(self) -> int:
        """Number of decoder tokens per image."""
        return int((self.image_size // self._vlm.vision_config.patch_size) ** 2)

    def images(self, images: ImageArray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `pixel_values` (B, N, 3, H, W) in -1..1 and `pixel_attention_mask` (B, N) of uint8 (B, N, H, W, 3)."""
        expected = (self.image_size, self.image_size, 3)
        if images.dtype != np.uint8 or images.ndim != 5 or images.shape[2:] != expected:
            raise ValueError(f"Images are {images.dtype} {images.shape}. Expected uint8 (B, N, *{expected}).")
        pixels = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 1, 4, 2, 3).float()
        return pixels / 127.5 - 1.0, torch.ones(images.shape[:2], dtype=torch.bool)

    def prompts(self, instructions: Sequence[str], num_images: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return `input_ids` and `attention_mask` (B, L), padded on the right."""
        rows = [self._ids(instruction, num_images) for instruction in instructions]
        ids = torch.full((len(rows), max(map(len, rows))), int(self.tokenizer.pad_token_id or 0))
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        return ids, mask

    def state(self, normalized: FloatArray) -> torch.Tensor:
        """Return the normalized state (B, S), padded with zeros to (B, max_state_dim)."""
        return functional.pad(torch.from_numpy(normalized), (0, self.config.max_state_dim - normalized.shape[-1]))

    @property
    def _vlm(self) -> Any:
        return self.config.vlm_config

    def _ids(self, instruction: str, num_images: int) -> list[int]:
        text = instruction.strip().replace("_", " ").replace("\n", " ")  # cleaned as in openpi
        images = [int(self._vlm.image_token_id)] * (self.tokens_per_image * num_images)
        return [
            *images,
            int(self.tokenizer.bos_token_id),
            *self.tokenizer.encode(f"{text}\n", add_special_tokens=False),
        ]
