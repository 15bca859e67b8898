"""A policy, which is handed in: this wing of the package knows none."""

from typing import TYPE_CHECKING

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import Observation
from vla_bench.demos.devices.device import Decision, DeviceError, DeviceSpec, devices

if TYPE_CHECKING:  # at run time only a worker that records loads the simulator
    from vla_bench.envs.environment import VlaBenchEnv


@devices.named("policy")
class PolicyDevice:
    """Acts as a policy does in an evaluation; its phases are those that the environment sees."""

    looks = True

    def __init__(self, spec: DeviceSpec) -> None:
        if spec.actor is None:
            raise DeviceError("The device `policy` needs a policy: name one (--policy).")
        self.name = f"policy {spec.detail}".strip()
        self._actor = spec.actor()

    def begin(self, env: "VlaBenchEnv", identity: EpisodeIdentity, observation: Observation) -> Observation:
        """Tell the policy that an episode begins."""
        self._actor.begin(env, identity)
        return observation

    def decide(self, observation: Observation) -> Decision:
        """Return the policy's next action."""
        return Decision(self._actor.act(observation))

    def close(self) -> None:
        """Nothing to let go of."""
