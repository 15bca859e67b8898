"""Cameras as the demonstrations' own scenes have them."""

from dataclasses import replace

import pytest

from tests.demos.other_formats import content, write_libero
from tests.demos.synthetic import demonstration, header
from vla_bench.core.errors import ConventionError
from vla_bench.core.types import ProprioceptionField
from vla_bench.demos import write_demonstrations
from vla_bench.demos.sources import SourceOptions, open_sources
from vla_bench.training.augmentation.pipeline import Pipeline
from vla_bench.training.augmentation.recorded_scene import scene_geometry_of
from vla_bench.training.augmentation.scene import AugmentationRefusedError
from vla_bench.training.config import AugmentationConfig

SCENE = """<mujoco><worldbody><camera name="agentview" pos="0.54 {y} 1.4" xyaxes="0 1 0 -0.655 0 0.7556"/>
<body name="robot_base" pos="-0.56 0 0.9"><body name="robot_link7"><joint/><camera name="robot_eye_in_hand"/></body>
</body></worldbody></mujoco>"""
FLIP = AugmentationConfig(flip=0.5)


def demos(folder, *places):
    path = folder / "demos.hdf5"
    made = [replace(demonstration(number), model_xml=SCENE.format(y=y)) for number, y in enumerate(places)]
    write_demonstrations(path, header(), made)
    return path


def scene_of(config, paths, *rest):
    with open_sources(paths, SourceOptions()) as sources:
        return scene_geometry_of(config, sources, *rest)


def test_cameras_and_robot_stand_where_the_files_say(tmp_path):
    scene = scene_of(FLIP, [demos(tmp_path, 0.0, 0.0)], ["agentview"], [])
    assert scene.cameras["agentview"].position_world == (0.54, 0.0, 1.4)
    assert scene.robot_base_position_world == (-0.56, 0.0, 0.9)
    assert Pipeline.of(FLIP, scene).geometric


def test_the_wrist_camera_is_known_to_move(tmp_path):
    scene = scene_of(FLIP, [demos(tmp_path, 0.0)], ["agentview", "wrist"], [])
    with pytest.raises(AugmentationRefusedError, match="camera 'wrist': it moves with robot_link7"):
        Pipeline.of(FLIP, scene)


def test_scenes_that_do_not_agree_are_refused(tmp_path):
    with pytest.raises(ConventionError, match=r"The pose of agentview differs between .* demo_0 and .* demo_1"):
        scene_of(FLIP, [demos(tmp_path, 0.0, 0.1)], ["agentview"], [])


def test_without_a_scene_it_has_to_be_declared(tmp_path):
    path = write_libero(tmp_path, [content()])
    with pytest.raises(ConventionError, match="contain no scene to read the pose of agentview from; declare it under"):
        scene_of(FLIP, [path], ["agentview"], [])


def test_the_symmetry_of_another_robot_is_not_theirs(tmp_path):
    fields = [ProprioceptionField("joint_positions", 6, "rad")]
    path = demos(tmp_path, 0.0)
    Pipeline.of(FLIP, scene_of(FLIP, [path], ["agentview"], fields, "panda"))
    with pytest.raises(AugmentationRefusedError, match="'joint_positions': the robot has no known plane of symmetry"):
        Pipeline.of(FLIP, scene_of(FLIP, [path], ["agentview"], fields, "ur5e"))


def test_what_is_declared_counts(tmp_path):
    camera = {"position_world": (1.0, 0.0, 1.0), "quat_wxyz_world": (0.5, 0.5, 0.5, 0.5)}
    config = AugmentationConfig(flip=0.5, cameras={"agentview": camera}, robot_base_position_world=(0.0, 0.0, 0.0))
    scene = scene_geometry_of(config, [], ["agentview"], [])
    assert scene.cameras["agentview"].position_world == (1.0, 0.0, 1.0)
