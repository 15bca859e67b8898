"""Placement without collisions, reproducible from the generator, with errors if there is no space."""

import numpy as np
import pytest

from vla_bench.core.errors import UnknownNameError
from vla_bench.envs.descriptions import Region
from vla_bench.envs.tabletop.placement import AmbiguousPlacementError, PlacementError, UnplacedError, sample_places
from vla_bench.tasks import Relation
from vla_bench.tasks.initial_conditions import Footprint, Place

REGIONS = {
    "wide": Region(centre_m=(0.1, -0.2), half_size_m=(0.2, 0.15), yaw_range_deg=(-30.0, 60.0), clearance_m=0.02),
    "tiny": Region(centre_m=(0.5, 0.5), half_size_m=(0.01, 0.01)),
}
RADII_M = {"cube": 0.03, "can": 0.04, "mug": 0.05, "plate": 0.09}


def _footprints(radii_m: dict[str, float], kind: str = "") -> dict[str, Footprint]:
    return {item: Footprint(radius_m, kind) for item, radius_m in radii_m.items()}


def _in(region: str, *items: str) -> list[Relation]:
    return [Relation("in_region", (item, region)) for item in items]


def _sample(seed: int) -> dict[str, Place]:
    return sample_places(_in("wide", *RADII_M), REGIONS, _footprints(RADII_M), np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(20))
def test_objects_are_separated_within_their_region(seed: int) -> None:
    places = _sample(seed)
    assert list(places) == list(RADII_M)
    for item, place in places.items():
        assert abs(place.position[0] - 0.1) <= 0.2
        assert abs(place.position[1] + 0.2) <= 0.15
        assert np.radians(-30) <= place.yaw_rad <= np.radians(60)
        for other, there in places.items():
            distance = np.hypot(*np.subtract(place.position, there.position))
            assert item == other or distance > RADII_M[item] + RADII_M[other] + 0.02


def test_the_generator_decides_the_places() -> None:
    assert _sample(3) == _sample(3)
    assert _sample(3) != _sample(4)


def test_the_whole_region_is_used() -> None:
    generator = np.random.default_rng(0)
    drawn = [
        sample_places(_in("wide", "cube"), REGIONS, _footprints({"cube": 0.03}), generator)["cube"] for _ in range(300)
    ]
    spread = np.ptp([place.position for place in drawn], axis=0)
    assert np.all(spread > [0.38, 0.28])
    assert np.ptp([place.yaw_rad for place in drawn]) > np.radians(85)


def test_a_first_place_that_leaves_no_space_is_sampled_again() -> None:
    # Two plates fit into 0.4 m only if the first is near an end: most single samples fail.
    row = {"row": Region(centre_m=(0.0, 0.0), half_size_m=(0.2, 0.0), clearance_m=0.0)}
    radii_m = {"left": 0.15, "right": 0.15}
    for seed in range(10):
        places = sample_places(_in("row", *radii_m), row, _footprints(radii_m), np.random.default_rng(seed))
        assert abs(places["left"].position[0] - places["right"].position[0]) > 0.3


def test_the_error_of_a_full_region_names_objects_region_and_tries() -> None:
    footprints = _footprints({"cube": 0.03, "can": 0.04, "mug": 0.05})
    relations = [*_in("wide", "mug"), *_in("tiny", "cube", "can")]
    message = (
        r"^No free place was found for 'can' in region 'tiny' next to 'cube' after 60000 tries\. "
        r"Make the region larger, its clearance smaller, or put fewer objects into it\.$"
    )
    with pytest.raises(PlacementError, match=message):
        sample_places(relations, REGIONS, footprints, np.random.default_rng(0))


def test_the_error_of_a_relation_without_space_names_it_and_its_neighbors() -> None:
    relations = [*_in("tiny", "cube"), Relation("next_to", ("can", "cube"))]
    tiny = {"tiny": REGIONS["tiny"]}  # nothing else of the surface may be used
    message = r"^No free place was found for 'can' for `next_to\(can, cube\)` next to 'cube' after 60000 tries\."
    with pytest.raises(PlacementError, match=message):
        sample_places(relations, tiny, _footprints({"cube": 0.03, "can": 0.04}), np.random.default_rng(0))


def test_a_relation_that_does_not_identify_its_object_is_an_error() -> None:
    footprints = _footprints({"first": 0.03, "second": 0.03}, "bowl") | _footprints({"plate": 0.09})
    near = [Relation("next_to", ("first", "plate")), Relation("left_of", ("second", "plate"))]
    message = r"^`next_to\(first, plate\)` does not identify 'first': 'second' looks the same and fulfills it too"
    with pytest.raises(AmbiguousPlacementError, match=message):
        sample_places([*_in("wide", "plate"), *near], REGIONS, footprints, np.random.default_rng(0))


def test_identical_objects_may_share_a_region() -> None:
    footprints = _footprints({"first": 0.03, "second": 0.03}, "cube")
    assert len(sample_places(_in("wide", "first", "second"), REGIONS, footprints, np.random.default_rng(0))) == 2


def test_the_error_of_an_unknown_region_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"No region named 'tinny'\. Did you mean 'tiny'\?"):
        sample_places(_in("tinny", "cube"), REGIONS, _footprints({"cube": 0.03}), np.random.default_rng(0))


def test_an_object_without_a_place_is_an_error() -> None:
    with pytest.raises(
        UnplacedError, match=r"does not place mug, plate .* `\"in_region\(mug, REGION\)\"` to `initial`"
    ):
        sample_places(_in("wide", "cube", "can"), REGIONS, _footprints(RADII_M), np.random.default_rng(0))
