"""The commands `doctor`, `branch` and `rerun`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from vla_bench.cli.options import Checkpoint, Episode, Policy, Run, Seed, Suite, Tasks
from vla_bench.cli.terminal import print_table

if TYPE_CHECKING:
    from vla_bench.evaluation.doctor import Diagnosis


_MAX_FINDINGS = 12  # rows of the table
_MISTAKE_FOUND = 1  # exit status if a mistake was found


def doctor(
    policy: Policy,
    suite: Suite,
    checkpoint: Checkpoint = None,
    task: Tasks = None,
    episodes: Annotated[int, typer.Option("--episodes", "-n", min=8, help="Total number of expert episodes.")] = 12,
    seed: Seed = 0,
) -> None:
    """Find convention mistakes: gripper sign, image flip, crop, frames, statistics, chunk length.

    The expert solves a few episodes; at sampled steps the actions of the policy are compared with those of the expert,
    with the card as it is and with each plausible mistake corrected. Changes that clearly help are reported, and a card
    that executes too much of a chunk. Exit status 1 if a mistake was found. Mistakes that cost less than a tenth of the
    error, such as a small crop, are not reported (results/doctor_mistakes.md).

    Example: `vla-bench doctor --policy my_card.toml --suite tabletop_object`
    """
    from vla_bench.evaluation.doctor import DoctorOptions, diagnose

    console = Console()
    options = DoctorOptions(policy, suite, checkpoint, tuple(task or ()), episodes, seed)
    with console.status("looking") as status:
        diagnosis = diagnose(options, status.update)
    rows = [
        (
            finding.fix,
            *_numbers(finding.position, finding.rotation, finding.gripper, finding.total),
            f"{finding.p_value:.3f}",
        )
        for finding in diagnosis.findings[:_MAX_FINDINGS]
    ]
    rows.insert(0, ("unchanged", *_numbers(*diagnosis.before), ""))
    title = f"Errors relative to a constant action: {diagnosis.samples} samples of {diagnosis.episodes} episodes"
    print_table(("change", "position", "rotation", "gripper", "mean", "p"), rows, title=title, words=1)
    for line in verdict(diagnosis):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if diagnosis.fixes or diagnosis.chunk_too_long:
        raise typer.Exit(_MISTAKE_FOUND)


def verdict(diagnosis: "Diagnosis") -> list[str]:
    """Return the findings as sentences."""
    lines = [f"not tried: {reason}" for reason in diagnosis.skipped]
    for fix in diagnosis.fixes:
        gain = f"error {fix.before:.2f} -> {fix.total:.2f}, p = {fix.p_value:.3f}"
        lines.append(f"Likely mistake: {fix.mistake}. Fix: {fix.fix} ({gain})")
    if diagnosis.chunk_too_long:
        lines.append(f"Likely mistake: chunk length. Fix: chunk.steps = {diagnosis.steps_worth_executing}")
    if not diagnosis.fixes and not diagnosis.chunk_too_long:
        lines.append("No mistake found: no tried change clearly brings the actions closer to those of the expert.")
    if diagnosis.lost:
        lines.append(
            f"The actions are no better than a constant one (error {diagnosis.after[3]:.2f}): the policy was not "
            "trained for this suite, or it has a mistake that is not among the tried ones."
        )
    elif len(diagnosis.by_step) > 1:
        lines.append(_chunk_text(diagnosis))
    return lines


def _chunk_text(diagnosis: "Diagnosis") -> str:
    errors = ", ".join(f"{error:.2f}" for error in diagnosis.by_step)
    executed = diagnosis.executed or len(diagnosis.by_step)
    worth = diagnosis.steps_worth_executing
    advice = f"the card executes {executed}, of which {min(worth, executed)} are about as good as the first"
    return f"Error of each action of a chunk: {errors}; {advice}."


def _numbers(*values: float) -> tuple[str, ...]:
    return tuple(f"{value:.2f}" for value in values)


def branch(
    run: Run,
    episode: Episode,
    at: Annotated[int, typer.Option(min=0, help="Step from which the other policy acts.")],
    policy: Policy = "expert",
    checkpoint: Checkpoint = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Store the result as a run, with a video.")
    ] = None,
) -> None:
    """Run a recorded episode up to a step, then continue with another policy: was the episode already lost?

    The whole episode is run again first; if its scene or actions differ from the ledger, nothing is branched. Steps are
    those of the ledger, including steps that pass during `--latency`.

    Example: `vla-bench branch results/quickstart/runs/lora-openvla red_cube_on_plate/3 --at 40 --policy expert`
    """
    from vla_bench.evaluation.rerun import branch_episode

    found = branch_episode(run, episode, at, policy, checkpoint=checkpoint, output=output)
    names = ("outcome", "reward", "steps", "progress", "phase", "final_progress", "final_phase")
    rows = [(name, _text(getattr(found.recorded, name)), _text(getattr(found.branched, name))) for name in names]
    title = f"{found.recorded.identity.name}, {policy} from step {at}"
    print_table(("", "recorded", "branched"), rows, title=title)
    if found.branched.error:
        Console().print(found.branched.error, style="dim", markup=False)


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


_DIFFERENT = 1  # exit status of a rerun that differs


def rerun(
    run: Run,
    episode: Episode,
    policy: Annotated[
        str | None, typer.Option("--policy", "-p", help="Policy of the run. [default: as recorded]")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Current location of the checkpoint of the run.")] = None,
) -> None:
    """Run one recorded episode again and compare scene, actions and outcome. Exit status 1 if they differ.

    Example: `vla-bench rerun results/quickstart/runs/expert red_cube_on_plate/3`
    """
    from vla_bench.evaluation.rerun import COMPARED_COLUMNS, rerun_episode

    found = rerun_episode(run, episode, policy=policy, checkpoint=checkpoint)
    rows = []
    for name in COMPARED_COLUMNS:
        before, now = str(getattr(found.recorded, name)), str(getattr(found.again, name))
        rows.append((name, before, now, "different" if name in found.different else ""))
    print_table(("", "recorded", "now", ""), rows, title=found.episode.name)
    console = Console(highlight=False)
    for line in found.circumstances:
        console.print(f"- {line}", soft_wrap=True)
    if found.same:
        console.print("The same scene, actions and outcome.", style="green")
        return
    if found.again.error:
        console.print(found.again.error, style="dim", markup=False)
    console.print("Different.", style="red")
    if found.differs_by_rounding_only:
        console.print(
            "Scene, outcome and number of steps are equal, but the actions are not bit-identical. Recorded on "
            f"{found.cpus[0]}, run now on {found.cpus[1]}: another CPU rounds differently, which may "
            "be the reason. The actions can be checked on a CPU of the recorded kind.",
            soft_wrap=True,
        )
    raise typer.Exit(_DIFFERENT)
