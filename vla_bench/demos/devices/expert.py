"""The scripted expert of each task."""

from typing import TYPE_CHECKING

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import Observation, World
from vla_bench.demos.devices.device import Decision, DeviceSpec, devices

if TYPE_CHECKING:  # at run time only a worker that records loads the simulator
    from vla_bench.envs.environment import VlaBenchEnv
    from vla_bench.experts import Expert


@devices.named("expert")
class ExpertDevice:
    """Acts by the simulator's state."""

    name = "expert"
    looks = False

    def __init__(self, spec: DeviceSpec) -> None:
        self._expert: Expert | None = None
        self._world: World | None = None

    def begin(self, env: "VlaBenchEnv", identity: EpisodeIdentity, observation: Observation) -> Observation:
        """Plan for the task of `env`."""
        from vla_bench.experts import make_expert

        self._expert, self._world = make_expert(env.task), env.simulation.world
        self._expert.reset(self._world, identity.generator("expert"))
        return observation

    def decide(self, observation: Observation) -> Decision:
        """Return the clean action and the expert's phase."""
        assert self._expert is not None, "begin first"
        assert self._world is not None, "begin first"
        action = self._expert.act(self._world)
        return Decision(action, self._expert.phase)

    def close(self) -> None:
        """Nothing to let go of."""
