"""The evaluation protocol: the conditions that must be equal for the results of two runs to be compared."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from vla_bench.core.env_options import RenderingOption, RobotOption
from vla_bench.core.errors import VlaBenchError
from vla_bench.evaluation.environment_slots import EnvironmentSpec
from vla_bench.evaluation.latency import MEASURED, Latency
from vla_bench.tasks import get_task


@dataclass(frozen=True)
class EvaluationProtocol:
    """The conditions of episodes, independent of the policy. Horizons and success rules belong to the tasks."""

    rendering: RenderingOption = "fast"
    robot: RobotOption = "panda"
    wait_steps: int | None = None  # steps without motion before the policy acts; None: as the task says
    success_rule: Literal["held"] = "held"  # the episode ends once the goal has held for the task's `success_steps`
    actions: Literal["clipped"] = "clipped"  # to -1..1 before execution
    latency: Annotated[
        str,
        Field(
            description="Latency of the policy on a virtual clock, as 120ms+-20 (or ±), or `measured`. "
            "[default: the simulation waits for the policy]"
        ),
    ] = ""

    def __post_init__(self) -> None:
        if self.wait_steps is not None and self.wait_steps < 0:
            raise VlaBenchError(f"wait_steps is {self.wait_steps}. Expected 0 or more.")
        if self.latency and self.latency != MEASURED:
            object.__setattr__(self, "latency", str(Latency.parse(self.latency)))  # canonical form

    @classmethod
    def from_record(cls, record: Mapping[str, Any], task_id: str) -> Self:
        """Return the protocol in `record`, the `protocol` field of `run.json`, for one of its tasks."""
        rules = record.get("tasks", {}).get(task_id, {})
        latency = record.get("latency", "")
        return cls(record["rendering"], record["robot"], rules.get("wait_steps"), latency=latency)

    def to_record(
        self, task_ids: Iterable[str], spec: EnvironmentSpec, chunk: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Return the complete protocol of a run as plain data, for `run.json`.

        The entry `policy_interface` describes the observations and the chunk execution (`chunk` of the policy's card)
        of one policy; the other entries are the same for every policy.
        """
        return {
            "rendering": self.rendering,
            "robot": self.robot,
            "success_rule": self.success_rule,
            "actions": self.actions,
            **({"latency": self.latency} if self.latency else {}),
            "tasks": {task_id: self._rules(task_id) for task_id in task_ids},
            "policy_interface": {
                "cameras": list(spec.cameras),
                "image_size": spec.image_size if spec.cameras else None,
                "depth": spec.depth,
                "chunk": dict(chunk) if chunk else {"execution": "every action that is returned"},
            },
        }

    def _rules(self, task_id: str) -> dict[str, int]:
        task = get_task(task_id)
        wait_steps = task.wait_steps if self.wait_steps is None else self.wait_steps
        return {"horizon": task.horizon, "wait_steps": wait_steps, "success_steps": task.success_steps}
