"""Adapters: what a fine-tuning trained apart from the base, tied to the base weights that it was trained on."""

from vla_bench.models.adapters.adapter import Adapter
from vla_bench.models.adapters.folder import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_FILES,
    ADAPTER_WEIGHTS_FILE,
    BaseReference,
    read_base,
)
from vla_bench.models.adapters.loading import base_folder, load_adapter, load_finetuned, save_adapter
from vla_bench.models.adapters.merging import MergeReport, merge

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
