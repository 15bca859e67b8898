"""An expert follows from a task's goals, solves the task, and starts over where something goes wrong."""

from dataclasses import replace

import numpy as np
import pytest

from tests.experts.episodes import environment_of, run
from vla_bench.core.errors import ConfigurationError
from vla_bench.core.types import ACTION_DIM, World
from vla_bench.envs.tabletop.simulation import TabletopSimulation
from vla_bench.experts import Expert, make_expert
from vla_bench.experts.skills import skills
from vla_bench.tasks import Goal, Task, get_task, task_ids

TABLETOP = [task for task_id in task_ids() if (task := get_task(task_id)).engine == "tabletop"]
_SEEDS = (1, 2)
_SLIPPERY = [
    "tabletop_object.red_cube_in_basket",
    "tabletop_object.orange_mug_on_plate",
    "tabletop_spatial.on_box",
    "tabletop_long.stove_on_then_pot",
    "tabletop_long.bowl_on_plate_then_cube_in",
]
_TRANSFERS = ["red_cube_in_basket", "blue_can_on_plate", "orange_mug_in_basket", "milk_box_on_plate"]


@pytest.mark.parametrize("task", TABLETOP, ids=lambda task: task.id)
def test_expert_solves_task(task: Task) -> None:
    environment = environment_of(task)
    assert [seed for seed in _SEEDS if not run(environment, seed)[0]] == []


@pytest.mark.parametrize("name", ["tabletop_object.red_cube_in_basket", "tabletop_pick.pick_blue_can"])
def test_actions_keep_their_range_and_do_not_jerk(name: str) -> None:
    success, actions = run(environment_of(get_task(name)), seed=3)
    assert success
    assert actions.shape[1] == ACTION_DIM
    assert actions.dtype == np.float32
    assert np.abs(actions[:, :6]).max() <= 0.9 + 1e-6  # room for noise on top
    assert set(np.unique(actions[:, 6])) == {-1.0, 1.0}
    assert np.abs(np.diff(actions[:, :6], axis=0)).max() < 0.41
    assert np.abs(np.diff(actions[:, 6])).astype(bool).sum() <= 4  # it opens and closes once, with a spare


def test_an_expert_is_the_same_every_time() -> None:
    environment = environment_of(get_task("tabletop_object.green_cube_on_plate"))
    first, _ = run(environment, seed=4), run(environment, seed=5)
    assert np.array_equal(first[1], run(environment, seed=4)[1])


class Drop:
    """Take the item out of the gripper once, when it is carried so far, and put it back to where it began."""

    def __init__(self, item: str, distance_m: float) -> None:
        self._item, self._distance_m = item, distance_m
        self.dropped = False

    def __call__(self, simulation: TabletopSimulation, expert: Expert) -> None:
        began = simulation.world.initial_position_world(self._item)
        carried = simulation.world.end_effector_position_world() - began
        if self.dropped or expert.phase != "place" or np.linalg.norm(carried[:2]) < self._distance_m:
            return
        simulation.move_item(self._item, began + np.array([0.0, 0.0, 0.01]))
        first = simulation.compiled.model.joint(f"{self._item}/free").dofadr[0]
        simulation.data.qvel[first : first + 6] = 0.0
        self.dropped = True


@pytest.mark.parametrize("name", _TRANSFERS)
@pytest.mark.parametrize("distance_m", [0.08, 0.15])
def test_a_dropped_item_is_picked_up_again(name: str, distance_m: float) -> None:
    task = get_task(f"tabletop_object.{name}")
    drop = Drop(task.goal[0].arguments[0], distance_m)
    success, actions = run(environment_of(task, horizon=2 * task.horizon), 2, drop)
    assert drop.dropped
    assert success
    assert np.count_nonzero(np.diff(actions[:, 6]) > 0) >= 2  # it closed the gripper twice


class Slip:
    """Open the gripper for some steps while the item is carried, whatever the expert says."""

    def __init__(self, distance_m: float, steps: int) -> None:
        self._distance_m, self._steps_left = distance_m, steps
        self._began: np.ndarray | None = None

    def __call__(self, world: World, expert: Expert, action: np.ndarray) -> np.ndarray:
        tip = world.end_effector_position_world()
        if expert.phase in ("lift", "place") and self._began is None:
            self._began = tip.copy()
        far = self._began is not None and np.linalg.norm(tip - self._began) > self._distance_m
        if not far or self._steps_left == 0:
            return action
        self._steps_left -= 1
        return np.concatenate([action[:6], [-1.0]])

    @property
    def is_over(self) -> bool:
        """Return whether it happened."""
        return self._steps_left == 0


@pytest.mark.parametrize("name", _SLIPPERY)
@pytest.mark.parametrize("distance_m", [0.05, 0.18])
def test_what_slips_from_the_gripper_is_picked_up_again(name: str, distance_m: float) -> None:
    task = get_task(name)
    environment = environment_of(task, horizon=2 * task.horizon)
    for seed in (1, 2, 3):
        environment.reset(seed=seed)
        world, expert, slip = environment.simulation.world, make_expert(task), Slip(distance_m, steps=6)
        expert.reset(world, np.random.default_rng(seed))
        ended, info = False, {}
        while not ended:
            action = expert.act(world)
            _, terminated, truncated, info = environment.advance(slip(world, expert, action))
            ended = terminated or truncated
        assert slip.is_over
        assert info["success"], seed


def test_another_expert_can_take_over_half_way() -> None:
    """Every decision follows from the current world: an expert that starts with the cube in the gripper continues."""
    taken_over = []

    def begin_anew(simulation: TabletopSimulation, expert: Expert) -> None:
        if expert.phase == "place" and not taken_over:
            taken_over.append(simulation.world.gripper_opening_m())
            expert.reset(simulation.world, np.random.default_rng(0))

    success, actions = run(environment_of(get_task("tabletop_object.red_cube_on_plate")), 3, begin_anew)
    assert len(taken_over) == 1
    assert success
    assert np.count_nonzero(np.diff(actions[:, 6]) > 0) == 1  # without grasping it again


@pytest.mark.parametrize("kind", ["noise", "bumps"])
def test_a_disturbed_expert_recovers(kind: str) -> None:
    task = get_task("tabletop_object.green_cube_in_basket")
    environment = environment_of(task, horizon=2 * task.horizon)
    generator = np.random.default_rng(0)
    environment.reset(seed=6)
    expert, world = make_expert(task), environment.simulation.world
    expert.reset(world, generator)
    step, ended, info = 0, False, {"success": False}
    while not ended:
        action = expert.act(world)
        bump = step % 25 < 4  # a fifth of a second in one direction, every 1.25 s
        strength = 0.3 if kind == "noise" else 0.8 * bump
        action[:3] += strength * (generator.normal(size=3) if kind == "noise" else np.array([1.0, -1.0, 0.5]))
        _, terminated, truncated, info = environment.advance(action)
        step, ended = step + 1, terminated or truncated
    assert info["success"]


@pytest.mark.parametrize(
    ("goal", "named"),
    [
        ((Goal("moved", ("red_cube",)),), r"moved\(red_cube\)"),
        ((Goal("lifted", ("red_cube",)), Goal("moved", ("red_cube",))), r"moved\(red_cube\)"),
        ((Goal("released", ("red_cube",)),), r"released\(red_cube\)"),
    ],
)
def test_a_goal_without_a_skill_is_told(goal: tuple[Goal, ...], named: str) -> None:
    task = replace(get_task("tabletop_pick.pick_red_cube"), goal=goal)
    message = (
        rf"^tabletop_pick\.pick_red_cube: field `goal`: no expert skill reaches {named}\. Expected predicates with "
    )
    known = ", ".join(skills)
    assert {"in", "lifted", "open", "pressed"} <= set(skills)
    with pytest.raises(ConfigurationError, match=rf"{message}a skill: {known}\.$"):
        make_expert(task)
