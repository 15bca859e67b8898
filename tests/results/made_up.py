"""Made-up episodes and run folders: real files with invented outcomes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.ledger import LEDGER_NAME, Ledger
from vla_bench.results.run_info import PlannedTask, RunInfo, describe_run

Outcome = Literal["success", "failure", "error"]
LETTERS: dict[str, Outcome] = {"s": "success", "f": "failure", "e": "error"}


def episode(
    index: int = 0,
    outcome: Outcome = "success",
    *,
    task: str = "lift",
    suite: str = "robosuite",
    policy: str = "expert",
    seed: int = 0,
    variant: str = "clean",
    phase: str = "lift",
    steps: int = 50,
    wall_s: float = 1.5,
) -> EpisodeRecord:
    """Return one record."""
    return EpisodeRecord(
        suite=suite,
        task=task,
        variant=variant,
        episode_index=index,
        seed=seed,
        policy=policy,
        instruction="lift the red cube",
        scene_hash=f"{task}-{index}-{seed}",
        action_hash="a0",
        outcome=outcome,
        reward=float(outcome == "success"),
        steps=steps,
        progress=float(outcome == "success"),
        phase=phase,
        wall_s=wall_s,
        policy_s=0.5,
        error="Traceback\nRuntimeError: EGL <lost>" if outcome == "error" else "",
    )


def episodes(outcomes: str, *, policy: str = "expert", task: str = "lift", **fields: str | int) -> list[EpisodeRecord]:
    """Return an episode for each letter of `outcomes`: s(uccess), f(ailure), e(rror)."""
    return [
        episode(index, LETTERS[letter], policy=policy, task=task, **fields)  # type: ignore[arg-type]
        for index, letter in enumerate(outcomes)
    ]


def frame_of(records: Sequence[EpisodeRecord]) -> pd.DataFrame:
    """Return the records as `read_ledger` would."""
    return pd.DataFrame(records)


def made_run(
    folder: Path,
    records: Sequence[EpisodeRecord],
    *,
    card: Mapping[str, object] | None = None,
    protocol: Mapping[str, object] | None = None,
    planned: Mapping[str, int] | None = None,
    checkpoint: Path | None = None,
) -> Path:
    """Write a finished run of `records` and return its folder; `planned` maps tasks of the first record's suite."""
    info = described(
        records[0].policy,
        card=card,
        protocol=protocol,
        planned=[
            PlannedTask(suite=records[0].suite, task=task, episodes=count) for task, count in (planned or {}).items()
        ],
        checkpoint=checkpoint,
    )
    with Ledger(folder / LEDGER_NAME) as ledger:
        for record in records:
            ledger.append(record)
    info.finished_now().write(folder)
    return folder


def described(
    policy: str = "expert",
    *,
    card: Mapping[str, object] | None = None,
    protocol: Mapping[str, object] | None = None,
    planned: Sequence[PlannedTask] = (),
    checkpoint: Path | None = None,
) -> RunInfo:
    """Return the description of a made-up run."""
    return describe_run(
        policy,
        {"kind": policy} if card is None else card,
        {"rendering": "fast", "wait_steps": 10} if protocol is None else protocol,
        planned,
        checkpoint=checkpoint,
        command=["vla-bench", "run", "--policy", policy, "--output", "runs/with a space"],
    )
