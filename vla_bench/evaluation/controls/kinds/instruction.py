"""Controls that take the instruction away, spoil it, or give that of another task: does the policy read?"""

from collections.abc import Callable

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import Observation
from vla_bench.evaluation.controls.control import controls
from vla_bench.tasks import Task, get_task, tasks_of
from vla_bench.tasks.starts import sharing_start


@controls.named("blank-instruction")
def blank(episode: EpisodeIdentity, observation: Observation) -> Observation:
    """Say nothing."""
    return {**observation, "instruction": ""}


@controls.named("shuffled-instruction")
def shuffled(episode: EpisodeIdentity, observation: Observation) -> Observation:
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
    choices = (_other(own, same_scene, _object), _other(own, same_scene, _name), _other(own, suite, _object))
    chosen = next(filter(None, choices), [])
    if not chosen:
        return blank(episode, observation)  # a suite of one task has no wrong object to speak of
    other = chosen[int(episode.generator("wrong-object").integers(len(chosen)))]
    return {**observation, "instruction": other.instruction}


def _other(own: Task, tasks: tuple[Task, ...], thing: Callable[[Task], str]) -> list[Task]:
    return [task for task in tasks if task.instruction != own.instruction and thing(task) != thing(own)]


def _object(task: Task) -> str:
    """Return the first thing that the task's goal speaks of, as the asset that it is."""
    return task.objects.get(_name(task), _name(task))


def _name(task: Task) -> str:
    return task.goal[0].arguments[0]
