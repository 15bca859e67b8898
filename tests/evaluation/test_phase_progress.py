import pytest

from vla_bench.evaluation.rollout_statistics import PhaseProgress


def furthest(*states: tuple[float, str]) -> tuple[float, str]:
    reached = PhaseProgress()
    for progress, phase in states:
        reached = reached.after(progress, phase)
    return reached.progress, reached.phase


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([(0.0, "reach"), (0.0, "grasp"), (0.0, "carry"), (0.0, "reach")], (0.0, "carry")),
        ([(0.0, "carry"), (0.5, "reach"), (0.5, "grasp"), (0.0, "reach")], (0.5, "grasp")),
        ([(0.5, "release"), (1.0, "done")], (1.0, "done")),
        ([(0.0, "grasp"), (0.0, "juggle"), (0.0, "reach")], (0.0, "juggle")),
        ([(0.0, "juggle"), (0.0, "release")], (0.0, "release")),
        ([(0.0, "")], (0.0, "")),
    ],
)
def test_the_furthest_phase_is_kept_when_the_episode_falls_back(
    states: list[tuple[float, str]], expected: tuple[float, str]
) -> None:
    assert furthest(*states) == expected
