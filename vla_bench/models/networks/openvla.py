"""The network kinds OpenVLA (action tokens) and OpenVLA-OFT (regressed action chunks)."""

from pathlib import Path

from vla_bench.core.errors import CheckpointError
from vla_bench.models.networks.network import NETWORKS, NetworkRequest, NetworkShape
from vla_bench.models.openvla.checkpoint import Checkpoint, load_checkpoint
from vla_bench.models.openvla.config import OpenVLAConfig
from vla_bench.models.openvla.network import OpenVLA
from vla_bench.models.openvla_oft.checkpoint import (
    DEFAULT_CHUNK_SIZE,
    OFTCheckpoint,
    is_oft_checkpoint,
    load_oft_checkpoint,
    oft_shape,
    with_new_modules,
)
from vla_bench.models.openvla_oft.network import OpenVLAOFT, OpenVLAOFTConfig


def build_network(shape: NetworkShape) -> OpenVLA | OpenVLAOFT:
    """Return a network of this shape with uninitialized weights."""
    if isinstance(shape, OpenVLAOFTConfig):
        return OpenVLAOFT(shape)
    if isinstance(shape, OpenVLAConfig):
        return OpenVLA(shape)
    raise TypeError(f"The shape is a {type(shape).__name__}. Expected OpenVLAConfig or OpenVLAOFTConfig.")


class OpenVLAKind:
    """The network kind OpenVLA."""

    action_head = "tokens"

    def holds(self, folder: Path) -> bool:
        """Return whether `folder` has no other head."""
        return not is_oft_checkpoint(folder)

    def shape(self, folder: Path | None, vla: OpenVLAConfig, request: NetworkRequest) -> OpenVLAConfig:
        """Return `vla`."""
        return vla

    def load(self, folder: Path, request: NetworkRequest) -> Checkpoint:
        """Return the checkpoint; raise `CheckpointError` if another chunk size is requested."""
        checkpoint = load_checkpoint(folder)
        chunk_size = checkpoint.config.chunk_size
        if request.chunk_size not in (None, chunk_size):
            problem = f"it predicts {chunk_size} actions at once, not {request.chunk_size}. Omit chunk_size"
            raise CheckpointError(folder, problem)
        return checkpoint


NETWORKS.register(OpenVLAKind(), name="openvla")


class OpenVLAOFTKind:
    """The network kind OpenVLA-OFT."""

    action_head = "l1"

    def holds(self, folder: Path) -> bool:
        """Return whether `folder` has an OFT action head."""
        return is_oft_checkpoint(folder)

    def shape(self, folder: Path | None, vla: OpenVLAConfig, request: NetworkRequest) -> OpenVLAOFTConfig:
        """Return the shape of the OFT checkpoint in `folder`, or of a new head and projector on `vla`."""
        return oft_shape(
            folder,
            vla,
            num_images=request.num_images,
            chunk_size=request.chunk_size,
            proprioception_dim=request.proprioception_dim,
        )

    def load(self, folder: Path, request: NetworkRequest) -> OFTCheckpoint:
        """Return the OFT checkpoint, or an OpenVLA one with a new head and, if requested, a new projector."""
        if is_oft_checkpoint(folder):
            return load_oft_checkpoint(folder, num_images=request.num_images, chunk_size=request.chunk_size)
        return with_new_modules(
            load_checkpoint(folder),
            num_images=request.num_images,
            chunk_size=request.chunk_size or DEFAULT_CHUNK_SIZE,
            proprioception_dim=request.proprioception_dim,
            seed=request.seed,
        )


NETWORKS.register(OpenVLAOFTKind(), name="openvla_oft")
