"""The experts that a worker can offer to a policy, by name."""

from collections.abc import Callable

from vla_bench.core.registry import Registry
from vla_bench.experts import Expert, make_expert
from vla_bench.experts.blind import make_blind_expert
from vla_bench.tasks.task import Task

offers: Registry[Callable[[Task], Expert]] = Registry("expert")
offers.register(make_expert, name="expert")
offers.register(make_blind_expert, name="blind-expert")
