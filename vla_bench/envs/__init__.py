"""Environments: MuJoCo simulations of scenes, robots and objects, their rendering, and the Gymnasium interface."""

from vla_bench.core.env_options import EnvOptions

__all__ = ["EnvOptions"]
