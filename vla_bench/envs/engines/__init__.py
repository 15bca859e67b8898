"""Simulator front ends, one module each. A factory takes a task and options and returns a `Simulation`."""

from collections.abc import Callable

from vla_bench.core.registry import Registry
from vla_bench.envs.options import EnvOptions
from vla_bench.envs.simulation import Simulation
from vla_bench.tasks.task import Task

Engine = Callable[[Task, EnvOptions], Simulation]
engines: Registry[Engine] = Registry("engine", package="vla_bench.envs.engines")
