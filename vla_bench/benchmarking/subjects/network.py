"""An OpenVLA network of some size with random weights: one prediction of `batch` rows a step.

Options: `network`, a name of `vla_bench.models.openvla.presets.ARCHITECTURES`; `device`; `dtype`; `batch`.
"""

from typing import Any

import torch

from vla_bench.models.openvla.network import OpenVLA
from vla_bench.models.openvla.presets import ARCHITECTURES
from vla_bench.models.openvla.random_weights import random_network

_PROMPT_TOKENS = 24  # where the prompt has no fixed length


class Predicting:
    """Prepared tensors in, logits of actions out."""

    def __init__(self, network: OpenVLA, device: str, batch: int) -> None:
        config = network.config
        self._network = network
        self._wait = torch.cuda.synchronize if device == "cuda" else torch.cpu.synchronize
        self._ids = torch.randint(3, 300, (batch, config.prompt_length or _PROMPT_TOKENS), device=device)
        channels = config.num_images * 3 * len(config.towers)
        like = next(network.parameters())
        self._pixels = torch.randn(batch, channels, config.image_size, config.image_size).to(like)
        self._proprioception = torch.randn(batch, config.proprioception_dim).to(device)

    @torch.inference_mode()
    def step(self) -> bool:
        """Predict, and wait for the device."""
        proprioception = self._proprioception if self._proprioception.shape[1] else None
        self._network.action_logits(self._ids, torch.ones_like(self._ids), self._pixels, proprioception)
        self._wait()
        return False

    def reset(self) -> None:
        """Nothing to begin."""


def make(options: dict[str, Any]) -> Predicting:
    """Return the network at work."""
    device = options["device"]
    network = random_network(ARCHITECTURES[options["network"]](), device, getattr(torch, options["dtype"]))
    return Predicting(network, device, options["batch"])
