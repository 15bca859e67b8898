"""The base of a fine-tuning run: which kind of network it is, and what of it is new."""

from pathlib import Path

from vla_bench.demos.sources import open_source
from vla_bench.models.networks.network import NetworkCheckpoint, Request, kind_of
from vla_bench.training.config import FinetuneConfig


def load_base(config: FinetuneConfig, folder: Path) -> NetworkCheckpoint:
    """Return the network in `folder`, with the head that `config` asks for.

    Raises `CheckpointError` where it is damaged or contradicts `config`, `ModelConfigError` where a base cannot have
    that head.
    """
    request = Request(len(config.cameras), config.chunk_size, _proprioception_dim(config), config.seed)
    return kind_of(folder, config.action_head).load(folder, request)


def _proprioception_dim(config: FinetuneConfig) -> int:
    """Return how many numbers the chosen fields are in the demonstrations; 0 where none was chosen."""
    if not config.proprioception:
        return 0
    path = config.demos[0]
    with open_source(path, config.source_options()) as source:
        source.require(cameras=config.cameras, proprioception=config.proprioception)
        return sum(field.size for field in source.facts.proprioception_fields if field.name in config.proprioception)
