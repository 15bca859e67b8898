from pathlib import Path

import pytest
import torch

from tests.models.openvla.published import write_published
from tests.models.small_oft import oft_inputs, small_oft_checkpoint
from vla_bench.core.errors import CheckpointError
from vla_bench.models.openvla.checkpoint import load_checkpoint
from vla_bench.models.openvla_oft.checkpoint import (
    is_oft_checkpoint,
    load_oft_checkpoint,
    oft_config,
    save_oft_checkpoint,
)
from vla_bench.models.openvla_oft.network import OpenVLAOFT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_oft_checkpoint(tmp_path / "oft", small_oft_checkpoint(), step=150000)
    return tmp_path / "oft"


def test_saved_and_loaded_networks_agree(folder):
    saved, loaded = small_oft_checkpoint(), load_oft_checkpoint(folder)
    assert is_oft_checkpoint(folder)
    assert (folder / "action_head--150000_checkpoint.pt").is_file()
    assert loaded.config == saved.config
    assert loaded.statistics["made_up"].proprioception is not None
    batch = oft_inputs(saved, ["reach for the cube", "put the cube in the basket"])
    with torch.no_grad():
        assert torch.equal(loaded.model.predict_normalized(**batch), saved.model.predict_normalized(**batch))
    assert not any(parameter.is_meta for parameter in loaded.model.parameters())


def test_names_left_by_data_parallel_training_are_understood(folder):
    file = folder / "action_head--150000_checkpoint.pt"
    torch.save({f"module.{name}": value for name, value in torch.load(file).items()}, file)
    load_oft_checkpoint(folder)


def test_parts_in_another_precision_take_the_network_s(folder):
    file = folder / "action_head--150000_checkpoint.pt"
    torch.save({name: value.bfloat16() for name, value in torch.load(file).items()}, file)
    assert load_oft_checkpoint(folder).model.action_head.model.fc1.weight.dtype == torch.float32


def test_a_checkpoint_without_projector_takes_no_proprioception(folder):
    (folder / "proprio_projector--150000_checkpoint.pt").unlink()
    assert load_oft_checkpoint(folder).config.proprioception_dim == 0


def test_a_folder_without_a_head_is_named(folder):
    (folder / "action_head--150000_checkpoint.pt").unlink()
    assert not is_oft_checkpoint(folder)
    with pytest.raises(
        CheckpointError, match=r"action_head--\*_checkpoint\.pt is missing, so this is not an OpenVLA-OFT"
    ):
        load_oft_checkpoint(folder)


def test_two_heads_are_one_too_many(folder):
    torch.save({}, folder / "action_head--50000_checkpoint.pt")
    with pytest.raises(CheckpointError, match=r"more than one action_head: action_head--150000.*action_head--50000"):
        load_oft_checkpoint(folder)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vision_backbone--150000_checkpoint.pt", "trained with FiLM"),
        ("noisy_action_projector--150000_checkpoint.pt", "trained with the diffusion head"),
    ],
)
def test_variants_that_are_not_supported_are_named(folder, name, message):
    torch.save({}, folder / name)
    with pytest.raises(CheckpointError, match=f"{message}.*{name}.*not supported"):
        load_oft_checkpoint(folder)


def test_a_diffusion_head_is_named(folder):
    torch.save({"noise_predictor.mlp_resnet.fc1.weight": torch.ones(1)}, folder / "action_head--150000_checkpoint.pt")
    with pytest.raises(CheckpointError, match="is a diffusion head"):
        load_oft_checkpoint(folder)


def test_missing_misshapen_unknown_and_damaged_parts_are_named(folder):
    file = folder / "action_head--150000_checkpoint.pt"
    whole = torch.load(file)
    for change, message in (
        (lambda t: t.pop("model.fc2.bias"), r"action_head lacks the tensor model\.fc2\.bias"),
        (lambda t: t.update({"model.fc2.bias": torch.ones(3)}), r"model\.fc2\.bias has shape \(3,\), but.*\(7,\)"),
        (lambda t: t.update(extra=torch.ones(3)), "has an unknown tensor: extra"),
    ):
        tensors = dict(whole)
        change(tensors)
        torch.save(tensors, file)
        with pytest.raises(CheckpointError, match=message):
            load_oft_checkpoint(folder)
    file.write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match=r"action_head--150000_checkpoint\.pt is damaged"):
        load_oft_checkpoint(folder)


def test_an_unmerged_adapter_is_named(folder):
    for file in folder.glob("*.safetensors"):
        file.unlink()
    (folder / "lora_adapter").mkdir()
    with pytest.raises(CheckpointError, match=r"unmerged lora_adapter and no merged weights\. Merge"):
        load_oft_checkpoint(folder)


def test_the_published_layout_loads_and_is_saved_again(tmp_path):
    # Shards with timm's names, no statistics but those in config.json; the parts as the original saves them.
    folder = tmp_path / "published"
    write_published(folder, shards=3)
    base = load_checkpoint(folder)
    torch.manual_seed(0)
    parts = OpenVLAOFT(oft_config(base.config))
    torch.save(parts.action_head.state_dict(), folder / "action_head--5_checkpoint.pt")
    torch.save(parts.proprioception_projector.state_dict(), folder / "proprio_projector--5_checkpoint.pt")
    loaded = load_oft_checkpoint(folder)
    assert torch.equal(loaded.model.vla.projector.fc1.weight, base.model.projector.fc1.weight)
    ids, mask = loaded.processor.tokenize_instructions(["reach for the cube"])
    size = loaded.config.vla.image_size
    pixels = loaded.processor.images(torch.zeros(1, 2, size, size, 3, dtype=torch.uint8))
    inputs = (ids, mask, pixels, torch.ones(1, 8))
    save_oft_checkpoint(tmp_path / "again", loaded)
    again = load_oft_checkpoint(tmp_path / "again")
    with torch.no_grad():
        expected = loaded.model.predict_normalized(*inputs)
        assert expected.shape == (1, 8, 7)
        assert torch.equal(again.model.predict_normalized(*inputs), expected)
