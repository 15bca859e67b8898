import pytest
import torch
from torch.nn import functional

from tests.models.small_oft import oft_inputs, small_oft_checkpoint
from vla_bench.models.openvla.config import ModelConfigError
from vla_bench.models.openvla_oft.network import OpenVLAOFT, OpenVLAOFTConfig

SHORT, LONG = "reach for the cube", "put the cube in the basket and then reach for the other cube"


def plain_head(tensors, states):
    """The head, written out: (chunk, 7 * D) -> (chunk, 7)."""

    def norm(name, x):
        return functional.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def linear(name, x):
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    x = torch.relu(linear("model.fc1", norm("model.layer_norm1", states)))
    for block in ("model.mlp_resnet_blocks.0", "model.mlp_resnet_blocks.1"):
        x = x + torch.relu(linear(f"{block}.ffn.1", norm(f"{block}.ffn.0", x)))
    return linear("model.fc2", norm("model.layer_norm2", x))


def plain_llama(model, x):
    """The decoder, written out, with every token seeing every other: (S, D) -> (S, D)."""
    config, decoder = model.config.vla.text, model.vla.language_model.model
    heads, size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    angles = torch.arange(len(x))[:, None] / config.rope_theta ** (torch.arange(0, size, 2) / size)
    cos, sin = (torch.cat([f(angles)] * 2, dim=-1)[:, None] for f in (torch.cos, torch.sin))

    def norm(weight, y):
        return weight * y / torch.sqrt((y * y).mean(-1, keepdim=True) + config.rms_norm_eps)

    def turned(y):
        first, second = y[..., : size // 2], y[..., size // 2 :]
        return y * cos + torch.cat([-second, first], dim=-1) * sin

    for layer in decoder.layers:
        y, attention = norm(layer.input_layernorm.weight, x), layer.self_attn
        q, k, v = (
            (y @ p.weight.T).reshape(-1, heads, size) for p in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        scores = torch.einsum("shd,thd->hst", turned(q), turned(k)) / size**0.5
        mixed = torch.einsum("hst,thd->shd", scores.softmax(-1), v).reshape(len(x), -1)
        x = x + mixed @ attention.o_proj.weight.T
        y = norm(layer.post_attention_layernorm.weight, x)
        inner = functional.silu(y @ layer.mlp.gate_proj.weight.T) * (y @ layer.mlp.up_proj.weight.T)
        x = x + inner @ layer.mlp.down_proj.weight.T
    return norm(decoder.norm.weight, x)


def plain_prediction(model, ids, pixel_values, proprioception):
    """One row without padding, step by step as the paper and its code describe it."""
    embed = model.vla.language_model.model.embed_tokens.weight
    patches = []
    for image in pixel_values.split(6):  # each image through both towers by itself
        backbone = model.vla.vision_backbone
        backbone.num_images = 1
        patches.append(model.vla.projector(backbone(image[None]))[0])
        backbone.num_images = 2
    projector = model.proprioception_projector
    proprio = projector.fc2(functional.gelu(projector.fc1(proprioception)))[None]
    slots = torch.zeros(56, embed.shape[1])
    sequence = torch.cat([embed[ids[:1]], *patches, proprio, embed[ids[1:]], slots, embed[[2]]])
    states = plain_llama(model, sequence)
    first = len(sequence) - 1 - 56 - 1  # the token before the first slot
    return plain_head(model.action_head.state_dict(), states[first : first + 56].reshape(8, -1))


@torch.no_grad()
def test_predictions_are_those_of_the_method_written_out():
    checkpoint = small_oft_checkpoint()
    batch = oft_inputs(checkpoint, [SHORT, LONG, SHORT])
    actions = checkpoint.model.predict_normalized(**batch)
    assert actions.shape == (3, 8, 7)
    for row in range(3):
        ids = batch["input_ids"][row][batch["attention_mask"][row] == 1]
        expected = plain_prediction(checkpoint.model, ids, batch["pixel_values"][row], batch["proprioception"][row])
        torch.testing.assert_close(actions[row], expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_batch_of_different_instructions_acts_as_each_alone():
    checkpoint = small_oft_checkpoint()
    batch = oft_inputs(checkpoint, [SHORT, LONG] * 8)
    together = checkpoint.model.predict_normalized(**batch)
    for row in range(16):
        length = int(batch["attention_mask"][row].sum())
        alone = {name: value[row : row + 1] for name, value in batch.items()}
        alone = {name: value[:, :length] if value.dtype == torch.long else value for name, value in alone.items()}
        torch.testing.assert_close(checkpoint.model.predict_normalized(**alone)[0], together[row], rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("name", ["pixel_values", "proprioception", "input_ids"])
def test_every_input_matters(name):
    checkpoint = small_oft_checkpoint()
    batch = oft_inputs(checkpoint, [SHORT])
    before = checkpoint.model.predict_normalized(**batch)
    if name == "pixel_values":
        batch[name][:, 6:] *= 0.5  # the wrist image alone
    else:
        batch[name] = batch[name].flip(1)
    assert (checkpoint.model.predict_normalized(**batch) - before).abs().max() > 1e-3


def test_the_first_action_depends_on_the_last_slot():
    # Slots are alike but for their position, and attention runs both ways: taking one away changes all.
    long, short = small_oft_checkpoint(), small_oft_checkpoint(chunk_size=7)
    short.model.load_state_dict(long.model.state_dict())
    batch = oft_inputs(long, [SHORT])
    with torch.no_grad():
        first, second = (each.model.predict_normalized(**batch)[0, 0] for each in (long, short))
    assert (first - second).abs().max() > 1e-5


def test_an_l1_step_reaches_every_trained_part_and_lowers_the_loss():
    checkpoint = small_oft_checkpoint()
    model, batch = checkpoint.model.train(), oft_inputs(checkpoint, [SHORT, LONG])
    target = torch.rand(2, 8, 7) * 2 - 1
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(10):
        loss = functional.l1_loss(model.predict_normalized(**batch), target)
        optimiser.zero_grad()
        loss.backward()
        unreached = {name for name, parameter in model.named_parameters() if parameter.grad is None}
        assert unreached <= {"vla.language_model.lm_head.weight"}  # nothing reads token logits
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_missing_proprioception_is_an_error():
    checkpoint = small_oft_checkpoint()
    batch = oft_inputs(checkpoint, [SHORT])
    del batch["proprioception"]
    with pytest.raises(ValueError, match="needs 8 numbers of proprioception"):
        checkpoint.model.predict_normalized(**batch)


def test_a_network_without_proprioception_takes_none():
    checkpoint = small_oft_checkpoint(proprioception_dim=0)
    batch = oft_inputs(checkpoint, [SHORT])
    del batch["proprioception"]
    assert checkpoint.model.predict_normalized(**batch).shape == (1, 8, 7)


def test_wrong_shapes_are_refused():
    config = small_oft_checkpoint().config
    with pytest.raises(ModelConfigError, match="chunk_size is 0"):
        OpenVLAOFTConfig(config.vla, chunk_size=0)
    assert OpenVLAOFT(config).config.num_slots == 56
