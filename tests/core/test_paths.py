"""Files are written whole or not at all; data folders are found."""

from pathlib import Path

import pytest

from vla_bench.core import files
from vla_bench.core.files import cache_folder, data_folder, written_whole


def test_a_finished_file_stands_under_its_name_alone(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "table.csv"
    with written_whole(target) as temporary:
        temporary.write_text("a,b")
        assert not target.exists()
        assert temporary.suffix == ".csv"  # writers that look at the suffix work
    assert target.read_text() == "a,b"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "table.csv"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="disk full"), written_whole(target) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError("disk full")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", ["envs", "tasks", "policies", "baselines"])
def test_data_folders_are_the_clones_own(name: str) -> None:
    assert data_folder(name) == Path(__file__).parents[2] / name


def test_without_a_clone_the_packages_own_data_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "site-packages" / "vla_bench"
    monkeypatch.setattr(files, "_PACKAGE", installed)
    (tmp_path / "site-packages" / "tasks").mkdir(parents=True)  # somebody else's package of the same name
    assert data_folder("tasks") == installed / "data" / "tasks"


def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLA_BENCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "vla_bench"
    monkeypatch.setenv("VLA_BENCH_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    assert cache_folder().is_dir()
