"""The base of a fine-tuning run: which kind of network it is, and what of it is new."""

from pathlib import Path

from vla_bench.demos.sources import open_source
from vla_bench.models.networks.network import NetworkCheckpoint, NetworkShape, Request, kind_of
from vla_bench.models.openvla.config import OpenVLAConfig
from vla_bench.training.config import FinetuneConfig

_USUAL_PROPRIOCEPTION = 8  # numbers of LIBERO's state, where demonstrations do not say how many a field has


def planned_shape(config: FinetuneConfig, folder: Path | None, vla: OpenVLAConfig) -> NetworkShape:
    """Return the shape of the network that `load_base` would give, without weights and perhaps without demonstrations.

    `folder` is that of the `config.json` that describes `vla`; None: there is none.
    """
    return kind_of(folder, config.action_head).shape(folder, vla, _request(config))


def load_base(config: FinetuneConfig, folder: Path) -> NetworkCheckpoint:
    """Return the network in `folder`, with the head that `config` asks for.

    Raises `CheckpointError` where it is damaged or contradicts `config`, `ModelConfigError` where a base cannot have
    that head.
    """
    return kind_of(folder, config.action_head).load(folder, _request(config))


def _request(config: FinetuneConfig) -> Request:
    return Request(len(config.cameras), config.chunk_size, _proprioception_dim(config), config.seed)


def _proprioception_dim(config: FinetuneConfig) -> int:
    """Return how many numbers the chosen fields are in the demonstrations; 0 where none was chosen."""
    if not config.proprioception:
        return 0
    if not config.demos:  # only planned
        return _USUAL_PROPRIOCEPTION
    path = config.demos[0]
    with open_source(path, config.source_options()) as source:
        source.require(cameras=config.cameras, proprioception=config.proprioception)
        return sum(field.size for field in source.facts.proprioception_fields if field.name in config.proprioception)
