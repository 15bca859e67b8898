"""Words for directions, exchanged as the scene is mirrored or turned; whole words, in the case they were written."""

import re
from collections.abc import Mapping

_MIRRORED = {"left": "right", "right": "left", "leftmost": "rightmost", "rightmost": "leftmost"} | {
    "leftward": "rightward",
    "rightward": "leftward",
    "leftwards": "rightwards",
    "rightwards": "leftwards",
    "clockwise": "counterclockwise",
    "counterclockwise": "clockwise",
    "anticlockwise": "clockwise",
}
_HALF_TURNED = {
    word: other for word, other in _MIRRORED.items() if "clockwise" not in word
} | {  # seen from above, a turn stays a turn
    "in front of": "behind",
    "behind": "in front of",
    "front": "back",
    "back": "front",
    "frontmost": "backmost",
    "backmost": "frontmost",
    "forward": "backward",
    "backward": "forward",
    "forwards": "backwards",
    "backwards": "forwards",
}


def mirrored_text(text: str) -> str:
    """Return `text` with left and right exchanged."""
    return _exchanged(text, _MIRRORED)


def half_turned_text(text: str) -> str:
    """Return `text` with left and right, front and back exchanged."""
    return _exchanged(text, _HALF_TURNED)


def direction_in(text: str) -> str | None:
    """Return the first word for a direction in `text`."""
    found = _pattern(_HALF_TURNED).search(text)
    return found.group(0) if found else None


def _exchanged(text: str, words: Mapping[str, str]) -> str:
    return _pattern(words).sub(lambda found: _in_case_of(found.group(0), words[found.group(0).lower()]), text)


def _pattern(words: Mapping[str, str]) -> re.Pattern[str]:
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(longest_first)})\b", re.IGNORECASE)


def _in_case_of(written: str, word: str) -> str:
    if written.isupper():
        return word.upper()
    return word.capitalize() if written[0].isupper() else word
