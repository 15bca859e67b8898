"""Fine-tune and pretrain policies on demonstrations."""

from vla_bench.training.config import AugmentationConfig, FinetuneConfig, OptimizerConfig

__all__ = ["AugmentationConfig", "FinetuneConfig", "OptimizerConfig"]
