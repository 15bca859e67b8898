"""Summaries, contact sheets and videos of demonstrations."""

from dataclasses import replace
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
from PIL import Image

from tests.demos.synthetic import demonstration, header
from vla_bench.core.errors import DemonstrationFileError
from vla_bench.demos import open_source, summarize, write_contact_sheet, write_demonstrations, write_videos


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "demos.hdf5"
    made = [demonstration(index, steps=8 + index) for index in range(5)]
    made += [demonstration(index, task="push", steps=20, success=index > 0) for index in range(3)]
    write_demonstrations(path, header(), made)
    return path


def test_summary_counts_demonstrations_and_steps(path: Path) -> None:
    summary = summarize(path)
    reach, push = summary.tasks
    assert (reach.demonstrations, reach.shortest, reach.median, reach.longest) == (5, 8, 10.0, 12)
    assert (push.demonstrations, push.successes, push.instruction) == (3, 2, "push for the cube")
    assert (summary.demonstrations, summary.steps) == (8, 50 + 60)
    assert summary.phases == {"reach": 110 - 16, "grasp": 16}
    assert summary.subsets == {"train": 5, "valid": 2, "failure": 1}
    assert summary.file_bytes == path.stat().st_size
    assert 0 < summary.stored_bytes["obs/wrist_image"] < summary.file_bytes


def test_summary_gives_the_range_of_each_action(path: Path) -> None:
    made = [demonstration(index, steps=8 + index) for index in range(5)]
    made += [demonstration(index, task="push", steps=20) for index in range(3)]
    actions = np.concatenate([one.actions for one in made])
    rows = summarize(path).actions
    assert [row.name for row in rows][:3] == ["delta x", "delta y", "delta z"]
    np.testing.assert_allclose([row.lowest for row in rows], actions.min(axis=0), rtol=1e-6)
    np.testing.assert_allclose([row.highest for row in rows], actions.max(axis=0), rtol=1e-6)
    np.testing.assert_allclose([row.q99 for row in rows], np.quantile(actions, 0.99, axis=0), rtol=1e-5)


def test_summary_is_printed_as_a_table(path: Path) -> None:
    text = "\n".join(summarize(path).lines())
    assert "8 demonstrations, 110 steps" in text
    assert "agentview, wrist, 24 x 24 pixels" in text
    assert "made_up.push       3      67%" in text
    assert "8/10/12" in text


def test_contact_sheet_has_a_row_for_each_demonstration(path: Path, tmp_path: Path) -> None:
    with open_source(path) as source:
        write_contact_sheet(source, tmp_path / "sheet.png", rows=3, frames=4)
        write_contact_sheet(source, tmp_path / "taller.png", rows=6, frames=4)
    sheet, taller = Image.open(tmp_path / "sheet.png"), Image.open(tmp_path / "taller.png")
    assert sheet.width == taller.width == 4 * 132 + 8
    assert taller.height - sheet.height == 3 * (2 * 132 + 22 + 15)
    first_frame = np.asarray(sheet)[4 + 22 : 4 + 22 + 128, 4 : 4 + 128].astype(float)
    stored = np.asarray(Image.fromarray(demonstration(0, steps=8).images["agentview"][0]).resize((128, 128), 1))
    np.testing.assert_array_equal(first_frame, stored)


def test_videos_show_every_step_with_the_cameras_side_by_side(path: Path, tmp_path: Path) -> None:
    with open_source(path) as source:
        (video,) = write_videos(source, tmp_path / "videos", names=["demo_6"])
    assert video.name == "demo_6_push.mp4"
    frames = imageio_ffmpeg.read_frames(str(video))
    facts = next(frames)
    assert facts["fps"] == 20
    assert facts["source_size"] == (2 * 24 * 11, 24 * 11)
    assert sum(1 for _ in frames) == 20


def test_an_empty_file_has_no_contact_sheet(tmp_path: Path) -> None:
    write_demonstrations(tmp_path / "empty.hdf5", header(), [])
    with (
        open_source(tmp_path / "empty.hdf5") as source,
        pytest.raises(DemonstrationFileError, match="there is no demonstration in it"),
    ):
        write_contact_sheet(source, tmp_path / "sheet.png")
    assert "0 demonstrations" in summarize(tmp_path / "empty.hdf5").lines()[0]


@pytest.mark.parametrize(
    ("collection", "expert"),
    [
        ({"failed": {"made_up.reach": [5]}}, (3, 4)),
        ({"failed": {"made_up.reach": [5]}, "dropped": [["made_up.reach", 7, "lengths", "long"]]}, (4, 5)),
        ({"failed": {"made_up.reach": [5]}, "filtered": [{}]}, None),
        ({"failed": {"made_up.reach": [5]}, "split": {}}, None),
        ({}, None),
    ],
)
def test_the_expert_rate_counts_all_attempts(tmp_path: Path, collection, expert) -> None:
    path = tmp_path / "demos.hdf5"
    write_demonstrations(path, replace(header(), collection=collection), [demonstration(i) for i in range(3)])
    assert summarize(path).tasks[0].expert == expert
