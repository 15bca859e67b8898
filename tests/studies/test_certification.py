"""The certification study adds missing certificates and writes its tables."""

import os
import subprocess
import sys
from pathlib import Path

import vla_bench

ROOT = Path(vla_bench.__file__).parent.parent
TASK = "tabletop_pick.pick_red_cube"


def _run(output: Path, *arguments: str) -> str:
    script = [sys.executable, str(ROOT / "studies" / "certification.py"), "--output", str(output)]
    options = ["--task", TASK, "--workers", "1", "--episodes", "1", "--severity", "1", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*script, *options], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_run_adds_missing_certificates_and_reports_shared_ones(tmp_path: Path) -> None:
    output = tmp_path / "certification"
    assert "0 certificates exist already" in _run(output, "--axis", "camera")
    page = _run(output, "--axis", "camera", "--axis", "robot")
    assert "2 certificates exist already" in page
    assert "| camera | 1 | 100.0 % [21, 100] | 100 % |" in page  # the unperturbed trial suffices
    assert "| robot | 1 | 100.0 % [21, 100] | 0 % |" in page
    assert output.with_suffix(".md").read_text() in page
    assert output.with_suffix(".csv").read_text().splitlines() == [
        "task,axis,severity,episodes,solved,shared,failed_episodes",
        f"{TASK},camera,1,1,1,1,",
        f"{TASK},robot,1,1,1,0,",
    ]
