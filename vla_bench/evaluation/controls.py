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

# ~ What a policy does when it is not told, or not shown, what the task is; and the ceiling and floors beside it.


# ~ A control: the same episodes with something taken from the policy. A new one is one new function in `kinds`.

Control = Callable[[EpisodeIdentity, Observation], Observation]  # what the policy gets in place of the observation

controls: Registry[Control] = Registry("control")


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


# ~ One module for each kind of control; the registry finds them by itself.


# ~ Controls that take the images away: does the policy look?


@controls.named("black-image")
def black_image(episode: EpisodeIdentity, observation: Observation) -> Observation:
    """Show nothing: every image is black. Proprioception stays."""
    return {**observation, "images": {name: np.zeros_like(image) for name, image in observation["images"].items()}}


# ~ Controls that take the instruction away, spoil it, or give that of another task: does the policy read?


@controls.named("blank-instruction")
def blank_instruction(episode: EpisodeIdentity, observation: Observation) -> Observation:
    """Say nothing."""
    return {**observation, "instruction": ""}


@controls.named("shuffled-instruction")
def shuffled_instruction(episode: EpisodeIdentity, observation: Observation) -> Observation:
    """Say the words of the instruction in another order, drawn for the episode."""
    words = observation["instruction"].split()
    drawn = episode.generator("shuffled-instruction").permutation(len(words))
    return {**observation, "instruction": " ".join(words[position] for position in drawn)}


@controls.named("wrong-object")
def wrong_object(episode: EpisodeIdentity, observation: Observation) -> Observation:
    """Give the instruction of another task of the suite that is about another object, drawn for the episode.

    Tasks that begin in the same scene come first: there the object that is spoken of can be had. Where these speak of
    another thing of the same kind alone, such as the other one of two bowls, that is the wrong object.
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
        return blank_instruction(episode, observation)  # a suite of one task has no wrong object to speak of
    other = chosen[int(episode.generator("wrong-object").integers(len(chosen)))]
    return {**observation, "instruction": other.instruction}


def _tasks_about_another(own: Task, tasks: tuple[Task, ...], thing: Callable[[Task], str]) -> list[Task]:
    return [task for task in tasks if task.instruction != own.instruction and thing(task) != thing(own)]


def _goal_asset(task: Task) -> str:
    """Return the first thing that the task's goal speaks of, as the asset that it is."""
    return task.objects.get(_goal_object(task), _goal_object(task))


def _goal_object(task: Task) -> str:
    return task.goal[0].arguments[0]
