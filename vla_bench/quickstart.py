"""The quickstart: demonstrations, fine-tuning, evaluation and leaderboard from one recipe.

Each stage resumes or reuses what is in the output folder, so the same command continues after an interruption.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from vla_bench.core.configuration import read_toml, validated
from vla_bench.core.files import data_folder
from vla_bench.demos import NoiseOptions
from vla_bench.training import FinetuneConfig

if TYPE_CHECKING:
    from vla_bench.results.leaderboard_page import LeaderboardFiles


PositiveInt = Annotated[int, Field(ge=1)]


class _RecipeTable(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DemonstrationStage(_RecipeTable):
    """Demonstrations of the recipe."""

    episodes: PositiveInt  # successes of each task
    image_size: PositiveInt  # pixels
    noise: NoiseOptions | None = None
    expected_s: PositiveInt


class FinetuningStage(_RecipeTable):
    """Fine-tuning of the recipe."""

    config: dict[str, Any]  # of FinetuneConfig, all but demos and output
    expected_s: PositiveInt


class EvaluationStage(_RecipeTable):
    """Whom to evaluate."""

    policies: Annotated[tuple[str, ...], Field(min_length=1)]
    tuned: str  # the one that acts with the fine-tuned checkpoint
    episodes: PositiveInt  # of each task
    videos: Annotated[int, Field(ge=0)] = 0  # of each task
    expected_s: PositiveInt  # all policies together


class Recipe(_RecipeTable):
    """A quickstart, whole. Expected times are those on two cores."""

    suite: str
    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    seed: Annotated[int, Field(ge=0)] = 0
    demonstrations: DemonstrationStage
    finetuning: FinetuningStage
    evaluation: EvaluationStage

    def finetune_config(self, demos: Path, output: Path) -> FinetuneConfig:
        """Return how to fine-tune on `demos` into `output`."""
        return FinetuneConfig.model_validate({**self.finetuning.config, "demos": (demos,), "output": output})


class ProgressDisplay(Protocol):
    """Display of the progress of a quickstart."""

    def say(self, text: str) -> None:
        """Print one line."""

    def progress(self, title: str) -> AbstractContextManager[Callable[[int, int, str], None]]:
        """Return a block's progress: call it with done, total and a few words."""


@dataclass(frozen=True)
class QuickstartReport:
    """Result of a quickstart."""

    leaderboard: "LeaderboardFiles"
    contact_sheet: Path
    videos: tuple[Path, ...]
    elapsed_s: float


def read_recipe(path: Path | None = None) -> Recipe:
    """Read a recipe, the shipped one by default; raise `ConfigurationError` that names file and field."""
    path = path or data_folder("baselines") / "openvla-nano" / "quickstart.toml"
    recipe = validated(Recipe, read_toml(path), path)
    config = {**recipe.finetuning.config, "demos": (path,), "output": path}
    validated(FinetuneConfig, config, path, within="finetuning.config")  # says now what is wrong with it
    return recipe


def run_quickstart(recipe: Recipe, output: Path, workers: int, display: ProgressDisplay) -> QuickstartReport:
    """Run every stage of `recipe` into the folder `output`, each with its time."""
    return _Quickstart(recipe, output, workers, display).run()


class _Quickstart:
    def __init__(self, recipe: Recipe, output: Path, workers: int, display: ProgressDisplay) -> None:
        self._recipe, self._output, self._workers, self._display = recipe, output, workers, display
        self._demos = output / "demos.hdf5"
        self._adapter = output / "checkpoints" / "lora"

    def run(self) -> QuickstartReport:
        began = time.monotonic()
        recipe, tasks = self._recipe, ", ".join(self._recipe.tasks)
        stages = (recipe.demonstrations, recipe.finetuning, recipe.evaluation)
        total_s = sum(stage.expected_s for stage in stages)
        self._display.say(f"Quickstart into {self._output}: about {_minutes(total_s)} on 2 cores. Tasks: {tasks}.")
        with self._stage(1, "Demonstrations by the scripted expert", recipe.demonstrations.expected_s):
            contact_sheet = self._demonstrate()
        with self._stage(2, "LoRA fine-tuning on them", recipe.finetuning.expected_s):
            self._finetune()
        with self._stage(3, f"Evaluation of {', '.join(recipe.evaluation.policies)}", recipe.evaluation.expected_s):
            runs = [self._evaluate(policy) for policy in recipe.evaluation.policies]
        with self._stage(4, "Leaderboard and report", 10):
            files = self._publish(runs)
        videos = tuple(path for run in runs for path in sorted((run / "videos").glob("*.mp4")))
        return QuickstartReport(files, contact_sheet, videos, time.monotonic() - began)

    @contextmanager
    def _stage(self, number: int, title: str, expected_s: float) -> Iterator[None]:
        self._display.say(f"\n{number}/4 {title} (about {_minutes(expected_s)})")
        began = time.monotonic()
        yield
        self._display.say(f"    took {_minutes(time.monotonic() - began)}")

    def _demonstrate(self) -> Path:
        from vla_bench.demos import CollectOptions, collect, open_source, write_contact_sheet

        stage = self._recipe.demonstrations
        options = CollectOptions(
            suites=(self._recipe.suite,),
            tasks=self._recipe.tasks,
            output=self._demos,
            episodes=stage.episodes,
            seed=self._recipe.seed,
            workers=self._workers,
            image_size=stage.image_size,
            noise=stage.noise,
        )
        with self._display.progress("demonstrations") as update:
            collect(options, lambda now: update(now.finished, now.wanted, f"{now.per_minute:.0f} a minute"))
        with open_source(self._demos) as source:
            picture = self._demos.with_suffix(".png")
            return write_contact_sheet(source, picture, rows=2 * len(self._recipe.tasks))

    def _finetune(self) -> None:
        from vla_bench.training.finetune import finetune

        config = self._recipe.finetune_config(self._demos, self._adapter)
        with self._display.progress(config.method) as update:
            finetune(config, lambda now: update(now.step, now.steps, f"loss {now.loss:.3f}"))

    def _evaluate(self, policy: str) -> Path:
        from vla_bench.evaluation.options import RunOptions
        from vla_bench.evaluation.run import run_evaluation
        from vla_bench.policies import find_policy

        stage, name = self._recipe.evaluation, find_policy(policy).name
        options = RunOptions(
            policy=policy,
            suite=self._recipe.suite,
            tasks=self._recipe.tasks,
            output=self._output / "runs" / name,
            checkpoint=self._adapter if policy == stage.tuned else None,
            episodes=stage.episodes,
            seed=self._recipe.seed,
            workers=self._workers,
            videos=stage.videos,
        )
        with self._display.progress(name) as update:
            run_evaluation(options, lambda now: update(now.done, now.total, f"{now.successes} successes"))
        return options.output

    def _publish(self, runs: list[Path]) -> "LeaderboardFiles":
        from vla_bench.results.leaderboard_page import write_leaderboard

        return write_leaderboard(runs, self._output / "results")


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
