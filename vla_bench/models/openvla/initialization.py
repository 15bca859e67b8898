"""Build networks without weights, initialize small ones for training from scratch, and fill large ones at random.

Initialization for training within minutes: position embeddings start as two-dimensional sines and cosines of the
size of the content (as in He et al., "Masked Autoencoders", 2022); the output rows of the action bins start on a
smooth curve, so neighboring bins begin alike; keys start equal to queries, so tokens attend to similar tokens from
the start.
"""

import math
from typing import Any

import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from vla_bench.models.openvla.config import ModelConfigError, OpenVLAConfig
from vla_bench.models.openvla.network import OpenVLA


def build_on_meta(config: OpenVLAConfig) -> OpenVLA:
    """Return the network with shapes only, without memory or initialization."""
    with torch.device("meta"):
        return OpenVLA(config)


def compute_buffers(model: OpenVLA, device: torch.device | str) -> None:
    """Set the tensors that follow from the configuration: rotary frequencies and position indices."""
    for module in model.modules():
        if isinstance(module, LlamaRotaryEmbedding):
            frequencies, _ = module.compute_default_rope_parameters(module.config)
            module._buffers["inv_freq"] = frequencies.to(device)
            module._buffers["original_inv_freq"] = frequencies.clone().to(device)
        indices = module._buffers.get("position_ids")
        if indices is not None:
            module._buffers["position_ids"] = torch.arange(indices.shape[-1], device=device).expand(indices.shape)


def uninitialized_tensors(model: OpenVLA) -> list[str]:
    """Return the names of tensors without values."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return [name for name, tensor in tensors if tensor.is_meta]


_EMBEDDING_STD = 0.7
_TOKEN_STD = 0.02  # position of the class token, which has no patch
_RESIDUAL_SCALE = 0.4  # scale of layers that write into the residual stream
_RESIDUAL_WRITERS = ("o_proj", "down_proj", "out_proj", "mlp.fc2")
_BIN_FREQUENCY_STEP = 0.25  # half periods over the range of the bins
_BIN_FREQUENCY_WIDTH = 8.0
_BIN_ROW_NORM = 2.0
_WORD_ROW_SCALE = 0.5


@torch.no_grad()
def initialize_weights(model: OpenVLA, seed: int) -> None:
    """Initialize every weight of `model`; equal seeds give equal weights."""
    generator = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        _initialize_module(name, module, generator)
    config = model.config
    if config.fused_featurizer is None:
        raise ModelConfigError("Initialization needs two towers, DINOv2 and SigLIP.")
    first: Any = model.vision_backbone.featurizer.embeddings
    second: Any = model.vision_backbone.fused_featurizer.embeddings
    first.position_embeddings[:, 1:] = _sines(config, config.featurizer.hidden_size)
    second.position_embedding.weight.copy_(_sines(config, config.fused_featurizer.hidden_size))
    _smooth_bins(model.language_model.lm_head.weight, config, generator)
    for layer in model.language_model.model.layers:  # similar tokens attend to each other from the start
        layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)
    for token in (first.cls_token, first.position_embeddings[:, :1]):
        token.normal_(0.0, _TOKEN_STD, generator=generator)


def _initialize_module(name: str, module: nn.Module, generator: torch.Generator) -> None:
    if isinstance(module, nn.Linear):
        scale = _RESIDUAL_SCALE if name.endswith(_RESIDUAL_WRITERS) else 1.0
        module.weight.normal_(0.0, scale / math.sqrt(module.in_features), generator=generator)
    elif isinstance(module, nn.Conv2d):
        fan_in = module.in_channels * module.kernel_size[0] * module.kernel_size[1]
        module.weight.normal_(0.0, 1.0 / math.sqrt(fan_in), generator=generator)
    elif isinstance(module, nn.Embedding):
        module.weight.normal_(0.0, _EMBEDDING_STD, generator=generator)
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        module.bias.zero_()


def _sines(config: OpenVLAConfig, width: int) -> torch.Tensor:
    """Return (patches, width): sines and cosines of row and column at several frequencies."""
    side = config.image_size // config.featurizer.patch_size
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    frequencies = 100.0 ** (-torch.arange(width // 4) / (width // 4)) * 2.0 * math.pi / side
    angles = [axis.reshape(-1, 1) * frequencies for axis in (rows, columns)]
    return torch.cat([function(angle) for angle in angles for function in (torch.sin, torch.cos)], dim=1)


def _smooth_bins(head: torch.Tensor, config: OpenVLAConfig, generator: torch.Generator) -> None:
    width = head.shape[1]
    position = torch.arange(config.n_action_bins)[:, None] / (config.n_action_bins - 1)
    frequency = torch.arange(width // 2) * _BIN_FREQUENCY_STEP
    amplitude = torch.exp(-0.5 * (frequency / _BIN_FREQUENCY_WIDTH) ** 2)
    angle = math.pi * frequency * position
    features = torch.cat([torch.cos(angle) * amplitude, torch.sin(angle) * amplitude], dim=1)
    rotation, _ = torch.linalg.qr(torch.randn(width, width, generator=generator))
    head *= _WORD_ROW_SCALE
    rows = features @ rotation * (_BIN_ROW_NORM / features.norm(dim=1).mean())
    head[config.vocab_end - config.n_action_bins : config.vocab_end] = rows


_SCALE = 0.02


def random_network(config: OpenVLAConfig, device: torch.device | str, dtype: torch.dtype) -> OpenVLA:
    """Return a network with random weights, sampled on `device` tensor by tensor, for measurements of time and
    memory.
    """
    network = build_on_meta(config)
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in list(network.named_parameters()):
        module, _, attribute = name.rpartition(".")
        values = torch.empty(parameter.shape, dtype=dtype, device=device)
        values.normal_(0.0, _SCALE, generator=generator)
        setattr(network.get_submodule(module), attribute, torch.nn.Parameter(values, requires_grad=False))
    compute_buffers(network, device)
    return network.eval()
