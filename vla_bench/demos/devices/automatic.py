"""Devices without a person: scripted expert, policy and recording."""

from typing import TYPE_CHECKING

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import Observation, World
from vla_bench.demos.demonstration import Demonstration
from vla_bench.demos.devices import Decision, DeviceError, DeviceSpec, Verdict, devices
from vla_bench.demos.restoring import restart_episode
from vla_bench.demos.store import DemonstrationFile

if TYPE_CHECKING:
    from vla_bench.envs.environment import VlaBenchEnv
    from vla_bench.experts import Expert


@devices.named("expert")
class ExpertDevice:
    """The scripted expert of the task, which acts on the simulator state."""

    name = "expert"
    needs_images = False

    def __init__(self, spec: DeviceSpec) -> None:
        self._expert: Expert | None = None
        self._world: World | None = None

    def begin(self, env: "VlaBenchEnv", identity: EpisodeIdentity, observation: Observation) -> Observation:
        """Create the expert of the task of `env` and let it plan."""
        from vla_bench.experts import make_expert

        self._expert, self._world = make_expert(env.task), env.simulation.world
        self._expert.reset(self._world, identity.generator("expert"))
        return observation

    def decide(self, observation: Observation) -> Decision:
        """Return the clean action and the expert's phase."""
        assert self._expert is not None, "`begin` was not called"
        assert self._world is not None, "`begin` was not called"
        action = self._expert.act(self._world)
        return Decision(action, self._expert.phase)

    def close(self) -> None:
        """Do nothing: there are no resources to release."""


@devices.named("policy")
class PolicyDevice:
    """A policy, created by the caller, which acts as in an evaluation; the environment reports the phases."""

    needs_images = True

    def __init__(self, spec: DeviceSpec) -> None:
        if spec.actor is None:
            raise DeviceError("The device `policy` needs a policy. Name one (--policy).")
        self.name = f"policy {spec.detail}".strip()
        self._actor = spec.actor()

    def begin(self, env: "VlaBenchEnv", identity: EpisodeIdentity, observation: Observation) -> Observation:
        """Start an episode of the policy."""
        self._actor.begin(env, identity)
        return observation

    def decide(self, observation: Observation) -> Decision:
        """Return the policy's next action."""
        return Decision(self._actor.act(observation))

    def close(self) -> None:
        """Do nothing: there are no resources to release."""


@devices.named("recording")
class ReplayDevice:
    """Replay of a recorded demonstration of the same episode, from its stored first state."""

    needs_images = True  # its first state, and so the observation, may differ from that of the reset

    def __init__(self, spec: DeviceSpec) -> None:
        if spec.path is None:
            raise DeviceError("The device `recording` needs a file. Name one (--recording).")
        self.name = f"recording {spec.path.name}"
        self._file = DemonstrationFile(spec.path)
        self._names = {self._file.summary(name).identity: name for name in self._file.names}
        self._demonstration: Demonstration | None = None
        self._step = 0

    def begin(self, env: "VlaBenchEnv", identity: EpisodeIdentity, observation: Observation) -> Observation:
        """Find the demonstration of the episode and restore its first state."""
        if identity not in self._names:
            raise DeviceError(f"{self._file.path} holds no episode {identity.index} of {identity.task_id}.")
        self._demonstration = self._file.read(self._names[identity], cameras=())
        self._step = 0
        restart_episode(env, self._demonstration.summary(), self._demonstration.states[0])
        return env.observe()

    def decide(self, observation: Observation) -> Decision:
        """Return the recorded actions, desired and executed; a verdict after the last step."""
        one = self._demonstration
        assert one is not None, "`begin` was not called"
        if self._step == one.steps:
            verdict: Verdict = "success" if one.success and one.judged_by == "person" else "end"
            return Decision(one.actions[-1], verdict=verdict)
        step, self._step = self._step, self._step + 1
        return Decision(one.actions[step], one.phases[step], one.executed_actions[step])

    def close(self) -> None:
        """Close the file."""
        self._file.close()
