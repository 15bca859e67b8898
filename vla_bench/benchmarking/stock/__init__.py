"""The peers that ours is measured beside, as their documentation has them. A new peer is one new file here.

A file runs in the peer's own Python, which may be old and has nothing of ours: it imports the standard library and,
inside `make`, the peer. It names itself by `TITLE` and `DISTRIBUTIONS` (whose versions are reported), and its
`make(options)` returns a subject (`serving.py`) with `image_size` pixels and `cameras` cameras; 0 cameras: no images.
One that is measured in another way than beside a task names the measure by `MEASURE`.
"""

import pkgutil
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from vla_bench.benchmarking.processes import Subject
from vla_bench.core.registry import Registry


@dataclass(frozen=True)
class Peer:
    """A benchmark of others."""

    title: str
    distributions: tuple[str, ...]
    module: Path
    measure: str = "peers"  # that takes it

    def subject(self, *, image_size: int, cameras: int, python: str = sys.executable) -> Subject:
        """Return the peer at work in `python`."""
        options = {"image_size": image_size, "cameras": cameras}
        return Subject(f"stock {self.title}", self.module, options, python, self.distributions)


peers: Registry[Peer] = Registry("peer")
for _found in pkgutil.iter_modules(__path__):
    _module = import_module(f"{__name__}.{_found.name}")
    _peer = Peer(
        _module.TITLE, _module.DISTRIBUTIONS, Path(str(_module.__file__)), getattr(_module, "MEASURE", "peers")
    )
    peers.register(_peer, name=_found.name.replace("_", "-"))
