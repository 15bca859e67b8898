"""Export to LeRobot folders, read again."""

import h5py
import numpy as np
import pytest

from tests.demos.other_formats import CAMERAS, FIELDS, content, write_libero, write_ours, write_robomimic
from tests.demos.synthetic import demonstration, header
from tests.demos.test_formats import need_lerobot
from vla_bench.core.errors import VlaBenchError
from vla_bench.demos import write_demonstrations
from vla_bench.demos.formats.lerobot_export import export_lerobot
from vla_bench.demos.sources import SourceOptions, open_source

EPISODES = (content(0), content(1, "put the cube in the basket", steps=9))


@pytest.mark.parametrize("write", [write_ours, write_libero])
def test_exported_episodes_are_read_equally(tmp_path, write):
    need_lerobot()
    fields = [field.name for field in FIELDS]
    with open_source(write(tmp_path, EPISODES)) as source:
        folder = export_lerobot(source, tmp_path / "exported")
        with open_source(folder, SourceOptions(gripper="close_positive")) as again:
            for before, after in zip(source.episodes, again.episodes, strict=True):
                assert (before.instruction, before.steps) == (after.instruction, after.steps)
                assert np.array_equal(source.actions(before.name), again.actions(after.name))
                first, second = (
                    one.proprioception(name, fields) for one, name in ((source, before.name), (again, after.name))
                )
                assert np.array_equal(first, second)
                steps = np.arange(before.steps)
                for camera in CAMERAS:
                    images = (source.images(before.name, camera, steps), again.images(after.name, camera, steps))
                    assert np.abs(images[0].astype(float) - images[1]).mean() < 6  # H.264


def test_an_existing_folder_is_not_changed(tmp_path):
    with open_source(write_libero(tmp_path, EPISODES)) as source, pytest.raises(VlaBenchError, match="exists already"):
        export_lerobot(source, tmp_path)


def test_failures_stay_failures(tmp_path):
    need_lerobot()
    made = [demonstration(0), demonstration(1, success=False)]
    write_demonstrations(tmp_path / "demos.hdf5", header(), made)
    with open_source(tmp_path / "demos.hdf5") as source:
        export_lerobot(source, tmp_path / "exported")
    with open_source(tmp_path / "exported", SourceOptions(gripper="close_positive")) as again:
        assert [episode.success for episode in again.episodes] == [True, False]


def test_odd_and_different_camera_sizes(tmp_path):
    need_lerobot()
    path = write_robomimic(tmp_path, EPISODES)
    with h5py.File(path, "r+") as file:
        for group in file["data"].values():
            images = group["obs/robot0_eye_in_hand_image"][:, :15, :17]
            del group["obs/robot0_eye_in_hand_image"]
            group["obs/robot0_eye_in_hand_image"] = images
    with open_source(path) as source:
        export_lerobot(source, tmp_path / "exported")
        with open_source(tmp_path / "exported", SourceOptions(gripper="close_positive")) as again:
            steps = np.arange(3)
            for camera, size in (("agentview", (24, 24)), ("wrist", (15, 17))):
                images = again.images("episode_0", camera, steps)
                assert images.shape == (3, *size, 3)
                assert np.abs(images.astype(float) - source.images("demo_0", camera, steps)).mean() < 6  # H.264
