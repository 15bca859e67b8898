"""The evaluation protocol: the conditions that must be equal for the results of two runs to be compared."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from vla_bench.core.errors import VlaBenchError
from vla_bench.evaluation.environment_slots import EnvironmentSpec
from vla_bench.evaluation.latency import MEASURED, Latency
from vla_bench.tasks import get_task


@dataclass(frozen=True)
class EvaluationProtocol:
    """How episodes are run, whoever acts. Horizons and success rules are the tasks' own."""

    rendering: Literal["fast", "faithful"] = "fast"
    robot: str = "panda"
    wait_steps: int | None = None  # steps without motion before the policy begins; None: the task's own
    success_rule: Literal["held"] = "held"  # the goal held for the task's `success_steps` ends the episode
    actions: Literal["clipped"] = "clipped"  # to -1..1, before they are executed
    latency: str = ""  # of the policy on a virtual clock, such as `120ms±20`, or `measured`; nothing: the world waits

    def __post_init__(self) -> None:
        if self.wait_steps is not None and self.wait_steps < 0:
            raise VlaBenchError(f"wait_steps is {self.wait_steps}. Expected 0 or more.")
        if self.latency and self.latency != MEASURED:
            object.__setattr__(self, "latency", str(Latency.parse(self.latency)))  # one way to write it

    @classmethod
    def of_stamp(cls, stamp: Mapping[str, Any], task_id: str) -> Self:
        """Return the protocol that `stamp` tells of, for one of its tasks."""
        rules = stamp.get("tasks", {}).get(task_id, {})
        latency = stamp.get("latency", "")
        return cls(stamp["rendering"], stamp["robot"], rules.get("wait_steps"), latency=latency)

    def stamp(self, task_ids: Iterable[str], spec: EnvironmentSpec, chunk: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the whole protocol of a run as plain data: what `vla_bench.results.protocols` compares and prints.

        `policy_interface` is what one policy sees and how it acts, the rest is the same for every policy. `chunk` is
        how the policy's card says that predicted chunks are executed.
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
