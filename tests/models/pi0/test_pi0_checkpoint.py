import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.models.small_pi0 import IMAGE_TOKEN, STATISTICS, byte_tokenizer, save_small_pi0, small_pi0_config
from vla_bench.core.errors import CheckpointError
from vla_bench.models.normalization import DatasetStatistics, VectorStatistics, write_statistics
from vla_bench.models.pi0.checkpoint import lerobot_config, load_pi0_checkpoint
from vla_bench.models.pi0.processor import Pi0Processor, Scaling, read_normalization


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_small_pi0(tmp_path / "pi0")
    return tmp_path / "pi0"


def rewrite_weights(folder: Path, rename) -> None:
    tensors = load_file(folder / "model.safetensors")
    renamed = {rename(name): value for name, value in tensors.items()}
    save_file({name: value for name, value in renamed.items() if name}, folder / "model.safetensors")


def test_every_tensor_is_loaded(folder):
    expected = save_small_pi0(folder).state_dict()
    loaded = load_pi0_checkpoint(folder).model.state_dict()
    assert set(loaded) == set(expected)
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def test_the_tensor_names_that_lerobot_writes_are_understood(folder):
    expected = load_pi0_checkpoint(folder).model.state_dict()

    def lerobots(name):  # a prefix, and PaliGemma's names since transformers 4.52
        return "model." + name.replace("language_model.model.", "language_model.")

    rewrite_weights(folder, lerobots)
    assert "model.action_in_proj.weight" in load_file(folder / "model.safetensors")
    loaded = load_pi0_checkpoint(folder).model.state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in expected.items())


def test_missing_unknown_and_misshapen_tensors_are_named(folder):
    whole = load_file(folder / "model.safetensors")
    rewrite_weights(folder, lambda name: None if name == "action_out_proj.bias" else name)
    with pytest.raises(CheckpointError, match=r"the weights lack action_out_proj\.bias"):
        load_pi0_checkpoint(folder)
    save_file({**whole, "extra.weight": torch.ones(2)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"have an unknown tensor, extra\.weight"):
        load_pi0_checkpoint(folder)
    save_file({**whole, "action_out_proj.bias": torch.ones(3)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"action_out_proj\.bias has shape \(3,\), but .* \(10,\)"):
        load_pi0_checkpoint(folder)


def test_missing_files_are_named(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(
        CheckpointError,
        match=r"tokenizer\.json is missing\. Set `tokenizer` in the card to the folder of the PaliGemma tokenizer",
    ):
        load_pi0_checkpoint(folder)
    byte_tokenizer().save_pretrained(folder.parent / "tokenizer")
    load_pi0_checkpoint(folder, tokenizer=folder.parent / "tokenizer")
    (folder / "processor_config.json").unlink()
    with pytest.raises(
        CheckpointError, match=r"no statistics of state and actions\. Expected dataset_statistics\.json"
    ):
        load_pi0_checkpoint(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json is missing"):
        load_pi0_checkpoint(folder)
    with pytest.raises(CheckpointError, match="the folder does not exist"):
        load_pi0_checkpoint(folder / "nowhere")


def test_another_model_s_folder_is_refused(folder):
    (folder / "config.json").write_text('{"model_type": "openvla"}')
    with pytest.raises(CheckpointError, match="describes 'openvla', not 'pi0'"):
        load_pi0_checkpoint(folder)


def test_lerobot_s_configuration_gives_the_published_size(tmp_path):
    config = lerobot_config(tmp_path, {"type": "pi0", "chunk_size": 50, "max_action_dim": 32, "num_steps": 10})
    assert (config.chunk_size, config.max_state_dim, config.num_inference_steps) == (50, 32, 10)
    assert config.vlm_config.text_config.hidden_size == 2048
    assert config.dit_config.hidden_size == 1024
    with pytest.raises(CheckpointError, match=r"paligemma_variant is 'gemma_9b'\. Supported: 'gemma_2b'"):
        lerobot_config(tmp_path, {"type": "pi0", "paligemma_variant": "gemma_9b"})
    with pytest.raises(CheckpointError, match="joint conversion of ALOHA"):
        lerobot_config(tmp_path, {"type": "pi0", "adapt_to_pi_aloha": True})


def test_prompts_are_images_first_token_instruction_and_a_line_break():
    tokenizer = byte_tokenizer()
    processor = Pi0Processor(small_pi0_config(), tokenizer)
    ids, mask = processor.prompts([" pick_up the cube\n", "go"], num_images=2)
    text = tokenizer.encode("pick up the cube\n", add_special_tokens=False)
    assert ids[0].tolist() == [IMAGE_TOKEN] * 18 + [2, *text]
    assert ids[1, :22].tolist() == [IMAGE_TOKEN] * 18 + [2, *tokenizer.encode("go\n", add_special_tokens=False)]
    assert mask.sum(dim=1).tolist() == [19 + len(text), 22]


def test_images_are_scaled_to_one_and_states_padded():
    processor = Pi0Processor(small_pi0_config(), byte_tokenizer())
    images = np.zeros((1, 2, 24, 24, 3), np.uint8)
    images[0, 1, 0, 0] = 255
    pixels, mask = processor.images(images)
    assert pixels.shape == (1, 2, 3, 24, 24)
    assert pixels.min() == -1.0
    assert pixels[0, 1, :, 0, 0].tolist() == [1.0] * 3
    assert mask.all()
    state = processor.state(np.ones((2, 8), np.float32))
    assert state.tolist() == [[1.0] * 8 + [0.0] * 4] * 2
    with pytest.raises(ValueError, match=r"Images are uint8 \(1, 2, 32, 32, 3\)"):
        processor.images(np.zeros((1, 2, 32, 32, 3), np.uint8))


@torch.no_grad()
def test_a_camera_that_is_left_out_is_the_same_as_one_that_nothing_attends_to(folder):
    checkpoint = load_pi0_checkpoint(folder)
    ids, mask = checkpoint.processor.prompts(["go"], 1)
    image = torch.randn(1, 1, 3, 24, 24)
    inputs = {"input_ids": ids, "attention_mask": mask, "state": torch.randn(1, 12)}
    noise = torch.randn(1, 6, 10)
    alone = checkpoint.actions({**inputs, "pixel_values": image, "pixel_attention_mask": torch.tensor([[True]])}, noise)
    empty = torch.cat([image, -torch.ones_like(image)], dim=1)
    batched = checkpoint.actions(
        {**inputs, "pixel_values": empty, "pixel_attention_mask": torch.tensor([[True, False]])}, noise
    )
    torch.testing.assert_close(alone, batched)


def statistics() -> DatasetStatistics:
    draw = np.random.default_rng(0)
    return DatasetStatistics(
        VectorStatistics.of(draw.normal(size=(99, 7))), VectorStatistics.of(draw.normal(size=(99, 8)))
    )


def test_statistics_are_read_from_wherever_a_checkpoint_keeps_them(folder):
    read = read_normalization(folder, None)
    assert read.state.center.tolist() == STATISTICS["state_mean"]
    assert read.action.half_range.tolist() == STATISTICS["actions_std"]

    lerobot = statistics()
    tensors = {f"action.{name}": torch.tensor(getattr(lerobot.action, name)) for name in ("mean", "std", "q01", "q99")}
    tensors |= {
        f"observation.state.{name}": torch.tensor(getattr(lerobot.proprioception, name)) for name in ("q01", "q99")
    }
    save_file(tensors, folder / "step_5.safetensors")
    config = {"norm_map": {"VISUAL": "IDENTITY", "STATE": "QUANTILES", "ACTION": "MEAN_STD"}}
    step = {"registry_name": "normalizer_processor", "config": config, "state_file": "step_5.safetensors"}
    (folder / "policy_preprocessor.json").write_text(json.dumps({"steps": [{"registry_name": "other"}, step]}))
    read = read_normalization(folder, None)
    assert np.array_equal(read.action.center, lerobot.action.mean)
    low = lerobot.proprioception.q01.astype(np.float32)
    assert read.state.normalize(low) == pytest.approx(-np.ones(8), abs=1e-5)

    write_statistics(folder / "dataset_statistics.json", {"mine": lerobot})
    read = read_normalization(folder, "mine", quantiles=True)
    assert read.action.normalize(lerobot.action.q99) == pytest.approx(np.ones(7), abs=1e-5)
    read = read_normalization(folder, None)
    assert np.array_equal(read.state.half_range, lerobot.proprioception.std)


def test_a_lerobot_normalisation_that_is_not_known_is_named(folder):
    save_file({"action.mean": torch.ones(7)}, folder / "step.safetensors")
    step = {"registry_name": "normalizer_processor", "state_file": "step.safetensors"}
    for norm_map, message in (({"STATE": "QUANTILE10"}, "STATE by QUANTILE10"), ({"STATE": "MEAN_STD"}, "state.mean")):
        content = {"steps": [{**step, "config": {"norm_map": norm_map}}]}
        (folder / "policy_preprocessor.json").write_text(json.dumps(content))
        with pytest.raises(CheckpointError, match=message):
            read_normalization(folder, None)


def test_scaling_and_back_gives_the_same_numbers():
    values = np.random.default_rng(0).normal(size=(20, 7))
    for scaling in (
        Scaling.by_deviation(values.mean(0), values.std(0)),
        Scaling.by_range(values.min(0), values.max(0)),
    ):
        assert scaling.unnormalize(scaling.normalize(values)) == pytest.approx(values, abs=1e-5)


def test_statistics_larger_than_the_network_are_named(folder):
    large = {**STATISTICS, "state_mean": [0.0] * 13, "state_std": [1.0] * 13}
    (folder / "processor_config.json").write_text(json.dumps(large))
    with pytest.raises(CheckpointError, match="statistics of state have 13 numbers, but the network takes 12"):
        load_pi0_checkpoint(folder)
