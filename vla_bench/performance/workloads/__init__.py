"""Workloads of this package for `workload_server.py`, and the tasks that represent each engine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vla_bench.performance.workload_processes import Workload

# The tasks that represent each engine in benchmarks.
TABLETOP = "tabletop_object.red_cube_in_basket"
ROBOSUITE = "robosuite.lift"
ENGINES = {"tabletop": TABLETOP, "robosuite": ROBOSUITE}
IMAGE_SIZE = 224  # pixels: the input size of most policies
_MODULES = {  # workload -> module of this package with the function `make_<workload>`
    "task": "environments",
    "episodes": "environments",
    "task_sequence": "environments",
    "physics": "physics",
    "policy": "policies",
    "network": "policies",
}


def own_workload(name: str, title: str, *, variables: Mapping[str, str] | None = None, **options: Any) -> Workload:
    """Return the workload `name` of this package with `options`."""
    module = Path(__file__).with_name(f"{_MODULES[name]}.py")
    return Workload(title, module, options, variables=variables or {}, function=f"make_{name}")
