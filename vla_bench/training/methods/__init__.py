"""Ways to fine-tune: what is put on a base, and which of its parameters are trained. One module a method."""

from vla_bench.training.methods.method import METHODS, Method, Trained
from vla_bench.training.methods.options import ALL_LINEAR, PRESETS, LowRankSettings, MethodOptions, Preset

__all__ = ["ALL_LINEAR", "METHODS", "PRESETS", "LowRankSettings", "Method", "MethodOptions", "Preset", "Trained"]
