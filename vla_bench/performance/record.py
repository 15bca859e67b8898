"""The benchmark record `performance.json`: metrics with targets, step profiles and scaling curves."""

import statistics
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vla_bench.core.errors import VlaBenchError
from vla_bench.core.files import written_whole
from vla_bench.performance.hardware import Machine

# ~ What a measure yields: figures with their turns, and the aim that some of them have.

MetricKind = Literal["ratio", "share", "memory", "time"]
Direction = Literal["higher", "lower"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(_Model):
    """A bound that a figure is to keep."""

    bound: float
    better: Direction = "higher"

    def met(self, value: float) -> bool:
        """Whether `value` keeps it."""
        return value >= self.bound if self.better == "higher" else value <= self.bound

    def __str__(self) -> str:
        return f"{'at least' if self.better == 'higher' else 'at most'} {format_number(self.bound)}"


class Metric(_Model):
    """One quantity: a value from each turn."""

    name: str  # unique within its measure
    title: str
    unit: str  # `x` for a ratio, `%`, `steps/s`, `ms`, `MB`, ...
    turns: tuple[float, ...] = Field(min_length=1)
    kind: MetricKind  # two machines can compare ratios, shares [%] and memory; times only machines of one class
    better: Direction = "higher"
    aim: Target | None = None

    @property
    def median(self) -> float:
        """The middle of the turns."""
        return statistics.median(self.turns)

    @property
    def low(self) -> float:
        """The lowest turn."""
        return min(self.turns)

    @property
    def high(self) -> float:
        """The highest turn."""
        return max(self.turns)

    @property
    def spread(self) -> float:
        """How far the turns lie apart, as a share of their median."""
        return (self.high - self.low) / abs(self.median) if self.median else 0.0

    def __str__(self) -> str:
        return f"{format_number(self.median)} {self.unit}".strip()


class MeasureResult(_Model):
    """What one measure gave, or why it gave nothing."""

    measure: str
    title: str
    figures: tuple[Metric, ...] = ()
    not_run: str = ""  # why
    failed: bool = False  # as against one that this machine cannot take
    notes: tuple[str, ...] = ()
    elapsed_s: float = 0.0


def strip_code_marks(text: str) -> str:
    """Return a title without the marks of Markdown's code, which cells of a table would show."""
    return text.replace("`", "")


def format_number(value: float) -> str:
    """Return a number with three digits that mean something; whole where it is, and from 100 on."""
    if value == 0 or abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"


# ~ How a cost grows: points, and the exponent of the power law through them.


class ScalingPoint(BaseModel):
    """What one size costs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: float
    cost: float
    memory_mb: float | None = None  # proportional share of all processes


class ScalingExponent(BaseModel):
    """The slope of log cost against log size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    low: float  # 95 % interval, Student's t
    high: float


class ScalingCurve(BaseModel):
    """How a cost grows with one size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    size: str  # what grows, with its unit
    cost: str  # what it costs, with its unit
    points: tuple[ScalingPoint, ...] = Field(min_length=3)
    exponent: ScalingExponent
    memory_exponent: ScalingExponent | None = None


# ~ A profile: where the time of a control step goes.


class ProfilePart(BaseModel):
    """A share of a step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    milliseconds: float
    low: float  # of the turns
    high: float


class StepProfile(BaseModel):
    """The parts of a step of one task, which add up to the whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: str
    task_id: str
    image_size: int
    parts: tuple[ProfilePart, ...]

    @property
    def total_ms(self) -> float:
        """All parts together [ms]."""
        return sum(part.milliseconds for part in self.parts)


# ~ What a run of the benchmark leaves behind: `performance.json`, which pages and checks are made from.

RECORD_NAME = "performance.json"


class RecordError(VlaBenchError):
    """A `performance.json` that is not there or not one."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}. `vla-bench benchmark` writes it.")


class BenchmarkRecord(BaseModel):
    """One run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    date: str
    command: str
    machine: Machine
    software: str
    how: str  # turns and their length
    outcomes: tuple[MeasureResult, ...]
    profiles: tuple[StepProfile, ...] = ()
    growths: tuple[ScalingCurve, ...] = ()

    def figures(self) -> dict[str, Metric]:
        """Return every figure by `measure.figure`."""
        return {f"{outcome.measure}.{figure.name}": figure for outcome in self.outcomes for figure in outcome.figures}

    def write(self, folder: Path) -> Path:
        """Write `performance.json` and return its path."""
        with written_whole(folder / RECORD_NAME) as path:
            path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return folder / RECORD_NAME


def read_record(path: Path) -> BenchmarkRecord:
    """Read a record; raise `RecordError` where that is not possible."""
    try:
        return BenchmarkRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(path, f"cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "(whole file)"
        raise RecordError(path, f"field `{where}`: {first['msg']}") from None
