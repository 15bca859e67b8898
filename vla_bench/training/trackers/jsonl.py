"""The log that every run writes: `metrics.jsonl`, one line for each step that is told."""

import json
import math
from collections.abc import Mapping

from vla_bench.core.paths import written_whole
from vla_bench.training.trackers.base import TrackedRun, trackers

LOG_FILE = "metrics.jsonl"


@trackers.named("jsonl")
class JsonLines:
    """Append lines; a resumed run first takes back those of steps that it makes again."""

    def __init__(self, run: TrackedRun) -> None:
        path = run.folder / LOG_FILE
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [line for line in lines if _step(line) <= run.first_step] if run.first_step else []
        with written_whole(path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append one line; numbers that are none are left out."""
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        self._file.write(json.dumps({"step": step, **finite}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _step(line: str) -> float:
    """Return the step of a line, infinite where a crash cut it short."""
    try:
        return float(json.loads(line)["step"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return math.inf
