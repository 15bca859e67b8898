"""OpenVLA-OFT: a chunk of actions is regressed."""

from pathlib import Path

from vla_bench.models.networks.network import NETWORKS, Request
from vla_bench.models.openvla.checkpoint import load_checkpoint
from vla_bench.models.openvla.config import OpenVLAConfig
from vla_bench.models.openvla_oft.checkpoint import (
    DEFAULT_CHUNK_SIZE,
    OFTCheckpoint,
    is_oft_checkpoint,
    load_oft_checkpoint,
    oft_shape,
    with_new_parts,
)
from vla_bench.models.openvla_oft.network import OpenVLAOFTConfig


class OpenVLAOFTKind:
    """Satisfies `NetworkKind`."""

    action_head = "l1"

    def holds(self, folder: Path) -> bool:
        """Return whether OFT's action head is in `folder`."""
        return is_oft_checkpoint(folder)

    def shape(self, folder: Path | None, vla: OpenVLAConfig, request: Request) -> OpenVLAOFTConfig:
        """Return the shape of the OFT checkpoint in `folder`, or of a new head and projector on `vla`."""
        return oft_shape(
            folder,
            vla,
            num_images=request.num_images,
            chunk_size=request.chunk_size,
            proprioception_dim=request.proprioception_dim,
        )

    def load(self, folder: Path, request: Request) -> OFTCheckpoint:
        """Return the OFT checkpoint, or an OpenVLA one with a new head and, where wanted, a new projector."""
        if is_oft_checkpoint(folder):
            return load_oft_checkpoint(folder, num_images=request.num_images, chunk_size=request.chunk_size)
        return with_new_parts(
            load_checkpoint(folder),
            num_images=request.num_images,
            chunk_size=request.chunk_size or DEFAULT_CHUNK_SIZE,
            proprioception_dim=request.proprioception_dim,
            seed=request.seed,
        )


NETWORKS.register(OpenVLAOFTKind(), name="openvla_oft")
