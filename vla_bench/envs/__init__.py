"""Environments: MuJoCo simulations of scenes, robots and objects, their rendering, and the Gymnasium interface."""

from vla_bench.envs.options import EnvOptions

__all__ = ["EnvOptions"]
