"""The digest of a user's own code changes with what the policy consists of, and with nothing else."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vla_bench.policies import find_policy
from vla_bench.policies.user import code_hash


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    package = tmp_path / "hashed_package"
    (package / "networks").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "acting.py").write_text("from .networks import head\n\ndef make(): ...\n")
    (package / "networks" / "__init__.py").write_text("")
    (package / "networks" / "head.py").write_text("def head(): import hashed_helper\n")
    (package / "unused.py").write_text("")
    (tmp_path / "hashed_alone.py").write_text("import numpy\nimport hashed_helper\n")
    (tmp_path / "hashed_helper.py").write_text("GAIN = 1\n")
    (tmp_path / "hashed_stranger.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("hashed_")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("module", "file"),
    [
        ("hashed_alone", "hashed_alone.py"),
        ("hashed_alone", "hashed_helper.py"),
        ("hashed_package.acting", "hashed_package/acting.py"),
        ("hashed_package.acting", "hashed_package/__init__.py"),
        ("hashed_package.acting", "hashed_package/networks/__init__.py"),
        ("hashed_package.acting", "hashed_package/networks/head.py"),
        ("hashed_package.acting", "hashed_helper.py"),
    ],
)
def test_a_change_of_what_the_policy_consists_of_is_another_code(folder: Path, module: str, file: str) -> None:
    before = code_hash(module)
    with (folder / file).open("a") as source:
        source.write("# changed\n")
    assert len(before) == 12
    assert code_hash(module) != before


@pytest.mark.parametrize("file", ["hashed_stranger.py", "hashed_package/unused.py", "new.py"])
@pytest.mark.parametrize("module", ["hashed_alone", "hashed_package.acting"])
def test_a_change_of_anything_else_is_not(folder: Path, module: str, file: str) -> None:
    before = code_hash(module)
    (folder / file).write_text("changed = True\n")
    assert code_hash(module) == before


def test_what_is_not_there_has_no_code() -> None:
    assert code_hash("hashed_nowhere.at_all") == ""
    assert code_hash("builtins") == ""
    assert find_policy("random").code_hash() == ""
    assert find_policy("hashed_alone:make").code_hash() == code_hash("hashed_alone")
