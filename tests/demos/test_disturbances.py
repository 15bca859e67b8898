import numpy as np
import pytest

from vla_bench.demos import NoiseOptions
from vla_bench.demos.disturbances import NoiseOptionsError, make_noise


def samples(options: NoiseOptions | None, seed: int = 0, steps: int = 4000) -> np.ndarray:
    noise = make_noise(options, np.random.default_rng(seed))
    return np.stack([noise.sample() for _ in range(steps)])


@pytest.mark.parametrize("kind", ["bursts", "drift"])
def test_only_translation_and_yaw_are_disturbed(kind: str) -> None:
    drawn = samples(NoiseOptions(kind=kind))  # type: ignore[arg-type]
    assert (drawn[:, [0, 1, 2, 5]] != 0).any(axis=0).all()
    assert (drawn[:, [3, 4, 6]] == 0).all()


def test_drift_has_the_strength_asked_for_and_wanders_slowly() -> None:
    x = samples(NoiseOptions(kind="drift", translation=0.3), steps=40_000)[:, 0]
    assert x.std() == pytest.approx(0.3, rel=0.1)
    assert np.corrcoef(x[:-1], x[1:])[0, 1] == pytest.approx(0.85, abs=0.03)


def test_bursts_hold_one_direction_with_quiet_between() -> None:
    drawn = samples(NoiseOptions(burst_probability=0.1, burst_steps=(4, 4)))
    changes = np.flatnonzero((drawn[1:] != drawn[:-1]).any(axis=1)) + 1
    runs = [len(run) for run in np.split(drawn, changes)[1:-1] if run[0].any()]
    assert runs
    assert set(runs) == {4}
    quiet = (drawn == 0).all(axis=1).mean()
    assert quiet == pytest.approx(10 / 14, abs=0.06)  # ten quiet steps for each burst of four


def test_same_seed_same_noise() -> None:
    np.testing.assert_array_equal(samples(NoiseOptions(), 3), samples(NoiseOptions(), 3))
    assert (samples(NoiseOptions(), 3) != samples(NoiseOptions(), 4)).any()


def test_without_noise_nothing_is_added() -> None:
    assert not samples(None, steps=10).any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "wind"}, "There is no noise named 'wind'. Known: bursts, drift"),
        ({"translation": -1.0}, "expected|Expected numbers from 0 to 1"),
        ({"burst_steps": (5, 2)}, "expected .shortest, longest."),
    ],
)
def test_noise_that_cannot_be_made_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(NoiseOptionsError, match=message):
        NoiseOptions(**wrong)  # type: ignore[arg-type]
