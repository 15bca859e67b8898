"""Number of calls of the expensive parts of a network: nothing is computed twice (no time is measured)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.small import INSTRUCTIONS, small_checkpoint
from tests.models.small_oft import small_oft_checkpoint
from vla_bench.core.types import Observation, ProprioceptionField
from vla_bench.models import compilation
from vla_bench.models.openvla.processor import Processor
from vla_bench.policies.network_policy import PromptBatches
from vla_bench.policies.openvla import OpenVLACard, OpenVLAPolicy
from vla_bench.policies.openvla_oft import OpenVLAOFTCard, OpenVLAOFTPolicy
from vla_bench.policies.policy import EnvironmentConventions

pytestmark = pytest.mark.usefixtures("processor_only")

FIELDS = (ProprioceptionField("joint_positions", 5, "rad"), ProprioceptionField("end_effector_position", 3, "m"))
ROWS = range(4)


def openvla(decoding: str = "parallel") -> OpenVLAPolicy:
    card = OpenVLACard(
        kind="openvla",
        description="small and untrained",
        checkpoint=Path("none"),
        cameras=("agentview", "wrist"),
        image_size=32,
        proprioception=("joint_positions",),
    )
    policy = OpenVLAPolicy(card, small_checkpoint(decoding))  # type: ignore[arg-type]
    policy.connect(EnvironmentConventions(("agentview", "wrist"), 32, FIELDS))
    return policy


def oft() -> OpenVLAOFTPolicy:
    names = ("joint_positions", "end_effector_position")
    card = OpenVLAOFTCard(kind="openvla_oft", description="small and untrained", image_size=32, proprioception=names)
    policy = OpenVLAOFTPolicy(card, small_oft_checkpoint())
    policy.connect(EnvironmentConventions(("agentview", "wrist"), 32, FIELDS))
    return policy


def observations(seed: int = 1) -> list[Observation]:
    draw = np.random.default_rng(seed)
    return [
        {
            "images": {name: draw.integers(0, 256, (32, 32, 3), dtype=np.uint8) for name in ("agentview", "wrist")},
            "proprioception": draw.normal(size=8).astype(np.float32),
            "instruction": INSTRUCTIONS[row % 2],
        }
        for row in ROWS
    ]


def counted(model: torch.nn.Module, names: Sequence[str]) -> Counter[str]:
    calls: Counter[str] = Counter()
    for name in names:
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: calls.update([name]))
    return calls


def begin(policy: OpenVLAPolicy | OpenVLAOFTPolicy) -> None:
    policy.reset([INSTRUCTIONS[row % 2] for row in ROWS], rows=ROWS, seeds=[0] * len(ROWS))


@pytest.mark.parametrize("made", [openvla, oft])
def test_every_part_is_called_once_in_an_act_whatever_the_number_of_rows(made: type) -> None:
    policy = made()
    model = policy._checkpoint.model
    vla = model.vla if made is oft else model
    parts = ("vision_backbone.featurizer.embeddings", "vision_backbone.fused_featurizer.embeddings", "projector")
    calls = counted(vla, [*parts, "language_model.model"])
    begin(policy)
    policy.act(observations(), rows=ROWS)
    assert set(calls.values()) == {1}
    assert len(calls) == 4


def test_tokens_are_generated_with_one_look_at_the_images_and_one_pass_each() -> None:
    policy = openvla("autoregressive")
    calls = counted(policy._checkpoint.model, ["vision_backbone", "language_model.model", "language_model.lm_head"])
    begin(policy)
    policy.act(observations(), rows=ROWS)
    tokens = policy._checkpoint.config.num_slots
    assert calls == {"vision_backbone": 1, "language_model.model": tokens, "language_model.lm_head": tokens}


@pytest.mark.parametrize("made", [openvla, oft])
def test_an_instruction_is_tokenised_once_in_all_its_steps(made: type, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenised: list[str] = []
    ids_of = Processor._ids
    monkeypatch.setattr(Processor, "_ids", lambda self, prompt: tokenised.append(prompt) or ids_of(self, prompt))
    policy = made()
    begin(policy)
    for seed in range(6):
        policy.act(observations(seed), rows=ROWS)
    assert len(tokenised) == len(ROWS)
    policy.reset([INSTRUCTIONS[1]], rows=[0], seeds=[0])  # another batch of instructions
    policy.act(observations(), rows=ROWS)
    assert len(tokenised) == 2 * len(ROWS)


def test_the_network_s_python_runs_no_more_once_its_call_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "CALLS_BEFORE_TRACING", 2)
    policy = openvla()
    calls = counted(policy._checkpoint.model, ["vision_backbone"])
    begin(policy)
    first = policy.act(observations(), rows=ROWS)
    for seed in range(10):
        policy.act(observations(seed), rows=ROWS)
    assert calls["vision_backbone"] == 2 + compilation.CALLS_CHECKED + 1
    np.testing.assert_array_equal(policy.act(observations(), rows=ROWS), first)


def test_prompts_of_few_batches_are_remembered() -> None:
    made: list[tuple[str, ...]] = []

    def make(instructions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        made.append(tuple(instructions))
        return torch.ones(1), torch.ones(1)

    prompts = PromptBatches(make, torch.device("cpu"), most=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        prompts.of([text])
    assert made == [("a",), ("b",), ("c",), ("b",)]  # what was used longest ago is forgotten first
