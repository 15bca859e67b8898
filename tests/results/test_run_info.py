import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.results.made_up import described
from vla_bench.results.errors import RunFolderError
from vla_bench.results.run_info import (
    RUN_INFO_NAME,
    RunInfo,
    content_hash,
    describe_run,
    git_state,
)


def test_a_description_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    info = described("naïve", protocol={"horizon": (200, 300), "suites": {"robosuite": None}}).finished_now()
    info.write(tmp_path)
    assert RunInfo.read(tmp_path) == info


def test_a_description_says_where_and_with_what() -> None:
    info = described()
    hardware = info.sessions[0].hardware
    assert hardware.cpu
    assert hardware.cores >= 1
    assert hardware.memory_gb > 0.1
    assert info.versions["numpy"]
    assert info.started.utcoffset() is not None
    assert info.finished is None
    assert (info.finished_now().finished or info.started) >= info.started


def test_the_command_is_kept_without_the_programs_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/home/someone/.venv/bin/vla-bench", "run", "--seed", "0"])
    info = describe_run("random", card={}, protocol={}, planned=())
    assert info.sessions[0].command == ("vla-bench", "run", "--seed", "0")


def test_differences_name_the_field_and_both_values(tmp_path: Path) -> None:
    checkpoint = tmp_path / "model.safetensors"
    checkpoint.write_bytes(b"weights")
    first = described("a", card={"kind": "openvla", "chunk": {"execute": 8}}, protocol={"rendering": "fast"})
    second = described(
        "b",
        card={"kind": "openvla", "chunk": {"execute": 4}, "adapter": "x"},
        protocol={"rendering": "faithful"},
        checkpoint=checkpoint,
    )
    assert first.differences(first) == []
    assert first.differences(second) == [
        'policy: "a", then "b"',
        "card.chunk.execute: 8, then 4",
        'card.adapter: nothing, then "x"',
        f'checkpoint_hash: "", then "{content_hash(checkpoint)}"',
        'protocol.rendering: "fast", then "faithful"',
    ]


def test_software_counts_and_the_machine_does_not() -> None:
    info = described()
    other = info.model_copy(update={"versions": {**info.versions, "mujoco": "2.0"}})
    assert [line.partition(":")[0] for line in info.differences(other)] == ["versions.mujoco"]
    session = info.sessions[0]
    hardware = session.hardware.model_copy(update={"cpu": "abacus"})
    moved = info.model_copy(update={"sessions": (session.model_copy(update={"hardware": hardware}),)})
    assert info.differences(moved) == []


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format_version": 99}, "field `format_version`"),
        ({"polcy": "x"}, "field `polcy`"),
        ({"sessions": []}, "field `sessions`"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: dict[str, object], text: str) -> None:
    described().write(tmp_path)
    path = tmp_path / RUN_INFO_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunFolderError, match=f"{tmp_path.name}.*{RUN_INFO_NAME}: {text}"):
        RunInfo.read(tmp_path)


def test_a_truncated_and_a_missing_description_are_told(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"has no run\.json"):
        RunInfo.read(tmp_path)
    described().write(tmp_path)
    path = tmp_path / RUN_INFO_NAME
    path.write_text(path.read_text()[:100])
    with pytest.raises(RunFolderError, match=r"field `\(whole file\)`: Invalid JSON"):
        RunInfo.read(tmp_path)


def test_content_hash_follows_names_and_contents(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        (folder / "shards").mkdir(parents=True)
        (folder / "shards" / "a.safetensors").write_bytes(b"weights")
    same = content_hash(first)
    assert same == content_hash(second)
    (second / "shards" / "a.safetensors").write_bytes(b"Weights")
    assert content_hash(second) != same
    (first / "shards" / "a.safetensors").rename(first / "a.safetensors")
    assert content_hash(first) != same


def test_git_state_is_the_commit_and_whether_sources_changed(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@x")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    assert git_state(tmp_path).commit == ""
    git("init", "-q")
    assert git_state(tmp_path).commit == ""  # nothing committed
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "suite.toml").write_text("horizon = 200")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (tmp_path / "notes.md").write_text("does not change an episode")
    clean = git_state(tmp_path)
    assert (clean.commit, clean.dirty) == (git("rev-parse", "HEAD"), False)
    index = tmp_path / ".git" / "index"
    before = index.read_bytes()
    os.utime(tmp_path / "tasks" / "suite.toml", (1, 1))  # git would refresh its index
    assert not git_state(tmp_path).dirty
    assert index.read_bytes() == before, "it takes no lock from whoever commits meanwhile"
    (tmp_path / "tasks" / "suite.toml").write_text("horizon = 100")
    assert git_state(tmp_path).dirty
