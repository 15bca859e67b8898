"""Demonstration formats: readers and exporters, discovered by their modules."""

from collections.abc import Callable
from pathlib import Path

from vla_bench.core.registry import Registry
from vla_bench.demos.sources import DemonstrationSource

# ~ Formats that demonstrations can be read from; each module registers one.


# ~ Writers of other tools' formats, a module each; they read any source.

Exporter = Callable[[DemonstrationSource, Path], Path]

exporters: Registry[Exporter] = Registry("export format", package="vla_bench.demos.formats")
