"""What a run of the benchmark leaves behind: `performance.json`, which pages and checks are made from."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from vla_bench.benchmarking.figures import Figure, Outcome
from vla_bench.benchmarking.growth_points import Growth
from vla_bench.benchmarking.machine import Machine
from vla_bench.benchmarking.profile_parts import Profile
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.paths import written_whole

RECORD_NAME = "performance.json"


class RecordError(VlaBenchError):
    """A `performance.json` that is not there or not one."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}. `vla-bench benchmark` writes it.")


class Record(BaseModel):
    """One run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    date: str
    command: str
    machine: Machine
    software: str
    how: str  # turns and their length
    outcomes: tuple[Outcome, ...]
    profiles: tuple[Profile, ...] = ()
    growths: tuple[Growth, ...] = ()

    def figures(self) -> dict[str, Figure]:
        """Return every figure by `measure.figure`."""
        return {f"{outcome.measure}.{figure.name}": figure for outcome in self.outcomes for figure in outcome.figures}

    def write(self, folder: Path) -> Path:
        """Write `performance.json` and return its path."""
        with written_whole(folder / RECORD_NAME) as path:
            path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return folder / RECORD_NAME


def read_record(path: Path) -> Record:
    """Read a record; raise `RecordError` where that is not possible."""
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(path, f"cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "(whole file)"
        raise RecordError(path, f"field `{where}`: {first['msg']}") from None
