"""The registry of simulation engines.

An engine is a factory that takes a task and environment options and returns a `Simulation`.
"""

from collections.abc import Callable

from vla_bench.core.env_options import EnvOptions
from vla_bench.core.registry import Registry
from vla_bench.envs.simulation import Simulation
from vla_bench.tasks.task import Task

Engine = Callable[[Task, EnvOptions], Simulation]
engines: Registry[Engine] = Registry(
    "engine", modules=("vla_bench.envs.tabletop.simulation", "vla_bench.envs.robosuite.simulation")
)
