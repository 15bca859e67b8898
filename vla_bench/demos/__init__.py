"""Demonstrations: collection from experts, HDF5 storage, reading, editing and inspection.

Reading needs no simulator; only worker processes that record, replay or render load one.
"""

from vla_bench.demos.collection import CollectError, CollectInterrupted, CollectProgress, CollectReport, collect
from vla_bench.demos.demonstration import Demonstration, DemonstrationSummary
from vla_bench.demos.disturbances import NoiseOptions, SlipOptions
from vla_bench.demos.editing import filter_file, merge_files, split_file
from vla_bench.demos.filters import FilterOptions
from vla_bench.demos.header import FileHeader
from vla_bench.demos.media import write_contact_sheet, write_videos
from vla_bench.demos.options import CollectOptions
from vla_bench.demos.recording import record_episode
from vla_bench.demos.sources import DemonstrationSource, SourceOptions, open_source
from vla_bench.demos.store import DemonstrationFile
from vla_bench.demos.summary import Summary, summarize
from vla_bench.demos.writing import write_demonstrations

__all__ = [
    "CollectError",
    "CollectInterrupted",
    "CollectOptions",
    "CollectProgress",
    "CollectReport",
    "Demonstration",
    "DemonstrationFile",
    "DemonstrationSource",
    "DemonstrationSummary",
    "FileHeader",
    "FilterOptions",
    "NoiseOptions",
    "SlipOptions",
    "SourceOptions",
    "Summary",
    "collect",
    "filter_file",
    "merge_files",
    "open_source",
    "record_episode",
    "split_file",
    "summarize",
    "write_contact_sheet",
    "write_demonstrations",
    "write_videos",
]
