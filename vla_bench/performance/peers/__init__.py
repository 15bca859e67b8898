"""Unmodified peer benchmarks, set up as their documentation does. A new peer is one new file here.

A file runs in the peer's own Python, which may be old and does not have this package: it imports only the standard
library and, inside `make`, the peer. It defines `TITLE`, `DISTRIBUTIONS` (whose versions are reported) and
`make(options)`, which returns a workload (`workload_server.py`) with `image_size` pixels and `cameras` cameras; 0
cameras: no images. A peer that is not measured by the measure `peers` names its measure in `MEASURE`.
"""

import pkgutil
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from vla_bench.core.registry import Registry
from vla_bench.performance.workload_processes import Workload


@dataclass(frozen=True)
class Peer:
    """An unmodified benchmark of another project."""

    title: str
    distributions: tuple[str, ...]
    module: Path
    measure: str = "peers"  # name of its measure

    def workload(self, *, image_size: int, cameras: int, python: str = sys.executable) -> Workload:
        """Return the workload of the peer, run by the interpreter `python`."""
        options = {"image_size": image_size, "cameras": cameras}
        return Workload(f"stock {self.title}", self.module, options, python, self.distributions)


peers: Registry[Peer] = Registry("peer")
for _found in pkgutil.iter_modules(__path__):
    _module = import_module(f"{__name__}.{_found.name}")
    _peer = Peer(
        _module.TITLE, _module.DISTRIBUTIONS, Path(str(_module.__file__)), getattr(_module, "MEASURE", "peers")
    )
    peers.register(_peer, name=_found.name.replace("_", "-"))
