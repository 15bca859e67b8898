"""Contract of every registered format: the same episodes are read equally, in our conventions."""

import json
from dataclasses import replace
from functools import partial

import h5py
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.demos.other_formats import (
    CAMERAS,
    FIELDS,
    OPTIONS,
    WRITERS,
    content,
    write_lerobot,
    write_libero,
    write_robomimic,
)
from vla_bench.core.errors import ConventionError, DemonstrationFileError
from vla_bench.core.types import CONTROL_HZ
from vla_bench.demos.hdf5 import SourceCandidate
from vla_bench.demos.header import ACTION_CONVENTION
from vla_bench.demos.sources import FORMATS, SourceOptions, open_source

EPISODES = (content(0), content(1, steps=9), content(2, steps=15))
NAMES = tuple(field.name for field in FIELDS)


def need_lerobot() -> None:
    pytest.importorskip("pyarrow", exc_type=ImportError, reason="the extra `lerobot` is not installed")
    pytest.importorskip("av", exc_type=ImportError, reason="the extra `lerobot` is not installed")


@pytest.fixture(params=sorted(WRITERS))
def source(request, tmp_path):
    if request.param == "lerobot":
        need_lerobot()
    path = WRITERS[request.param](tmp_path, EPISODES)
    with open_source(path, OPTIONS.get(request.param)) as opened:
        assert opened.facts.format == request.param
        yield opened


def test_every_format_is_tested():
    assert set(WRITERS) == set(FORMATS)


def test_every_format_is_recognized_only_by_its_reader(tmp_path):
    for name, write in WRITERS.items():
        if name == "lerobot":
            continue
        folder = tmp_path / name
        folder.mkdir()
        path = write(folder, EPISODES)
        assert [other for other in FORMATS if FORMATS[other].recognizes(SourceCandidate(path))] == [name]


def test_facts(source):
    facts = source.facts
    assert set(facts.cameras) == set(CAMERAS)
    assert facts.image_size == (24, 24)
    assert facts.control_hz == CONTROL_HZ
    assert facts.action_convention == ACTION_CONVENTION
    sizes = {field.name: field.size for field in facts.proprioception_fields}
    assert {field.name: field.size for field in FIELDS}.items() <= sizes.items()


def test_episodes(source):
    assert [episode.steps for episode in source.episodes] == [12, 9, 15]
    assert {episode.instruction for episode in source.episodes} == {"reach for the cube"}
    assert all(episode.success in (True, None) for episode in source.episodes)
    assert all(episode.suite and episode.task for episode in source.episodes)


def test_arrays_are_in_our_conventions(source):
    for episode, expected in zip(source.episodes, EPISODES, strict=True):
        assert np.array_equal(source.actions(episode.name), expected.actions)
        read = source.proprioception(episode.name, NAMES)
        assert read.dtype == np.float32
        assert np.allclose(read, expected.proprioception, atol=1e-5)
    assert np.linalg.norm(EPISODES[0].axis_angle, axis=1).max() > np.pi  # the sign of the quaternion matters


@pytest.mark.parametrize("write", [write_libero, write_robomimic])
def test_the_stored_hand_orientation_is_available(tmp_path, write):
    with open_source(write(tmp_path, EPISODES)) as source:
        read = source.proprioception("demo_0", ("hand_axis_angle",))
    assert np.allclose(read, EPISODES[0].hand_axis_angle, atol=1e-5)


def test_the_grip_site_is_preferred_where_robosuite_observed_it(tmp_path):
    path = write_robomimic(tmp_path, EPISODES)
    with h5py.File(path, "r+") as file:
        for number, demo in enumerate(file["data"].values()):
            hand = Rotation.from_quat(EPISODES[number].hand_quat_xyzw)
            site = hand * Rotation.from_euler("z", -90, degrees=True)
            demo["obs/robot0_eef_quat_site"] = site.as_quat(canonical=True).astype(np.float32)
            del demo["obs/robot0_eef_quat"]
    with open_source(path) as source:
        read = source.proprioception("demo_2", ("end_effector_axis_angle",))
    assert np.allclose(read, EPISODES[2].axis_angle, atol=1e-4)


def test_the_hand_conversion_is_for_pandas_only(tmp_path):
    path = write_robomimic(tmp_path, EPISODES)
    with h5py.File(path, "r+") as file:
        env_args = json.loads(file["data"].attrs["env_args"])
        env_args["env_kwargs"]["robots"] = ["Sawyer"]
        file["data"].attrs["env_args"] = json.dumps(env_args)
    with open_source(path) as source, pytest.raises(DemonstrationFileError, match="field end_effector_axis_angle; it"):
        source.require(proprioception=("end_effector_axis_angle",))


def test_fields_are_in_the_requested_order(source):
    read = source.proprioception(source.episodes[1].name, ("gripper_position", "end_effector_position"))
    assert np.allclose(read, np.concatenate([EPISODES[1].fingers, EPISODES[1].position], axis=1), atol=1e-6)


def test_images_of_the_requested_steps_are_upright(source):
    steps = np.array([7, 2, 2, 8, 0])
    for episode, expected in zip(source.episodes, EPISODES, strict=True):
        for camera in CAMERAS:
            assert np.array_equal(source.images(episode.name, camera, steps), expected.images[camera][steps])


def test_missing_cameras_and_fields_are_named(source):
    with pytest.raises(DemonstrationFileError, match="no images of camera front; it has"):
        source.require(cameras=("front",))
    with pytest.raises(DemonstrationFileError, match="no proprioception field toes; it has end_effector_position"):
        source.require(proprioception=("toes",))


@pytest.mark.parametrize(
    ("write", "key"),
    [(write_libero, "agentview_rgb"), (write_robomimic, "agentview_image")],
)
def test_a_camera_can_be_renamed(tmp_path, write, key):
    path = write(tmp_path, EPISODES)
    with open_source(path, SourceOptions(cameras={"front": key})) as source:
        assert set(source.facts.cameras) == {"front", "wrist"}
    with pytest.raises(DemonstrationFileError, match=rf"no images 'agentview_x' \(did you mean '{key}'"):
        open_source(path, SourceOptions(cameras={"front": "agentview_x"}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_type": "absolute"}, r"has absolute actions \(`control_delta` is false\)"),
        ({"control_delta": False}, "has absolute actions"),
        ({"type": "JOINT_POSITION"}, "was recorded with the controller JOINT_POSITION"),
        ({"output_max": [1.0] * 6}, "has another action scale"),
    ],
)
def test_other_actions_are_refused(tmp_path, changes, message):
    with pytest.raises(ConventionError, match=message):
        open_source(write_robomimic(tmp_path, EPISODES, **changes))


def test_files_without_images_name_the_rendering_script(tmp_path):
    path = write_robomimic(tmp_path, EPISODES)
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            del demo["obs/agentview_image"], demo["obs/robot0_eye_in_hand_image"]
    with pytest.raises(DemonstrationFileError, match=r"no images in it\. Render them with robomimic: .*states_to_obs"):
        open_source(path)


def test_a_missing_instruction_must_be_stated(tmp_path):
    path = write_robomimic(tmp_path, EPISODES)
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            del demo.attrs["ep_meta"]
    message = r"demo_0 has no instruction, and nothing in the source states one: state it \(`--instruction`\)"
    with open_source(path) as source, pytest.raises(DemonstrationFileError, match=message):
        source.require()
    with open_source(path, SourceOptions(instruction="lift the cube")) as source:
        assert source.episodes[0].instruction == "lift the cube"


def test_failures_are_known_by_their_rewards(tmp_path):
    path = write_robomimic(tmp_path, EPISODES)
    with h5py.File(path, "r+") as file:
        file["data/demo_1/rewards"][:] = 0
    with open_source(path) as source:
        assert [episode.success for episode in source.episodes] == [True, False, True]


def test_regenerated_libero_files_take_the_instruction_from_their_name(tmp_path):
    path = write_libero(tmp_path, EPISODES)
    with h5py.File(path, "r+") as file:  # as OpenVLA's regenerate_libero_dataset.py writes it
        for name in list(file["data"].attrs):
            del file["data"].attrs[name]
    renamed = path.rename(tmp_path / "KITCHEN_SCENE3_turn_on_the_stove_demo.hdf5")
    with open_source(renamed) as source:
        assert source.facts.format == "libero"
        assert source.episodes[0].instruction == "turn on the stove"


def test_non_finite_values_are_located(tmp_path):
    path = write_libero(tmp_path, EPISODES)
    with h5py.File(path, "r+") as file:
        file["data/demo_1/actions"][4, 2] = np.nan
        file["data/demo_2/obs/ee_pos"][3, 0] = np.inf
    with open_source(path) as source:
        with pytest.raises(DemonstrationFileError, match=r"reach_demo\.hdf5: demo_1: actions at step 4"):
            source.actions("demo_1")
        with pytest.raises(
            DemonstrationFileError, match="demo_2: proprioception field end_effector_position at step 3"
        ):
            source.proprioception("demo_2", NAMES)


def test_other_action_sizes_are_refused(tmp_path):
    path = write_libero(tmp_path, [replace(one, actions=np.tile(one.actions, (1, 2))) for one in EPISODES])
    with (
        open_source(path) as source,
        pytest.raises(DemonstrationFileError, match=r"shape \(12, 14\), expected \(T, 7\)"),
    ):
        source.actions("demo_0")


def test_video_frames_are_exact(tmp_path):
    need_lerobot()
    path = write_lerobot(tmp_path, EPISODES, video=True)
    with open_source(path, OPTIONS["lerobot"]) as source:
        for episode, expected in zip(source.episodes, EPISODES, strict=True):
            steps = np.random.default_rng(0).permutation(episode.steps)
            for camera in CAMERAS:
                read = source.images(episode.name, camera, steps).astype(float)
                distance = np.abs(read[:, None] - expected.images[camera][None]).mean(axis=(2, 3, 4))
                assert np.array_equal(distance.argmin(axis=1), steps)
                assert distance.min(axis=1).max() < 4  # of 255: the loss of H.264 at crf 10 with chroma subsampling


def lerobot_with(folder, **changes):
    need_lerobot()
    path = write_lerobot(folder, EPISODES)
    info = json.loads((path / "meta/info.json").read_text())
    (path / "meta/info.json").write_text(json.dumps({**info, **changes}))
    return path


def test_older_lerobot_versions_name_the_converter(tmp_path):
    with pytest.raises(DemonstrationFileError, match=r"version v2\.1; this reads v3\.0.*convert_dataset_v21_to_v30"):
        open_source(lerobot_with(tmp_path, codebase_version="v2.1"), OPTIONS["lerobot"])


def test_lerobots_gripper_must_be_stated(tmp_path):
    message = r"does not state which gripper command closes\. State it"
    with open_source(lerobot_with(tmp_path)) as source, pytest.raises(ConventionError, match=message):
        source.require()


def test_joint_actions_are_refused(tmp_path):
    path = lerobot_with(tmp_path)
    info = json.loads((path / "meta/info.json").read_text())
    info["features"]["action"]["names"] = {"motors": ["shoulder_pan", "elbow_flex", "a", "b", "c", "d", "e"]}
    (path / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(ConventionError, match=r"actions are joint commands \(shoulder_pan, elbow_flex"):
        open_source(path, OPTIONS["lerobot"])


def test_the_fields_of_an_unnamed_state_can_be_stated(tmp_path):
    path = lerobot_with(tmp_path)
    info = json.loads((path / "meta/info.json").read_text())
    info["features"]["observation.state"]["names"] = None
    (path / "meta/info.json").write_text(json.dumps(info))
    with open_source(path, OPTIONS["lerobot"]) as source:
        assert [(field.name, field.size) for field in source.facts.proprioception_fields] == [("state", 15)]
    stated = replace(OPTIONS["lerobot"], state=(("end_effector_position", 3), ("rest", 12)))
    with open_source(path, stated) as source:
        assert np.array_equal(source.proprioception("episode_0", ("end_effector_position",)), EPISODES[0].position)
    with pytest.raises(DemonstrationFileError, match="has 15 numbers, but the fields stated for it have more"):
        open_source(path, replace(OPTIONS["lerobot"], state=(("end_effector_position", 16),)))


def test_the_state_of_lerobots_libero_is_known(tmp_path):
    need_lerobot()
    as_hand = [replace(one, axis_angle=one.hand_axis_angle, joints=np.zeros_like(one.joints)) for one in EPISODES]
    path = write_lerobot(tmp_path, as_hand)
    info = json.loads((path / "meta/info.json").read_text())
    names = ["x", "y", "z", "roll", "pitch", "yaw", "gripper", "gripper"]
    info["features"]["observation.state"] |= {"names": {"motors": names}, "shape": [8]}
    (path / "meta/info.json").write_text(json.dumps(info))
    table = parquet_of(path)
    table["observation.state"] = [row[:8] for row in table["observation.state"]]
    table.to_parquet(path / "data/chunk-000/file-000.parquet")
    with open_source(path, OPTIONS["lerobot"]) as source:
        read = source.proprioception("episode_1", ("hand_axis_angle", "end_effector_axis_angle"))
    assert np.allclose(read, np.hstack([EPISODES[1].hand_axis_angle, EPISODES[1].axis_angle]), atol=1e-5)


def parquet_of(path):
    import pyarrow.parquet as parquet

    return parquet.read_table(path / "data/chunk-000/file-000.parquet").to_pandas()


def test_a_missing_source_is_reported(tmp_path):
    with pytest.raises(DemonstrationFileError, match="there is no such file or folder"):
        open_source(tmp_path / "nothing")
    with pytest.raises(DemonstrationFileError):
        open_source(tmp_path)  # an empty folder


def test_a_mask_is_a_subset(tmp_path):
    path = write_robomimic(tmp_path, EPISODES)
    with h5py.File(path, "r+") as file:
        file["mask/train"] = np.array([b"demo_2", b"demo_0"])
    with open_source(path) as source:
        assert source.subset("train") == ("demo_0", "demo_2")
        assert source.subset("valid") is None


@pytest.mark.parametrize("orientation", ["upright", "upside_down", "mirrored", "rotated_180"])
def test_the_orientation_can_be_stated(tmp_path, orientation):
    turned = {
        "upright": lambda images: images,
        "upside_down": lambda images: images[:, ::-1],
        "mirrored": lambda images: images[:, :, ::-1],
        "rotated_180": lambda images: images[:, ::-1, ::-1],
    }[orientation]
    stored = [replace(one, images={name: turned(found) for name, found in one.images.items()}) for one in EPISODES]
    path = partial(write_robomimic, tmp_path)(stored)
    with open_source(path, SourceOptions(orientation=orientation)) as source:
        assert np.array_equal(source.images("demo_0", "wrist", np.arange(12)), EPISODES[0].images["wrist"])
