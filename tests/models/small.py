"""Real networks of a size that builds in milliseconds."""

import numpy as np
import torch

from vla_bench.models.normalization import DatasetStatistics, VectorStatistics
from vla_bench.models.openvla.checkpoint import Checkpoint
from vla_bench.models.openvla.config import Decoding, OpenVLAConfig, TextConfig, TowerConfig
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.models.openvla.processor import Processor
from vla_bench.models.openvla.tokenization import action_prompt, train_nano_tokenizer

VOCABULARY = 640
INSTRUCTIONS = ("reach for the cube", "put the cube in the basket")


def small_config(decoding: Decoding = "parallel", *, proprioception_dim: int = 5) -> OpenVLAConfig:
    """Return two images of 24 pixels, 9 patches each, chunks of 2."""
    tower = TowerConfig(16, 3, 2, 32, patch_size=8)
    return OpenVLAConfig(
        image_size=24,
        featurizer=TowerConfig(16, 3, 2, 32, patch_size=8, num_register_tokens=2),
        fused_featurizer=tower,
        text=TextConfig(VOCABULARY, 32, 48, 2, 2, 2, max_position_embeddings=128, pad_token_id=0),
        num_images=2,
        proprioception_dim=proprioception_dim,
        chunk_size=2,
        decoding=decoding,
        pad_to_multiple_of=0,
        prompt_length=10 if decoding == "parallel" else 0,
        first_slot_token_id=VOCABULARY - 256 - 14,
    )


def small_checkpoint(decoding: Decoding = "parallel", seed: int = 0) -> Checkpoint:
    """Return an untrained network with its processor and statistics of -1..1."""
    torch.manual_seed(seed)
    config = small_config(decoding)
    tokenizer = train_nano_tokenizer(
        [action_prompt(text) for text in INSTRUCTIONS], ["yes", "no"], vocabulary=VOCABULARY, slots=14
    )
    model = OpenVLA(config).eval()
    for parameter in model.parameters():  # away from the small first weights, so that inputs make a difference
        parameter.data += 0.1 * torch.randn_like(parameter)
    generator = np.random.default_rng(0)
    statistics = DatasetStatistics(
        VectorStatistics.of(generator.uniform(-1, 1, (500, 7)), np.array([True] * 6 + [False])),
        VectorStatistics.of(generator.normal(size=(500, 5))),
    )
    return Checkpoint(model, Processor(config, tokenizer), {"made_up": statistics})


def inputs(checkpoint: Checkpoint, rows: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Return the network's inputs for `rows` random observations with instructions of different lengths."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (rows, 2, 24, 24, 3), dtype=np.uint8)
    ids, mask = checkpoint.processor.tokenize_instructions([INSTRUCTIONS[row % 2] for row in range(rows)])
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "pixel_values": checkpoint.processor.images(images),
        "proprioception": torch.from_numpy(generator.normal(size=(rows, 5)).astype(np.float32)),
    }
