"""The published OpenVLA size with random weights on a GPU: one prediction of `batch` rows a step."""

from typing import Any

import torch

from vla_bench.models.openvla.building import build_on_meta, compute_buffers
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.models.openvla.presets import openvla_7b_config

_DEVICE, _PROMPT_TOKENS, _WEIGHT_SCALE = "cuda", 24, 0.02


class Predicting:
    """Prepared tensors in, logits of actions out."""

    def __init__(self, network: OpenVLA, batch: int) -> None:
        config = network.config
        self._network = network
        self._ids = torch.randint(3, 300, (batch, _PROMPT_TOKENS), device=_DEVICE)
        channels = config.num_images * 3 * len(config.towers)
        shape = (batch, channels, config.image_size, config.image_size)
        self._pixels = torch.randn(shape, device=_DEVICE, dtype=torch.bfloat16)

    @torch.inference_mode()
    def step(self) -> bool:
        """Predict, and wait for the GPU."""
        self._network.action_logits(self._ids, torch.ones_like(self._ids), self._pixels, None)
        torch.cuda.synchronize()
        return False

    def reset(self) -> None:
        """Nothing to begin."""


def make(options: dict[str, Any]) -> Predicting:
    """Return the network at work; its weights are made on the device, tensor by tensor."""
    network = build_on_meta(openvla_7b_config())
    for name, parameter in list(network.named_parameters()):
        module, _, attribute = name.rpartition(".")
        values = torch.empty(parameter.shape, dtype=torch.bfloat16, device=_DEVICE).normal_(0.0, _WEIGHT_SCALE)
        setattr(network.get_submodule(module), attribute, torch.nn.Parameter(values, requires_grad=False))
    compute_buffers(network, _DEVICE)
    return Predicting(network.eval(), options["batch"])
