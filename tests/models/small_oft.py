"""A real OpenVLA-OFT network of a size that builds in milliseconds."""

from dataclasses import replace

import numpy as np
import torch

from tests.models.small import small_checkpoint
from vla_bench.models.normalization import DatasetStatistics, VectorStatistics
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.models.openvla_oft.checkpoint import OFTCheckpoint, oft_config
from vla_bench.models.openvla_oft.network import OpenVLAOFT


def small_oft_checkpoint(*, proprioception_dim: int = 8, chunk_size: int = 8) -> OFTCheckpoint:
    """Return an untrained network of two images of 24 pixels with its processor and statistics."""
    base = small_checkpoint("autoregressive")
    config = oft_config(base.config, chunk_size=chunk_size, proprioception_dim=proprioception_dim)
    torch.manual_seed(1)
    model = OpenVLAOFT(config, OpenVLA(config.vla)).eval()
    for parameter in model.parameters():  # away from the small first weights, so that inputs make a difference
        parameter.data += 0.1 * torch.randn_like(parameter)
    generator = np.random.default_rng(0)
    statistics = DatasetStatistics(
        VectorStatistics.of(generator.uniform(-1, 1, (500, 7)), np.array([True] * 6 + [False])),
        VectorStatistics.of(generator.normal(size=(500, proprioception_dim or 8))) if proprioception_dim else None,
    )
    processor = replace(base.processor, config=config.vla)
    return OFTCheckpoint(model, processor, {"made_up": statistics})


def oft_inputs(checkpoint: OFTCheckpoint, instructions: list[str], seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the network's inputs for random observations, one an instruction."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (len(instructions), 2, 24, 24, 3), dtype=np.uint8)
    ids, mask = checkpoint.processor.tokenize_instructions(instructions)
    proprioception = generator.normal(size=(len(instructions), 8)).astype(np.float32)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "pixel_values": checkpoint.processor.images(images),
        "proprioception": torch.from_numpy(proprioception),
    }
