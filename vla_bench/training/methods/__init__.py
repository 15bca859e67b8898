"""Fine-tuning methods: the modules that are added to a base and the parameters that are trained.

A module in this package that registers a `Method` adds one. Torch is loaded only when a method is applied to a network.
"""

from vla_bench.training.methods.method import (
    ALL_LINEAR,
    METHODS,
    PRESETS,
    LowRankSettings,
    Method,
    MethodOptions,
    Preset,
    TrainableNetwork,
)

__all__ = [
    "ALL_LINEAR",
    "METHODS",
    "PRESETS",
    "LowRankSettings",
    "Method",
    "MethodOptions",
    "Preset",
    "TrainableNetwork",
]
