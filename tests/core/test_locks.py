"""An output belongs to one process at a time, and to nobody when that process is gone."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vla_bench.core.errors import OutputInUseError
from vla_bench.core.files import claimed

_HOLD = """
import sys
from pathlib import Path
from vla_bench.core.files import claimed
with claimed(Path(sys.argv[1])):
    print("holding", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "x"


@pytest.fixture
def holder(output: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds `output`."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(output)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "holding\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_and_told_who_holds_it(output: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(OutputInUseError, match=rf"in use by another run \(process {holder.pid}\)"), claimed(output):
        pass


def test_a_killed_holder_leaves_the_output_free(output: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    with claimed(output):
        pass


def test_another_output_beside_it_is_free(output: Path, holder: subprocess.Popen[str]) -> None:
    with claimed(output.with_name("y")):
        pass


def test_a_claim_ends_with_its_block(output: Path) -> None:
    with claimed(output):
        pass
    with claimed(output):
        pass


def test_a_claim_makes_no_output(output: Path) -> None:
    with claimed(output):
        assert not output.exists()
        assert str(os.getpid()) in (output.parent / ".x.lock").read_text()


def test_nothing_is_left_of_a_claim_even_where_its_block_failed(output: Path) -> None:
    with pytest.raises(ZeroDivisionError), claimed(output):
        _ = 1 / 0
    assert list(output.parent.iterdir()) == []


def test_claims_one_after_another_never_meet(output: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom vla_bench.core.errors import OutputInUseError\n"
        "from vla_bench.core.files import claimed\n"
        "output, done = Path(sys.argv[1]), 0\n"
        "while done < 200:\n"
        "    try:\n"
        "        with claimed(output):\n"
        "            (output.parent / 'held').open('x').close()\n"  # fails where another holds it
        "            (output.parent / 'held').unlink()\n"
        "            done += 1\n"
        "    except OutputInUseError:\n"
        "        continue\n"
    )
    processes = [subprocess.Popen([sys.executable, "-c", program, str(output)]) for _ in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
