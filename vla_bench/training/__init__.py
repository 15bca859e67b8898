"""From demonstrations to a fine-tuned policy."""

from vla_bench.training.config import AugmentationConfig, FinetuneConfig, OptimiserConfig

__all__ = ["AugmentationConfig", "FinetuneConfig", "OptimiserConfig"]
