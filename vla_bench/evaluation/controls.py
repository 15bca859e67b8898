"""Control conditions: a policy evaluated without images, or with a blank, shuffled or wrong instruction."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.registry import Registry
from vla_bench.core.types import Observation
from vla_bench.evaluation.messages import Begin, Command, Event, Finished, Ready
from vla_bench.evaluation.rollout import Pool
from vla_bench.tasks import Task, get_task, tasks_of
from vla_bench.tasks.catalogue import sharing_start

Control = Callable[[EpisodeIdentity, Observation], Observation]  # returns what the policy observes instead

controls: Registry[Control] = Registry("control")


class ControlledPool:
    """A pool whose observations pass through a control; simulation and success rule are unchanged."""

    def __init__(self, pool: Pool, control: Control) -> None:
        self._pool, self._control = pool, control
        self._episodes: dict[int, EpisodeIdentity] = {}  # by slot
        self._instructions: dict[int, str] = {}  # by slot, as given to the policy

    @property
    def slots(self) -> int:
        """The number of slots of the pool."""
        return self._pool.slots

    def send(self, command: Command) -> None:
        """Forward a command."""
        if isinstance(command, Begin):
            self._episodes[command.slot] = command.episode
            self._instructions.pop(command.slot, None)
        self._pool.send(command)

    def events(self) -> list[Event]:
        """Return the events with altered observations; results hold the instruction that the policy received."""
        return [self._altered(event) for event in self._pool.events()]

    def _altered(self, event: Event) -> Event:
        if isinstance(event, Ready):
            observation = self._control(self._episodes[event.slot], event.observation)
            self._instructions[event.slot] = observation["instruction"]
            return Ready(event.slot, observation)
        if isinstance(event, Finished) and event.slot in self._instructions:
            return Finished(event.slot, replace(event.result, instruction=self._instructions[event.slot]))
        return event


@controls.named("black-image")
def black_image(episode: EpisodeIdentity, observation: Observation) -> Observation:
    """Replace every image by a black one; proprioception is unchanged."""
    return {**observation, "images": {name: np.zeros_like(image) for name, image in observation["images"].items()}}


@controls.named("blank-instruction")
def blank_instruction(episode: EpisodeIdentity, observation: Observation) -> Observation:
    """Replace the instruction by an empty one."""
    return {**observation, "instruction": ""}


@controls.named("shuffled-instruction")
def shuffled_instruction(episode: EpisodeIdentity, observation: Observation) -> Observation:
    """Shuffle the words of the instruction, in a random order of the episode."""
    words = observation["instruction"].split()
    order = episode.generator("shuffled-instruction").permutation(len(words))
    return {**observation, "instruction": " ".join(words[position] for position in order)}


@controls.named("wrong-object")
def wrong_object(episode: EpisodeIdentity, observation: Observation) -> Observation:
    """Replace the instruction by that of a task of the suite with another goal object, chosen at random per episode.

    Tasks with the same start scene are preferred, because the named object is then present. If their goal objects
    differ only in the instance, such as the other one of two bowls, that instance is the wrong object.
    """
    own = get_task(episode.task_id)
    suite = tasks_of(episode.suite)
    same_scene = sharing_start(own, suite)
    choices = (
        _tasks_about_another(own, same_scene, _goal_asset),
        _tasks_about_another(own, same_scene, _goal_object),
        _tasks_about_another(own, suite, _goal_asset),
    )
    chosen = next(filter(None, choices), [])
    if not chosen:
        return blank_instruction(episode, observation)  # no other task with another goal object in this suite
    other = chosen[int(episode.generator("wrong-object").integers(len(chosen)))]
    return {**observation, "instruction": other.instruction}


def _tasks_about_another(own: Task, tasks: tuple[Task, ...], thing: Callable[[Task], str]) -> list[Task]:
    return [task for task in tasks if task.instruction != own.instruction and thing(task) != thing(own)]


def _goal_asset(task: Task) -> str:
    """Return the asset of the first object in the goal."""
    return task.objects.get(_goal_object(task), _goal_object(task))


def _goal_object(task: Task) -> str:
    return task.goal[0].arguments[0]
