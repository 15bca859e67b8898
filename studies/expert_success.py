"""Measure every task: success and length of its expert, success of a blind expert, and demonstrations per minute.

Each outcome is written to `<output>.sqlite` immediately: an interrupted run resumes, and a run with more `--seeds` or
other suites adds the missing outcomes. Outcomes of tasks whose definition, expert or engine has changed are ignored,
and complete rows of the table are not measured again. Only demonstrations are rendered. The scenes occur in no
demonstrations and no evaluations.
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from provenance import command, hardware, software, today
from task_options import add_task_options, selected_tasks

from vla_bench.authoring.fingerprint import fingerprint
from vla_bench.authoring.page import TaskRow, read_rows, write_rows
from vla_bench.authoring.trials import Subject, Trial, TrialStore, mean_steps, try_expert
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.files import written_whole
from vla_bench.core.worker_pool import run_jobs
from vla_bench.demos import CollectOptions, CollectProgress, collect
from vla_bench.envs.environment import VlaBenchEnv, make
from vla_bench.experts.catalogue import experts_by_name
from vla_bench.results.statistics import wilson
from vla_bench.tasks import Task, get_task, task_ids, tasks_of
from vla_bench.tasks.catalogue import sharing_start

_VARIANT = "expert_success"  # of the episode identities
_SIGHTED, _BLIND = "expert", "blind-expert"
_COLLECTING_WORKERS = 2

Job = tuple[Subject, int]  # subject, index of the episode


def main() -> None:
    """Run the missing measurements and write the tables."""
    options = _parse(sys.argv[1:])
    known = read_rows(options.output.with_suffix(".csv"))
    chosen = [get_task(name) for name in selected_tasks(options, tabletop_first=True)]
    tasks = [task for task in chosen if not _is_complete(known.get((task.id, options.robot)), task, options)]
    with TrialStore(options.output.with_suffix(".sqlite")) as store:
        subjects = {task.id: _subjects(task, options.robot) for task in tasks}
        if not options.report_only:
            _run_trials(store, [subject for both in subjects.values() for subject in both], options)
            if options.demonstrations:
                _run_collections(store, [sighted for sighted, *_ in subjects.values()], options)
        measured = [_row(store, task, subjects[task.id], options.seeds) for task in tasks]
    _write(options.output, [row for row in measured if row.episodes])


def _is_complete(row: TaskRow | None, task: Task, options: argparse.Namespace) -> bool:
    """Return whether a row of the table has all requested values for the current version of the task."""
    if row is None or row.fingerprint != _fingerprint(task, options.robot):
        return False
    has_rate = row.demonstrations_per_minute is not None or not options.demonstrations
    return has_rate and row.episodes == row.blind_episodes == options.seeds


def _fingerprint(task: Task, robot: str) -> str:
    """Return the fingerprint of a row: that of the blind expert, where the task has one."""
    return _subjects(task, robot)[-1].fingerprint


def _subjects(task: Task, robot: str) -> tuple[Subject, ...]:
    """Return the expert, and a blind expert where several tasks share the start state."""
    alternatives = sharing_start(task, tasks_of(task.suite))
    sighted = Subject(task.id, robot, _SIGHTED, fingerprint(task, robot))
    if len(alternatives) == 1:
        return (sighted,)
    return sighted, Subject(task.id, robot, _BLIND, fingerprint(task, robot, alternatives))


def _run_trials(store: TrialStore, subjects: Sequence[Subject], options: argparse.Namespace) -> None:
    jobs: list[Job] = []
    for subject in subjects:
        done = {trial.index for trial in store.trials(subject, options.seeds)}
        jobs += [(subject, index) for index in range(options.seeds) if index not in done]
    if not jobs:
        return
    began = time.monotonic()
    results = run_jobs([(job[0].task, job) for job in jobs], options.workers, _trial_work)
    for number, ((subject, _), (trial, seconds)) in enumerate(results, start=1):
        if isinstance(trial, Trial):
            store.add(subject, trial, seconds, today())
        else:
            print(f"\n{subject.task} {subject.expert}: {trial}")
        left_min = (time.monotonic() - began) / number * (len(jobs) - number) / 60
        print(f"\r{number}/{len(jobs)} {subject.task} {subject.expert}, {left_min:.0f} min left  ", end="", flush=True)
    print()


def _trial_work() -> Callable[[Job], tuple[Trial | str, float]]:
    return _run_job


def _run_job(job: Job) -> tuple[Trial | str, float]:
    """Return the outcome or an error text, so that a failing task does not stop the others."""
    subject, index = job
    try:
        environment = _environment(subject.task, subject.robot)
        identity = EpisodeIdentity(environment.task.suite, environment.task.name, index, variant=_VARIANT)
        began = time.perf_counter()
        trial = try_expert(environment, experts_by_name[subject.expert](environment.task), identity)
        return trial, time.perf_counter() - began
    except Exception:
        return f"episode {index} failed with an error: {traceback.format_exc()}", 0.0


@lru_cache(maxsize=1)
def _environment(task_id: str, robot: str) -> VlaBenchEnv:
    return make(task_id, image_size=16, cameras=(), robot=robot)


def _run_collections(store: TrialStore, subjects: Iterable[Subject], options: argparse.Namespace) -> None:
    """Measure the collection of demonstrations of each task with two cameras of 224 pixels, without other work."""
    for subject in subjects:
        if store.rate(subject) is not None:
            continue
        try:
            rate = _collection_rate(subject, options.demonstrations)
        except VlaBenchError as error:  # the other tasks are still measured
            print(f"{subject.task}: the collection failed: {error}")
            continue
        store.set_rate(subject, rate, options.demonstrations, today())
        print(f"{subject.task}: {rate:.0f} demonstrations per minute")


def _collection_rate(subject: Subject, episodes: int) -> float:
    """Return demonstrations per minute after the first one of each worker, which excludes start-up."""
    suite, task = subject.task.split(".")
    finished_s: dict[int, float] = {}  # number of demonstrations -> time

    def note(progress: CollectProgress) -> None:
        finished_s.setdefault(progress.finished, progress.elapsed_s)

    with tempfile.TemporaryDirectory() as folder:
        wanted = CollectOptions(
            suites=(suite,),
            output=Path(folder) / "demos.hdf5",
            tasks=(task,),
            episodes=episodes,
            workers=_COLLECTING_WORKERS,
            robot=subject.robot,
            variant=_VARIANT,
        )
        collect(wanted, note)
    return 60.0 * (episodes - _COLLECTING_WORKERS) / (finished_s[episodes] - finished_s[_COLLECTING_WORKERS])


def _row(store: TrialStore, task: Task, subjects: Sequence[Subject], seeds: int) -> TaskRow:
    sighted = store.trials(subjects[0], seeds)
    blind = store.trials(subjects[-1], seeds)  # without a shared start state, the blind expert is the expert
    mean, rate = mean_steps(sighted), store.rate(subjects[0])
    return TaskRow(
        task=task.id,
        robot=subjects[0].robot,
        episodes=len(sighted),
        successes=sum(trial.success for trial in sighted),
        failed_episodes=tuple(trial.index for trial in sighted if not trial.success),
        mean_steps=None if mean is None else round(mean, 1),
        longest_steps=max((trial.steps for trial in sighted if trial.success), default=None),
        horizon=task.horizon,
        begin_alike=len(sharing_start(task, tasks_of(task.suite))),
        blind_episodes=len(blind),
        blind_successes=sum(trial.success for trial in blind),
        demonstrations_per_minute=None if rate is None else round(rate, 1),
        fingerprint=subjects[-1].fingerprint,
        date=store.last_date(subjects),
    )


def _write(output: Path, measured: Sequence[TaskRow]) -> None:
    """Write CSV and page with the new rows and the existing rows of other tasks."""
    known = set(task_ids())
    rows = {key: row for key, row in read_rows(output.with_suffix(".csv")).items() if row.task in known}
    rows.update({(row.task, row.robot): row for row in measured})
    order = {task: number for number, task in enumerate(task_ids())}
    table = sorted(rows.values(), key=lambda row: (row.robot != "panda", row.robot, order[row.task]))
    facts = {
        "command": command(),
        "hardware": hardware(),
        "software": software("mujoco", "robosuite", "numpy"),
    }
    write_rows(output.with_suffix(".csv"), table, facts)
    page = report(table, facts)
    with written_whole(output.with_suffix(".md")) as path:
        path.write_text(page, encoding="utf-8")
    print(page)


def report(rows: Sequence[TaskRow], facts: dict[str, str]) -> str:
    """Return the page as Markdown."""
    lines = ["# Tasks: experts, use of language and demonstrations", ""]
    for robot in dict.fromkeys(row.robot for row in rows):
        mine = [row for row in rows if row.robot == robot]
        lines += [f"## {robot}", "", *_table(mine), ""]
    lines += [
        "Steps are control steps of 50 ms of successful episodes. Intervals are Wilson 95 % intervals. *Blind*: "
        "success of",
        "the expert of a task selected at random among those with the same scene, objects and relations at the start;",
        "*chance*: one divided by their number. Where no other task has the same start, the blind expert is the "
        "expert,",
        "and the instruction is not needed. Demonstrations have two cameras of 224 pixels and were collected by",
        f"{_COLLECTING_WORKERS} workers. A dagger marks rows measured before the last change of the task, its expert "
        "or its engine.",
        "",
        f"- Failures of the expert, by index: {_failures(rows) or 'none'}",
        f"- Scenes: `EpisodeIdentity(suite, task, index, variant={_VARIANT!r}).scene_seed()`, index from 0",
        *(f"- {name.capitalize()}: {f'`{fact}`' if name == 'command' else fact}" for name, fact in facts.items()),
        "",
    ]
    return "\n".join(lines)


def _table(rows: Sequence[TaskRow]) -> Iterator[str]:
    yield "| task | episodes | expert | interval | mean steps | longest | horizon | blind | chance | demos/min | date |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        share = wilson(row.successes, row.episodes)
        blind = f"{100 * row.blind_successes / row.blind_episodes:.1f} %" if row.blind_episodes else "-"
        mean = "-" if row.mean_steps is None else f"{row.mean_steps:.0f}"
        rate = "-" if row.demonstrations_per_minute is None else f"{row.demonstrations_per_minute:.0f}"
        stale = "" if _fingerprint(get_task(row.task), row.robot) == row.fingerprint else " †"
        yield (
            f"| `{row.task}`{stale} | {row.episodes} | {100 * share.rate:.1f} % | {100 * share.low:.1f} to "
            f"{100 * share.high:.1f} | {mean} | {row.longest_steps or '-'} | {row.horizon} | {blind} | "
            f"{100 * row.chance:.1f} % | {rate} | {row.date} |"
        )


def _failures(rows: Iterable[TaskRow]) -> str:
    return "; ".join(f"`{row.task}` {' '.join(map(str, row.failed_episodes))}" for row in rows if row.failed_episodes)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("results/tasks"),
        help="path without suffix; .md, .csv and .sqlite are written",
    )
    parser.add_argument("--seeds", type=int, default=200, help="episodes per task and expert")
    parser.add_argument(
        "--demonstrations", type=int, default=12, help="demonstrations per task to measure the rate; 0: none"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="worker processes of the trials")
    parser.add_argument("--robot", default="panda")
    add_task_options(parser)
    parser.add_argument("--report-only", action="store_true", help="write the tables from existing outcomes")
    options = parser.parse_args(arguments)
    if 0 < options.demonstrations <= (few := 2 * _COLLECTING_WORKERS):
        parser.error(
            f"--demonstrations {options.demonstrations} is too few to measure a rate. Expected more than {few}, or 0."
        )
    return options


if __name__ == "__main__":
    main()
