"""From names to a diagnosis: find the policy, record lessons, examine."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vla_bench.core.errors import ConventionError, VlaBenchError
from vla_bench.evaluation.doctor.examination import Diagnosis, examine
from vla_bench.evaluation.doctor.lessons import record_lessons
from vla_bench.evaluation.plan import select_tasks
from vla_bench.evaluation.protocol import EvaluationProtocol
from vla_bench.evaluation.run import environment_spec
from vla_bench.policies import Policy, find_policy
from vla_bench.policies.cards import PolicyCard
from vla_bench.policies.loading import CardSource, PolicySource

_LEAST_EPISODES = 8  # fewer cannot make a paired test significant after the correction for many proposals


@dataclass(frozen=True)
class DoctorOptions:
    """Whom to examine, and on what."""

    policy: str
    suite: str
    checkpoint: Path | None = None
    tasks: tuple[str, ...] = ()
    episodes: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        if self.episodes < _LEAST_EPISODES:
            raise VlaBenchError(f"{self.episodes} episodes are too few to tell. Expected {_LEAST_EPISODES} or more.")


def consult(options: DoctorOptions, on_stage: Callable[[str], None] = lambda stage: None) -> Diagnosis:
    """Examine a policy on expert episodes of the suite."""
    source = find_policy(options.policy, options.checkpoint)
    tasks = [f"{options.suite}.{name}" for name in select_tasks(options.suite, options.tasks)]
    card, folder, build = _patient(source)
    on_stage("loading the policy")
    policy = build(None if card is None else card.model_copy(update={"chunk": None}))
    if policy.requirements.expert is not None:
        raise ConventionError(f"Policy {source.name} is the expert itself: there is nothing to compare it with.")
    spec = environment_spec(policy, None, EvaluationProtocol())
    on_stage(f"recording {options.episodes} expert episodes")
    lessons = record_lessons(tasks, spec, episodes=options.episodes, seed=options.seed)
    on_stage(f"comparing actions at {len(lessons.moments)} moments")
    return examine(build, card, folder, lessons, spec)


def _patient(source: PolicySource) -> tuple[PolicyCard | None, Path, Callable[[PolicyCard | None], Policy]]:
    if not isinstance(source, CardSource):
        return None, Path(), lambda card: source.load()
    own = source.card_in_use()
    return own, source.path.parent, lambda card: source.build(card or own)
