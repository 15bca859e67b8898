"""The conditions of an evaluation: what must be equal for the numbers of two runs to be compared."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from vla_bench.core.errors import VlaBenchError
from vla_bench.tasks import tasks_of


@dataclass(frozen=True)
class EvaluationProtocol:
    """How episodes are run, whoever acts. Horizons and success rules are the tasks' own."""

    rendering: Literal["fast", "faithful"] = "fast"
    robot: str = "panda"
    wait_steps: int | None = None  # steps without motion before the policy begins; None: the task's own
    horizon_rule: Literal["task"] = "task"
    success_rule: Literal["held"] = "held"  # the goal held for the task's `success_steps` ends the episode
    actions: Literal["clipped"] = "clipped"  # to -1..1, before they are executed
    retries: int = 2  # of an episode whose worker process died; then it is an error

    def __post_init__(self) -> None:
        if self.wait_steps is not None and self.wait_steps < 0:
            raise VlaBenchError(f"wait_steps is {self.wait_steps}. Expected 0 or more.")
        if self.retries < 0:
            raise VlaBenchError(f"retries is {self.retries}. Expected 0 or more.")

    def describe(self, suite: str) -> dict[str, Any]:
        """Return the protocol as plain data, with the horizon, wait steps and held steps of every task of `suite`."""
        rules = {task.name: [task.horizon, self._wait(task.wait_steps), task.success_steps] for task in tasks_of(suite)}
        return {**asdict(self), "suites": {suite: {"horizon, wait_steps, success_steps": rules}}}

    def _wait(self, own: int) -> int:
        return own if self.wait_steps is None else self.wait_steps
