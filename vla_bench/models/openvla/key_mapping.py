"""Mapping between published tensor names (timm's for the vision towers) and those of transformers' modules.

timm keeps query, key and value in one tensor, and has no position embedding for the class token of DINOv2; all
other tensors are renamed.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from vla_bench.models.openvla.config import OpenVLAConfig, TowerConfig

Shape = tuple[int, ...]
_TOWERS = ("featurizer", "fused_featurizer")
_COMMON = {
    r"embeddings\.(?:patch_embeddings\.projection|patch_embedding)\.": "patch_embed.proj.",
    r"embeddings\.register_tokens$": "reg_token",
    r"embeddings\.(?:position_embedding\.weight|position_embeddings)$": "pos_embed",
    r"embeddings\.(?:class_embedding|cls_token)$": "cls_token",
    r"pre_layrnorm\.": "norm_pre.",
    r"encoder\.layers?\.(\d+)\.": r"blocks.\1.",
    r"\.(?:layer_norm|norm)([12])\.": r".norm\1.",
    r"\.(?:attention|self_attn)\.[qkv]_proj\.": ".attn.qkv.",
    r"\.(?:attention|self_attn)\.(?:o_proj|out_proj)\.": ".attn.proj.",
    r"\.layer_scale([12])\.lambda1$": r".ls\1.scale_factor",
}
_ALIASES = ((".scale_factor", ".gamma"),)  # files from before the original code renamed the timm parameter


@dataclass(frozen=True)
class PublishedTensor:
    """Conversion between one tensor of a published file and our tensors."""

    name: str
    shape: Shape
    fills: tuple[str, ...]  # our tensors, in the order of `split`
    split: Callable[[torch.Tensor], Sequence[torch.Tensor]]
    takes: tuple[str, ...]  # our tensors, in the order of `join`
    join: Callable[..., torch.Tensor]

    @property
    def names(self) -> tuple[str, ...]:
        """The name, and its names in older files."""
        return (self.name, *(self.name[: -len(new)] + old for new, old in _ALIASES if self.name.endswith(new)))


def published_tensors(config: OpenVLAConfig, ours: Mapping[str, Shape]) -> list[PublishedTensor]:
    """Return the published tensors for the tensors `ours` (names and shapes), in our order."""
    groups: dict[str, list[str]] = {}
    for name in ours:
        groups.setdefault(_published_name(name), []).append(name)
    towers = dict(zip(_TOWERS, config.towers, strict=False))
    return [_tensor(name, members, ours, towers) for name, members in groups.items()]


def unmapped_tensors(ours: Mapping[str, Shape]) -> list[PublishedTensor]:
    """Return the tensors of a file with our own names, as in early checkpoints of `openvla-nano`."""
    return [_renamed(name, name, shape, shape) for name, shape in ours.items()]


def has_our_names(names: Iterable[str]) -> bool:
    """Return whether a file has our names for the tensors of the towers."""
    return any(name.startswith(f"vision_backbone.{_TOWERS[0]}.embeddings.") for name in names)


def is_unused(config: OpenVLAConfig, name: str) -> bool:
    """Return whether OpenVLA does not use a published tensor: blocks after the features, final norms and heads.

    Also true for the rotary frequencies in old Llama files, which are computed.
    """
    if re.fullmatch(r"language_model\.model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq", name):
        return True
    for tower_name, tower in zip(_TOWERS, config.towers, strict=False):
        prefix = f"vision_backbone.{tower_name}."
        if name.startswith(prefix):
            return _is_unused_in_tower(tower, name.removeprefix(prefix))
    return False


def _is_unused_in_tower(tower: TowerConfig, name: str) -> bool:
    block = re.match(r"blocks\.(\d+)\.", name)
    if block:
        return tower.built_layers <= int(block[1]) < tower.num_hidden_layers
    heads = ("norm.", "fc_norm.", "attn_pool.") if tower.architecture == "siglip" else ("norm.", "fc_norm.")
    return name.startswith(heads)


def _published_name(name: str) -> str:
    for tower in _TOWERS:
        prefix = f"vision_backbone.{tower}."
        if name.startswith(prefix):
            inside = name.removeprefix(prefix)
            for pattern, replacement in _COMMON.items():
                inside = re.sub(pattern, replacement, inside)
            return prefix + inside
    return name


def _tensor(
    name: str, members: Sequence[str], ours: Mapping[str, Shape], towers: Mapping[str, TowerConfig]
) -> PublishedTensor:
    shape = ours[members[0]]
    if name.endswith((".attn.qkv.weight", ".attn.qkv.bias")):
        ordered = tuple(sorted(members, key=lambda member: "qkv".index(re.findall(r"([qkv])_proj", member)[0])))
        return PublishedTensor(name, (3 * shape[0], *shape[1:]), ordered, _split_qkv, ordered, _join_qkv)
    member = members[0]
    architecture = next((towers[tower].architecture for tower in towers if f".{tower}." in name), None)
    if architecture == "dinov2" and name.endswith("pos_embed"):
        without_class = (1, shape[1] - 1, shape[2])
        return PublishedTensor(name, without_class, (member,), _add_class_position, (member,), _remove_class_position)
    if architecture == "dinov2" and name.endswith("cls_token"):
        position = next(other for other in ours if other == member.replace("cls_token", "position_embeddings"))
        return PublishedTensor(name, shape, (member,), _unchanged, (member, position), _merge_class_position)
    if name.endswith("pos_embed"):
        return _renamed(name, member, (1, *shape), shape)
    if name.endswith("cls_token"):
        return _renamed(name, member, (1, 1, *shape), shape)
    return _renamed(name, member, shape, shape)


def _renamed(name: str, ours: str, published: Shape, shape: Shape) -> PublishedTensor:
    def split(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
        return (tensor.reshape(shape),)

    def join(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.reshape(published)

    return PublishedTensor(name, published, (ours,), split, (ours,), join)


def _unchanged(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    return (tensor,)


def _split_qkv(tensor: torch.Tensor) -> Sequence[torch.Tensor]:
    return tensor.chunk(3)


def _join_qkv(*parts: torch.Tensor) -> torch.Tensor:
    return torch.cat(parts)


def _add_class_position(patches: torch.Tensor) -> Sequence[torch.Tensor]:
    """Add a zero position for the class token, because timm adds positions to patches only."""
    return (torch.cat([torch.zeros_like(patches[:, :1]), patches], dim=1),)


def _remove_class_position(positions: torch.Tensor) -> torch.Tensor:
    return positions[:, 1:]


def _merge_class_position(token: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return token + positions[:, :1]
