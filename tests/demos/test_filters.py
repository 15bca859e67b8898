"""Filters of demonstrations and steps, and the reasons they report."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.demos.synthetic import demonstration, header
from tests.demos.synthetic_recorders import Recorder
from vla_bench.demos import CollectOptions, DemonstrationFile, FilterOptions, collect, filter_file, write_demonstrations
from vla_bench.demos.demonstration import DemonstrationSummary
from vla_bench.demos.editing import EditingError
from vla_bench.demos.filters import FilterOptionsError, apply_filters, without_noops


def summaries(*lengths: int, task: str = "reach") -> dict[str, DemonstrationSummary]:
    made = demonstration(0, task=task).summary()
    return {f"{task}_{number}": replace(made, steps=steps) for number, steps in enumerate(lengths)}


def dropped(options: FilterOptions, found: dict[str, DemonstrationSummary]) -> dict[str, str]:
    return {name: f"{by}: {why}" for name, (by, why) in apply_filters(found, options.filters()).items()}


def test_outlier_lengths_of_a_task_are_dropped() -> None:
    found = summaries(60, 61, 62, 63, 64, 65, 150) | summaries(148, 149, 150, 151, 152, task="push")
    gone = dropped(FilterOptions(length_score=3.5), found)
    assert gone == {"reach_6": "length score: 150 steps, score +29.3 (median of its task 63)"}


def test_one_length_among_equal_ones_is_an_outlier() -> None:
    assert set(dropped(FilterOptions(length_score=3.5), summaries(*[60] * 9, 90))) == {"reach_9"}
    assert dropped(FilterOptions(length_score=3.5), summaries(*[60] * 9)) == {}


def test_few_demonstrations_have_no_outliers() -> None:
    assert dropped(FilterOptions(length_score=3.5, length_quantiles=(0.2, 0.8)), summaries(60, 61, 62, 500)) == {}


def test_quantiles_drop_both_ends() -> None:
    gone = dropped(FilterOptions(length_quantiles=(0.1, 0.9)), summaries(*range(50, 71)))
    assert set(gone) == {"reach_0", "reach_1", "reach_19", "reach_20"}
    assert gone["reach_0"] == "length quantile: 50 steps, outside 52 to 68"


def test_failures_are_dropped_before_lengths_are_compared() -> None:
    found = summaries(60, 61, 62, 63, 64)
    found["failed"] = replace(found["reach_0"], steps=400, success=False)
    gone = dropped(FilterOptions(failures=True, length_score=3.5), found)
    assert gone == {"failed": "failures: failed after 400 steps"}


def with_noops(*steps: int) -> "object":
    made = demonstration(0, steps=30)
    actions = made.actions.copy()
    actions[:, -1] = 1.0
    actions[list(steps), :-1] = 0.0
    return replace(made, actions=actions, executed_actions=actions.copy())


def test_noops_are_dropped_and_other_steps_unchanged() -> None:
    one = with_noops(3, 4, 9)
    short = without_noops(one, 1e-3)  # type: ignore[arg-type]
    kept = [step for step in range(30) if step not in (3, 4, 9)]
    np.testing.assert_array_equal(short.actions, one.actions[kept])  # type: ignore[attr-defined]
    np.testing.assert_array_equal(short.images["wrist"], one.images["wrist"][kept])  # type: ignore[attr-defined]
    assert short.step_numbers is not None
    assert short.step_numbers.tolist() == kept
    assert (short.summary().steps, short.summary().dropped_steps) == (27, 3)


def test_gripper_commands_noise_and_final_steps_are_not_noops() -> None:
    one = with_noops(3, 5, 8, 25)
    actions, executed = one.actions.copy(), one.actions.copy()  # type: ignore[attr-defined]
    actions[:3, -1] = executed[:3, -1] = -1.0  # step 3 closes the gripper
    executed[5, 0] = 0.3
    kept = without_noops(replace(one, actions=actions, executed_actions=executed), 1e-3)  # type: ignore[type-var]
    assert kept.summary().dropped_steps == 1  # type: ignore[attr-defined]


def test_a_filtered_file_reports_dropped_demonstrations(tmp_path: Path) -> None:
    made = [demonstration(index, steps=20 + index % 3, success=index != 4) for index in range(12)]
    made.append(demonstration(12, steps=90))
    write_demonstrations(tmp_path / "all.hdf5", header(), made)
    report = filter_file(tmp_path / "all.hdf5", tmp_path / "kept.hdf5", FilterOptions(failures=True, length_score=3.5))
    assert report.lines() == [
        "kept            11 of 13 demonstrations",
        "failures        1 dropped",
        "                demo_4: failed after 21 steps",
        "length score    1 dropped",
        "                demo_12: 90 steps, score +46.5 (median of its task 21)",
    ]
    with DemonstrationFile(tmp_path / "all.hdf5") as before, DemonstrationFile(tmp_path / "kept.hdf5") as after:
        indices = [after.summary(name).identity.index for name in after.names]
        assert indices == [0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11]
        names = {before.summary(name).identity: name for name in before.names}
        for subset in ("train", "valid"):  # demonstrations stay in their subset
            here = {names[after.summary(name).identity] for name in after.mask(subset)}
            assert here == set(before.mask(subset)) - {"demo_4", "demo_12"}


def test_noops_of_a_file_are_dropped(tmp_path: Path) -> None:
    write_demonstrations(tmp_path / "all.hdf5", header(), [with_noops(3, 4), demonstration(1)])  # type: ignore[list-item]
    report = filter_file(tmp_path / "all.hdf5", tmp_path / "kept.hdf5", FilterOptions(noops=1e-3))
    assert report.lines() == ["kept            2 of 2 demonstrations", "no-ops          2 of 41 steps dropped"]
    with DemonstrationFile(tmp_path / "kept.hdf5") as file:
        assert [file.summary(name).dropped_steps for name in file.names] == [2, 0]
        assert file.read("demo_0").step_numbers is not None
        assert file.read("demo_1").step_numbers is None


def test_filters_that_drop_everything_write_no_file(tmp_path: Path) -> None:
    write_demonstrations(tmp_path / "all.hdf5", header(), [demonstration(0, success=False)])
    with pytest.raises(EditingError, match=r"drop every demonstration of .*all.hdf5"):
        filter_file(tmp_path / "all.hdf5", tmp_path / "kept.hdf5", FilterOptions(failures=True))
    assert [entry.name for entry in tmp_path.iterdir()] == ["all.hdf5"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noops": -1.0}, "The no-op size is -1.0; expected an action size from 0 to 1"),
        ({"length_score": 0.0}, "The length score is 0.0; expected a positive number"),
        (
            {"length_quantiles": (0.9, 0.1)},
            "quantiles are 0.9 0.1; expected two numbers from 0 to 1",
        ),
    ],
)
def test_invalid_filters_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(FilterOptionsError, match=message):
        FilterOptions(**options)  # type: ignore[arg-type]


class VaryingRecorder(Recorder):
    """Recorder of which every seventh episode is far too long."""

    def __call__(self, identity):  # type: ignore[no-untyped-def]
        steps = 80 if identity.index == 6 else 20 + identity.index % 3
        return replace(demonstration(identity.index, task=identity.task, steps=steps), identity=identity)


def test_a_filtered_collection_can_be_extended(tmp_path: Path) -> None:
    options = CollectOptions(
        ("robosuite",), tmp_path / "demos.hdf5", ("lift",), 10, image_size=24, filters=FilterOptions(length_score=3.5)
    )
    report = collect(options, recorder=VaryingRecorder)
    assert [(one.index, one.filter_name) for one in report.dropped] == [(6, "length score")]
    with DemonstrationFile(options.output) as file:
        assert len(file) == 9
    again = collect(options, recorder=VaryingRecorder)  # the collection is complete
    assert (again.resumed, again.dropped) == (10, report.dropped)
    more = collect(replace(options, episodes=12), recorder=VaryingRecorder)
    assert more.demonstrations - len(more.dropped) == 11
