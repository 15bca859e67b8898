"""A profile: where the time of a control step goes."""

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A share of a step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    milliseconds: float
    low: float  # of the turns
    high: float


class Profile(BaseModel):
    """The parts of a step of one task, which add up to the whole."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: str
    task_id: str
    image_size: int
    parts: tuple[Part, ...]

    @property
    def total_ms(self) -> float:
        """All parts together [ms]."""
        return sum(part.milliseconds for part in self.parts)
