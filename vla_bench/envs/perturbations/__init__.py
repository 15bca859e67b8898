"""Perturbations: what changes about an episode while its scene stays the same, on axes with severities 1 to 3."""

from vla_bench.envs.perturbations.effect import Effect, PerturbationError, axes
from vla_bench.envs.perturbations.perturbation import NAMED_SETS, Perturbation, set_names

__all__ = ["NAMED_SETS", "Effect", "Perturbation", "PerturbationError", "axes", "set_names"]
