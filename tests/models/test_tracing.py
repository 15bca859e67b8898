"""Recorded calls of real, small, untrained networks: the same bits, whatever the inputs hold."""

from collections.abc import Sequence

import pytest
import torch
from torch import nn

from tests.models.small import inputs, small_checkpoint
from tests.models.small_oft import oft_inputs, small_oft_checkpoint
from vla_bench.models import compilation
from vla_bench.models.compilation import CALLS_CHECKED, Traced

Inputs = Sequence[torch.Tensor | None]
OVERLONG = "put the cube in the basket and reach for the cube and put the cube in the basket"


@pytest.fixture(autouse=True)
def _few_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation, "CALLS_BEFORE_TRACING", 2)


class Doubling(nn.Module):
    """Counts how often Python comes by."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def double(self, values: torch.Tensor, more: torch.Tensor | None, last: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return 2 * values + last if more is None else 2 * values + more + last


class Branching(nn.Module):
    """Does what must not be recorded."""

    def sign(self, values: torch.Tensor) -> torch.Tensor:
        return values * 1 if values.sum() > 0 else values * -1


def test_python_comes_by_until_the_recording_is_checked_and_never_again() -> None:
    network = Doubling()
    traced = Traced(network, "double")
    for number in range(20):
        values = torch.full((3,), float(number))
        assert torch.equal(traced(values, None, values), 3 * values)
    assert network.calls == compilation.CALLS_BEFORE_TRACING + CALLS_CHECKED + 1  # one of them to record it


def test_every_shape_has_its_own_recording_and_few_are_remembered() -> None:
    network = Doubling()
    traced = Traced(network, "double")
    for size in range(1, 30):
        assert torch.equal(traced(torch.ones(size), torch.ones(size), torch.ones(size)), torch.full((size,), 4.0))
    assert len(traced._shapes) == compilation._MAX_SHAPES
    assert torch.equal(traced(torch.ones(2), None, torch.ones(2)), torch.full((2,), 3.0))


def test_a_recording_that_gives_other_bits_is_not_used() -> None:
    traced = Traced(Branching(), "sign")
    for number in range(12):
        values = torch.full((3,), -1.0 if number % 2 else 1.0)
        assert torch.equal(traced(values), torch.ones(3))


@pytest.mark.parametrize("with_an_overlong_prompt", [False, True])
def test_action_logits_are_the_network_s_to_the_bit(with_an_overlong_prompt: bool) -> None:
    checkpoint = small_checkpoint()
    recorded = Traced(checkpoint.model, "action_logits")
    with torch.inference_mode():
        for seed in range(10):
            given = inputs(checkpoint, 3, seed)
            if with_an_overlong_prompt:
                words = [OVERLONG, "reach for the cube", "put the cube in the basket"]
                given["input_ids"], given["attention_mask"] = checkpoint.processor.tokenize_instructions(
                    words[seed % 3 :] + words[: seed % 3]
                )
            assert torch.equal(recorded(*given.values()), checkpoint.model.action_logits(**given)), seed


def test_oft_s_actions_are_the_network_s_to_the_bit() -> None:
    checkpoint = small_oft_checkpoint()
    recorded = Traced(checkpoint.model, "predict_normalized")
    with torch.inference_mode():
        for seed in range(10):
            words = ["reach for the cube", "put the cube in the basket", "reach for the cube"]
            given = oft_inputs(checkpoint, words[seed % 2 :] + words[: seed % 2], seed)
            assert torch.equal(recorded(*given.values()), checkpoint.model.predict_normalized(**given)), seed


def test_weights_that_change_in_place_change_what_is_recorded() -> None:
    checkpoint = small_checkpoint()
    recorded, given = Traced(checkpoint.model, "action_logits"), inputs(checkpoint, 2)
    with torch.inference_mode():
        for _ in range(8):
            before = recorded(*given.values())
        for parameter in checkpoint.model.parameters():
            parameter.data.mul_(1.5)
        after = recorded(*given.values())
        assert not torch.equal(before, after)
        assert torch.equal(after, checkpoint.model.action_logits(**given))
