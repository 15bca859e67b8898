"""A control: the same episodes with something taken from the policy. A new one is one new function in `kinds`."""

from collections.abc import Callable
from dataclasses import replace

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.registry import Registry
from vla_bench.core.types import Observation
from vla_bench.evaluation.episodes import Begin, Command, Event, Finished, Ready
from vla_bench.evaluation.rollout import Pool

Control = Callable[[EpisodeIdentity, Observation], Observation]  # what the policy gets in place of the observation

controls: Registry[Control] = Registry("control", package="vla_bench.evaluation.controls.kinds")


class ControlledPool:
    """A pool whose observations pass through a control; the world, and what counts as success, stay as they are."""

    def __init__(self, pool: Pool, control: Control) -> None:
        self._pool, self._control = pool, control
        self._episodes: dict[int, EpisodeIdentity] = {}  # by row
        self._instructions: dict[int, str] = {}  # by row, as given to the policy

    @property
    def rows(self) -> int:
        """As many as the pool has."""
        return self._pool.rows

    def send(self, command: Command) -> None:
        """Pass a command on."""
        if isinstance(command, Begin):
            self._episodes[command.row] = command.episode
            self._instructions.pop(command.row, None)
        self._pool.send(command)

    def events(self) -> list[Event]:
        """Return the pool's events as the policy is to see them; results hold the instruction as it was given."""
        return [self._altered(event) for event in self._pool.events()]

    def _altered(self, event: Event) -> Event:
        if isinstance(event, Ready):
            observation = self._control(self._episodes[event.row], event.observation)
            self._instructions[event.row] = observation["instruction"]
            return Ready(event.row, observation)
        if isinstance(event, Finished) and event.row in self._instructions:
            return Finished(event.row, replace(event.result, instruction=self._instructions[event.row]))
        return event
