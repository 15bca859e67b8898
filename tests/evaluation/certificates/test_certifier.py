"""Unsolved episodes are replaced by those of the next index, the same ones whatever the order of the trials."""

from collections.abc import Iterable

import pytest

from vla_bench.core.episode import CLEAN, EpisodeIdentity
from vla_bench.evaluation.certificates.certifier import CertifiedEpisodes, EpisodeQuota, TaskVariant
from vla_bench.results.certificates import Certificate

CELL = TaskVariant("tabletop_pick", "pick_red_cube", "layout=3")


def _known(clean: str, perturbed: str) -> dict[EpisodeIdentity, Certificate]:
    """Certificates by letters: s for solved, f for not, - for none."""
    found = {}
    for cell, letters in ((CELL.clean(), clean), (CELL, perturbed)):
        for index, letter in enumerate(letters):
            if letter != "-":
                episode = cell.episode(index, 0)
                found[episode] = Certificate(episode, "scene", "physics", letter == "s", 9, cell.variant)
    return found


def _indices(episodes: Iterable[EpisodeIdentity]) -> list[int]:
    return [episode.index for episode in episodes]


@pytest.mark.parametrize(
    ("clean", "perturbed", "asked"),
    [
        ("", "", ["clean/0", "clean/1"]),
        ("ss", "", ["layout=3/0", "layout=3/1"]),
        ("ss", "fs", ["clean/2"]),  # what is not solved is replaced
        ("sss", "fs", ["layout=3/2"]),
        ("fs", "-s", ["clean/2"]),  # and what is not solved clean
        ("sss", "fss", []),
        ("ssss", "ffff", []),  # no index is left
    ],
)
def test_next_episodes_to_certify(clean: str, perturbed: str, asked: list[str]) -> None:
    untried = EpisodeQuota(episodes=2, most=4).untried(CELL, _known(clean, perturbed))
    assert [f"{episode.variant}/{episode.index}" for episode in untried] == asked


def test_the_first_solved_indices_are_used_with_their_clean_episodes() -> None:
    certified = CertifiedEpisodes(EpisodeQuota(episodes=2, most=4), _known("sfss", "f-ss"))
    assert _indices(certified.quota.used(CELL, certified.known)) == [2, 3]
    assert [(episode.variant, episode.index) for episode in certified.used([CELL.clean(), CELL])] == [
        *((CLEAN, index) for index in (0, 2, 3)),
        *((CELL.variant, index) for index in (2, 3)),
    ]


def test_an_episode_without_a_clean_certificate_is_not_used() -> None:
    assert EpisodeQuota(2, 4).used(CELL, _known("", "ss")) == []
