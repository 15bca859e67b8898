"""OpenVLA: actions are tokens."""

from pathlib import Path

from vla_bench.core.errors import CheckpointError
from vla_bench.models.networks.network import NETWORKS, Request
from vla_bench.models.openvla.checkpoint import Checkpoint, load_checkpoint
from vla_bench.models.openvla.config import OpenVLAConfig
from vla_bench.models.openvla_oft.checkpoint import is_oft_checkpoint


class OpenVLAKind:
    """Satisfies `NetworkKind`."""

    action_head = "tokens"

    def holds(self, folder: Path) -> bool:
        """Return whether there is no other head in `folder`."""
        return not is_oft_checkpoint(folder)

    def shape(self, folder: Path | None, vla: OpenVLAConfig, request: Request) -> OpenVLAConfig:
        """Return `vla`."""
        return vla

    def load(self, folder: Path, request: Request) -> Checkpoint:
        """Return the checkpoint, whose files say everything. Raises `CheckpointError` where another chunk is wanted."""
        checkpoint = load_checkpoint(folder)
        chunk_size = checkpoint.config.chunk_size
        if request.chunk_size not in (None, chunk_size):
            problem = f"it predicts {chunk_size} actions at once, not {request.chunk_size}; leave chunk_size out"
            raise CheckpointError(folder, problem)
        return checkpoint


NETWORKS.register(OpenVLAKind(), name="openvla")
