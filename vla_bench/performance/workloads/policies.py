"""Policy workloads: a policy on real observations, and a randomly initialized network on tensors."""

from typing import Any

import torch

from vla_bench.core.types import Observation
from vla_bench.envs.environment import make as make_environment
from vla_bench.models.openvla.config import ARCHITECTURES
from vla_bench.models.openvla.initialization import random_network
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.performance.workloads import IMAGE_SIZE, TABLETOP
from vla_bench.policies import EnvironmentConventions, Policy, load_policy


class PolicyWorkload:
    """A workload whose step is one call of `act` on the same observations."""

    def __init__(self, policy: Policy, observations: list[Observation]) -> None:
        self._policy, self._observations = policy, observations
        self._rows = list(range(len(observations)))

    def step(self) -> bool:
        """Compute the next actions of all observations."""
        self._policy.act(self._observations, rows=self._rows)
        return False

    def reset(self) -> None:
        """Begin new episodes in all slots."""
        instructions = [observation["instruction"] for observation in self._observations]
        self._policy.reset(instructions, rows=self._rows, seeds=self._rows)


def make_policy(options: dict[str, Any]) -> PolicyWorkload:
    """Return the workload of a policy; options: `policy`, `batch` (scenes of one task), `threads`, `task_id`."""
    torch.set_num_threads(options["threads"])
    policy = load_policy(options["policy"])
    needs = policy.requirements
    env = make_environment(
        options.get("task_id", TABLETOP),
        image_size=needs.image_size or IMAGE_SIZE,
        cameras=needs.cameras,
        depth=needs.depth,
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
    return PolicyWorkload(policy, [env.reset(seed=row)[0] for row in range(options["batch"])])


_PROMPT_TOKENS = 24  # for prompts without fixed length


class NetworkWorkload:
    """A randomly initialized OpenVLA network: each step predicts action logits for prepared tensors."""

    def __init__(self, network: OpenVLA, device: str, batch: int) -> None:
        config = network.config
        self._network = network
        self._wait = torch.cuda.synchronize if device == "cuda" else torch.cpu.synchronize
        self._ids = torch.randint(3, 300, (batch, config.prompt_length or _PROMPT_TOKENS), device=device)
        channels = config.num_images * 3 * len(config.towers)
        like = next(network.parameters())
        self._pixels = torch.randn(batch, channels, config.image_size, config.image_size).to(like)
        self._proprioception = torch.randn(batch, config.proprioception_dim).to(device)

    @torch.inference_mode()
    def step(self) -> bool:
        """Predict one batch and wait for the device."""
        proprioception = self._proprioception if self._proprioception.shape[1] else None
        self._network.action_logits(self._ids, torch.ones_like(self._ids), self._pixels, proprioception)
        self._wait()
        return False

    def reset(self) -> None:
        """Do nothing: a prediction has no state."""


def make_network(options: dict[str, Any]) -> NetworkWorkload:
    """Return the workload of a network; options: `network`, `device`, `dtype`, `batch`."""
    device = options["device"]
    network = random_network(ARCHITECTURES[options["network"]](), device, getattr(torch, options["dtype"]))
    return NetworkWorkload(network, device, options["batch"])
