"""The command line `vla-bench`."""

import logging

from vla_bench.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line; the console script `vla-bench`."""
    # bitsandbytes, where it is installed, regrets a faster kernel whenever PEFT looks whether it is there.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    app()
