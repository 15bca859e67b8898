import pytest

from vla_bench.core.errors import UnknownNameError, VlaBenchError
from vla_bench.evaluation.environment_slots import EnvironmentSpec
from vla_bench.evaluation.plan import plan_episodes
from vla_bench.evaluation.protocol import EvaluationProtocol
from vla_bench.tasks import tasks_of

SUITE = "tabletop_object"


def test_a_plan_has_every_task_of_the_suite_and_the_first_indices() -> None:
    plan = plan_episodes(SUITE, episodes=3, seed=5)
    assert [episode.index for episode in plan[:4]] == [0, 1, 2, 0]
    assert {episode.task for episode in plan} == {task.name for task in tasks_of(SUITE)}
    assert {(episode.seed, episode.variant, episode.suite) for episode in plan} == {(5, "clean", SUITE)}


def test_a_longer_plan_starts_with_the_same_episodes() -> None:
    assert set(plan_episodes(SUITE, episodes=2, seed=0)) < set(plan_episodes(SUITE, episodes=3, seed=0))


def test_tasks_are_named_with_or_without_their_suite() -> None:
    names = [task.name for task in tasks_of(SUITE)]
    plan = plan_episodes(SUITE, [f"{SUITE}.{names[2]}", names[0]], episodes=1, seed=0)
    assert [episode.task for episode in plan] == [names[0], names[2]]


def test_an_unknown_task_suggests_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'red_cube_in_basket'"):
        plan_episodes(SUITE, ["red_cub_in_basket"], episodes=1, seed=0)


@pytest.mark.parametrize(("episodes", "seed"), [(0, 0), (1, -1)])
def test_a_plan_without_episodes_or_with_a_negative_seed_is_an_error(episodes: int, seed: int) -> None:
    with pytest.raises(VlaBenchError, match="Expected"):
        plan_episodes(SUITE, episodes=episodes, seed=seed)


def test_the_complete_protocol_is_recorded() -> None:
    task = tasks_of(SUITE)[0]
    chunk = {"execution": "open_loop", "steps": 2}
    spec = EnvironmentSpec(image_size=96, cameras=("wrist",))
    told = EvaluationProtocol(wait_steps=4).to_record([task.id], spec, chunk)
    assert told["tasks"] == {task.id: {"horizon": task.horizon, "wait_steps": 4, "success_steps": task.success_steps}}
    assert (told["rendering"], told["robot"], told["success_rule"]) == ("fast", "panda", "held")
    assert told["policy_interface"] == {"cameras": ["wrist"], "image_size": 96, "depth": False, "chunk": chunk}


def test_a_negative_number_of_wait_steps_is_an_error() -> None:
    with pytest.raises(VlaBenchError, match="wait_steps is -1"):
        EvaluationProtocol(wait_steps=-1)
