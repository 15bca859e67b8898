"""What the numbers of a segmentation stand for. No MuJoCo here: environments ask before it is loaded."""

from collections.abc import Iterable

FIXED_SEGMENTS = ("background", "robot")  # the first numbers; items follow


def segment_names(items: Iterable[str]) -> tuple[str, ...]:
    """Return what the numbers of a segmentation stand for: 0 background, 1 robot, then the items in their order."""
    return (*FIXED_SEGMENTS, *items)
