"""OpenVLA-OFT checkpoint folders: merged OpenVLA weights, with action head and projector in separate files."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn

from vla_bench.core.errors import CheckpointError
from vla_bench.models.network_record import RECORD_FILE, Conventions, NetworkRecord, read_record, write_record
from vla_bench.models.normalization import DatasetStatistics
from vla_bench.models.openvla.checkpoint import Checkpoint, atomic_folder, load_checkpoint, write_checkpoint_files
from vla_bench.models.openvla.config import ModelConfigError, OpenVLAConfig
from vla_bench.models.openvla.network import OpenVLA, ProprioceptionProjector
from vla_bench.models.openvla.processor import Processor
from vla_bench.models.openvla_oft.network import L1RegressionHead, OpenVLAOFT, OpenVLAOFTConfig

ACTION_HEAD = "action_head"
PROPRIOCEPTION_PROJECTOR = "proprio_projector"
_KIND = "openvla_oft"
DEFAULT_CHUNK_SIZE = 8  # of the published LIBERO checkpoints
_UNSUPPORTED = {
    "vision_backbone": "it was trained with FiLM",
    "noisy_action_projector": "it was trained with the diffusion head",
}
_DIFFUSION_KEY = "noise_predictor."
_DISTRIBUTED_PREFIX = "module."  # left by data-parallel training of the original code


@dataclass(frozen=True)
class OFTCheckpoint:
    """An OpenVLA-OFT network with its processor, statistics and configuration."""

    model: OpenVLAOFT
    processor: Processor
    statistics: Mapping[str, DatasetStatistics]
    folder: Path | None = None  # folder of the loaded checkpoint
    published_folder: Path | None = None  # folder with published tensors that the network does not use
    conventions: Conventions | None = None  # training inputs, if trained here

    @property
    def config(self) -> OpenVLAOFTConfig:
        """Shape of the network."""
        return self.model.config

    @property
    def record(self) -> NetworkRecord:
        """Content of `network.json`, which the published layout lacks."""
        config = self.config
        return NetworkRecord(_KIND, config.num_images, config.chunk_size, config.proprioception_dim, self.conventions)

    def learned(self, statistics: Mapping[str, DatasetStatistics], conventions: Conventions | None) -> "OFTCheckpoint":
        """Return a checkpoint of the same network, without folder, with its training inputs."""
        return replace(self, statistics=statistics, conventions=conventions, folder=None)

    def write(self, folder: Path) -> None:
        """Write all files into the existing `folder`."""
        write_oft_checkpoint_files(folder, self)


def is_oft_checkpoint(folder: Path) -> bool:
    """Return whether the folder has an OFT action head and an OpenVLA checkpoint."""
    return bool(_component_files(folder, ACTION_HEAD))


def load_oft_checkpoint(
    folder: Path,
    *,
    num_images: int = 2,
    chunk_size: int | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str = "cpu",
) -> OFTCheckpoint:
    """Return the checkpoint in `folder`, in evaluation mode.

    The published layout does not record the number of images and of actions (default: 8), so they are parameters; for a
    network trained here they must agree with its record. Raises `CheckpointError` with the invalid file or tensor, and
    for FiLM and the diffusion head, which are not supported.
    """
    _refuse_unsupported(folder)
    recorded = _recorded(folder, num_images, chunk_size)
    head_file = _component_file(folder, ACTION_HEAD)
    head = _tensors(head_file)
    if any(name.startswith(_DIFFUSION_KEY) for name in head):
        raise CheckpointError(folder, f"{head_file.name} is a diffusion head. Only the L1 regression head is supported")
    projector = _tensors(_component_file(folder, PROPRIOCEPTION_PROJECTOR)) if _has_projector(folder) else None
    base = _load_base(folder, dtype, device)
    vla = with_num_images(base.model, num_images)
    dimension = 0 if projector is None else _input_size(folder, projector)
    config = OpenVLAOFTConfig(vla.config, recorded.chunk_size, dimension)
    with torch.device("meta"):
        model = OpenVLAOFT(config, vla)
    like = vla.language_model.model.embed_tokens.weight  # never quantized
    _fill(folder, ACTION_HEAD, model.action_head, head, like)
    if model.proprioception_projector is not None and projector is not None:
        _fill(folder, PROPRIOCEPTION_PROJECTOR, model.proprioception_projector, projector, like)
    processor = replace(base.processor, config=vla.config)
    return OFTCheckpoint(model.eval(), processor, base.statistics, folder, base.published_folder, recorded.conventions)


def with_new_modules(
    base: Checkpoint, *, num_images: int, chunk_size: int, proprioception_dim: int, seed: int
) -> OFTCheckpoint:
    """Return OFT on the network of `base`, in place: head and projector are initialized from `seed`."""
    vla = with_num_images(base.model, num_images)
    like = vla.language_model.model.embed_tokens.weight  # never quantized
    with torch.device("meta"):
        model = OpenVLAOFT(OpenVLAOFTConfig(vla.config, chunk_size, proprioception_dim), vla)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.action_head = L1RegressionHead(vla.config.text.hidden_size, vla.config.action_dim).to(like)
        if proprioception_dim:
            projector = ProprioceptionProjector(proprioception_dim, vla.config.text.hidden_size)
            model.proprioception_projector = projector.to(like)
    processor = replace(base.processor, config=vla.config)
    return OFTCheckpoint(model.eval(), processor, base.statistics, base.folder, base.published_folder)


def save_oft_checkpoint(folder: Path, checkpoint: OFTCheckpoint, step: int | str = "latest") -> None:
    """Write `checkpoint` to `folder` in the published layout, atomically."""
    with atomic_folder(folder) as temporary:
        write_oft_checkpoint_files(temporary, checkpoint, step)


def write_oft_checkpoint_files(folder: Path, checkpoint: OFTCheckpoint, step: int | str = "latest") -> None:
    """Write the files of `checkpoint` into the existing `folder`: the published ones, and `network.json`."""
    model = checkpoint.model
    base = Checkpoint(
        model.vla, checkpoint.processor, checkpoint.statistics, checkpoint.folder, checkpoint.published_folder
    )
    write_checkpoint_files(folder, base)
    write_record(folder, checkpoint.record)
    parts = {ACTION_HEAD: model.action_head, PROPRIOCEPTION_PROJECTOR: model.proprioception_projector}
    for name, module in parts.items():
        if module is not None:
            tensors = {key: value.detach().cpu() for key, value in module.state_dict().items()}
            torch.save(tensors, folder / f"{name}--{step}_checkpoint.pt")


def with_num_images(vla: OpenVLA, num_images: int) -> OpenVLA:
    """Set the number of images of `vla`, which no tensor depends on, and return it."""
    vla.config = _with_num_images(vla.config, num_images)
    vla.vision_backbone.num_images = num_images
    return vla


def oft_shape(
    folder: Path | None, vla: OpenVLAConfig, *, num_images: int, chunk_size: int | None, proprioception_dim: int
) -> OpenVLAOFTConfig:
    """Return the shape of the OFT network on `vla`, read without its weights; `folder` is that of `vla`, if any.

    If that is not an OFT checkpoint, head and projector are new.
    """
    if folder is None or not is_oft_checkpoint(folder):
        return OpenVLAOFTConfig(_with_num_images(vla, num_images), chunk_size or DEFAULT_CHUNK_SIZE, proprioception_dim)
    recorded = _recorded(folder, num_images, chunk_size)
    projector = _tensors(_component_file(folder, PROPRIOCEPTION_PROJECTOR)) if _has_projector(folder) else None
    dimension = 0 if projector is None else _input_size(folder, projector)
    return OpenVLAOFTConfig(_with_num_images(vla, num_images), recorded.chunk_size, dimension)


def _with_num_images(vla: OpenVLAConfig, num_images: int) -> OpenVLAConfig:
    if vla.decoding != "autoregressive" or vla.proprioception_dim:
        raise ModelConfigError("OFT needs an OpenVLA network with autoregressive decoding and without proprioception.")
    return replace(vla, num_images=num_images)


def _recorded(folder: Path, num_images: int, chunk_size: int | None) -> NetworkRecord:
    """Return the values of `network.json`, or the given ones; raise if they contradict each other."""
    record = read_record(folder)
    if record is None:
        return NetworkRecord(_KIND, num_images, chunk_size or DEFAULT_CHUNK_SIZE, 0)
    if record.num_images != num_images:
        problem = f"it was trained with {record.num_images} images ({RECORD_FILE}), not {num_images}"
        raise CheckpointError(folder, problem)
    if chunk_size not in (None, record.chunk_size):
        problem = f"it was trained on chunks of {record.chunk_size} actions ({RECORD_FILE}), not {chunk_size}"
        raise CheckpointError(folder, problem)
    return record


def _load_base(folder: Path, dtype: torch.dtype | None, device: torch.device | str) -> Checkpoint:
    try:
        return load_checkpoint(folder, dtype=dtype, device=device)
    except CheckpointError as error:
        if (folder / "lora_adapter").is_dir() and not list(folder.glob("*.safetensors")):
            raise CheckpointError(
                folder, "it has an unmerged lora_adapter and no merged weights. Merge the adapter into its base first"
            ) from error
        raise


def _refuse_unsupported(folder: Path) -> None:
    for component, why in _UNSUPPORTED.items():
        files = _component_files(folder, component)
        if files:
            raise CheckpointError(folder, f"{why} ({files[0].name}), which is not supported. Only L1 regression is")


def _component_files(folder: Path, component: str) -> list[Path]:
    return sorted(folder.glob(f"{component}--*checkpoint.pt"))


def _component_file(folder: Path, component: str) -> Path:
    if not folder.is_dir():
        raise CheckpointError(folder, "the folder does not exist")
    files = _component_files(folder, component)
    if not files:
        raise CheckpointError(
            folder, f"{component}--*_checkpoint.pt is missing, so this is not an OpenVLA-OFT checkpoint"
        )
    if len(files) > 1:
        raise CheckpointError(folder, f"more than one {component}: {', '.join(file.name for file in files)}. Keep one")
    return files[0]


def _has_projector(folder: Path) -> bool:
    return bool(_component_files(folder, PROPRIOCEPTION_PROJECTOR))


def _tensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(file.parent, f"{file.name} is damaged: {error}") from error
    return {name.removeprefix(_DISTRIBUTED_PREFIX): tensor for name, tensor in content.items()}


def _input_size(folder: Path, projector: Mapping[str, torch.Tensor]) -> int:
    if "fc1.weight" not in projector:
        raise CheckpointError(folder, f"{PROPRIOCEPTION_PROJECTOR} lacks the tensor fc1.weight")
    return int(projector["fc1.weight"].shape[1])


def _fill(
    folder: Path, component: str, module: nn.Module, tensors: Mapping[str, torch.Tensor], like: torch.Tensor
) -> None:
    wanted = module.state_dict()
    for name, place in wanted.items():
        if name not in tensors:
            raise CheckpointError(folder, f"{component} lacks the tensor {name}")
        if tensors[name].shape != place.shape:
            shapes = f"{tuple(tensors[name].shape)}, but the network requires {tuple(place.shape)}"
            raise CheckpointError(folder, f"{component}: {name} has shape {shapes}")
    unexpected = sorted(set(tensors) - set(wanted))
    if unexpected:
        raise CheckpointError(folder, f"{component} has an unknown tensor: {unexpected[0]}")
    module.load_state_dict({name: tensor.to(like.device, like.dtype) for name, tensor in tensors.items()}, assign=True)


def oft_config(vla: OpenVLAConfig, *, chunk_size: int = 8, proprioception_dim: int = 8) -> OpenVLAOFTConfig:
    """Return the shape of OFT on the network `vla`: two images, and no proprioception inside OpenVLA."""
    base = replace(vla, num_images=2, proprioception_dim=0, proprioception_fields=(), chunk_size=1)
    return OpenVLAOFTConfig(replace(base, decoding="autoregressive"), chunk_size, proprioception_dim)
