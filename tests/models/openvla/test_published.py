"""Checkpoints in the published layout: what they compute, what is wrong with them, and what a save keeps."""

import json
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.models.openvla.published import (
    BACKBONES,
    EMPTY,
    PAD,
    config_json,
    reference_logits,
    write_json,
    write_published,
    write_weights,
)
from tests.models.small import INSTRUCTIONS
from vla_bench.core.errors import CheckpointError, ConventionError, UnknownNameError
from vla_bench.models.openvla import load, weights
from vla_bench.models.openvla.checkpoint import load_checkpoint, save_checkpoint
from vla_bench.models.openvla.config import ModelConfigError, openvla_7b_config
from vla_bench.models.openvla.config_file import config_from_json, config_to_json
from vla_bench.models.openvla.tokenization import action_prompt


def image(seed: int = 0, size: tuple[int, int] = (28, 28)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_logits_are_those_of_the_published_tensors(tmp_path: Path, backbone: str) -> None:
    tensors = write_published(tmp_path / "net", backbone)
    model = load(tmp_path / "net")
    ids, mask = model.checkpoint.processor.tokenize_instructions([INSTRUCTIONS[0]])
    pixels = model.checkpoint.processor.images(image()[None, None])
    with torch.no_grad():
        output = model(ids, mask, pixels, labels=ids)
        expected = reference_logits(tensors, backbone, ids, pixels)
    assert output.logits.shape == (1, 4 + ids.shape[1], 704)
    assert (output.logits - expected).abs().max() < 1e-5 * expected.abs().max()
    nothing = torch.cat([torch.full((1, 4), -100), ids[:, 1:]], dim=1)
    loss = torch.nn.functional.cross_entropy(expected[0, :-1], nothing[0])
    assert torch.isclose(output.loss, loss, rtol=1e-5)


def test_shards_and_older_names_give_the_same_network(tmp_path: Path) -> None:
    tensors = write_published(tmp_path / "one")
    write_published(tmp_path / "shards", shards=3)
    write_published(tmp_path / "gamma")
    write_weights(tmp_path / "gamma", {name.replace("scale_factor", "gamma"): value for name, value in tensors.items()})
    expected = load(tmp_path / "one").state_dict()
    for name in ("shards", "gamma"):
        found = load(tmp_path / name).state_dict()
        assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_a_save_keeps_every_published_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = write_published(tmp_path / "net")
    checkpoint = load_checkpoint(tmp_path / "net")
    save_checkpoint(tmp_path / "again", checkpoint)
    saved = load_file(tmp_path / "again" / "model.safetensors")
    assert saved.keys() == tensors.keys()
    assert all(torch.equal(saved[name], value) for name, value in tensors.items())
    for name in ("tokenizer.json", "tokenizer_config.json"):  # as they were: older libraries read them
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "net" / name).read_bytes()
    content = json.loads((tmp_path / "again" / "config.json").read_text())
    for key in ("vision_backbone_id", "llm_backbone_id", "n_action_bins", "norm_stats", "use_fused_vision_backbone"):
        assert key in content
    assert content["timm_model_ids"] == ["vit_large_patch14_reg4_dinov2.lvd142m", "vit_so400m_patch14_siglip_224"]
    monkeypatch.setattr(weights, "SHARD_BYTES", 30_000)
    save_checkpoint(tmp_path / "sharded", checkpoint)
    shards = sorted(path.name for path in (tmp_path / "sharded").glob("*.safetensors"))
    assert len(shards) > 2
    assert shards[0] == f"model-00001-of-{len(shards):05d}.safetensors"
    found = load_checkpoint(tmp_path / "sharded").model.state_dict()
    assert all(torch.equal(found[name], value) for name, value in checkpoint.model.state_dict().items())


def test_a_save_without_its_source_says_what_is_missing(tmp_path: Path) -> None:
    write_published(tmp_path / "net")
    checkpoint = load_checkpoint(tmp_path / "net")
    (tmp_path / "net" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"net: model\.safetensors is missing"):
        save_checkpoint(tmp_path / "again", checkpoint)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors: tensors.pop("projector.fc2.bias"), r"lacks the tensor projector\.fc2\.bias"),
        (
            lambda tensors: tensors.pop("vision_backbone.featurizer.blocks.1.attn.qkv.weight"),
            r"lacks the tensor vision_backbone\.featurizer\.blocks\.1\.attn\.qkv\.weight",
        ),
        (
            lambda tensors: tensors.update({"vision_backbone.featurizer.blocks.3.norm1.weight": torch.ones(16)}),
            r"has an unknown tensor: vision_backbone\.featurizer\.blocks\.3\.norm1\.weight",
        ),
        (
            lambda tensors: tensors.update({"vision_backbone.featurizer.attn_pool.q.weight": torch.ones(2)}),
            r"has an unknown tensor: vision_backbone\.featurizer\.attn_pool",  # DINOv2 has none
        ),
        (
            lambda tensors: tensors.update({"vision_backbone.fused_featurizer.pos_embed": torch.ones(1, 9, 24)}),
            r"pos_embed has shape \(1, 9, 24\), but the configuration requires \(1, 4, 24\)",
        ),
    ],
)
def test_a_wrong_tensor_is_named_before_any_is_read(tmp_path: Path, monkeypatch, change, message: str) -> None:
    tensors = write_published(tmp_path / "net")
    change(tensors)
    write_weights(tmp_path / "net", tensors)
    monkeypatch.setattr(weights, "_read", lambda *_: pytest.fail("a tensor was read"))
    with pytest.raises(CheckpointError, match=message):
        load(tmp_path / "net")


def test_a_missing_or_damaged_shard_is_named(tmp_path: Path) -> None:
    write_published(tmp_path / "net", shards=3)
    shard = tmp_path / "net" / "model-00002-of-00003.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:500])
    with pytest.raises(CheckpointError, match=r"model-00002-of-00003\.safetensors is damaged"):
        load(tmp_path / "net")
    shard.unlink()
    with pytest.raises(CheckpointError, match=r"shard model-00002-of-00003\.safetensors is missing, with \d+ tensors"):
        load(tmp_path / "net")
    shard.write_bytes((tmp_path / "net" / "model-00001-of-00003.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match=r"index\.json and the shards differ"):
        load(tmp_path / "net")


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    write_published(tmp_path / "net")
    (tmp_path / "net" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        load(tmp_path / "net")


def test_loading_holds_one_tensor_of_the_file_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_published(tmp_path / "net", shards=2)
    read, handed_out, alive = weights._read, [], []

    def counting(*arguments):
        tensor = read(*arguments)
        handed_out.append(weakref.ref(tensor.untyped_storage()))
        alive.append(sum(reference() is not None for reference in handed_out))
        return tensor

    monkeypatch.setattr(weights, "_read", counting)
    load(tmp_path / "net")
    assert len(alive) > 50
    assert max(alive) <= 2  # the one just read, and the one before until its name is assigned again


def test_weights_come_in_the_type_asked_for(tmp_path: Path) -> None:
    tensors = write_published(tmp_path / "net")
    write_weights(tmp_path / "net", {name: value.bfloat16() for name, value in tensors.items()})
    assert {value.dtype for value in load(tmp_path / "net").parameters()} == {torch.bfloat16}
    full, half = load(tmp_path / "net", dtype=torch.float32), load(tmp_path / "net", dtype=torch.bfloat16)
    assert {value.dtype for value in full.parameters()} == {torch.float32}
    ids, mask = full.checkpoint.processor.tokenize_instructions([INSTRUCTIONS[0]])
    pixels = full.checkpoint.processor.images(image()[None, None])
    with torch.no_grad():
        expected, found = full(ids, mask, pixels).logits, half(ids, mask, pixels).logits
    assert found.dtype == torch.bfloat16
    assert (found.float() - expected).abs().max() < 0.05 * expected.abs().max()


def test_statistics_come_from_the_file_where_there_is_one(tmp_path: Path) -> None:
    write_published(tmp_path / "net")
    assert set(load(tmp_path / "net").checkpoint.statistics) == {"bridge_orig", "fractal"}
    finetuned = config_json("dinosiglip-vit-so-224px")["norm_stats"]["fractal"]
    write_json(tmp_path / "net" / "dataset_statistics.json", {"libero_spatial_no_noops": finetuned})
    assert set(load(tmp_path / "net").checkpoint.statistics) == {"libero_spatial_no_noops"}


def test_an_unknown_normalization_key_lists_those_there_are(tmp_path: Path) -> None:
    write_published(tmp_path / "net")
    model = load(tmp_path / "net")
    with pytest.raises(UnknownNameError, match=r"named 'libero_spatial'.*bridge_orig, fractal"):
        model.predict_action(image(), INSTRUCTIONS[0], "libero_spatial")
    with pytest.raises(ConventionError, match=r"several data sets: bridge_orig, fractal\. .* \(`unnorm_key`\)"):
        model.predict_action(image(), INSTRUCTIONS[0])


def test_published_names_stand_for_the_published_sizes() -> None:
    content = {
        "model_type": "openvla",
        "vision_backbone_id": "dinosiglip-vit-so-224px",
        "llm_backbone_id": "llama2-7b-pure",
        "arch_specifier": "no-align+fused-gelu-mlp",
        "image_resize_strategy": "resize-naive",
        "text_config": {"model_type": "llama", "pad_token_id": 32000, "torch_dtype": "bfloat16", "vocab_size": 32064},
    }
    assert config_from_json(content) == openvla_7b_config()
    single = config_from_json(
        content | {"vision_backbone_id": "siglip-vit-so400m-384px", "arch_specifier": "no-align+gelu-mlp"}
    )
    assert (single.image_size, single.num_patches, len(single.towers)) == (384, 27**2, 1)
    for backbone in ("clip-vit-l", "clip-vit-l-336px", "dinov2-vit-l"):
        made = config_from_json(content | {"vision_backbone_id": backbone, "arch_specifier": "gelu-mlp"})
        assert config_from_json(config_to_json(made)) == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"vision_backbone_id": "in1k-vit-l"},
            r"vision_backbone_id is 'in1k-vit-l'\. Supported: clip-vit-l, ",
        ),
        ({"llm_backbone_id": "phi-2-3b"}, r"llm_backbone_id is 'phi-2-3b'\. Supported: llama2-7b-pure, "),
        (
            {"arch_specifier": "no-align+linear"},
            r"'no-align\+linear', but 'dinosiglip.*' has 'no-align\+fused-gelu-mlp'",
        ),
        ({"use_fused_vision_backbone": False}, "use_fused_vision_backbone is False, but .* has two towers"),
        ({"text_config": {"rope_scaling": {"factor": 2}}}, r"rope_scaling is .*\. Only None is supported"),
        ({"text_config": {"model_type": "mistral"}}, r"model_type is 'mistral'\. Only 'llama' is supported"),
    ],
)
def test_what_this_code_does_not_build_is_named(change, message: str) -> None:
    with pytest.raises(ModelConfigError, match=message):
        config_from_json(config_json("dinosiglip-vit-so-224px") | change)


def test_prompts_end_with_the_empty_token_and_are_padded_with_the_published_id(tmp_path: Path) -> None:
    write_published(tmp_path / "net")
    processor = load(tmp_path / "net").checkpoint.processor
    ids, mask = processor.tokenize_instructions(["REACH for the cube", "put the cube in the basket"])
    lower, _ = processor.tokenize_instructions(["reach for the cube"])
    short = int(mask[0].sum())
    assert ids[0, :short].tolist() == lower[0].tolist()
    assert ids[0, short - 1] == ids[1, -1] == EMPTY
    assert set(ids[0, short:].tolist()) == {PAD}


def test_a_sentencepiece_file_takes_the_place_of_the_tokenizer_s_json(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    write_published(tmp_path / "net")
    text = tmp_path / "text.txt"
    text.write_text("\n".join([action_prompt(instruction) for instruction in INSTRUCTIONS] * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(tmp_path / "net" / "tokenizer"),
        vocab_size=340,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
        pad_id=-1,
        normalization_rule_name="identity",
    )
    (tmp_path / "net" / "tokenizer.json").unlink()
    write_json(tmp_path / "net" / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"})
    ids, _ = load(tmp_path / "net").checkpoint.processor.tokenize_instructions(["Reach for the cube"])
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "net" / "tokenizer.model"))
    assert ids[0].tolist() == [1, *pieces.encode(action_prompt("reach for the cube")), EMPTY]
