"""The command line `vla-bench`."""

import logging
import os

from vla_bench.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; the console script `vla-bench`."""
    os.environ.setdefault("MUJOCO_GL", "egl")  # off-screen; MuJoCo reads it when it is imported
    # bitsandbytes, where it is installed, regrets a faster kernel whenever PEFT looks whether it is there.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    app()
