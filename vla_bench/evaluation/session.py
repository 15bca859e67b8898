"""An evaluation session: records finished episodes in the ledger and tracks progress."""

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote

from vla_bench.core.errors import VlaBenchError
from vla_bench.evaluation.rollout import FinishedEpisode
from vla_bench.evaluation.run_folder import RunFolder
from vla_bench.results.episode_record import EpisodeRecord
from vla_bench.results.runs import exception_line


@dataclass(frozen=True)
class RunProgress:
    """The progress of a run."""

    done: int  # episodes, including those of earlier sessions
    total: int
    successes: int
    failures: int
    errors: int
    steps: int  # control steps of this session
    elapsed_s: float
    eta_s: float | None  # None before the first episode of the session ends
    latest: EpisodeRecord | None = None

    @property
    def success_rate(self) -> float:
        """Fraction of successes among the episodes of this session without errors; NaN before the first one."""
        judged = self.successes + self.failures
        return self.successes / judged if judged else math.nan

    @property
    def steps_per_s(self) -> float:
        """Control steps per second over all slots."""
        return self.steps / self.elapsed_s if self.elapsed_s else 0.0


class PolicyKeepsFailingError(VlaBenchError):
    """A policy that fails in too many consecutive episodes."""

    def __init__(self, output: Path, count: int, error: str) -> None:
        super().__init__(
            f"The policy failed in {count} consecutive episodes, the last time with: {exception_line(error)}. The run "
            f"was stopped; `vla-bench ledger errors {quote(str(output))}` shows the tracebacks. Correct the policy and "
            "run the same command, which tries these episodes again; --max-errors sets the limit."
        )


class RunSession:
    """Records each finished episode and reports the progress of the run."""

    def __init__(
        self,
        folder: RunFolder,
        *,
        total: int,
        resumed: int,
        max_errors: int,
        on_progress: Callable[[RunProgress], None],
    ) -> None:
        self._folder, self._info = folder, folder.started
        self._total, self._resumed, self._max_errors, self._on_progress = total, resumed, max_errors, on_progress
        self._outcomes: Counter[str] = Counter()
        self._steps, self._policy_errors = 0, 0
        self._started = time.perf_counter()
        on_progress(self.progress())

    def finish(self, finished: FinishedEpisode) -> None:
        """Record one episode; raise `PolicyKeepsFailingError` after too many consecutive errors of the policy."""
        record = self._record(finished)
        self._folder.append(record)
        self._outcomes[record.outcome] += 1
        self._steps += record.steps
        self._on_progress(self.progress(record))
        self._policy_errors = self._policy_errors + 1 if record.error_source == "policy" else 0
        if self._policy_errors >= self._max_errors:
            raise PolicyKeepsFailingError(self._folder.path, self._policy_errors, record.error)

    def progress(self, latest: EpisodeRecord | None = None) -> RunProgress:
        """Return the progress of the run."""
        elapsed_s = time.perf_counter() - self._started
        here = self._outcomes.total()
        remaining = self._total - self._resumed - here
        return RunProgress(
            done=self._resumed + here,
            total=self._total,
            successes=self._outcomes["success"],
            failures=self._outcomes["failure"],
            errors=self._outcomes["error"],
            steps=self._steps,
            elapsed_s=elapsed_s,
            eta_s=elapsed_s / here * remaining if here else None,
            latest=latest,
        )

    def _record(self, finished: FinishedEpisode) -> EpisodeRecord:
        result, episode = finished.result, finished.episode
        return EpisodeRecord(
            suite=episode.suite,
            task=episode.task,
            variant=episode.variant,
            episode_index=episode.index,
            seed=episode.seed,
            policy=self._info.policy,
            card_hash=self._info.card_hash,
            session=len(self._info.sessions) - 1,
            instruction=result.instruction,
            scene_hash=result.scene_hash,
            action_hash=result.action_hash,
            outcome=result.outcome,
            reward=result.reward,
            steps=result.steps,
            progress=result.progress,
            phase=result.phase,
            final_progress=result.final_progress,
            final_phase=result.final_phase,
            wall_s=finished.wall_s,
            policy_s=finished.policy_s,
            attempts=finished.attempts,
            error_source=result.error_source,
            error=result.error,
            subgoals=result.subgoals,
            **asdict(result.rollout_statistics),
        )
