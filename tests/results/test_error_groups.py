import traceback

import pytest

from tests.results.made_up import episode, frame_of
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.runs import error_groups, exception_line


def _traceback(error: Exception) -> str:
    try:
        try:
            raise OSError("beneath")
        except OSError as beneath:
            raise error from beneath
    except Exception:
        return traceback.format_exc()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (_traceback(ValueError("no eyes")), "ValueError: no eyes"),
        (_traceback(RuntimeError("sizes differ:\n  head: 3\nhint: none")), "RuntimeError: sizes differ:"),
        (_traceback(KeyError()), "KeyError"),
        ("The worker died.\nTried 3 times.\n", "Tried 3 times."),
        ("PolicyOutputError: not finite", "PolicyOutputError: not finite"),
        ("", ""),
    ],
)
def test_an_error_is_named_by_what_was_raised(text: str, line: str) -> None:
    assert exception_line(text) == line


def test_errors_are_counted_by_what_was_raised_the_most_frequent_first() -> None:
    def broken(index: int, text: str) -> EpisodeRecord:
        return EpisodeRecord(**{**vars(episode(index, "error")), "error": text})

    frame = frame_of([broken(0, "b: x"), broken(1, "a: y"), broken(2, "at 2\na: y"), episode(3)])
    first, second = error_groups(frame)
    assert (first.line, first.count, first.episode, first.example) == ("a: y", 2, "lift/clean/0/1", "a: y")
    assert (second.line, second.count) == ("b: x", 1)
