"""Test whether a ledger depends on workers, environments or interruptions, and measure the cost of the scheduler.

Every run evaluates the same episodes with the command line in its own process: with different numbers of workers and
environments, and once while it is killed repeatedly. The ledgers must agree in all columns except times, sessions and
attempts.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from padding_cost import OBSERVATIONS, PaddingCost, padding_costs
from provenance import command, hardware, software, today
from scheduler_overhead import described, measured

from vla_bench.core.files import written_whole
from vla_bench.policies.policy import DEFAULT_BATCH_SHAPE
from vla_bench.results.episode_record import COLUMNS
from vla_bench.results.ledger import LEDGER_NAME, read_ledger
from vla_bench.results.run_info import RUN_INFO_NAME, RunInfo

SUITE = "tabletop_object"
TASKS = ("red_cube_on_plate", "milk_box_in_basket")
SETTINGS = ((1, 1), (1, 8), (2, 4), (4, 2))  # workers, environments of each
SEED = 7
_LONGEST_LIFE_S = 8.0  # from the start of the workers to the next kill
_INCIDENTAL = ("wall_s", "policy_s", "session", "attempts")


@dataclass(frozen=True)
class Finding:
    """One run, compared with the first one."""

    policy: str
    how: str
    episodes: int
    different: int  # episodes that differ from the first ledger
    errors: int
    sessions: int
    seconds: float


def main() -> None:
    """Run all evaluations and write the page."""
    options = _parse(sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        findings = _read_findings(options.findings)
        done = {found.policy for found in findings}
        for policy in [policy for policy in options.policy if policy not in done]:
            findings += _findings(policy, options, Path(folder))
            _write_findings(options.findings, findings)
        overhead = described(measured(options.overhead_episodes, repeats=3))
    page = _report(findings, padding_costs(SUITE, TASKS[0], SEED), overhead)
    with written_whole(options.output) as path:
        path.write_text(page, encoding="utf-8")
    print(page)


def _read_findings(path: Path | None) -> list[Finding]:
    """Return the findings of an earlier, interrupted call."""
    return [Finding(**found) for found in json.loads(path.read_text())] if path and path.is_file() else []


def _write_findings(path: Path | None, findings: Sequence[Finding]) -> None:
    if path is not None:
        path.write_text(json.dumps([asdict(found) for found in findings], indent=2))


def _findings(policy: str, options: argparse.Namespace, folder: Path) -> Iterator[Finding]:
    reference: pd.DataFrame | None = None
    for number, (workers, rows) in enumerate(SETTINGS):
        output, began = folder / f"{policy}_{number}", time.perf_counter()
        subprocess.run(_command(policy, output, options.episodes, workers, rows), check=True)
        frame = _ledger(output)
        reference = frame if reference is None else reference
        how = f"{workers} worker{'s' * (workers > 1)}, {rows} environment{'s' * (rows > 1)} each"
        yield _finding(policy, how, output, reference, time.perf_counter() - began)
    assert reference is not None
    output, began = folder / f"{policy}_killed", time.perf_counter()
    killed = _run_with_kills(_command(policy, output, options.episodes, 2, 4), output, options.kills)
    how = f"2 workers, 4 environments each, {killed[0]} kills of the run and {killed[1]} of a worker"
    yield _finding(policy, how, output, reference, time.perf_counter() - began)


def _finding(policy: str, how: str, output: Path, reference: pd.DataFrame, seconds: float) -> Finding:
    frame = _ledger(output)
    different = int((frame != reference).any(axis=1).sum()) if len(frame) == len(reference) else len(reference)
    found = Finding(
        policy,
        how,
        len(frame),
        different,
        int((frame["outcome"] == "error").sum()),
        len(RunInfo.read(output).sessions),
        seconds,
    )
    print(found, file=sys.stderr, flush=True)
    return found


def _command(policy: str, output: Path, episodes: int, workers: int, rows: int) -> list[str]:
    tasks = [word for task in TASKS for word in ("--task", task)]
    numbers = {"episodes": episodes, "workers": workers, "rows": rows, "seed": SEED}
    given = [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
    command = [sys.executable, "-m", "vla_bench", "run", "--policy", policy, "--suite", SUITE, "--output", str(output)]
    return [*command, *tasks, *given]


def _run_with_kills(command: Sequence[str], output: Path, kills: int) -> tuple[int, int]:
    """Resume the run until it ends, with `kills` SIGKILLs at random times of the run or, every third time, of a worker.

    Of four kills, one may come during start-up, two come while the workers run, and one after an episode of this
    session has been recorded.
    """
    generator, done = random.Random(SEED), [0, 0]
    while True:
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
            started, recorded = _sessions(output), _episodes(output)
            while sum(done) < kills and process.poll() is None:
                of_worker, stage = sum(done) % 3 == 2, sum(done) % 4
                while stage > 0 and _sessions(output) == started and not _sleep(process, 0.1):
                    pass
                while stage == 3 and _episodes(output) == recorded and not _sleep(process, 0.1):
                    pass
                if _sleep(process, generator.uniform(0.0, _LONGEST_LIFE_S)):
                    break
                victims = _children(process.pid) if of_worker else [process.pid]
                if victims:
                    os.kill(generator.choice(victims), signal.SIGKILL)
                    done[of_worker] += 1
            status = process.wait()
        if status == 0:
            return done[0], done[1]
        print(f"{sum(done)} kills, {_episodes(output)} episodes", file=sys.stderr, flush=True)


def _episodes(output: Path) -> int:
    path = output / LEDGER_NAME
    return len(_ledger(output)) if path.exists() and path.stat().st_size else 0


def _sessions(output: Path) -> int:
    return len(RunInfo.read(output).sessions) if (output / RUN_INFO_NAME).exists() else 0


def _sleep(process: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Wait and return whether the process has ended."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _children(pid: int) -> list[int]:
    """Return the worker processes of a run, without its resource tracker."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def _ledger(output: Path) -> pd.DataFrame:
    return read_ledger(output / LEDGER_NAME)[[name for name in COLUMNS if name not in _INCIDENTAL]]


def _report(findings: Sequence[Finding], padding: Sequence[PaddingCost], overhead: str) -> str:
    return "\n".join(
        [
            "# Identity of ledgers",
            "",
            "| policy | run | sessions | episodes | errors | different from the first run | s |",
            "|---|---|--:|--:|--:|--:|--:|",
            *(
                f"| `{found.policy}` | {found.how} | {found.sessions} | {found.episodes} | {found.errors} "
                f"| {found.different} | {found.seconds:.0f} |"
                for found in findings
            ),
            "",
            f"Episodes are compared in all columns except {', '.join(_INCIDENTAL)}: scene hash, action hash, outcome, "
            "reward, steps, progress,",
            "phases. A session is a start of the command that finished at least one episode. Kills are SIGKILLs at "
            f"random times from 0 to {_LONGEST_LIFE_S:.0f} s after the start of the workers or the last kill.",
            "",
            "## Effect and cost of a fixed batch shape",
            "",
            "| shape | one observation, ms | eight observations, ms | changed in such a batch | with the shape fixed |",
            "|--:|--:|--:|--:|--:|",
            *(
                f"| {cost.shape} | {cost.one_observation_ms:.1f} | {cost.eight_observations_ms:.1f} "
                f"| {100 * cost.changed_unpadded:.0f} % | {100 * cost.changed:.0f} % |"
                for cost in padding
            ),
            "",
            f"openvla-nano on one thread, {OBSERVATIONS} first observations: the fraction of observations whose "
            "actions are not bit-identical to those",
            "computed alone when a batch of this size is computed together, and the same when batches of 3, 5 and 8 in "
            "random order are split and padded to the shape. CPU time, the minimum of 20 calls.",
            f"The default is {DEFAULT_BATCH_SHAPE}.",
            "",
            "## Cost of the scheduler",
            "",
            overhead,
            "",
            f"- Hardware: {hardware()}, shared with other work",
            f"- Software: {software('mujoco', 'numpy', 'torch')}",
            f"- Date: {today()}; seed {SEED}",
            f"- Command: `{command()}`",
            "",
        ]
    )


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/ledger_identity.md"))
    parser.add_argument("--policy", action="append", default=None, help="[default: expert and openvla-nano]")
    parser.add_argument("--episodes", type=int, default=16, help="episodes of each of two tasks")
    parser.add_argument("--findings", type=Path, help="JSON file with the findings of finished policies, to resume")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--overhead-episodes", type=int, default=8)
    options = parser.parse_args(arguments)
    options.policy = options.policy or ["expert", "openvla-nano"]
    return options


if __name__ == "__main__":
    main()
