"""A read-only view of a robosuite environment, in the terms of tasks and experts."""

from vla_bench.envs.robosuite_world.world import RobosuiteWorld

__all__ = ["RobosuiteWorld"]
