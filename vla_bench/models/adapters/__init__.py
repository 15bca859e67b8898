"""Adapters (LoRA, DoRA, bottleneck), tied to their base weights: saving, loading and merging."""

from vla_bench.models.adapters.adapter import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_FILES,
    ADAPTER_WEIGHTS_FILE,
    Adapter,
    BaseReference,
    read_base,
)
from vla_bench.models.adapters.loading import (
    MergeReport,
    base_folder,
    load_adapter,
    load_finetuned,
    merge,
    save_adapter,
)

__all__ = [
    "ADAPTER_CONFIG_FILE",
    "ADAPTER_FILES",
    "ADAPTER_WEIGHTS_FILE",
    "Adapter",
    "BaseReference",
    "MergeReport",
    "base_folder",
    "load_adapter",
    "load_finetuned",
    "merge",
    "read_base",
    "save_adapter",
]
