import random
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from tests.results.made_up import episode, episodes, made_run
from vla_bench.core.errors import OutputInUseError
from vla_bench.core.files import claimed
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.errors import LedgerError, RunFolderError
from vla_bench.results.ledger import LEDGER_NAME, Ledger, read_ledger
from vla_bench.results.ledger_recovery import intact_records, recover_ledger

OF_VERSION_2 = Path(__file__).parent / "written_before" / "ledger_version_2.sqlite"
PAGE = 4096
COUNT = 400

_ADDED = (  # to version 1
    *("final_progress", "final_phase", "card_hash", "session", "attempts", "error_source", "digest"),
    *("path_length_m", "drops", "disturbed", "peak_force_n", "subgoals"),
)


def records() -> list[EpisodeRecord]:
    """Return episodes of which one has a traceback that overflows its page."""
    long = "Traceback\n" + "".join(f"  line {number}\n" for number in range(1200)) + "RuntimeError: far down"
    made = [episode(index, "success" if index % 3 else "failure") for index in range(COUNT)]
    made[7] = replace(episode(7, "error"), error=long, reward=0.25)
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("whole") / "run", records(), planned={"lift": COUNT})


@pytest.fixture
def run(tmp_path: Path, whole: Path) -> Path:
    """Return a copy of a whole run, to be damaged."""
    return shutil.copytree(whole, tmp_path / "run")


def zeroed(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(bytes(PAGE))


def test_every_record_is_read_from_the_pages_of_a_whole_ledger(run: Path) -> None:
    assert intact_records(run / LEDGER_NAME) == records()


def test_records_that_are_still_in_the_log_are_read(tmp_path: Path) -> None:
    path = tmp_path / LEDGER_NAME
    with Ledger(path) as ledger:
        for record in episodes("sfe"):
            ledger.append(record)
        ledger.append(episode(2, "failure"))  # in place of the error
        copy = tmp_path / "copy" / LEDGER_NAME
        copy.parent.mkdir()
        for suffix in ("", "-wal"):
            shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
    assert [record.outcome for record in intact_records(copy)] == ["success", "failure", "failure"]


def test_a_cut_off_ledger_is_recovered_and_what_is_lost_is_said(run: Path) -> None:
    path, whole = run / LEDGER_NAME, read_ledger(run / LEDGER_NAME)
    damaged = path.read_bytes()[: path.stat().st_size * 6 // 10]
    path.write_bytes(damaged)
    with pytest.raises(LedgerError, match=rf"`vla-bench ledger recover {run}` saves what is whole"):
        read_ledger(path)
    recovery = recover_ledger(run)
    frame = read_ledger(path)
    assert 0 < recovery.recovered == len(frame) < COUNT
    expected = whole[whole["episode_index"].isin(frame["episode_index"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(frame, expected)
    assert recovery.lost[0].startswith("robosuite.lift: ")
    assert recovery.lost[0].endswith(f" of {COUNT}")
    assert recovery.kept == run / f"{LEDGER_NAME}.damaged"
    assert recovery.kept.read_bytes() == damaged
    assert recover_ledger(run).damage == "", "a second recovery finds a whole ledger"


@pytest.mark.parametrize("page", [0, 1, 2, 5, 20])
def test_a_page_of_zeros_costs_no_more_than_its_own_records(run: Path, page: int) -> None:
    path = run / LEDGER_NAME
    zeroed(path, page)
    recovery = recover_ledger(run)
    assert recovery.recovered >= COUNT - 40
    frame = read_ledger(path)
    written = pd.DataFrame(records()).set_index("episode_index")
    again = frame.set_index("episode_index")
    pd.testing.assert_frame_equal(again, written.loc[again.index])


def test_scattered_damage_yields_only_records_that_make_sense(run: Path) -> None:
    path, draw = run / LEDGER_NAME, random.Random(3)
    content = bytearray(path.read_bytes())
    for _ in range(300):
        content[draw.randrange(PAGE, len(content))] = draw.randrange(256)
    path.write_bytes(content)
    made = intact_records(path)
    assert 50 < len(made) < COUNT
    assert set(made) <= set(records()), "none that was not written"


def test_a_record_that_sqlite_does_not_notice_to_be_changed_is_noticed(run: Path) -> None:
    path = run / LEDGER_NAME
    content = path.read_bytes()
    assert content.count(b"lift-300-0") == 1
    path.write_bytes(content.replace(b"lift-300-0", b"lift-399-0"))
    with pytest.raises(
        LedgerError, match="1 records are not what was written, the first of robosuite, lift, clean, 300"
    ):
        read_ledger(path)
    recovery = recover_ledger(run)
    assert recovery.recovered == COUNT - 1
    assert recovery.lost == (f"robosuite.lift: 300 of {COUNT}",)


def test_a_recovered_ledger_of_version_1_is_of_this_version(run: Path) -> None:
    path = run / LEDGER_NAME
    with sqlite3.connect(path) as connection:
        for name in _ADDED:
            connection.execute(f"ALTER TABLE episodes DROP COLUMN {name}")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    zeroed(path, 12)
    recover_ledger(run)
    frame = read_ledger(path)
    assert len(frame) >= COUNT - 40
    assert (frame["final_progress"] == frame["progress"]).all()


def test_a_whole_ledger_is_left_alone(run: Path) -> None:
    before = (run / LEDGER_NAME).read_bytes()
    recovery = recover_ledger(run)
    assert (recovery.damage, recovery.recovered, recovery.kept) == ("", COUNT, None)
    assert (run / LEDGER_NAME).read_bytes() == before


def test_what_is_no_ledger_at_all_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="it has no ledger"):
        recover_ledger(tmp_path)
    path = tmp_path / LEDGER_NAME
    path.write_text("policy,suite\n" * 500)
    with pytest.raises(LedgerError, match="no whole record is in it"):
        recover_ledger(tmp_path)
    assert [file.name for file in tmp_path.iterdir() if not file.name.endswith(".lock")] == [LEDGER_NAME]


def test_a_ledger_of_a_newer_version_is_not_taken_for_a_damaged_one(run: Path) -> None:
    with sqlite3.connect(run / LEDGER_NAME) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LedgerError, match="a newer vla_bench wrote it"):
        recover_ledger(run)


def test_a_ledger_in_use_is_not_recovered(run: Path) -> None:
    with claimed(run), pytest.raises(OutputInUseError):
        recover_ledger(run)


def test_rows_of_every_version_are_read_from_the_pages(tmp_path: Path) -> None:
    path = tmp_path / LEDGER_NAME
    shutil.copyfile(OF_VERSION_2, path)
    expected = len(read_ledger(path))
    assert len(intact_records(path)) == expected
    Ledger(path).close()  # brings it up to date
    assert len(intact_records(path)) == expected
