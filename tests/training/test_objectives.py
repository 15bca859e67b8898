import pytest
import torch
from torch.nn import functional

from tests.models.small import INSTRUCTIONS, inputs, small_checkpoint
from vla_bench.core.errors import UnknownNameError
from vla_bench.training.batches import Batch
from vla_bench.training.config import OptimizerConfig
from vla_bench.training.objectives import ActionL1, TokenCrossEntropy, objective_for


def batch(checkpoint, rows=4) -> Batch:
    given = inputs(checkpoint, rows)
    actions = torch.rand(rows, 2, 7, generator=torch.Generator().manual_seed(0)) * 1.8 - 0.9
    answer = torch.from_numpy(checkpoint.action_tokenizer.encode(actions.numpy())).flatten(1)
    return Batch(**given, answer=answer, actions=actions)


@pytest.mark.parametrize("decoding", ["parallel", "autoregressive"])
def test_tokens_without_smoothing_are_openvla_s_cross_entropy(decoding):
    checkpoint = small_checkpoint(decoding)
    objective = objective_for(checkpoint.model, OptimizerConfig(sigma_bins=0))
    asked = batch(checkpoint)
    logits = objective.answer(checkpoint.model, asked)
    expected = functional.cross_entropy(logits.flatten(0, 1), asked.answer.flatten())
    assert objective.loss(logits, asked).item() == pytest.approx(expected.item(), rel=1e-5)
    smoothed = objective_for(checkpoint.model, OptimizerConfig(sigma_bins=4))
    assert smoothed.loss(logits, asked).item() != pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize("decoding", ["parallel", "autoregressive"])
def test_what_tokens_mean_is_read_as_the_network_s_decoding_reads_them(decoding):
    checkpoint = small_checkpoint(decoding)
    objective = objective_for(checkpoint.model, OptimizerConfig())
    asked = batch(checkpoint)
    sure = torch.full((4, 14, checkpoint.config.text.vocab_size), -30.0)
    sure.scatter_(2, asked.answer[..., None], 30.0)
    assert objective.token_accuracy(sure, asked) == 1.0
    assert (objective.predicted_actions(sure, asked) - asked.actions).abs().max() < 1 / 255 + 1e-4
    unsure = sure.clone()
    unsure[:2].fill_(0.0)
    assert objective.token_accuracy(unsure, asked) == pytest.approx(0.5, abs=0.1)


class _Regression(torch.nn.Module):
    """Answers with actions, as OpenVLA-OFT's network does; its configuration says so."""

    def __init__(self) -> None:
        super().__init__()
        self.config = type("Config", (), {"action_head": "l1"})()
        self.shift = torch.nn.Parameter(torch.zeros(1))

    def predict_normalized(self, input_ids, attention_mask, pixel_values, proprioception):
        assert len(input_ids) == len(attention_mask) == len(pixel_values) == len(proprioception)
        return torch.zeros(len(input_ids), 2, 7) + self.shift


def test_a_network_with_an_l1_head_is_trained_by_the_error_of_its_actions():
    asked, model = batch(small_checkpoint()), _Regression()
    objective = objective_for(model, OptimizerConfig())
    assert isinstance(objective, ActionL1)
    answer = objective.answer(model, asked)
    loss = objective.loss(answer, asked)
    assert loss.item() == pytest.approx(asked.actions.abs().mean().item(), rel=1e-5)
    loss.backward()
    assert model.shift.grad.item() != 0
    assert torch.equal(objective.predicted_actions(answer, asked), answer)
    assert objective.token_accuracy(answer, asked) is None


def test_an_unknown_head_is_named():
    model = _Regression()
    model.config.action_head = "l2"
    with pytest.raises(UnknownNameError, match=r"named 'l2'"):
        objective_for(model, OptimizerConfig())
    assert isinstance(objective_for(small_checkpoint().model, OptimizerConfig()), TokenCrossEntropy)


def test_selected_samples_of_a_batch_keep_their_tensors_together():
    asked = batch(small_checkpoint(), rows=len(INSTRUCTIONS) * 2)
    part = asked.select(slice(1, 3))
    assert len(part) == 2
    assert torch.equal(part.answer, asked.answer[1:3])
    assert torch.equal(part.actions, asked.actions[1:3])
    assert torch.equal(part.pixel_values, asked.pixel_values[1:3])
