"""Scripted experts: a planner from goal predicates to closed-loop skills. They read the simulator's state."""

from vla_bench.experts.expert import Expert, make_expert

__all__ = ["Expert", "make_expert"]
