"""Dataset statistics and the q01/q99 normalization of actions and proprioception, for OpenVLA and OpenVLA-OFT."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import CheckpointError, ConventionError, UnknownNameError
from vla_bench.core.files import written_whole
from vla_bench.core.types import FloatArray

STATISTICS_FILE = "dataset_statistics.json"
_VECTORS = ("mean", "std", "min", "max", "q01", "q99")


@dataclass(frozen=True, eq=False)
class VectorStatistics:
    """Statistics of each dimension of actions or proprioception, in the units of the data; all (D,)."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    min: NDArray[np.float64]
    max: NDArray[np.float64]
    q01: NDArray[np.float64]
    q99: NDArray[np.float64]
    mask: NDArray[np.bool_]  # False: this dimension is not normalized (the gripper)

    @classmethod
    def of(cls, values: FloatArray, mask: NDArray[np.bool_] | None = None) -> "VectorStatistics":
        """Return the statistics of `values` (N, D)."""
        data = np.asarray(values, dtype=np.float64)
        low, high = np.quantile(data, [0.01, 0.99], axis=0)
        mask = np.ones(data.shape[1], dtype=bool) if mask is None else mask
        return cls(data.mean(0), data.std(0), data.min(0), data.max(0), low, high, mask)

    def normalize(self, values: FloatArray) -> NDArray[np.float32]:
        """Return `clip(2 (x - q01) / (q99 - q01 + 1e-8) - 1, -1, 1)` where the mask is set; 0 for constant
        dimensions.
        """
        data = np.asarray(values, dtype=np.float64)
        scaled = np.clip(2.0 * (data - self.q01) / (self.q99 - self.q01 + 1e-8) - 1.0, -1.0, 1.0)
        scaled = np.where(self.min == self.max, 0.0, scaled)
        return np.where(self.mask, scaled, data).astype(np.float32)

    def unnormalize(self, values: FloatArray) -> NDArray[np.float32]:
        """Return `0.5 (x + 1) (q99 - q01) + q01` where the mask is set."""
        data = np.asarray(values, dtype=np.float64)
        return np.where(self.mask, 0.5 * (data + 1.0) * (self.q99 - self.q01) + self.q01, data).astype(np.float32)

    def to_json(self) -> dict[str, list[float] | list[bool]]:
        """Return the published form, with lists."""
        return {**{name: getattr(self, name).tolist() for name in _VECTORS}, "mask": self.mask.tolist()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "VectorStatistics":
        """Return the statistics in a published entry; a missing `mask` means that every dimension is scaled."""
        if missing := [name for name in _VECTORS if name not in content]:
            raise ValueError(f"{', '.join(missing)} missing")
        vectors = {name: np.asarray(content[name], dtype=np.float64) for name in _VECTORS}
        mask = np.asarray(content.get("mask", np.ones(len(vectors["q01"]))), dtype=bool)
        sizes = {name: values.shape for name, values in {**vectors, "mask": mask}.items()}
        if mask.ndim != 1 or len(set(sizes.values())) > 1:
            raise ValueError(f"their shapes are {', '.join(f'{name} {shape}' for name, shape in sizes.items())}")
        if broken := [name for name, values in vectors.items() if not np.isfinite(values).all()]:
            raise ValueError(f"{', '.join(broken)} contains non-finite numbers")
        if (vectors["q01"] > vectors["q99"]).any():
            raise ValueError("q01 is larger than q99")
        return cls(**vectors, mask=mask)


@dataclass(frozen=True, eq=False)
class DatasetStatistics:
    """Statistics of the training data of a policy."""

    action: VectorStatistics
    proprioception: VectorStatistics | None = None
    num_trajectories: int = 0
    num_transitions: int = 0


def statistics_for(statistics: Mapping[str, DatasetStatistics], unnorm_key: str | None) -> DatasetStatistics:
    """Return the entry `unnorm_key` or its `_no_noops` variant, or the only entry if the key is None.

    Raises `ConventionError` for several entries without key, `UnknownNameError` for an unknown key.
    """
    if unnorm_key is None and len(statistics) == 1:
        return next(iter(statistics.values()))
    for key in (unnorm_key, f"{unnorm_key}_no_noops"):
        if key is not None and key in statistics:
            return statistics[key]
    if unnorm_key is None:
        names = ", ".join(sorted(statistics))
        raise ConventionError(
            f"The checkpoint has statistics of several data sets: {names}. Select one in the policy card "
            "(`unnorm_key`)."
        )
    raise UnknownNameError("normalization key (unnorm_key)", unnorm_key, statistics)


def write_statistics(path: Path, statistics: Mapping[str, DatasetStatistics]) -> None:
    """Write `dataset_statistics.json` in the published layout."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(statistics_json(statistics), indent=2) + "\n")


def statistics_json(statistics: Mapping[str, DatasetStatistics]) -> dict[str, Any]:
    """Return the content of `dataset_statistics.json`, which equals `norm_stats` of a configuration."""
    return {name: _entry(entry) for name, entry in statistics.items()}


def read_statistics(path: Path) -> dict[str, DatasetStatistics]:
    """Return the entries of `dataset_statistics.json`; raise `CheckpointError` if it is missing or malformed."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise CheckpointError(path.parent, f"{path.name} is missing") from None
    except json.JSONDecodeError as error:
        raise CheckpointError(path.parent, f"{path.name} is malformed: {error!r}") from error
    return parse_statistics(content, path)


def parse_statistics(content: Any, path: Path) -> dict[str, DatasetStatistics]:
    """Return the entries in `content` of the file `path`; raise `CheckpointError` if malformed."""
    try:
        return {name: _parsed(entry) for name, entry in content.items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(path.parent, f"{path.name}: statistics are malformed: {error!r}") from error


def _entry(entry: DatasetStatistics) -> dict[str, Any]:
    proprioception = {} if entry.proprioception is None else {"proprio": entry.proprioception.to_json()}
    counts = {"num_trajectories": entry.num_trajectories, "num_transitions": entry.num_transitions}
    return {"action": entry.action.to_json(), **proprioception, **counts}


def _parsed(entry: Mapping[str, Any]) -> DatasetStatistics:
    return DatasetStatistics(
        VectorStatistics.from_json(entry["action"]),
        VectorStatistics.from_json(entry["proprio"]) if "proprio" in entry else None,
        int(entry.get("num_trajectories", 0)),
        int(entry.get("num_transitions", 0)),
    )


_RANGE_OFFSET = 1e-8  # the inverse of normalization, which OpenVLA itself omits


def unnormalize_oft_actions(statistics: VectorStatistics, normalized: FloatArray) -> NDArray[np.float32]:
    """Return `0.5 (x + 1) (q99 - q01 + 1e-8) + q01` where the mask is set, of values (..., D)."""
    data = np.asarray(normalized, dtype=np.float64)
    scaled = 0.5 * (data + 1.0) * (statistics.q99 - statistics.q01 + _RANGE_OFFSET) + statistics.q01
    return np.where(statistics.mask, scaled, data).astype(np.float32)
