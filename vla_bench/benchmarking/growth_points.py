"""How a cost grows: points, and the exponent of the power law through them."""

from pydantic import BaseModel, ConfigDict, Field


class Point(BaseModel):
    """What one size costs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: float
    cost: float
    memory_mb: float | None = None  # proportional share of all processes


class Exponent(BaseModel):
    """The slope of log cost against log size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    low: float  # 95 % interval, Student's t
    high: float


class Growth(BaseModel):
    """How a cost grows with one size."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    size: str  # what grows, with its unit
    cost: str  # what it costs, with its unit
    points: tuple[Point, ...] = Field(min_length=3)
    exponent: Exponent
    memory_exponent: Exponent | None = None
