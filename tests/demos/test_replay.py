"""Replay of recorded actions and re-rendering of recorded states, with real environments of both engines."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.demos.synthetic import demonstration, header
from tests.demos.synthetic_recorders import FullDiskRenderFactory
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import DemonstrationFileError, OutputMismatchError, UnknownNameError, VlaBenchError
from vla_bench.demos import CollectOptions, Demonstration, DemonstrationFile, NoiseOptions, write_demonstrations
from vla_bench.demos.attempts import PartialFiles
from vla_bench.demos.recording import DeviceRecorder
from vla_bench.demos.replay import ReplayFactory, ReplayResult, replay
from vla_bench.demos.rerendering import RenderFactory, RenderOptions, RenderOptionsError, render
from vla_bench.demos.restoring import same_model

TASKS = ("tabletop_object.red_cube_in_basket", "robosuite.lift")
SIZE = 32


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Record one demonstration with each engine, disturbed by noise."""
    path = tmp_path_factory.mktemp("recorded") / "demos.hdf5"
    options = CollectOptions((), path, TASKS, image_size=SIZE, depth=True, noise=NoiseOptions())
    record, made = DeviceRecorder(options), []
    for task_id in TASKS:
        suite, task = task_id.split(".")
        made.append(record(EpisodeIdentity(suite, task, 1, variant="demonstration")))
    write_demonstrations(path, record.header(), made)
    return path


@pytest.fixture(scope="module")
def demonstrations(recorded: Path) -> Iterator[dict[str, Demonstration]]:
    with DemonstrationFile(recorded) as file:
        yield {name: file.read(name) for name in file.names}


def changed(recorded: Path, path: Path, name: str, change: dict[str, object]) -> Path:
    """Write a copy of one demonstration with changed fields."""
    with DemonstrationFile(recorded) as file:
        write_demonstrations(path, file.header, [replace(file.read(name), **change)])  # type: ignore[arg-type]
    return path


def replayed(path: Path, name: str = "demo_0") -> ReplayResult:
    return ReplayFactory(path)()(name)


@pytest.mark.parametrize("name", ["demo_0", "demo_1"])
def test_recorded_actions_reach_every_recorded_state_bit_for_bit(recorded: Path, name: str) -> None:
    row = replayed(recorded, name)
    assert (row.recorded_success, row.success, row.exact) == (True, True, True)
    assert (row.largest_difference, row.gripper_distance_m, row.notes) == (0.0, 0.0, ())


@pytest.mark.parametrize("name", ["demo_0", "demo_1"])
def test_a_changed_action_is_located(
    recorded: Path, demonstrations: dict[str, Demonstration], name: str, tmp_path: Path
) -> None:
    actions = demonstrations[name].executed_actions.copy()
    actions[7, 0] += 0.5 if actions[7, 0] < 0 else -0.5
    row = replayed(changed(recorded, tmp_path / "x.hdf5", name, {"executed_actions": actions}))
    assert row.first_difference == 8
    assert row.gripper_distance_m > 1e-4


def test_actions_that_no_longer_solve_the_task_are_a_failure(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    with DemonstrationFile(recorded) as file:
        short = replace(file.read("demo_0").select_steps(np.arange(30)), step_numbers=None)
        write_demonstrations(path, file.header, [replace(short, executed_actions=np.zeros_like(short.actions))])
    row = replayed(path)
    assert (row.recorded_success, row.success, row.as_recorded) == (True, False, False)


def test_a_persons_verdict_holds_for_equal_states(recorded: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    with DemonstrationFile(recorded) as file:
        short = replace(file.read("demo_0").select_steps(np.arange(30)), step_numbers=None, judged_by="person")
        other = replace(short, executed_actions=np.zeros_like(short.actions))
        write_demonstrations(path, file.header, [short, other])
    assert replayed(path, "demo_0").success
    assert not replayed(path, "demo_1").success


@pytest.mark.parametrize("name", ["demo_0", "demo_1"])
def test_dropped_steps_are_skipped_by_the_stored_states(recorded: Path, name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.hdf5"
    with DemonstrationFile(recorded) as file:
        one = file.read(name)
        kept = np.array([step for step in range(one.steps) if step not in (5, 6, 20)])
        write_demonstrations(path, file.header, [one.select_steps(kept)])
    with DemonstrationFile(path) as file:
        assert file.summary("demo_0").dropped_steps == 3
    row = replayed(path)
    assert (row.success, row.exact) == (True, True)
    assert row.notes == ("3 dropped steps were skipped by restoring the stored states",)


def test_the_stored_state_is_used_where_the_seed_gives_another_scene(recorded: Path, tmp_path: Path) -> None:
    row = replayed(changed(recorded, tmp_path / "x.hdf5", "demo_0", {"scene_seed": 5}))
    assert (row.success, row.exact) == (True, True)
    assert row.notes == ("the seed leads to another scene in this version; replay started from the stored state",)


def test_an_unknown_task_or_another_state_size_is_a_reported_failure(tmp_path: Path) -> None:
    gone = demonstration()
    write_demonstrations(tmp_path / "gone.hdf5", header(), [gone])
    row = replayed(tmp_path / "gone.hdf5")
    assert not row.success
    assert "No task named 'made_up.reach'" in row.notes[0]
    other = replace(gone, identity=EpisodeIdentity("tabletop_object", "red_cube_in_basket", 0))
    write_demonstrations(tmp_path / "other.hdf5", header(), [other])
    assert "numbers in this version, but the recorded state has 9" in replayed(tmp_path / "other.hdf5").notes[0]


def test_mesh_folders_do_not_change_a_model() -> None:
    assert same_model('<mesh file="/a/b/link.stl"/>', '<mesh file="/c/link.stl"/>')
    assert not same_model('<mesh file="/a/b/link.stl"/>', '<mesh file="/a/b/hand.stl"/>')


def test_a_whole_file_is_replayed_in_processes(recorded: Path) -> None:
    report = replay(recorded, workers=2)
    assert (report.succeeded, report.expected, report.exact, report.passed) == (2, 2, 2, True)
    assert [row.name for row in report.results] == ["demo_0", "demo_1"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such file"), (b"my thesis", "not an HDF5 file"), ("version", "format version 99")],
)
def test_a_file_that_cannot_be_replayed_or_rendered_is_refused(
    content: bytes | str | None, message: str, recorded: Path, tmp_path: Path
) -> None:
    path = tmp_path / "x.hdf5"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "version":
        path.write_bytes(recorded.read_bytes())
        with h5py.File(path, "a") as file:
            file["data"].attrs["format_version"] = 99
    with pytest.raises(DemonstrationFileError, match=message):
        replay(path)
    with pytest.raises(DemonstrationFileError, match=message):
        render(RenderOptions(path, tmp_path / "new.hdf5"))
    assert {entry.name for entry in tmp_path.iterdir()} <= {"x.hdf5"}


def rendered_again(recorded: Path, tmp_path: Path, name: str, **asked: object) -> Demonstration:
    """Return one demonstration that was rendered again in this process."""
    options = RenderOptions(recorded, tmp_path / "new.hdf5", **asked)  # type: ignore[arg-type]
    PartialFiles(options.output).begin({})
    RenderFactory(options)()(name)
    with DemonstrationFile(PartialFiles(options.output).finished()[name].path) as part:
        return part.read("demo_0")


@pytest.mark.parametrize("name", ["demo_0", "demo_1"])
def test_rendering_with_the_same_options_gives_the_same_pixels(
    recorded: Path, demonstrations: dict[str, Demonstration], name: str, tmp_path: Path
) -> None:
    again, there = rendered_again(recorded, tmp_path, name), demonstrations[name]
    for camera in ("agentview", "wrist"):
        np.testing.assert_array_equal(again.images[camera], there.images[camera])
        np.testing.assert_array_equal(again.depth[camera], there.depth[camera])
    np.testing.assert_array_equal(again.states, there.states)
    np.testing.assert_array_equal(again.actions, there.actions)
    assert (again.summary(), again.model_xml) == (there.summary(), there.model_xml)


def test_rendering_with_other_cameras_sizes_and_quality(recorded: Path, tmp_path: Path) -> None:
    again = rendered_again(
        recorded, tmp_path, "demo_0", cameras=("wrist",), image_size=48, rendering="faithful", depth=False
    )
    assert {name: images.shape[1:] for name, images in again.images.items()} == {"wrist": (48, 48, 3)}
    assert not again.depth


def test_a_whole_file_is_rendered_in_processes_and_resumed(recorded: Path, tmp_path: Path) -> None:
    options = RenderOptions(recorded, tmp_path / "new.hdf5", image_size=40, workers=2)
    assert (render(options).demonstrations, render(options).other_models) == (2, 0)
    with DemonstrationFile(options.output) as file:
        first = {name: file.read(name) for name in file.names}
        assert (file.header.image_size, file.header.env_kwargs["image_size"]) == (40, 40)
        configuration = dict(file.header.collection["rendered"])
    assert configuration.pop("other_models") == 0
    options.output.unlink()
    parts = PartialFiles(options.output)
    parts.begin(configuration)
    with DemonstrationFile(recorded) as file:
        parts.write(replace(file.header, image_size=40), first["demo_0"], "demo_0")
    seen: list[tuple[int, int]] = []
    render(options, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    with DemonstrationFile(options.output) as file:
        for name, one in first.items():
            np.testing.assert_array_equal(file.read(name).images["wrist"], one.images["wrist"])
    assert not parts.folder.exists()
    with pytest.raises(OutputMismatchError, match=r"image_size 40, not 48"):
        render(replace(options, image_size=48))


def test_invalid_rendering_options_are_reported(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(RenderOptionsError, match=r"is the input file\. Choose another --output"):
        RenderOptions(recorded, recorded)
    with pytest.raises(RenderOptionsError, match="No camera was chosen"):
        RenderOptions(recorded, tmp_path / "new.hdf5", cameras=())
    output = tmp_path / "other.hdf5"
    output.write_bytes(recorded.read_bytes())
    with pytest.raises(OutputMismatchError, match="it was not made by `vla-bench render`"):
        render(RenderOptions(recorded, output))
    with pytest.raises(UnknownNameError, match=r"No camera named 'wrst'\. Did you mean 'wrist'"):
        rendered_again(recorded, tmp_path, "demo_0", cameras=("wrst",))


def test_a_full_disk_stops_rendering_with_one_message(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vla_bench.demos.rerendering.RenderFactory", FullDiskRenderFactory)
    with pytest.raises(VlaBenchError, match=r"Cannot write .*demo_\d.hdf5: File too large\. The incomplete file"):
        render(RenderOptions(recorded, tmp_path / "new.hdf5"))
    assert not (tmp_path / "new.hdf5").exists()
    assert [entry.name for entry in (tmp_path / "new.hdf5.parts").iterdir()] == ["configuration.json"]


def test_a_perturbed_scene_is_replayed_and_rendered_equally(tmp_path: Path) -> None:
    path = tmp_path / "perturbed.hdf5"
    options = CollectOptions((), path, TASKS[:1], image_size=SIZE, perturb="camera=2,lighting=2,size=1")
    record = DeviceRecorder(options)
    made = record(EpisodeIdentity("tabletop_object", "red_cube_in_basket", 1, variant="demonstration"))
    write_demonstrations(path, record.header(), [made])
    assert replayed(path).exact
    again = rendered_again(path, tmp_path, "demo_0")
    np.testing.assert_array_equal(again.images["agentview"], made.images["agentview"])
    np.testing.assert_array_equal(again.cameras["agentview"].pose_world, made.cameras["agentview"].pose_world)
