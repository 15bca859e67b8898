"""Demonstration formats: readers and exporters, discovered by their modules."""

from collections.abc import Callable
from pathlib import Path

from vla_bench.core.registry import Registry
from vla_bench.demos.sources import DemonstrationSource

Exporter = Callable[[DemonstrationSource, Path], Path]

exporters: Registry[Exporter] = Registry("export format", package="vla_bench.demos.formats")
