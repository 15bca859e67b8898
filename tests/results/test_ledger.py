import hashlib
import json
import os
import shlex
import sqlite3
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.results.made_up import episode, episodes, made_run
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.results.errors import LedgerError
from vla_bench.results.ledger import LEDGER_NAME, Ledger, read_ledger
from vla_bench.results.run_info import RunInfo

ROOT = Path(__file__).parents[2]
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


def test_a_reopened_ledger_keeps_its_episodes(tmp_path: Path) -> None:
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
            with pytest.raises(LedgerError, match="is already recorded"):
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
        ({"outcome": "error"}, "error text if its outcome"),
        ({"error": "Traceback"}, "error text if its outcome"),
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


def test_a_growing_ledger_can_be_read_by_another_process(tmp_path: Path) -> None:
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
def test_a_truncated_ledger_is_reported_and_not_changed(tmp_path: Path, share: float) -> None:
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


def test_a_missing_and_an_empty_file_are_reported(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="no such file"):
        read_ledger(tmp_path / LEDGER_NAME)
    (tmp_path / LEDGER_NAME).touch()
    with pytest.raises(LedgerError, match="the file is empty"):
        read_ledger(tmp_path / LEDGER_NAME)


def test_a_ledger_in_a_folder_that_cannot_be_written_to_is_read(tmp_path: Path) -> None:
    path = tmp_path / "shared" / LEDGER_NAME
    with writer(path, 5) as process:
        process.communicate(timeout=60)
    path.with_name(f"{LEDGER_NAME}-shm").unlink()  # as after copying ledger and log to a shared folder
    path.parent.chmod(0o555)
    if os.access(path.parent, os.W_OK):
        pytest.skip("this user may write everywhere")
    assert len(read_ledger(path)) == 5


def test_an_open_ledger_returns_its_records(tmp_path: Path) -> None:
    with Ledger(tmp_path / LEDGER_NAME) as ledger:
        for record in episodes("sfe"):
            ledger.append(record)
        assert ledger.records() == episodes("sfe")


def test_an_unfinished_ledger_is_not_reported_as_another_file(tmp_path: Path) -> None:
    empty, foreign = tmp_path / "empty.sqlite", tmp_path / "foreign.sqlite"
    for path, table in ((empty, "DROP TABLE notes"), (foreign, "CREATE TABLE more (text TEXT)")):
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE notes (text TEXT)")
            connection.execute(table)
        connection.close()
    with pytest.raises(LedgerError, match="no table of episodes yet"):
        read_ledger(empty)
    with pytest.raises(LedgerError, match="not a ledger of episodes"):
        read_ledger(foreign)


def test_a_full_disk_is_reported_and_recorded_episodes_are_kept(tmp_path: Path) -> None:
    path = tmp_path / LEDGER_NAME
    with Ledger(path) as ledger:
        ledger._connection.execute("PRAGMA max_page_count = 5")  # SQLite reports this limit as a full disk
        with pytest.raises(LedgerError, match=r"the disk is full .*Recorded episodes are kept: free some space"):
            for index in range(99):
                ledger.append(episode(index))
        recorded = len(ledger.records())
    assert 0 < recorded < 99
    with Ledger(path) as ledger:
        ledger.append(episode(99))
    assert len(read_ledger(path)) == recorded + 1


def changed(path: Path, *statements: str) -> None:
    with sqlite3.connect(path) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_a_ledger_of_another_format_version_is_refused(tmp_path: Path) -> None:
    path = filled(tmp_path / LEDGER_NAME, 1)
    changed(path, "PRAGMA user_version = 99")
    for use in (read_ledger, Ledger):
        with pytest.raises(LedgerError, match="format version is 99, expected 3"):
            use(path)


@pytest.mark.parametrize("change", ["outcome = 'success'", "outcome = 'success', digest = ''", "steps = 1"])
def test_a_changed_row_is_reported(tmp_path: Path, change: str) -> None:
    path = tmp_path / LEDGER_NAME
    with Ledger(path) as ledger:
        ledger.append(episode(0, "failure"))
    changed(path, f"UPDATE episodes SET {change}")
    with pytest.raises(LedgerError, match="1 records differ from what was written"):
        read_ledger(path)
    with Ledger(path) as ledger, pytest.raises(LedgerError, match="1 records differ from what was written"):
        ledger.records()


def test_columns_that_an_older_ledger_lacks_get_their_defaults(tmp_path: Path) -> None:
    path = filled(tmp_path / LEDGER_NAME, 2)
    expected = read_ledger(path).assign(subgoals="")
    values = [list(asdict(episode(index)).values())[:-1] for index in range(2)]  # `subgoals` is the last field
    digests = [hashlib.sha256(json.dumps(row).encode()).hexdigest()[:16] for row in values]
    updates = [f"UPDATE episodes SET digest = '{digest}' WHERE episode_index = {i}" for i, digest in enumerate(digests)]
    changed(path, "ALTER TABLE episodes DROP COLUMN subgoals", *updates)
    pd.testing.assert_frame_equal(read_ledger(path), expected)
    with pytest.raises(LedgerError, match="an older vla_bench wrote it, without subgoals"):
        Ledger(path)


def test_an_unknown_column_names_a_newer_version(tmp_path: Path) -> None:
    path = filled(tmp_path / LEDGER_NAME, 1)
    changed(path, "ALTER TABLE episodes ADD COLUMN grip_margin_m REAL NOT NULL DEFAULT 0.0")
    for use in (read_ledger, Ledger):
        with pytest.raises(LedgerError, match=r"unknown columns grip_margin_m \(a newer vla_bench wrote it\)"):
            use(path)


def test_a_damaged_ledger_names_the_command_that_regenerates_its_episodes(tmp_path: Path) -> None:
    run = made_run(tmp_path / "a", episodes("ssf" * 60))
    path = run / LEDGER_NAME
    path.write_bytes(path.read_bytes()[:-8192])
    command = shlex.join(RunInfo.read(run).sessions[-1].command)
    with pytest.raises(LedgerError) as raised:
        read_ledger(path)
    assert f"then `{command}` runs them again" in str(raised.value)


def test_a_damaged_ledger_names_the_commands_of_all_sessions_and_no_other_program(tmp_path: Path) -> None:
    run = made_run(tmp_path / "a", episodes("ssf" * 60))
    path = run / LEDGER_NAME
    path.write_bytes(path.read_bytes()[:-8192])
    info = RunInfo.read(run)
    first, second, foreign = (
        info.sessions[0].model_copy(update={"command": (program, "run", "--task", task)})
        for program, task in (("__main__.py", "a"), ("vla-bench", "b"), ("rm", "c"))
    )
    info.model_copy(update={"sessions": (first, second, second)}).write(run)
    with pytest.raises(LedgerError, match=r"then `vla-bench run --task a` and `vla-bench run --task b` run them"):
        read_ledger(path)
    info.model_copy(update={"sessions": (first, foreign)}).write(run)
    with pytest.raises(LedgerError, match=r"then `vla-bench run \.\.\. --output "):
        read_ledger(path)


def test_the_advice_for_a_damaged_ledger_moves_its_write_ahead_log_along(tmp_path: Path) -> None:
    run = made_run(tmp_path / "a b", episodes("ssf" * 60))
    path = run / LEDGER_NAME
    path.write_bytes(path.read_bytes()[:-8192])
    with pytest.raises(LedgerError) as raised:
        read_ledger(path)
    path.with_name(f"{LEDGER_NAME}-wal").write_bytes(b"frames")
    subprocess.run(str(raised.value).split("`")[1], shell=True, check=True)
    assert not list(run.glob(f"{LEDGER_NAME}*"))
    assert (run / "damaged" / f"{LEDGER_NAME}-wal").read_bytes() == b"frames"


def test_a_schema_that_is_not_text_is_a_damaged_ledger(tmp_path: Path) -> None:
    path = made_run(tmp_path / "a", episodes("ssf")) / LEDGER_NAME
    content = path.read_bytes()
    for name in (b"policy_s REAL", b"error TEXT", b"outcome TEXT"):
        path.write_bytes(content.replace(name, name[:-2] + b"\xac" + name[-1:]))
        with pytest.raises(LedgerError, match="damaged"):
            read_ledger(path)
