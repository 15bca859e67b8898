"""Fixtures: fixed poses within an episode, and parts on joints that are items."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_bench.core.env_options import EnvOptions
from vla_bench.core.errors import ConfigurationError
from vla_bench.core.files import data_folder
from vla_bench.core.types import FloatArray, Joint
from vla_bench.envs import descriptions
from vla_bench.envs.descriptions import describe_object
from vla_bench.envs.tabletop.placement import Place
from vla_bench.envs.tabletop.scene import compile_scene
from vla_bench.envs.tabletop.simulation import TabletopSimulation
from vla_bench.envs.tabletop.world import articulated_joints
from vla_bench.tasks import Goal, get_task

_TASK = get_task("tabletop_goal.open_top_drawer")
_NOOP = np.array([0, 0, 0, 0, 0, 0, -1.0])
_JOINTS = ["cabinet_top_drawer", "cabinet_middle_drawer", "cabinet_bottom_drawer", "stove_knob", "button_cap"]
_FIXTURES = ["cabinet", "stove", "button"]


@pytest.fixture
def simulation() -> TabletopSimulation:
    made = TabletopSimulation(_TASK, EnvOptions(image_size=32, cameras=()))
    made.reset(np.random.default_rng(3))
    return made


def _joint(simulation: TabletopSimulation, part: str) -> Joint:
    (joint,) = simulation.world.joints(part)
    return joint


def _set(simulation: TabletopSimulation, positions: Mapping[str, float]) -> None:
    for part, position in positions.items():
        (joint,) = articulated_joints(simulation.compiled, part)
        simulation.data.qpos[joint.qpos] = position
    simulation.set_state(simulation.state())


def _force(simulation: TabletopSimulation, part: str, force: float, steps: int = 30) -> None:
    (joint,) = articulated_joints(simulation.compiled, part)
    simulation.data.qfrc_applied[simulation.compiled.model.jnt_dofadr[joint.joint]] = force
    for _ in range(steps):
        simulation.step(_NOOP)
    simulation.data.qfrc_applied[:] = 0.0


def test_the_seed_decides_where_fixtures_stand() -> None:
    made = TabletopSimulation(_TASK, EnvOptions(image_size=32, cameras=()))

    def places(seed: int) -> FloatArray:
        made.reset(np.random.default_rng(seed))
        return np.concatenate([made.world.position_world(name) for name in _FIXTURES])

    first, second, again = places(1), places(2), places(1)
    assert np.array_equal(first, again)
    assert np.abs(first - second).max() > 0.001


def test_nothing_touches_a_fixture_at_the_start() -> None:
    """Regions of this scene lie closer than circles around fixtures allow."""
    made = TabletopSimulation(_TASK, EnvOptions(image_size=32, cameras=()))
    for seed in range(20):
        made.reset(np.random.default_rng(seed))
        bodies = made.compiled.model.geom_bodyid[made.data.contact.geom]
        assert {made.compiled.model.body(pair).name for pair in bodies.ravel()} == {
            "table",
            "bowl",
            "plate",
            "yellow_cube",
        }


def test_a_state_holds_all_of_a_fixture(simulation: TabletopSimulation) -> None:
    _set(simulation, {"cabinet_top_drawer": 0.07, "stove_knob": 0.9})
    state = simulation.state()
    began = [simulation.world.position_world(name).copy() for name in simulation.world.items()]
    other = TabletopSimulation(_TASK, EnvOptions(image_size=32, cameras=()))
    other.reset(np.random.default_rng(8))
    other.set_state(state)
    now = [other.world.position_world(name) for name in simulation.world.items()]
    assert np.allclose(began, now, atol=1e-12)
    action = np.array([0.3, -0.2, -0.9, 0.1, 0, 0.2, 1.0])
    for made in (simulation, other):
        for _ in range(5):
            made.step(action)
    assert np.array_equal(simulation.state(), other.state())


@pytest.mark.parametrize("name", _FIXTURES)
def test_a_fixture_stands_fast(simulation: TabletopSimulation, name: str) -> None:
    world, began = simulation.world, simulation.world.position_world(name).copy()
    for _ in range(60):
        action = np.clip(20 * (began - world.end_effector_position_world()), -0.9, 0.9)
        simulation.step(np.array([*action, 0, 0, 0, 1.0]))
    assert np.array_equal(world.position_world(name), began)
    joint = next(iter(world.joints(name))).name
    touched = [world.in_contact(part, "gripper") for part in (name, joint)]
    assert any(touched) or name == "cabinet"  # the hand, not a finger, meets the cabinet's top


@pytest.mark.parametrize("part", _JOINTS)
def test_a_joint_counts_as_closed_at_the_start_and_open_before_its_end(
    simulation: TabletopSimulation, part: str
) -> None:
    (known,) = articulated_joints(simulation.compiled, part)
    assert 0.0 < known.description.closed_below < known.description.open_from < known.upper
    _set(simulation, {part: known.upper})
    assert Goal("open", (part,)).holds(simulation.world)
    _set(simulation, {part: 0.0})
    assert Goal("closed", (part,)).holds(simulation.world)


def test_only_the_joint_that_the_task_names_is_open_at_the_start(simulation: TabletopSimulation) -> None:
    is_open = {
        joint.name: joint.position >= joint.open_from for item in _FIXTURES for joint in simulation.world.joints(item)
    }
    assert set(is_open) == set(_JOINTS)
    assert [name for name, holds in is_open.items() if holds] == ["cabinet_bottom_drawer"]


@pytest.mark.parametrize("part", _JOINTS)
def test_axis_and_handle_are_told_in_the_world_frame(simulation: TabletopSimulation, part: str) -> None:
    (known,) = articulated_joints(simulation.compiled, part)
    _set(simulation, {part: 0.0})
    before = _joint(simulation, part)
    _set(simulation, {part: known.upper})
    after = _joint(simulation, part)
    assert before.turns == (part == "stove_knob")
    moved = after.handle_position_world - before.handle_position_world
    if before.turns:
        turn = np.cross(before.handle_along_world, after.handle_along_world) @ before.axis_world
        assert np.arcsin(turn) == pytest.approx(known.upper, abs=1e-6)
        assert np.allclose(moved, 0.0, atol=1e-9)
    else:
        assert np.allclose(moved, known.upper * before.axis_world, atol=1e-9)


def test_a_drawer_opens_out_of_the_cabinets_front(simulation: TabletopSimulation) -> None:
    joint = _joint(simulation, "cabinet_top_drawer")
    outwards = joint.handle_position_world - simulation.world.position_world("cabinet")
    outwards[2] = 0.0
    assert joint.axis_world @ outwards / np.linalg.norm(outwards) == pytest.approx(1.0, abs=1e-6)


def test_a_drawer_moves_by_force_and_stays_where_it_is_left(simulation: TabletopSimulation) -> None:
    _force(simulation, "cabinet_top_drawer", 0.5)
    assert _joint(simulation, "cabinet_top_drawer").position < 0.002  # friction
    _force(simulation, "cabinet_top_drawer", 4.0, steps=5)
    left_at = _joint(simulation, "cabinet_top_drawer").position
    assert 0.02 < left_at < 0.13
    for _ in range(40):
        simulation.step(_NOOP)
    assert _joint(simulation, "cabinet_top_drawer").position == pytest.approx(left_at, abs=0.02)


def test_every_item_has_looks_and_a_place_in_pictures(simulation: TabletopSimulation) -> None:
    items = simulation.world.items()
    looks = simulation.compiled.looks()
    assert tuple(looks) == items == tuple(simulation.world.item_bodies())
    assert looks["cabinet_top_drawer"] == ("top drawer of the cabinet", "brown")
    assert looks["stove"] == ("stove", "grey")


def test_what_lies_in_a_drawer_goes_in_with_it() -> None:
    task = replace(_TASK, objects={**_TASK.objects, "cube": "red_cube"})
    made = TabletopSimulation(task, EnvOptions(image_size=32, cameras=()))
    world = made.world
    drawer = "cabinet_bottom_drawer"
    places = {"cabinet": Place((0.0, 0.3), -1.3), "plate": Place((0.0, -0.2), 0.0), "bowl": Place((0.0, -0.4), 0.0)}
    made.arrange(places, np.array(made.compiled.robot.arm.start_rad))
    _set(made, {drawer: 0.13})
    made.move_item("cube", world.position_world(drawer) + np.array([0.0, 0.0, 0.01]))
    for _ in range(10):
        made.step(_NOOP)
    assert world.inside("cube", drawer)
    assert world.in_contact("cube", drawer)
    assert not world.inside("cube", "cabinet_middle_drawer")
    began = world.position_world("cube").copy()
    _force(made, drawer, -6.0, steps=60)
    assert Goal("closed", (drawer,)).holds(world)
    assert world.inside("cube", drawer)
    assert np.linalg.norm(world.position_world("cube") - began) > 0.1


def test_a_burner_glows_while_the_stove_is_on(simulation: TabletopSimulation) -> None:
    model, data = simulation.compiled.model, simulation.data

    def glow_over_burner_m() -> float:
        plate, glow = model.geom("stove/burner_plate").id, model.geom("stove/glow").id
        tops = [data.geom_xpos[geom][2] + model.geom_size[geom][1] for geom in (plate, glow)]
        return float(tops[1] - tops[0])

    assert glow_over_burner_m() < -0.0005
    _force(simulation, "stove_knob", 0.2)
    assert Goal("turned_on", ("stove",)).holds(simulation.world)
    assert glow_over_burner_m() > 0.0005
    _force(simulation, "stove_knob", -0.2)
    assert Goal("turned_off", ("stove",)).holds(simulation.world)
    assert glow_over_burner_m() < -0.0005


def test_a_button_springs_back(simulation: TabletopSimulation) -> None:
    _force(simulation, "button_cap", 5.0)
    assert Goal("pressed", ("button",)).holds(simulation.world)
    for _ in range(20):
        simulation.step(_NOOP)
    assert _joint(simulation, "button_cap").position < 0.001


def test_what_stands_on_a_rigid_part_stands_on_the_whole() -> None:
    task = replace(_TASK, objects={**_TASK.objects, "pot": "pot"})
    made = TabletopSimulation(task, EnvOptions(image_size=32, cameras=()))
    made.arrange({"stove": Place((0.1, -0.3), 0.0)}, np.array(made.compiled.robot.arm.start_rad))
    burner = made.world.position_world("stove_burner")
    made.move_item("pot", burner + np.array([0.0, 0.0, 0.039]))
    for _ in range(10):
        made.step(_NOOP)
    assert Goal("on", ("pot", "stove_burner")).holds(made.world)
    assert Goal("on", ("pot", "stove")).holds(made.world)
    assert not made.world.in_contact("pot", "stove_knob")


def test_an_area_moves_with_its_fixture_and_touches_nothing(simulation: TabletopSimulation) -> None:
    world = simulation.world
    offset = world.position_world("stove_front") - world.position_world("stove")
    assert np.linalg.norm(offset[:2]) == pytest.approx(0.235)
    assert world.position_world("stove_front")[2] == pytest.approx(simulation.compiled.scene.surface_height_m)
    assert not world.in_contact("stove_front", "plate")
    simulation.move_item("plate", world.position_world("stove_front") + np.array([0.02, 0.0, 0.011]))
    assert Goal("at", ("plate", "stove_front")).holds(world)


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the data folder, for files of our own."""
    shutil.copytree(data_folder("envs"), tmp_path / "envs")
    monkeypatch.setattr(descriptions, "data_folder", lambda name: tmp_path / name)
    return tmp_path / "envs" / "objects"


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (
            "[parts.knob]",
            "[parts.dial]",
            r"field `dial`: no body or site has this name\. Expected a body or site",
        ),
        (
            'joint = "knob"',
            'joint = "knop"',
            r"field `joint`: 'knop' is missing, though part 'knob' names it\. Expected",
        ),
        (
            "knob_handle",
            "knob_handel",
            r"field `site`: 'knob_handel' is missing\. Expected sites knob_bottom, knob_top",
        ),
    ],
)
def test_a_part_that_the_mjcf_lacks_is_told(own_data: Path, right: str, wrong: str, message: str) -> None:
    text = (own_data / "stove.toml").read_text(encoding="utf-8")
    assert right in text
    name = f"odd_{len(wrong)}"
    (own_data / f"{name}.toml").write_text(text.replace(right, wrong), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=rf"stove\.xml: {message}"):
        compile_scene("counter", "panda", {"stove": name}, "fast")


def test_a_joint_that_is_closed_where_it_is_open_is_refused(own_data: Path) -> None:
    text = (own_data / "stove.toml").read_text(encoding="utf-8")
    (own_data / "odd.toml").write_text(text.replace("closed_below = 0.2", "closed_below = 0.9"), encoding="utf-8")
    with pytest.raises(
        ConfigurationError, match=r"parts\.knob\.joint`: .*closed_below 0\.9 is not below open_from 0\.8"
    ):
        describe_object("odd")
