"""Skills that move joints and push items continue after a disturbance."""

from dataclasses import replace

import numpy as np
import pytest

from tests.experts.episodes import environment_of, run
from vla_bench.envs.tabletop.simulation import TabletopSimulation
from vla_bench.envs.tabletop.world import articulated_joints
from vla_bench.experts import Expert, make_expert
from vla_bench.tasks import Goal, Relation, get_task

_JOINT_TASKS = {
    "open_top_drawer": ("cabinet_top_drawer", 0.05, 0.0),
    "open_middle_drawer": ("cabinet_middle_drawer", 0.05, 0.0),
    "close_bottom_drawer": ("cabinet_bottom_drawer", 0.07, 0.13),
    "turn_on_stove": ("stove_knob", 0.5, 0.0),
}
_ALL = [*_JOINT_TASKS, "press_button", "push_plate_to_stove"]


class Undo:
    """Set a joint back once, when it has come half the way, out of the fingers' hold."""

    def __init__(self, part: str, half_way: float, began: float) -> None:
        self._part, self._half_way, self._began = part, half_way, began
        self.undone = False

    def __call__(self, simulation: TabletopSimulation, expert: Expert) -> None:
        (joint,) = simulation.world.joints(self._part)
        forth = 1.0 if self._half_way > self._began else -1.0
        if self.undone or forth * (joint.position - self._half_way) < 0:
            return
        (known,) = articulated_joints(simulation.compiled, self._part)
        simulation.data.qpos[known.qpos] = self._began
        simulation.data.qvel[simulation.compiled.model.jnt_dofadr[known.joint]] = 0.0
        self.undone = True


@pytest.mark.parametrize("name", _JOINT_TASKS)
def test_what_is_undone_is_done_again(name: str) -> None:
    task = get_task(f"tabletop_goal.{name}")
    undo = Undo(*_JOINT_TASKS[name])
    success, _ = run(environment_of(task, horizon=2 * task.horizon), 2, undo)
    assert undo.undone
    assert success


@pytest.mark.parametrize("offset_m", [(0.05, 0.0, 0.0), (-0.03, 0.04, 0.0)])
def test_a_plate_that_is_shoved_aside_is_pushed_from_where_it_is(offset_m: tuple[float, float, float]) -> None:
    shoved = []

    def shove(simulation: TabletopSimulation, expert: Expert) -> None:
        world = simulation.world
        way = world.position_world("plate") - world.initial_position_world("plate")
        if expert.phase == "push" and np.linalg.norm(way) > 0.04 and not shoved:
            simulation.move_item("plate", world.position_world("plate") + offset_m)
            shoved.append(way)

    task = get_task("tabletop_goal.push_plate_to_stove")
    success, _ = run(environment_of(task, horizon=2 * task.horizon), 3, shove)
    assert shoved
    assert success


def test_a_plate_is_pushed_and_not_lifted() -> None:
    heights = []

    def look(simulation: TabletopSimulation, expert: Expert) -> None:
        heights.append(simulation.world.position_world("plate")[2])

    assert run(environment_of(get_task("tabletop_goal.push_plate_to_stove")), 5, look)[0]
    assert np.ptp(heights) < 0.005


@pytest.mark.parametrize("name", _ALL)
def test_a_skill_bears_noise(name: str) -> None:
    task = get_task(f"tabletop_goal.{name}")
    environment = environment_of(task, horizon=2 * task.horizon)
    generator = np.random.default_rng(0)
    environment.reset(seed=6)
    expert, world = make_expert(task), environment.simulation.world
    expert.reset(world, generator)
    ended, info = False, {"success": False}
    while not ended:
        noise = np.concatenate([0.3 * generator.normal(size=3), 0.15 * generator.normal(size=3), [0.0]])
        _, terminated, truncated, info = environment.advance(expert.act(world) + noise)
        ended = terminated or truncated
    assert info["success"]


@pytest.mark.parametrize("name", _ALL)
def test_nothing_else_is_done_by_the_way(name: str) -> None:
    """All tasks begin alike: what an expert brings about is its own goal and no other's."""
    tasks = [get_task(f"tabletop_goal.{other}") for other in _ALL]
    environment = environment_of(get_task(f"tabletop_goal.{name}"))
    assert run(environment, 4)[0]
    reached = [task.name for task in tasks if all(goal.holds(environment.simulation.world) for goal in task.goal)]
    assert reached == [name]


def test_a_stove_that_is_on_is_turned_off() -> None:
    task = get_task("tabletop_goal.turn_on_stove")
    start = (*task.initial, Relation("turned_on", ("stove_knob",)))
    task = replace(task, initial=start, goal=(Goal("turned_off", ("stove",)),))
    success, actions = run(environment_of(task), 1)
    assert success
    assert len(actions) > 10


def test_two_goals_are_worked_on_in_their_order() -> None:
    task = get_task("tabletop_goal.open_top_drawer")
    goals = (Goal("closed", ("cabinet_bottom_drawer",)), Goal("open", ("cabinet_top_drawer",)))
    done: list[tuple[bool, ...]] = []

    def look(simulation: TabletopSimulation, expert: Expert) -> None:
        done.append(tuple(goal.holds(simulation.world) for goal in goals))

    assert run(environment_of(replace(task, goal=goals), horizon=300), 1, look)[0]
    assert sorted(set(done), key=done.index) == [(False, False), (True, False), (True, True)]


@pytest.mark.parametrize(("goal", "begin"), [("open", ()), ("closed", ("bottom", "middle", "top"))])
def test_all_drawers_of_a_cabinet_are_moved_one_after_the_other(goal: str, begin: tuple[str, ...]) -> None:
    task = get_task("tabletop_goal.open_top_drawer")
    places = [relation for relation in task.initial if relation.name != "opened"]
    opened = [Relation("opened", (f"cabinet_{drawer}_drawer",)) for drawer in begin]
    task = replace(task, initial=(*places, *opened), goal=(Goal(goal, ("cabinet",)),))
    assert run(environment_of(task, horizon=400), 1)[0]
