"""Networks of any size with random weights, for what counts time and memory: no checkpoint is needed."""

import torch

from vla_bench.models.openvla.building import build_on_meta, compute_buffers
from vla_bench.models.openvla.config import OpenVLAConfig
from vla_bench.models.openvla.network import OpenVLA

_SCALE = 0.02


def random_network(config: OpenVLAConfig, device: torch.device | str, dtype: torch.dtype) -> OpenVLA:
    """Return a network whose weights are drawn on `device`, tensor by tensor: main memory never holds them."""
    network = build_on_meta(config)
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in list(network.named_parameters()):
        module, _, attribute = name.rpartition(".")
        values = torch.empty(parameter.shape, dtype=dtype, device=device)
        values.normal_(0.0, _SCALE, generator=generator)
        setattr(network.get_submodule(module), attribute, torch.nn.Parameter(values, requires_grad=False))
    compute_buffers(network, device)
    return network.eval()
