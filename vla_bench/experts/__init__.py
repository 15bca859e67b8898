"""Scripted experts: a planner from goal predicates to closed-loop skills that read the simulator state."""

from vla_bench.experts.planner import Expert, make_expert, make_planner

__all__ = ["Expert", "make_expert", "make_planner"]
