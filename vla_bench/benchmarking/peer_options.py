"""What a user says about peers: `name=/path/to/python`."""

import shutil
from collections.abc import Sequence

from vla_bench.benchmarking.stock import peers
from vla_bench.core.errors import VlaBenchError


class PeerOptionError(VlaBenchError):
    """A `--peer` that names no Python."""


def peers_of(texts: Sequence[str]) -> dict[str, str]:
    """Return the Python of each peer; raise `UnknownNameError` or `PeerOptionError` for what is wrong."""
    found = {}
    for text in texts:
        name, _, python = text.partition("=")
        peers[name]
        if not python or shutil.which(python) is None:
            raise PeerOptionError(
                f"--peer {text}: {python or 'nothing'} is no program. Expected {name}=/path/to/python, of the "
                f"environment in which {peers[name].distributions[0]} is installed."
            )
        found[name] = python
    return found
