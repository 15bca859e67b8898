"""Give openvla-nano's card one mistake at a time, and count which of them `vla-bench doctor` names from how many
demonstrations. A mistake that a card cannot make is built around the policy.
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
_LONG = 12  # actions of a chunk that is executed beyond what the network predicts, 4


@dataclass(frozen=True)
class Mistake:
    """One thing wrong, and what a doctor should call it."""

    name: str
    right: str  # the finding's mistake, or nothing for a sound card
    card: Mapping[str, Any] = field(default_factory=dict)
    around: Callable[[Policy], Policy] = lambda policy: policy


def main() -> None:
    """Examine and write the page."""
    options = _parse(sys.argv[1:])
    source = find_policy("openvla-nano", None)
    assert isinstance(source, CardSource)
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = _with_second_statistics(data_folder("baselines") / "openvla-nano" / "base", Path(temporary))
        sound = source.resolved_card().model_copy(update={"checkpoint": checkpoint, "unnorm_key": "pretraining"})
        policy = policy_kinds[sound.kind].build(sound.model_copy(update={"chunk": None}), Path())
        spec = environment_spec(policy, None, EvaluationProtocol())
        tasks = [f"{_SUITE}.{name}" for name in select_tasks(_SUITE)]
        expert_samples = record_expert_samples(tasks, spec, episodes=max(options.episodes), seed=options.seed)
        rows, memory = [], dict[str, _Remembering]()
        for mistake in _mistakes(options.mistake):
            found = [
                _examined(mistake, sound, _first(expert_samples, count), spec, memory) for count in options.episodes
            ]
            rows.append([mistake.name, mistake.right or "none", *(_verdict(mistake, one) for one in found)])
            print(rows[-1], flush=True)
    _write(options, rows, len(expert_samples.samples))


def _mistakes(asked: list[str] | None) -> list[Mistake]:
    made = [
        Mistake("none", ""),
        Mistake("gripper sign", "gripper convention", {"gripper": "open_positive"}),
        Mistake("image upside down", "image orientation", {"image_orientation": "upside_down"}),
        Mistake("image turned by 180 degrees", "image orientation", {"image_orientation": "rotated_180"}),
        Mistake("image mirrored", "image orientation", {"image_orientation": "mirrored"}),
        Mistake("crop to 90 % of the area", "image crop", {"image_crop_area": 0.9}),
        Mistake("crop to 50 % of the area", "image crop", {"image_crop_area": 0.5}),
        Mistake("cameras exchanged", "camera order", {"cameras": ("wrist", "agentview")}),
        Mistake("statistics of another key", "unnormalisation key", {"unnorm_key": "another"}),
        Mistake("rotation negated", "rotation sign", around=partial(AlteredPolicy, action_transform=_negated_rotation)),
        Mistake("motion in the gripper's frame", "tool frame", around=_InTheGrippersFrame),
        Mistake(
            f"{_LONG} actions of a chunk of 4",
            "chunk length",
            {"chunk": {"execution": "open_loop", "steps": _LONG}},
            partial(AlteredPolicy, action_transform=_lengthened),
        ),
    ]
    return [mistake for mistake in made if not asked or mistake.name in asked]


def _examined(
    mistake: Mistake,
    sound: PolicyCard,
    expert_samples: ExpertSamples,
    spec: EnvironmentSpec,
    memory: dict[str, "_Remembering"],
) -> Diagnosis:
    card = type(sound).model_validate({**sound.model_dump(), **mistake.card})

    def build(changed: PolicyCard | None) -> Policy:
        assert changed is not None
        return mistake.around(_remembering(changed.model_dump_json(), changed, memory))

    return examine(build, card, Path(), expert_samples, spec)


def _remembering(key: str, card: PolicyCard, memory: dict[str, "_Remembering"]) -> "_Remembering":
    if key not in memory:
        memory[key] = _Remembering(policy_kinds[card.kind].build(card, Path()))
    return memory[key]


class _Remembering(PolicyWrapper):
    """Answers an observation that it has met with the same actions: mistakes and their cures meet again and again."""

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
    told = ", ".join(names)
    return f"**{told}**" if names == [mistake.right] else told


def _first(expert_samples: ExpertSamples, count: int) -> ExpertSamples:
    return ExpertSamples(
        tuple(moment for moment in expert_samples.samples if moment.episode < count), expert_samples.fields
    )


class _InTheGrippersFrame(PolicyWrapper):
    """Says the motion in the gripper's frame, as a network does that was trained on such actions."""

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


def _negated_rotation(chunks: FloatArray, seen: Any) -> FloatArray:
    return np.concatenate([chunks[..., :3], -chunks[..., 3:6], chunks[..., 6:]], axis=-1)


def _lengthened(chunks: FloatArray, seen: Any) -> FloatArray:
    """Go on with the last action, as a policy does that is asked for more than it has learnt."""
    return np.concatenate([chunks, np.repeat(chunks[:, -1:], _LONG - chunks.shape[1], axis=1)], axis=1)


def _with_second_statistics(base: Path, folder: Path) -> Path:
    """Return a copy of the checkpoint with the statistics of a slower robot, whose gripper is scaled alike, added."""
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
    table = [["mistake", "should be named", *counts], [":--"] * (2 + len(counts)), *rows]
    lines = [
        "# Which mistakes the doctor names",
        "",
        f"openvla-nano on `{_SUITE}`, one mistake at a time, seed {options.seed}; {samples} samples in the "
        f"{max(options.episodes)} demonstrations. In bold: that mistake and no other.",
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
    parser.add_argument("--episodes", nargs="+", type=int, default=[8, 12, 16], help="demonstrations")
    parser.add_argument("--mistake", action="append", help="only these; repeat for several")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/doctor_mistakes.md"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
