"""Every robot, object and scene that ships is whole; a mistake in one names file and field."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vla_bench.core.env_options import EnvOptions
from vla_bench.core.errors import ConfigurationError, UnknownNameError
from vla_bench.core.files import data_folder
from vla_bench.envs import descriptions
from vla_bench.envs.descriptions import describe_object, describe_robot, describe_scene, mjcf_path
from vla_bench.envs.tabletop.placement import Place
from vla_bench.envs.tabletop.scene import compile_scene
from vla_bench.envs.tabletop.simulation import TabletopSimulation
from vla_bench.tasks import Relation, get_task

_TASK = get_task("tabletop_object.red_cube_in_basket")
_OPTIONS = EnvOptions(image_size=32)


def _names(folder: str) -> list[str]:
    return sorted(path.stem for path in (data_folder("envs") / folder).glob("*.toml"))


OBJECTS = _names("objects")


@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_is_described(name: str) -> None:
    described = describe_object(name)
    assert mjcf_path("objects", described.mjcf).is_file()
    assert all(0.0 <= value <= 1.0 for value in described.rgba)
    assert f" {name.replace('_', ' ')}".endswith(f" {described.noun}")  # a deep plate is called a plate


@pytest.mark.parametrize("name", _names("robots"))
def test_every_robot_is_described(name: str) -> None:
    described = describe_robot(name)
    assert mjcf_path("robots", described.arm.mjcf).is_file()
    assert mjcf_path("robots", described.gripper.mjcf).is_file()


@pytest.mark.parametrize("name", _names("scenes"))
def test_every_scene_is_described(name: str) -> None:
    described = describe_scene(name)
    assert mjcf_path("scenes", described.mjcf).is_file()
    assert described.regions


@pytest.fixture(scope="module")
def everything() -> TabletopSimulation:
    """A table with one of every object on it, in rows."""
    objects = {name: name for name in OBJECTS}
    return TabletopSimulation(replace(_TASK, objects=objects, initial=()), _OPTIONS)


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_stands_where_its_description_says(everything: TabletopSimulation, name: str) -> None:
    surface_m = everything.compiled.scene.surface_height_m
    column = {item: Place((0.2 * index - 0.9, 1.5), 0.0) for index, item in enumerate(OBJECTS)}  # on the floor
    start_rad = np.array(everything.compiled.robot.arm.start_rad)
    everything.arrange({**column, name: Place((0.0, 0.1), 0.5)}, start_rad)
    began = everything.world.position_world(name).copy()
    for _ in range(20):
        everything.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
    now, geometry = everything.world.position_world(name), everything.world.geometry(name)
    assert now[2] + geometry.bottom_m == pytest.approx(surface_m, abs=0.001)
    assert np.allclose(now[:2], began[:2], atol=0.001)
    assert everything.world.quat_wxyz_world(name) == pytest.approx([np.cos(0.25), 0, 0, np.sin(0.25)], abs=0.01)
    assert geometry.bottom_m < geometry.support_m <= geometry.top_m + 0.001  # the print on a plate is above its top
    assert geometry.bottom_m <= geometry.grasp_height_m <= geometry.top_m


def test_every_compiled_object_has_its_color(everything: TabletopSimulation) -> None:
    model = everything.compiled.model
    for name in OBJECTS:
        geoms = np.flatnonzero(model.body_rootid[model.geom_bodyid] == model.body(name).id)
        shown = np.array(describe_object(name).rgba)
        assert any(np.allclose(model.geom_rgba[geom], shown, atol=1e-6) for geom in geoms), name


def test_one_scene_is_compiled_once() -> None:
    first = compile_scene("table", "panda", {name: name for name in OBJECTS}, "fast")
    assert compile_scene("table", "panda", {name: name for name in OBJECTS}, "fast") is first


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"objects": {**_TASK.objects, "red_cube": "red_cub"}}, _OPTIONS, r"No object named 'red_cub'\. Did you mean"),
        ({"scene": "tabel"}, _OPTIONS, r"No scene named 'tabel'\. Did you mean 'table'"),
        ({}, EnvOptions(image_size=32, robot="pnada"), r"No robot named 'pnada'\. Did you mean 'panda'"),
    ],
)
def test_the_error_of_an_unknown_part_suggests_the_nearest(
    change: dict[str, object], options: EnvOptions, message: str
) -> None:
    with pytest.raises(UnknownNameError, match=message):
        TabletopSimulation(replace(_TASK, **change), options)  # type: ignore[arg-type]


def test_the_error_of_an_unknown_region_suggests_the_nearest() -> None:
    initial = (Relation("in_region", ("red_cube", "midle")), *_TASK.initial[1:])
    missing = [item for item in _TASK.objects if item not in {relation.arguments[0] for relation in initial}]
    initial += tuple(Relation("in_region", (item, "left")) for item in missing)
    simulation = TabletopSimulation(replace(_TASK, initial=initial), _OPTIONS)
    with pytest.raises(UnknownNameError, match=r"No region named 'midle'\. Did you mean 'middle'"):
        simulation.reset(np.random.default_rng(0))


def test_the_error_of_an_unknown_object_suggests_the_nearest() -> None:
    world = TabletopSimulation(_TASK, _OPTIONS).world
    for ask in (world.position_world, world.geometry, world.initial_position_world, world.quat_wxyz_world):
        with pytest.raises(
            UnknownNameError, match=r"No object in this scene named 'red_cup'\. Did you mean 'red_cube'"
        ):
            ask("red_cup")
    with pytest.raises(UnknownNameError, match="'red_cup'"):
        world.in_contact("red_cup", "gripper")


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the data folder, for files of our own."""
    shutil.copytree(data_folder("envs"), tmp_path / "envs")
    monkeypatch.setattr(descriptions, "data_folder", lambda name: tmp_path / name)
    return tmp_path / "envs"


def _own(source: Path, name: str, right: str, wrong: str) -> Path:
    text = source.read_text(encoding="utf-8")
    assert right in text
    path = source.with_name(f"{name}{source.suffix}")
    path.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("folder", "source", "right", "wrong", "message"),
    [
        ("objects", "red_cube", "colour =", "color =", "field `color`: is not a known field. Expected 'colour'."),
        (
            "objects",
            "red_cube",
            "height_m",
            "height",
            "field `grasp.height`: is not a known field. Expected 'height_m'.",
        ),
        ("objects", "red_cube", "yaw_symmetry_deg = 90", "yaw_symmetry_deg = 400", "less than or equal to 360"),
        ("objects", "red_cube", "rgba = [0.85, ", "rgba = [", "field `rgba.3`: is missing."),
        ("scenes", "table", "clearance_m", "clearence_m", "`regions.middle.clearence_m`: is not a known field."),
        ("scenes", "table", "surface_height_m = 0.8", "", "field `surface_height_m`: is missing."),
        ("robots", "panda", "closing_steps = 10", "closing_steps = 0", "field `gripper.closing_steps`: 0: Input"),
        ("robots", "panda", "joint_damping = [0.1, ", "joint_damping = [", "7 joints, but 6 values of joint_damping"),
        (
            "robots",
            "panda",
            "joints_open = [0.04, -0.04]",
            "joints_open = [0.04]",
            "2 joints, but 1 values of joints_o",
        ),
        (
            "robots",
            "ur5e",
            "targets_open = [0.0]",
            "targets_open = [0, 0]",
            "1 actuators, but 2 values of targets_open",
        ),
        ("robots", "ur5e", "force_limits = [12.0]", "force_limits = []", "1 actuators, but 0 values of force_limits"),
        (
            "robots",
            "panda",
            "reach_m",
            "reech_m",
            "field `gripper.fingers.reech_m`: is not a known field. Expected 'rea",
        ),
        ("robots", "panda", "noun =", "noun", "field `(whole file)`: is not valid TOML"),
    ],
)
def test_a_mistake_names_file_and_field(
    own_data: Path, folder: str, source: str, right: str, wrong: str, message: str
) -> None:
    path = _own(own_data / folder / f"{source}.toml", "mistaken", right, wrong)
    describe = {"objects": describe_object, "robots": describe_robot, "scenes": describe_scene}[folder]
    with pytest.raises(ConfigurationError) as caught:
        describe("mistaken")
    assert str(caught.value).startswith(f"{path}: field `")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("right", "wrong", "field", "message"),
    [
        ('"joint7"]', '"jiont7"]', "arm.joints", "robot.xml has no joint named 'jiont7'. Expected 'joint7' or "),
        (
            '"torq_j7"',
            '"torque_7"',
            "arm.actuators",
            "robot.xml has no actuator named 'torque_7'. Expected 'torq_j7' or ",
        ),
        (
            '"right_hand"',
            '"left_hand"',
            "arm.mount_body",
            "robot.xml has no body named 'left_hand'. Expected 'right_hand",
        ),
        (
            '"eye_in_hand"',
            '"camera"',
            "arm.wrist_camera",
            "has no camera named 'camera'. Expected one of eye_in_hand, r",
        ),
        (
            '"finger_joint2"',
            '"finger_2"',
            "gripper.joints",
            "panda_gripper.xml has no joint named 'finger_2'. Expected ",
        ),
        (
            ', "gripper_finger_joint2"',
            ', "gripper_finger"',
            "gripper.actuators",
            "no actuator named 'gripper_finger'. Ex",
        ),
        (
            '"grip_site"',
            '"grip_sight"',
            "gripper.end_effector.site",
            "no site named 'grip_sight'. Expected 'grip_site'",
        ),
        (
            '"leftfinger"',
            '"leftfingers"',
            "gripper.fingers.bodies",
            "no body named 'leftfingers'. Expected 'leftfinger",
        ),
        (
            '"finger2_pad_collision"',
            '"pad2"',
            "gripper.fingers.tips",
            "panda_gripper.xml has no geom named 'pad2'. Expec",
        ),
        (
            "closing_steps",
            'couplings = [{joint = "a", follows = "finger_joint1"}]\nclosing_steps',
            "gripper.couplings",
            "'a'",
        ),
    ],
)
def test_the_error_of_a_name_missing_in_the_robot_mjcf_suggests_the_nearest(
    own_data: Path, right: str, wrong: str, field: str, message: str
) -> None:
    path = _own(own_data / "robots" / "panda.toml", f"lacking_{abs(hash((right, wrong)))}", right, wrong)
    with pytest.raises(ConfigurationError) as caught:
        compile_scene("table", path.stem, {}, "faithful")
    assert str(caught.value).startswith(f"{path}: field `{field}`: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        (
            '<site name="support"',
            '<site name="suport"',
            r"field `site`: 'support' is missing\. Expected sites bottom, top",
        ),
        (
            'geom name="body"',
            'geom name="bdy"',
            r"field `geom`: no name begins with 'body'.*\(names: bdy\)\. Expected body or",
        ),
        ("<geom", "<gem", r"field `\(whole file\)`: is not MJCF: .*'gem', line 4"),
    ],
)
def test_a_mistake_in_an_objects_mjcf_names_the_file(own_data: Path, right: str, wrong: str, message: str) -> None:
    path = _own(own_data / "objects" / "cube.xml", "odd", right, wrong)
    name = f"odd_{wrong[1:4]}"
    _own(own_data / "objects" / "red_cube.toml", name, 'mjcf = "cube.xml"', 'mjcf = "odd.xml"')
    with pytest.raises(ConfigurationError, match=f"{path}: {message}"):
        compile_scene("table", "panda", {"cube": name}, "fast")


def test_a_missing_mjcf_file_is_an_error(own_data: Path) -> None:
    _own(own_data / "objects" / "red_cube.toml", "lost", 'mjcf = "cube.xml"', 'mjcf = "nowhere.xml"')
    with pytest.raises(ConfigurationError, match=r"nowhere\.xml: .*the file does not exist"):
        compile_scene("table", "panda", {"cube": "lost"}, "fast")


def test_an_object_named_like_an_element_of_the_scene_is_an_error() -> None:
    with pytest.raises(
        ConfigurationError, match=r"table\.xml: field `\(whole file\)`: with table does not compile: .*table"
    ):
        compile_scene("table", "panda", {"table": "red_cube"}, "fast")
