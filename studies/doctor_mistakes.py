"""Test which single mistakes in the card of openvla-nano `vla-bench doctor` identifies, by number of demonstrations.

A mistake that a card cannot express is implemented as a wrapper of the policy.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from provenance import command, hardware, today

from vla_bench.core.episode import array_hash
from vla_bench.core.files import data_folder, written_whole
from vla_bench.core.geometry import axis_angle_to_quat_wxyz, quat_wxyz_to_matrix
from vla_bench.core.types import FloatArray, Observation
from vla_bench.evaluation.doctor import Diagnosis, examine
from vla_bench.evaluation.doctor.expert_samples import ExpertSamples, record_expert_samples
from vla_bench.evaluation.doctor.mistakes import AlteredPolicy
from vla_bench.evaluation.environment_slots import EnvironmentSpec
from vla_bench.evaluation.plan import select_tasks
from vla_bench.evaluation.protocol import EvaluationProtocol
from vla_bench.evaluation.run import environment_spec
from vla_bench.policies import Policy, find_policy
from vla_bench.policies.cards import PolicyCard, policy_kinds
from vla_bench.policies.loading import CardSource
from vla_bench.policies.policy import EnvironmentConventions, as_chunks
from vla_bench.policies.wrappers import PolicyWrapper

_SUITE = "tabletop_pick"
_LONG = 12  # executed actions per chunk, more than the 4 that the network predicts


@dataclass(frozen=True)
class Mistake:
    """One mistake and the finding that is expected from the doctor."""

    name: str
    expected: str  # name of the finding, or empty for a correct card
    card: Mapping[str, Any] = field(default_factory=dict)
    wrap: Callable[[Policy], Policy] = lambda policy: policy


def main() -> None:
    """Examine all mistakes and write the page."""
    options = _parse(sys.argv[1:])
    source = find_policy("openvla-nano", None)
    assert isinstance(source, CardSource)
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = _with_second_statistics(data_folder("baselines") / "openvla-nano" / "base", Path(temporary))
        correct = source.resolved_card().model_copy(update={"checkpoint": checkpoint, "unnorm_key": "pretraining"})
        policy = policy_kinds[correct.kind].build(correct.model_copy(update={"chunk": None}), Path())
        spec = environment_spec(policy, None, EvaluationProtocol())
        tasks = [f"{_SUITE}.{name}" for name in select_tasks(_SUITE)]
        expert_samples = record_expert_samples(tasks, spec, episodes=max(options.episodes), seed=options.seed)
        rows, cache = [], dict[str, _CachedPolicy]()
        for mistake in _mistakes(options.mistake):
            found = [
                _diagnose(mistake, correct, _first(expert_samples, count), spec, cache) for count in options.episodes
            ]
            rows.append([mistake.name, mistake.expected or "none", *(_verdict(mistake, one) for one in found)])
            print(rows[-1], flush=True)
    _write(options, rows, len(expert_samples.samples))


def _mistakes(selected: list[str] | None) -> list[Mistake]:
    mistakes = [
        Mistake("none", ""),
        Mistake("gripper sign", "gripper convention", {"gripper": "open_positive"}),
        Mistake("image upside down", "image orientation", {"image_orientation": "upside_down"}),
        Mistake("image turned by 180 degrees", "image orientation", {"image_orientation": "rotated_180"}),
        Mistake("image mirrored", "image orientation", {"image_orientation": "mirrored"}),
        Mistake("crop to 90 % of the area", "image crop", {"image_crop_area": 0.9}),
        Mistake("crop to 50 % of the area", "image crop", {"image_crop_area": 0.5}),
        Mistake("cameras exchanged", "camera order", {"cameras": ("wrist", "agentview")}),
        Mistake("statistics of another key", "unnormalisation key", {"unnorm_key": "another"}),
        Mistake("rotation negated", "rotation sign", wrap=partial(AlteredPolicy, action_transform=_negate_rotation)),
        Mistake("motion in the gripper's frame", "tool frame", wrap=_GripperFramePolicy),
        Mistake(
            f"{_LONG} actions of a chunk of 4",
            "chunk length",
            {"chunk": {"execution": "open_loop", "steps": _LONG}},
            partial(AlteredPolicy, action_transform=_repeat_last_action),
        ),
    ]
    return [mistake for mistake in mistakes if not selected or mistake.name in selected]


def _diagnose(
    mistake: Mistake,
    correct: PolicyCard,
    expert_samples: ExpertSamples,
    spec: EnvironmentSpec,
    cache: dict[str, "_CachedPolicy"],
) -> Diagnosis:
    card = type(correct).model_validate({**correct.model_dump(), **mistake.card})

    def build(changed: PolicyCard | None) -> Policy:
        assert changed is not None
        return mistake.wrap(_cached(changed.model_dump_json(), changed, cache))

    return examine(build, card, Path(), expert_samples, spec)


def _cached(key: str, card: PolicyCard, cache: dict[str, "_CachedPolicy"]) -> "_CachedPolicy":
    if key not in cache:
        cache[key] = _CachedPolicy(policy_kinds[card.kind].build(card, Path()))
    return cache[key]


class _CachedPolicy(PolicyWrapper):
    """A policy that caches its actions by observation, because mistakes and proposed fixes repeat observations."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self._answers: dict[str, FloatArray] = {}

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        keys = [array_hash(*observation["images"].values()) for observation in observations]
        if not all(key in self._answers for key in keys):
            chunks = as_chunks(self._policy.act(observations, rows=rows), len(rows), self._action_dim)
            self._answers.update(zip(keys, chunks, strict=True))
        return np.stack([self._answers[key] for key in keys])


def _verdict(mistake: Mistake, diagnosis: Diagnosis) -> str:
    names = [fix.mistake for fix in diagnosis.fixes]
    if diagnosis.chunk_too_long:
        names.append("chunk length")
    if not names:
        return "nothing"
    text = ", ".join(names)
    return f"**{text}**" if names == [mistake.expected] else text


def _first(expert_samples: ExpertSamples, count: int) -> ExpertSamples:
    return ExpertSamples(
        tuple(sample for sample in expert_samples.samples if sample.episode < count), expert_samples.fields
    )


class _GripperFramePolicy(PolicyWrapper):
    """A policy that returns motion in the gripper's frame, like a network that was trained on such actions."""

    def connect(self, conventions: EnvironmentConventions) -> None:
        ends = np.cumsum([one.size for one in conventions.proprioception_fields]).tolist()
        sizes = {
            one.name: slice(end - one.size, end)
            for one, end in zip(conventions.proprioception_fields, ends, strict=True)
        }
        self._where = sizes["end_effector_axis_angle"]
        super().connect(conventions)

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        chunks = np.array(as_chunks(self._policy.act(observations, rows=rows), len(rows), self._action_dim))
        for row, observation in enumerate(observations):
            turned = np.asarray(observation["proprioception"][self._where], np.float64)
            matrix = quat_wxyz_to_matrix(axis_angle_to_quat_wxyz(turned))
            for part in (slice(0, 3), slice(3, 6)):
                chunks[row, :, part] = chunks[row, :, part] @ matrix
        return chunks


def _negate_rotation(chunks: FloatArray, observations: Any) -> FloatArray:
    return np.concatenate([chunks[..., :3], -chunks[..., 3:6], chunks[..., 6:]], axis=-1)


def _repeat_last_action(chunks: FloatArray, observations: Any) -> FloatArray:
    """Repeat the last action, like a policy that is asked for longer chunks than it was trained for."""
    return np.concatenate([chunks, np.repeat(chunks[:, -1:], _LONG - chunks.shape[1], axis=1)], axis=1)


def _with_second_statistics(base: Path, folder: Path) -> Path:
    """Return a copy of the checkpoint with additional statistics of a slower robot with the same gripper scale."""
    copy = shutil.copytree(base, folder / "base")
    path = copy / "dataset_statistics.json"
    statistics = json.loads(path.read_text(encoding="utf-8"))
    another = json.loads(json.dumps(statistics["pretraining"]))
    for name, values in another["action"].items():
        if name != "mask":
            another["action"][name] = [0.5 * value for value in values[:6]] + values[6:]
    path.write_text(json.dumps({**statistics, "another": another}), encoding="utf-8")
    return copy


def _write(options: argparse.Namespace, rows: list[list[str]], samples: int) -> None:
    counts = [f"{count} demonstrations" for count in options.episodes]
    table = [["mistake", "expected finding", *counts], [":--"] * (2 + len(counts)), *rows]
    lines = [
        "# Mistakes that the doctor identifies",
        "",
        f"openvla-nano on `{_SUITE}`, one mistake at a time, seed {options.seed}; {samples} observations from "
        f"{max(options.episodes)} demonstrations. Bold: exactly the expected finding.",
        "",
        f"- Hardware: {hardware()}",
        f"- Date: {today()}",
        f"- Command: `{command()}`",
        "",
        *(f"| {' | '.join(row)} |" for row in table),
        "",
    ]
    with written_whole(options.output) as path:
        path.write_text("\n".join(lines), encoding="utf-8")


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", nargs="+", type=int, default=[8, 12, 16], help="numbers of demonstrations")
    parser.add_argument(
        "--mistake", action="append", help="mistakes to test [default: all]; may be given several times"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/doctor_mistakes.md"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
