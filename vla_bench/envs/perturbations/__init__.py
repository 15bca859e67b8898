"""Perturbations of an episode whose scene stays the same, on axes with severities 1 to 3."""

from vla_bench.envs.perturbations.perturbation import (
    NAMED_SETS,
    Effect,
    Perturbation,
    PerturbationError,
    perturbation_axes,
    set_names,
)

__all__ = ["NAMED_SETS", "Effect", "Perturbation", "PerturbationError", "perturbation_axes", "set_names"]
