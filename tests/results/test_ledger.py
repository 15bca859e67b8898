import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.results.made_up import episode, episodes
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.results.errors import LedgerError
from vla_bench.results.ledger import LEDGER_NAME, Ledger, read_ledger

ROOT = Path(__file__).parents[2]
OF_VERSION_2 = Path(__file__).parent / "written_before" / "ledger_version_2.sqlite"
WRITE_FOREVER = """
import os, sys
from pathlib import Path
from tests.results.made_up import episode
from vla_bench.results.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
for index in range(int(sys.argv[2])):
    ledger.append(episode(index))
    print(index, flush=True)
os.kill(os.getpid(), 9)
"""

_ADDED = (  # to version 1
    *("final_progress", "final_phase", "card_hash", "session", "attempts", "error_source", "digest"),
    *("path_length_m", "drops", "disturbed", "peak_force_n", "subgoals"),
)


def writer(path: Path, count: int) -> "subprocess.Popen[str]":
    """Start a process that records `count` episodes and is killed without closing the ledger."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITE_FOREVER, str(path), str(count)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def filled(path: Path, count: int = 40) -> Path:
    with Ledger(path) as ledger:
        for index in range(count):
            ledger.append(episode(index))
    return path


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    record = replace(episode(3, "error"), instruction="Mélange the 红 cube", reward=0.1 + 0.2, task="naïve_task")
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.append(record)
    rows = read_ledger(tmp_path / LEDGER_NAME).to_dict("records")
    assert rows == [asdict(record)]


def test_a_recorded_episode_is_visible_at_once(tmp_path: Path) -> None:
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        for index in range(3):
            ledger.append(episode(index))
            assert len(read_ledger(tmp_path / LEDGER_NAME)) == index + 1


def test_reopened_ledger_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "new" / LEDGER_NAME
    for index in range(3):
        with Ledger(path) as ledger:
            assert ledger.finished() == {EpisodeIdentity("robosuite", "lift", done, 0) for done in range(index)}
            ledger.append(episode(index))


def test_episodes_come_in_order_of_identity_whatever_the_order_of_writing(tmp_path: Path) -> None:
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        for index in (10, 2, 1):
            ledger.append(episode(index))
    assert list(read_ledger(tmp_path / LEDGER_NAME)["episode_index"]) == [1, 2, 10]


def test_an_error_may_be_tried_again_and_a_result_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / LEDGER_NAME
    with Ledger(path) as ledger:
        for record in episodes("se"):
            ledger.append(record)
        assert {item.index for item in ledger.finished()} == {0}
        assert {item.index for item in ledger.errored()} == {1}
        ledger.append(episode(1, "failure"))
        for index in (0, 1):
            with pytest.raises(LedgerError, match="recorded already"):
                ledger.append(episode(index, "error"))
        assert ledger.errored() == set()
    assert list(read_ledger(path)["outcome"]) == ["success", "failure"]


def test_numpy_numbers_are_stored_as_numbers(tmp_path: Path) -> None:
    record = replace(episode(), steps=np.int64(7), reward=np.float32(0.5))  # type: ignore[arg-type]
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        ledger.append(record)
    frame = read_ledger(tmp_path / LEDGER_NAME)
    assert (frame["steps"][0], frame["reward"][0]) == (7, 0.5)
    assert [str(frame[name].dtype) for name in ("steps", "reward")] == ["int64", "float64"]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"outcome": "timeout"}, "outcome is 'timeout'"),
        ({"reward": float("nan")}, "reward is nan"),
        ({"outcome": "error"}, "error text exactly when"),
        ({"error": "Traceback"}, "error text exactly when"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused(fields: dict[str, str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        replace(episode(), **fields)  # type: ignore[arg-type]


def test_a_ledger_without_episodes_is_read_as_an_empty_frame(tmp_path: Path) -> None:
    Ledger(tmp_path / LEDGER_NAME).close()
    frame = read_ledger(tmp_path / LEDGER_NAME)
    assert frame.empty
    assert list(frame.columns) == list(asdict(episode()))


def test_a_killed_writer_loses_nothing_that_it_recorded(tmp_path: Path) -> None:
    path = tmp_path / LEDGER_NAME
    with writer(path, 7) as process:
        process.communicate(timeout=60)
    assert process.returncode == -9
    assert path.with_name(f"{LEDGER_NAME}-wal").exists()  # it was not closed
    assert len(read_ledger(path)) == 7
    with Ledger(path) as ledger:
        ledger.append(episode(7))
        assert len(ledger.finished()) == 8


def test_anyone_may_read_while_another_process_writes(tmp_path: Path) -> None:
    path = tmp_path / LEDGER_NAME
    counts = []
    with writer(path, 150) as process:
        assert process.stdout is not None
        for line in process.stdout:  # each line says which episode is recorded
            if int(line) % 10 == 0:
                counts.append(len(read_ledger(path)))
                assert counts[-1] >= int(line) + 1
    assert counts == sorted(counts)
    assert len(read_ledger(path)) == 150


@pytest.mark.parametrize("share", [0.001, 0.01, 0.3, 0.6, 0.99])
def test_a_truncated_ledger_is_told_and_left_alone(tmp_path: Path, share: float) -> None:
    whole = filled(tmp_path / "whole.sqlite").read_bytes()
    path = tmp_path / LEDGER_NAME
    path.write_bytes(whole[: int(share * len(whole))])
    before = path.read_bytes()
    for use in (read_ledger, Ledger):
        with pytest.raises(LedgerError, match=f"{LEDGER_NAME}: .*(damaged|not a ledger)"):
            use(path)
    assert path.read_bytes() == before


def test_other_files_are_not_taken_for_ledgers(tmp_path: Path) -> None:
    text = tmp_path / "text.sqlite"
    text.write_text("policy,suite,task\n" * 100)
    foreign = tmp_path / "foreign.sqlite"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE episodes (id INTEGER)")
    connection.close()
    for path in (text, foreign):
        before = path.read_bytes()
        for use in (read_ledger, Ledger):
            with pytest.raises(LedgerError, match="not a ledger"):
                use(path)
        assert path.read_bytes() == before


def test_a_missing_and_an_empty_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no such file"):
        read_ledger(tmp_path / LEDGER_NAME)
    (tmp_path / LEDGER_NAME).touch()
    with pytest.raises(LedgerError, match="the file is empty"):
        read_ledger(tmp_path / LEDGER_NAME)


def test_a_ledger_of_another_schema_version_is_told(tmp_path: Path) -> None:
    path = filled(tmp_path / LEDGER_NAME, 1)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for use in (read_ledger, Ledger):
        with pytest.raises(LedgerError, match=r"schema version is 99.*knows 1.*newer vla_bench"):
            use(path)


def test_a_ledger_in_a_folder_that_cannot_be_written_to_is_read(tmp_path: Path) -> None:
    path = tmp_path / "shared" / LEDGER_NAME
    with writer(path, 5) as process:
        process.communicate(timeout=60)
    path.with_name(f"{LEDGER_NAME}-shm").unlink()  # as after copying ledger and log to a shared folder
    path.parent.chmod(0o555)
    if os.access(path.parent, os.W_OK):
        pytest.skip("this user may write everywhere")
    assert len(read_ledger(path)) == 5


def test_a_ledger_of_version_1_is_read_and_brought_up_to_date_with_a_copy_kept(tmp_path: Path) -> None:
    path = filled(tmp_path / LEDGER_NAME, 2)
    with sqlite3.connect(path) as connection:  # as version 1 was
        for name in _ADDED:
            connection.execute(f"ALTER TABLE episodes DROP COLUMN {name}")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    before = path.read_bytes()
    frame = read_ledger(path)
    assert list(frame.columns) == list(asdict(episode()))
    assert (frame["final_progress"] == frame["progress"]).all()
    assert (frame["final_phase"] == frame["phase"]).all()
    assert (frame["attempts"] == 1).all()
    assert path.read_bytes() == before, "reading changes nothing"
    with Ledger(path) as ledger:
        ledger.append(replace(episode(2), session=3))
    assert list(read_ledger(path)["session"]) == [0, 0, 3]
    pd.testing.assert_frame_equal(read_ledger(path)[:2], frame)
    kept = path.with_name(f"{LEDGER_NAME}.v1")
    pd.testing.assert_frame_equal(read_ledger(kept), frame)


def test_records_are_had_from_the_open_ledger(tmp_path: Path) -> None:
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        for record in episodes("sfe"):
            ledger.append(record)
        assert ledger.records() == episodes("sfe")


def test_a_ledger_of_version_2_keeps_its_digests_checked(tmp_path: Path) -> None:
    path = tmp_path / LEDGER_NAME
    shutil.copyfile(OF_VERSION_2, path)
    before = read_ledger(path)
    assert (before["subgoals"] == "").all()
    Ledger(path).close()
    pd.testing.assert_frame_equal(read_ledger(path), before)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM episodes WHERE digest = ''").fetchone() == (0,)
        connection.execute("UPDATE episodes SET outcome = 'failure' WHERE episode_index = 3")
    connection.close()
    with pytest.raises(LedgerError, match="3 records are not what was written"):
        read_ledger(path)


def test_a_changed_row_is_not_brought_up_to_date(tmp_path: Path) -> None:
    path = tmp_path / LEDGER_NAME
    shutil.copyfile(OF_VERSION_2, path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        connection.execute("UPDATE episodes SET steps = 1 WHERE episode_index = 0")
    connection.close()
    for use in (read_ledger, Ledger):
        with pytest.raises(LedgerError, match="3 records are not what was written"):
            use(path)


def test_a_ledger_that_is_only_being_made_is_no_foreign_file(tmp_path: Path) -> None:
    empty, foreign = tmp_path / "empty.sqlite", tmp_path / "foreign.sqlite"
    for path, table in ((empty, "DROP TABLE notes"), (foreign, "CREATE TABLE more (text TEXT)")):
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE notes (text TEXT)")
            connection.execute(table)
        connection.close()
    with pytest.raises(LedgerError, match="nothing is in it yet"):
        read_ledger(empty)
    with pytest.raises(LedgerError, match="not a ledger of episodes"):
        read_ledger(foreign)


def test_a_row_without_its_digest_is_not_taken_for_one_of_version_1(tmp_path: Path) -> None:
    path = tmp_path / LEDGER_NAME
    with Ledger(path) as ledger:
        ledger.append(replace(episode(0, "failure"), card_hash="0123456789abcdef"))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE episodes SET outcome = 'success', digest = ''")
    connection.close()
    with pytest.raises(LedgerError, match="1 records are not what was written"):
        read_ledger(path)


def test_a_full_disk_is_told_and_what_was_recorded_is_kept(tmp_path: Path) -> None:
    path = tmp_path / LEDGER_NAME
    with Ledger(path) as ledger:
        ledger._connection.execute("PRAGMA max_page_count = 5")  # SQLite's own limit, with the error of a full disk
        with pytest.raises(LedgerError, match=r"the disk is full .*What is recorded is kept: make room, and the same"):
            for index in range(99):
                ledger.append(episode(index))
        recorded = len(ledger.records())
    assert 0 < recorded < 99
    with Ledger(path) as ledger:
        ledger.append(episode(99))
    assert len(read_ledger(path)) == recorded + 1
