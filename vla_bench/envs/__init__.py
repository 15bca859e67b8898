"""Worlds: MuJoCo models built from scenes, robots and objects; stepped, rendered, and spoken to through Gymnasium."""

from vla_bench.envs.options import EnvOptions

__all__ = ["EnvOptions"]
