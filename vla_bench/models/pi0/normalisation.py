"""How a pi0 checkpoint normalises state and actions: by mean and deviation, or by quantiles, as its files say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors.torch import load_file

from vla_bench.core.errors import CheckpointError
from vla_bench.core.types import FloatArray
from vla_bench.models.normalization import STATISTICS_FILE, VectorStatistics, read_statistics, statistics_for

PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")  # transformers'
LEROBOT_FILE = "policy_preprocessor.json"
_EPSILON = 1e-8
_LEROBOT_STEP = "normalizer_processor"
_LEROBOT_FEATURES = {"STATE": "observation.state", "ACTION": "action"}


@dataclass(frozen=True, eq=False)
class Scaling:
    """`(x - centre) / half_range` and back, of each dimension; both (D,)."""

    centre: NDArray[np.float64]
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

    def normalise(self, values: FloatArray) -> NDArray[np.float32]:
        """Return normalised values (..., D)."""
        scaled = (np.asarray(values, dtype=np.float64) - self.centre) / (self.half_range + _EPSILON)
        return scaled.astype(np.float32)

    def unnormalise(self, values: FloatArray) -> NDArray[np.float32]:
        """Return values (..., D) in the units of the data."""
        return (np.asarray(values, dtype=np.float64) * self.half_range + self.centre).astype(np.float32)


@dataclass(frozen=True)
class Pi0Normalisation:
    """The scalings of one checkpoint."""

    state: Scaling
    action: Scaling


def read_normalisation(folder: Path, unnorm_key: str | None, *, quantiles: bool = False) -> Pi0Normalisation:
    """Return the normalisation that the files in `folder` describe.

    Read are, the first that is there: `dataset_statistics.json` (entry `unnorm_key`; mean and deviation, or
    `quantiles`), LeRobot's `policy_preprocessor.json`, the statistics in transformers' processor configuration.
    """
    if (folder / STATISTICS_FILE).is_file():
        entry = statistics_for(read_statistics(folder / STATISTICS_FILE), unnorm_key)
        if entry.proprioception is None:
            raise CheckpointError(folder, f"{STATISTICS_FILE} has no entry for proprioception")
        return Pi0Normalisation(_scaling(entry.proprioception, quantiles), _scaling(entry.action, quantiles))
    if (folder / LEROBOT_FILE).is_file():
        return _from_lerobot(folder)
    for name in PROCESSOR_FILES:
        content = _json(folder / name) if (folder / name).is_file() else {}
        if content.get("state_mean") is not None:
            return _from_processor(folder / name, content)
    raise CheckpointError(
        folder,
        f"it holds no statistics of state and actions. Expected {STATISTICS_FILE}, LeRobot's {LEROBOT_FILE}, "
        f"or state_mean, state_std, actions_mean, actions_std in {PROCESSOR_FILES[0]}",
    )


def _scaling(statistics: VectorStatistics, quantiles: bool) -> Scaling:
    if quantiles:
        return Scaling.by_range(statistics.q01, statistics.q99)
    return Scaling.by_deviation(statistics.mean, statistics.std)


def _from_processor(file: Path, content: Mapping[str, Any]) -> Pi0Normalisation:
    names = ("state_mean", "state_std", "actions_mean", "actions_std")
    missing = [name for name in names if content.get(name) is None]
    if missing:
        raise CheckpointError(file.parent, f"{file.name} lacks {', '.join(missing)}")
    state_mean, state_std, action_mean, action_std = (content[name] for name in names)
    return Pi0Normalisation(Scaling.by_deviation(state_mean, state_std), Scaling.by_deviation(action_mean, action_std))


def _from_lerobot(folder: Path) -> Pi0Normalisation:
    steps = [step for step in _json(folder / LEROBOT_FILE)["steps"] if step.get("registry_name") == _LEROBOT_STEP]
    if not steps or "state_file" not in steps[0]:
        raise CheckpointError(folder, f"{LEROBOT_FILE} has no {_LEROBOT_STEP} with statistics")
    file = folder / steps[0]["state_file"]
    if not file.is_file():
        raise CheckpointError(folder, f"{file.name} is missing, which {LEROBOT_FILE} names")
    tensors = {name: value.numpy() for name, value in load_file(file).items()}
    modes = steps[0]["config"]["norm_map"]
    state, action = (_lerobot_scaling(file, tensors, modes.get(kind, "IDENTITY"), kind) for kind in _LEROBOT_FEATURES)
    return Pi0Normalisation(state, action)


def _lerobot_scaling(file: Path, tensors: Mapping[str, NDArray[Any]], mode: str, kind: str) -> Scaling:
    names = {"MEAN_STD": ("mean", "std"), "QUANTILES": ("q01", "q99"), "MIN_MAX": ("min", "max")}.get(mode)
    if names is None:
        raise CheckpointError(file.parent, f"{LEROBOT_FILE} normalises {kind} by {mode}, which is not supported")
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
