"""A small checkpoint in the published layout, written with timm's names, and what it computes, in plain torch."""

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from tests.models.small import INSTRUCTIONS
from vla_bench.models.openvla.tokenization import action_prompt, train_nano_tokenizer

Tensors = dict[str, torch.Tensor]
PATCH, SIZE, HEADS, LAYERS = 14, 28, 2, 3
WIDTHS = {"dinov2": (16, 32), "siglip": (24, 41), "clip": (16, 40)}  # of the stream, of the MLP
EPSILON = {"dinov2": 1e-6, "siglip": 1e-6, "clip": 1e-5}  # of timm's norms
REGISTERS, EMPTY, PAD, VOCABULARY = 2, 7, 640, 704
BACKBONES = {
    "dinosiglip-vit-so-224px": ("dinov2", "siglip"),
    "dinoclip-vit-l-336px": ("dinov2", "clip"),
    "siglip-vit-so400m": ("siglip",),
    "dinov2-vit-l": ("dinov2",),
    "clip-vit-l": ("clip",),
}
TEXT = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
LLAMA = {**TEXT, "num_attention_heads": 4}
BOUNDS = {"q01": np.linspace(-1, -0.5, 7).tolist(), "q99": np.linspace(0.4, 2, 7).tolist()}
ACTION = {**BOUNDS, **dict.fromkeys(("mean", "std", "min", "max"), BOUNDS["q99"]), "mask": [True] * 6 + [False]}
MEANS = {"dinov2": [0.485, 0.456, 0.406], "siglip": [0.5] * 3, "clip": [0.48145466, 0.4578275, 0.40821073]}
STDS = {"dinov2": [0.229, 0.224, 0.225], "siglip": [0.5] * 3, "clip": [0.26862954, 0.26130258, 0.27577711]}


def write_published(folder: Path, backbone: str = "dinosiglip-vit-so-224px", *, shards: int = 1) -> Tensors:
    """Write a checkpoint of random weights to the new `folder` and return all its tensors."""
    folder.mkdir()
    tensors = random_tensors(backbone)
    write_json(folder / "config.json", config_json(backbone))
    write_json(folder / "preprocessor_config.json", preprocessor_json(backbone))
    prompts = [action_prompt(text) for text in INSTRUCTIONS]
    train_nano_tokenizer(prompts, vocabulary=PAD, slots=14).save_pretrained(folder)
    write_weights(folder, tensors, shards)
    return tensors


def write_weights(folder: Path, tensors: Mapping[str, torch.Tensor], shards: int = 1) -> None:
    """Write the tensors to one file, or to shards with an index."""
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        return
    files = {
        name: f"model-{number % shards + 1:05d}-of-{shards:05d}.safetensors" for number, name in enumerate(tensors)
    }
    for file in set(files.values()):
        save_file({name: tensors[name] for name in tensors if files[name] == file}, folder / file)
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": 1}, "weight_map": files})


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content))


def config_json(backbone: str) -> dict[str, Any]:
    """Return a published `config.json`, with small towers in place of those that the name stands for."""
    towers = zip(("featurizer", "fused_featurizer"), BACKBONES[backbone], strict=False)
    activations = {"dinov2": "gelu", "siglip": "gelu", "clip": "quick_gelu"}
    return {
        "model_type": "openvla",
        "vision_backbone_id": backbone,
        "llm_backbone_id": "llama2-7b-pure",
        "image_resize_strategy": "resize-naive",
        "image_sizes": [SIZE] * len(BACKBONES[backbone]),
        "text_config": {"model_type": "llama", "torch_dtype": "bfloat16", "pad_token_id": PAD, **LLAMA},
        "pad_token_id": PAD,
        "n_action_bins": 256,
        "pad_to_multiple_of": 64,
        "norm_stats": {"bridge_orig": {"action": ACTION, "num_transitions": 3}, "fractal": {"action": ACTION}},
        "empty_token_id": EMPTY,  # 29871 in the real vocabulary
        "vision_config": {
            name: {
                "hidden_size": WIDTHS[kind][0],
                "intermediate_size": WIDTHS[kind][1],
                "num_hidden_layers": LAYERS,
                "num_attention_heads": HEADS,
                "patch_size": PATCH,
                "num_register_tokens": REGISTERS if kind == "dinov2" else 0,
                "architecture": kind,
                "activation": activations[kind],
            }
            for name, kind in towers
        },
    }


def preprocessor_json(backbone: str) -> dict[str, Any]:
    kinds = BACKBONES[backbone]
    return {
        "image_processor_type": "PrismaticImageProcessor",
        "image_resize_strategy": "resize-naive",
        "input_sizes": [[3, SIZE, SIZE]] * len(kinds),
        "interpolations": ["bicubic"] * len(kinds),
        "means": [MEANS[kind] for kind in kinds],
        "stds": [STDS[kind] for kind in kinds],
    }


def random_tensors(backbone: str) -> Tensors:
    """Return every tensor that the original code saves, those that it does not use among them."""
    generator = torch.Generator().manual_seed(0)
    kinds = BACKBONES[backbone]
    tensors: Tensors = {}
    for name, kind in zip(("featurizer", "fused_featurizer"), kinds, strict=False):
        for key, shape in tower_shapes(kind).items():
            tensors[f"vision_backbone.{name}.{key}"] = _drawn(key, shape, generator)
    vision, width = sum(WIDTHS[kind][0] for kind in kinds), LLAMA["hidden_size"]
    sizes = (vision, 4 * vision, width, width) if len(kinds) == 2 else (vision, width, width)
    for number, (into, out) in enumerate(pairwise(sizes), start=1):
        tensors[f"projector.fc{number}.weight"] = _drawn("fc.weight", (out, into), generator)
        tensors[f"projector.fc{number}.bias"] = _drawn("fc.bias", (out,), generator)
    for key, value in llama().state_dict().items():
        tensors[f"language_model.{key}"] = _drawn(key, tuple(value.shape), generator)
    return tensors


def tower_shapes(kind: str) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes of timm's `VisionTransformer`."""
    width, hidden = WIDTHS[kind]
    patches = (SIZE // PATCH) ** 2
    norm = {"weight": (width,), "bias": (width,)}
    shapes: dict[str, tuple[int, ...]] = {"patch_embed.proj.weight": (width, 3, PATCH, PATCH)}
    shapes["pos_embed"] = (1, patches + (kind == "clip"), width)
    if kind != "clip":
        shapes["patch_embed.proj.bias"] = (width,)
    if kind != "siglip":
        shapes["cls_token"] = (1, 1, width)
    if kind == "dinov2":
        shapes["reg_token"] = (1, REGISTERS, width)
    if kind == "clip":
        shapes |= {f"norm_pre.{key}": shape for key, shape in norm.items()}
    linear = {"attn.qkv": (3 * width, width), "attn.proj": (width, width), "mlp.fc1": (hidden, width)}
    linear["mlp.fc2"] = (width, hidden)
    for layer in range(LAYERS):
        block = {f"{name}.{key}": shape for name in ("norm1", "norm2") for key, shape in norm.items()}
        block |= {f"{name}.weight": shape for name, shape in linear.items()}
        block |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
        if kind == "dinov2":
            block |= {"ls1.scale_factor": (width,), "ls2.scale_factor": (width,)}
        shapes |= {f"blocks.{layer}.{key}": shape for key, shape in block.items()}
    shapes |= {f"norm.{key}": shape for key, shape in norm.items()}
    if kind == "siglip":
        shapes |= {"attn_pool.latent": (1, 1, width), "attn_pool.q.weight": (width, width)}
    return shapes


def reference_logits(tensors: Tensors, backbone: str, ids: torch.Tensor, pixel_values: torch.Tensor) -> torch.Tensor:
    """Return the logits of one row without padding, from the published tensors alone."""
    parts = pixel_values.split(3, dim=1)
    names = ("featurizer", "fused_featurizer")
    features = [
        vit_features(_under(tensors, f"vision_backbone.{name}."), kind, part)
        for name, kind, part in zip(names, BACKBONES[backbone], parts, strict=False)
    ]
    hidden = torch.cat(features, dim=-1)
    layers = sorted(key for key in tensors if key.startswith("projector.") and key.endswith("weight"))
    for number, key in enumerate(layers):
        hidden = functional.linear(
            functional.gelu(hidden) if number else hidden, tensors[key], tensors[key.replace("weight", "bias")]
        )
    model = llama()
    model.load_state_dict(_under(tensors, "language_model."))
    text = model.get_input_embeddings()(ids)
    return model(inputs_embeds=torch.cat([text[:, :1], hidden, text[:, 1:]], dim=1)).logits


def vit_features(weights: Tensors, kind: str, images: torch.Tensor) -> torch.Tensor:
    """Return patch features after the second-to-last block, as timm's model computes them."""
    hidden = functional.conv2d(images, weights["patch_embed.proj.weight"], weights.get("patch_embed.proj.bias"), PATCH)
    hidden = hidden.flatten(2).transpose(1, 2)
    before = [weights[name].expand(len(images), -1, -1) for name in ("cls_token", "reg_token") if name in weights]
    prefix = sum(part.shape[1] for part in before)
    if kind == "clip":
        hidden = torch.cat([*before, hidden], dim=1) + weights["pos_embed"]
        hidden = _norm(hidden, weights, "norm_pre", kind)
    else:
        hidden = torch.cat([*before, hidden + weights["pos_embed"]], dim=1)
    for layer in range(LAYERS - 1):
        block = _under(weights, f"blocks.{layer}.")
        attended = _attention(_norm(hidden, block, "norm1", kind), block)
        hidden = hidden + attended * block.get("ls1.scale_factor", torch.ones(1))
        inner = functional.linear(_norm(hidden, block, "norm2", kind), block["mlp.fc1.weight"], block["mlp.fc1.bias"])
        inner = inner * torch.sigmoid(1.702 * inner) if kind == "clip" else functional.gelu(inner)
        inner = functional.linear(inner, block["mlp.fc2.weight"], block["mlp.fc2.bias"])
        hidden = hidden + inner * block.get("ls2.scale_factor", torch.ones(1))
    return hidden[:, prefix:]


def llama() -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**LLAMA, max_position_embeddings=2048, rms_norm_eps=1e-6)).eval()


def _attention(hidden: torch.Tensor, block: Tensors) -> torch.Tensor:
    batch, tokens, width = hidden.shape
    joined = functional.linear(hidden, block["attn.qkv.weight"], block["attn.qkv.bias"])
    query, key, value = joined.reshape(batch, tokens, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
    weight = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1)
    mixed = (weight @ value).transpose(1, 2).reshape(batch, tokens, width)
    return functional.linear(mixed, block["attn.proj.weight"], block["attn.proj.bias"])


def _norm(hidden: torch.Tensor, weights: Tensors, name: str, kind: str) -> torch.Tensor:
    shape = hidden.shape[-1:]
    return functional.layer_norm(hidden, shape, weights[f"{name}.weight"], weights[f"{name}.bias"], EPSILON[kind])


def _under(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _drawn(name: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    drawn = torch.randn(shape, generator=generator)
    if len(shape) == 1:
        return 0.1 * drawn + (1.0 if ("norm" in name and name.endswith("weight")) or "scale" in name else 0.0)
    return drawn / drawn[0].numel() ** 0.5
