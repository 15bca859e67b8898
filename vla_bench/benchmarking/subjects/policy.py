"""A policy that acts on a batch of real observations. Options: `policy`, `batch`, `threads`, `task_id`."""

from typing import Any

import torch

from vla_bench.benchmarking.tasks_measured import TABLETOP
from vla_bench.core.types import Observation
from vla_bench.envs.environment import make as make_environment
from vla_bench.policies import EnvironmentConventions, Policy, load_policy


class Acting:
    """One call of `act` a step, always on the same rows."""

    def __init__(self, policy: Policy, observations: list[Observation]) -> None:
        self._policy, self._observations = policy, observations
        self._rows = list(range(len(observations)))

    def step(self) -> bool:
        """Ask for the next actions of all rows."""
        self._policy.act(self._observations, rows=self._rows)
        return False

    def reset(self) -> None:
        """Begin new episodes in all rows."""
        instructions = [observation["instruction"] for observation in self._observations]
        self._policy.reset(instructions, rows=self._rows, seeds=self._rows)


def make(options: dict[str, Any]) -> Acting:
    """Return the policy at work on `batch` scenes of one task."""
    torch.set_num_threads(options["threads"])
    policy = load_policy(options["policy"])
    needs = policy.requirements
    env = make_environment(
        options.get("task_id", TABLETOP), image_size=needs.image_size or 224, cameras=needs.cameras, depth=needs.depth
    )
    policy.connect(
        EnvironmentConventions(
            needs.cameras,
            env.options.image_size,
            env.proprioception_fields,
            depth=needs.depth,
            action_dim=env.action_dim,
        )
    )
    return Acting(policy, [env.reset(seed=row)[0] for row in range(options["batch"])])
