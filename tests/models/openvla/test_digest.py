import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vla_bench.core.errors import CheckpointError
from vla_bench.models.openvla.weights import weights_digest


def shards(folder: Path, **changes: torch.Tensor) -> Path:
    """Write two shards of three tensors, of which one is longer than what is sampled."""
    tensors = {"a": torch.zeros(3), "b": torch.arange(10_000.0), "c": torch.ones(2, 2), **changes}
    folder.mkdir()
    for number, names in enumerate((("a", "b"), ("c",)), start=1):
        save_file({name: tensors[name] for name in names}, folder / f"model-{number:05d}-of-00002.safetensors")
    return folder


def test_a_single_file_s_digest_is_that_of_its_bytes(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(3)}, tmp_path / "model.safetensors")
    expected = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert weights_digest(tmp_path) == expected


def test_shards_are_told_apart_by_any_tensor_of_any_of_them(tmp_path: Path) -> None:
    first = weights_digest(shards(tmp_path / "first"))
    assert weights_digest(shards(tmp_path / "same")) == first
    scaled = torch.arange(10_000.0) * 1.001
    others = {"a": torch.tensor([0.0, 0.0, 1e-6]), "b": scaled, "c": torch.ones(4)}
    digests = {weights_digest(shards(tmp_path / name, **{name: value})) for name, value in others.items()}
    assert len(digests | {first}) == 4


def test_a_missing_shard_changes_the_digest(tmp_path: Path) -> None:
    folder = shards(tmp_path / "whole")
    before = weights_digest(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert weights_digest(folder) != before


def test_no_weights_and_a_damaged_header_are_errors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there are no shards"):
        weights_digest(tmp_path)
    (tmp_path / "model-00001-of-00001.safetensors").write_bytes((5).to_bytes(8, "little") + b"{nope")
    with pytest.raises(CheckpointError, match="its header is damaged"):
        weights_digest(tmp_path)
