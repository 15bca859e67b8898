"""Every documented command and option exists, and `--help` explains every option."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import vla_bench
from vla_bench.cli import app
from vla_bench.cli.app import COMMANDS, load_command

ROOT = Path(vla_bench.__file__).parent.parent
PAGES = [
    page
    for pattern in ("*.md", "docs/*.md", "results/**/*.md", "baselines/**/*.md", "studies/*.md")
    for page in sorted(ROOT.glob(pattern))
    if page.name != "CHANGELOG.md"
]
COMMAND = re.compile(r"vla-bench ([a-z][a-z-]*)((?: [^`\n|#]*)?)")


@cache
def _options(*command: str) -> frozenset[str] | None:
    """Return the long options of a command, or None if there is no such command."""
    result = CliRunner(env={"COLUMNS": "250"}).invoke(app, [*command, "--help"])
    return frozenset(re.findall(r"--[a-z][a-z0-9-]*", result.output)) if result.exit_code == 0 else None


def _unknown(command: str, words: list[str]) -> list[str]:
    options = _options(command, words[0]) if words and re.fullmatch("[a-z-]+", words[0]) else None
    options = _options(command) if options is None else options
    if options is None:
        return [command]
    named = (word.strip("`,.;:()[]*").split("=")[0] for word in words)
    return [f"{command} {word}" for word in named if re.fullmatch("--[a-z-]+", word) and word not in options]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_documented_commands_and_options_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    assert [name for match in COMMAND.finditer(text) for name in _unknown(match[1], match[2].split())] == []


def test_unknown_names_are_found() -> None:
    assert _unknown("run", ["--polycy", "x"]) == ["run --polycy"]
    assert _unknown("rnu", []) == ["rnu"]


def _commands(command: Any, *names: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield names, command
    for name, one in getattr(command, "commands", {}).items():
        yield from _commands(one, *names, name)


@pytest.mark.parametrize("group", COMMANDS)
def test_help_explains_every_option_and_shows_every_default(group: str) -> None:
    for names, command in _commands(load_command(group), group):
        texts = [parameter.help or "" for parameter in command.params if parameter.name != "help"]
        assert all(texts), names
        output = CliRunner(env={"COLUMNS": "250"}).invoke(app, [*names, "--help"]).output
        assert output.count("[default:") >= sum("[default:" in text for text in texts), names
        assert "`" not in output, names
