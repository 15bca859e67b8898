"""Small demonstration files and bases on disk, made from real parts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.demos.synthetic import FIELDS, demonstration, header
from tests.models.small import INSTRUCTIONS, small_checkpoint
from vla_bench.demos import Demonstration, write_demonstrations
from vla_bench.models.openvla.checkpoint import save_checkpoint
from vla_bench.models.openvla.config import Decoding
from vla_bench.training.config import AugmentationConfig, FinetuneConfig, OptimizerConfig
from vla_bench.training.dataset import FrameSelection

PROPRIOCEPTION = tuple(field.name for field in FIELDS)
SELECTION = FrameSelection(
    cameras=("agentview", "wrist"),
    proprioception=PROPRIOCEPTION,
    proprioception_dim=5,
    image_size=24,
    control_hz=20,
    action_convention=header().action_convention,
)


def demonstration_file(folder: Path, **header_changes: Any) -> Path:
    """Write five demonstrations of two tasks, 9 to 13 steps long."""
    path = folder / "demos.hdf5"
    write_demonstrations(path, replace(header(), **header_changes), [_episode(index) for index in range(5)])
    return path


def finetune_config(folder: Path, *, decoding: Decoding = "parallel", **changes: Any) -> FinetuneConfig:
    """Write a base and demonstrations into `folder` and return a run of a few steps."""
    if not (folder / "base").exists():
        save_checkpoint(folder / "base", small_checkpoint(decoding))
        demonstration_file(folder)
    options = {
        "demos": (folder / "demos.hdf5",),
        "output": folder / "output",
        "base": str(folder / "base"),
        "rank": 4,
        "alpha": 16,
        "proprioception": PROPRIOCEPTION,
        "optimiser": OptimizerConfig(steps=6, batch_size=8, warmup_steps=2, learning_rate=1e-2),
        "augmentation": AugmentationConfig(),
        "evaluate_every": 2,
        **changes,
    }
    return FinetuneConfig(**options)


def _episode(index: int) -> Demonstration:
    made = demonstration(index, task=("reach", "put")[index % 2], steps=9 + index)
    return replace(made, instruction=INSTRUCTIONS[index % 2])
