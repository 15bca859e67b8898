"""Scripted experts: a planner from goal predicates to closed-loop skills. They read the simulator's state."""

from vla_bench.experts.expert import Expert
from vla_bench.experts.planner import make_expert, make_planner

__all__ = ["Expert", "make_expert", "make_planner"]
