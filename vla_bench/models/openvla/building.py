"""A network without memory, and what of it no checkpoint holds."""

import torch
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from vla_bench.models.openvla.config import OpenVLAConfig
from vla_bench.models.openvla.network import OpenVLA


def build_on_meta(config: OpenVLAConfig) -> OpenVLA:
    """Return the network with shapes alone: no memory is taken and nothing is initialised."""
    with torch.device("meta"):
        return OpenVLA(config)


def compute_buffers(model: OpenVLA, device: torch.device | str) -> None:
    """Set the tensors that follow from the configuration: rotary frequencies and indices of positions."""
    for module in model.modules():
        if isinstance(module, LlamaRotaryEmbedding):
            frequencies, _ = module.compute_default_rope_parameters(module.config)
            module._buffers["inv_freq"] = frequencies.to(device)
            module._buffers["original_inv_freq"] = frequencies.clone().to(device)
        indices = module._buffers.get("position_ids")
        if indices is not None:
            module._buffers["position_ids"] = torch.arange(indices.shape[-1], device=device).expand(indices.shape)


def tensors_left_empty(model: OpenVLA) -> list[str]:
    """Return the names of the tensors that have no content yet."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return [name for name, tensor in tensors if tensor.is_meta]
