"""Adapters (LoRA, DoRA, bottleneck): saving, loading and merging. Each is tied to the base weights it was trained on."""

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

# ~ One module a form of adapter; each registers itself.


# ~ Adapters: what a fine-tuning trained apart from the base, tied to the base weights that it was trained on.

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
