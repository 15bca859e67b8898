import io
import time

import pytest
from rich.console import Console

from vla_bench.cli import terminal
from vla_bench.cli.terminal import show_progress


def test_a_log_says_where_it_is_and_that_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "_QUIET_S", 0.01)
    written = io.StringIO()
    with show_progress("p", Console(file=written)) as update:
        update(2, 9, "success 50%")
        deadline = time.monotonic() + 30
        while "no progress" not in written.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    lines = written.getvalue().splitlines()
    assert lines[0].startswith("p 2/9 success 50% (0 s)")
    assert lines[1].startswith("p 2/9 no progress for ")


def test_a_log_of_what_goes_on_says_no_more() -> None:
    written = io.StringIO()
    with show_progress("p", Console(file=written)) as update:
        for done in range(10):
            update(done, 9)
    assert [line.split()[1] for line in written.getvalue().splitlines()] == ["0/9", "9/9"]
