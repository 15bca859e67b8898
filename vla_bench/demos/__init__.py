"""Demonstrations: collect them from experts, keep them in HDF5, read them back and look at them.

Reading needs no simulator; only a collecting worker process loads one.
"""

from vla_bench.demos.demonstration import Demonstration, DemonstrationSummary
from vla_bench.demos.header import FileHeader
from vla_bench.demos.store import DemonstrationFile
from vla_bench.demos.writing import write_demonstrations

__all__ = ["Demonstration", "DemonstrationFile", "DemonstrationSummary", "FileHeader", "write_demonstrations"]
