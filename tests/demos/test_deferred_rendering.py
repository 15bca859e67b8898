"""Number of renderings during collection: only stored steps are rendered, with the same pixels as at recording."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import ACTION_DIM, Observation
from vla_bench.demos import CollectOptions, DemonstrationFile
from vla_bench.demos.attempts import PartialFiles, RecordingFactory
from vla_bench.demos.devices import Decision
from vla_bench.demos.devices.automatic import ExpertDevice
from vla_bench.demos.filters import FilterOptions
from vla_bench.demos.recording import DeviceRecorder
from vla_bench.envs.environment import VlaBenchEnv

IDENTITY = EpisodeIdentity("tabletop_object", "red_cube_in_basket", 0, variant="demonstration")
STILL = np.zeros(ACTION_DIM, dtype=np.float32)
OFTEN_IDLE = FilterOptions(noops=0.6)  # so large that the expert's slow steps count as no-ops


@pytest.fixture
def renderings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list with one entry for each rendering."""
    calls: list[int] = []
    observe = VlaBenchEnv.observe

    def counted(env: VlaBenchEnv) -> Observation:
        calls.append(1)
        return observe(env)

    monkeypatch.setattr(VlaBenchEnv, "observe", counted)
    return calls


def attempts(tmp_path: Path, **options: Any) -> tuple[CollectOptions, Callable[[EpisodeIdentity], Any]]:
    made = CollectOptions((IDENTITY.suite,), tmp_path / "demos.hdf5", image_size=48, **options)
    PartialFiles(made.output).begin(made.configuration())
    return made, RecordingFactory(made, DeviceRecorder)()


def test_every_step_is_rendered_once_where_all_are_stored(tmp_path: Path, renderings: list[int]) -> None:
    _, attempt = attempts(tmp_path)
    attempted = attempt(IDENTITY)
    assert attempted.success
    assert len(renderings) == attempted.steps


@pytest.mark.parametrize(
    "task_id", ["tabletop_object.red_cube_in_basket", pytest.param("robosuite.lift", marks=pytest.mark.slow)]
)
def test_filtered_steps_are_not_rendered(tmp_path: Path, renderings: list[int], task_id: str) -> None:
    suite, task = task_id.split(".")
    identity = replace(IDENTITY, suite=suite, task=task)
    options, attempt = attempts(tmp_path, filters=OFTEN_IDLE, depth=True)
    attempted = attempt(identity)
    with DemonstrationFile(next(PartialFiles(options.output).folder.glob("*.hdf5"))) as file:
        kept, dropped = file.read("demo_0"), file.summary("demo_0").dropped_steps
    assert dropped > 0
    assert len(renderings) == attempted.steps + 1 == kept.steps + 1  # the reset renders, too
    whole = DeviceRecorder(replace(options, filters=FilterOptions()))(identity)
    numbers = kept.step_numbers
    assert numbers is not None
    for camera in options.cameras:
        np.testing.assert_array_equal(kept.images[camera], whole.images[camera][numbers])
        np.testing.assert_array_equal(kept.depth[camera], whole.depth[camera][numbers])
        track = whole.cameras[camera].select_steps(numbers)
        np.testing.assert_array_equal(kept.cameras[camera].pose_world, track.pose_world)
    np.testing.assert_array_equal(kept.proprioception, whole.proprioception[numbers])


def test_a_task_that_fails_often_is_rendered_only_after_success(
    tmp_path: Path, renderings: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, attempt = attempts(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(ExpertDevice, "decide", lambda self, observation: Decision(STILL))
        assert not attempt(IDENTITY).success
        first = len(renderings)
        attempt(replace(IDENTITY, index=1))
        assert (first, len(renderings)) == (160, 161)  # each step up to the horizon, then only the reset
    succeeded = attempt(replace(IDENTITY, index=2))
    assert succeeded.success
    assert len(renderings) == 161 + 1 + succeeded.steps


def test_stored_failures_are_rendered(tmp_path: Path, renderings: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExpertDevice, "decide", lambda self, observation: Decision(STILL))
    _, attempt = attempts(tmp_path, keep_failures=True)
    for index in range(2):
        attempt(replace(IDENTITY, index=index))
    assert len(renderings) == 2 * 160
