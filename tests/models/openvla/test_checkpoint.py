import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.small import inputs, small_checkpoint
from vla_bench.core.errors import CheckpointError, ConventionError, UnknownNameError
from vla_bench.models.normalization import DatasetStatistics, VectorStatistics, statistics_for
from vla_bench.models.openvla.checkpoint import CHECKPOINT_FILES, find_base, load_checkpoint, save_checkpoint
from vla_bench.models.openvla.processor import IMAGENET_MEAN, IMAGENET_STD


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "checkpoint", small_checkpoint())
    return tmp_path / "checkpoint"


@pytest.mark.parametrize("decoding", ["parallel", "autoregressive"])
def test_saved_and_loaded_networks_agree(tmp_path, decoding):
    saved = small_checkpoint(decoding)
    save_checkpoint(tmp_path / "checkpoint", saved)
    loaded = load_checkpoint(tmp_path / "checkpoint")
    assert loaded.config == saved.config
    with torch.no_grad():
        expected = saved.model.action_logits(**inputs(saved, 2))
        assert torch.equal(loaded.model.action_logits(**inputs(loaded, 2)), expected)
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 7))
    before, after = (entry.statistics["made_up"].action.normalize(actions) for entry in (saved, loaded))
    assert np.array_equal(before, after)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]


@pytest.mark.parametrize("name", CHECKPOINT_FILES)
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        load_checkpoint(folder)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="the folder does not exist"):
        load_checkpoint(tmp_path / "nowhere")


def changed_weights(folder: Path, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_missing_unexpected_and_misshapen_tensors_are_named(folder):
    changed_weights(folder, lambda tensors: tensors.update({"extra.weight": torch.ones(2)}))
    with pytest.raises(CheckpointError, match=r"has an unknown tensor: extra\.weight"):
        load_checkpoint(folder)
    changed_weights(
        folder, lambda tensors: (tensors.pop("extra.weight"), tensors.update({"projector.fc1.bias": torch.ones(3)}))
    )
    with pytest.raises(CheckpointError, match=r"projector\.fc1\.bias has shape \(3,\), but .*\(128,\)"):
        load_checkpoint(folder)
    changed_weights(folder, lambda tensors: tensors.pop("projector.fc1.bias"))
    with pytest.raises(CheckpointError, match=r"lacks the tensor projector\.fc1\.bias"):
        load_checkpoint(folder)


def test_damaged_files_are_named(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        load_checkpoint(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_checkpoint(folder)


def test_a_config_of_another_model_is_refused(folder):
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"model_type": "llama"}))
    with pytest.raises(CheckpointError, match="model_type is 'llama'"):
        load_checkpoint(folder)


def test_a_failed_save_leaves_the_earlier_checkpoint(folder):
    before = (folder / "model.safetensors").read_bytes()
    broken = small_checkpoint(seed=1)
    broken.statistics["made_up"] = None
    with pytest.raises(AttributeError):
        save_checkpoint(folder, broken)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["checkpoint"]


def test_bases_are_found_by_path_and_unknown_ones_named(folder):
    assert find_base(str(folder)) == folder
    with pytest.raises(UnknownNameError, match="openvla-pico"):
        find_base("openvla-pico")


def test_normalisation_is_openvla_s():
    values = np.random.default_rng(0).normal(size=(1000, 3)) * [1.0, 5.0, 0.0]
    statistics = VectorStatistics.of(values, np.array([True, False, True]))
    scaled = statistics.normalize(values)
    low, high = np.quantile(values[:, 0], [0.01, 0.99])
    assert np.allclose(scaled[:, 0], np.clip(2 * (values[:, 0] - low) / (high - low + 1e-8) - 1, -1, 1), atol=1e-6)
    assert np.allclose(scaled[:, 1], values[:, 1])
    assert not scaled[:, 2].any()
    inside = (values[:, 0] > low) & (values[:, 0] < high)
    assert np.allclose(statistics.unnormalize(scaled)[inside], values[inside], atol=1e-5)


def test_statistics_are_found_by_key():
    entry = DatasetStatistics(VectorStatistics.of(np.ones((2, 7))))
    assert statistics_for({"libero_spatial_no_noops": entry}, "libero_spatial") is entry
    assert statistics_for({"only": entry}, None) is entry
    with pytest.raises(UnknownNameError, match="libero_goal"):
        statistics_for({"libero_spatial": entry, "libero_goal": entry}, "libero_gaol")
    with pytest.raises(ConventionError, match=r"several data sets: a, b\. .* \(`unnorm_key`\)"):
        statistics_for({"a": entry, "b": entry}, None)


def test_images_are_normalised_for_both_towers():
    processor = small_checkpoint().processor
    images = np.zeros((1, 2, 24, 24, 3), dtype=np.uint8)
    images[:, 1] = 255
    pixels = processor.images(images)
    assert pixels.shape == (1, 12, 24, 24)
    dark, bright = pixels[0, :6, 0, 0], pixels[0, 6:, 0, 0]
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    assert torch.allclose(dark, torch.cat([-mean / std, -torch.ones(3)]), atol=1e-5)
    assert torch.allclose(bright, torch.cat([(1 - mean) / std, torch.ones(3)]), atol=1e-5)


def test_images_of_another_size_are_resized():
    processor = small_checkpoint().processor
    gradient = np.broadcast_to(np.linspace(0, 255, 96).astype(np.uint8)[None, None, None, :, None], (1, 2, 96, 96, 3))
    pixels = processor.images(gradient)
    assert pixels.shape == (1, 12, 24, 24)
    row = (pixels[0, 3, 12] + 1) / 2 * 255
    assert torch.allclose(row[2:-2], torch.linspace(0, 255, 96).reshape(24, 4).mean(dim=1)[2:-2], atol=2.0)
    with pytest.raises(ValueError, match=r"uint8 \(B, 2, H, W, 3\)"):
        processor.images(gradient.astype(np.float32))


def test_prompts_are_padded_on_the_right_to_a_fixed_length():
    processor = small_checkpoint().processor
    ids, mask = processor.tokenize_instructions(["reach for the cube"])
    assert ids.shape == (1, 10)
    length = int(mask.sum())
    assert mask[0].tolist() == [1] * length + [0] * (10 - length)
    assert not ids[0, length:].any()
