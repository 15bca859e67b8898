"""A standalone script that runs one workload in any Python from 3.8 on, with the standard library only.

`python workload_server.py MODULE.py FUNCTION OPTIONS [DISTRIBUTION ...]` loads a file and calls its function with
the options (JSON); the function returns a workload: `step()` does one unit of work and returns whether the episode
ended, `reset()` begins the next episode. Each line of JSON on standard input requests a turn and is answered by one
line of JSON on standard output; what libraries print is redirected to standard error.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import traceback
from typing import Any

_PROC_MEMORY = "/proc/self/smaps_rollup"


def main() -> None:
    """Serve turns until standard input ends."""
    sys.path.pop(0)  # this file's folder: its modules must not shadow others
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        workload = getattr(_load(sys.argv[1]), sys.argv[2])(json.loads(sys.argv[3]))
        workload.reset()
    except BaseException:
        _write_answer(answers, {"error": traceback.format_exc()})
        return
    _write_answer(answers, {"versions": _versions(sys.argv[4:]), "python": sys.version.split()[0]})
    for line in sys.stdin:
        try:
            answer = take_turn(workload, **json.loads(line))
        except BaseException:
            answer = {"error": traceback.format_exc()}
        _write_answer(answers, answer)


def take_turn(workload: Any, seconds: float = 0.0, steps: int = 0, warm_up: int = 0, resets: int = 0) -> dict[str, Any]:
    """Reset `resets` times, then work for `seconds` and at least `steps` units; return times and memory.

    `seconds` of the result excludes resets between episodes; `process_s` is the CPU time of all threads.
    """
    resets_s = [_time_of(workload.reset) for _ in range(resets)]
    for _ in range(warm_up):
        if workload.step():
            workload.reset()
    done, worked_s, cpu_s = 0, 0.0, 0.0
    while worked_s < seconds or done < steps:
        began, cpu_began = time.perf_counter(), time.process_time()
        ended = workload.step()
        worked_s += time.perf_counter() - began
        cpu_s += time.process_time() - cpu_began
        done += 1
        if ended:
            workload.reset()
    return {
        "steps": done,
        "seconds": worked_s,
        "process_s": cpu_s,
        "resets_s": resets_s,
        "memory_mb": memory_mb(),
    }


def memory_mb() -> float:
    """Return the proportional set size of this process [MB]; 0 where the system does not report it."""
    try:
        with open(_PROC_MEMORY, encoding="ascii") as lines:  # noqa: PTH123  # a peer's Python may be old
            return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6
    except OSError:
        return 0.0


def _time_of(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _load(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("workload", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["workload"] = module
    spec.loader.exec_module(module)
    return module


def _versions(distributions: list[str]) -> dict[str, str]:
    from importlib import metadata

    found = {}
    for name in distributions:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _write_answer(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
