from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.results.made_up import episode, made_run
from vla_bench.cli import app
from vla_bench.cli.evaluation import print_errors


def test_the_end_of_a_run_names_at_most_five_kinds_of_error_and_what_shows_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = [0, 0, 0, 1, 1, 2, 3, 4, 5, 6]
    broken = [replace(episode(index, "error"), error=f"ValueError: [{kind}]") for index, kind in enumerate(kinds)]
    print_errors(made_run(tmp_path / "run", [*broken, episode(99)]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "10 of 11 episodes ended in an error:"
    assert lines[1:3] == ["  3 x ValueError: [0]", "  2 x ValueError: [1]"]
    assert lines[6] == "  2 x 2 other errors"
    assert (
        lines[7]
        == f"The same command runs them again; vla-bench ledger errors {tmp_path / 'run'} shows the tracebacks."
    )


def test_a_run_whose_every_episode_is_an_error_ends_with_0_and_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaking_policy.py").write_text(
        "from vla_bench.policies import PolicyRequirements\n\n"
        "class Breaking:\n"
        "    requirements = PolicyRequirements(batch_shape=None)\n"
        "    def act(self, observations): raise ValueError('no eyes')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    words = ["run", "-p", "breaking_policy:Breaking", "-s", "tabletop_object", "-t", "red_cube_on_plate", "-n", "2"]
    result = CliRunner().invoke(app, [*words, "-w", "1", "--rows", "2", "-o", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    assert "2 of 2 episodes ended in an error:\n  2 x ValueError: no eyes\n" in result.output
    assert "nan" not in result.output
