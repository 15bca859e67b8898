"""Protocols of trainable networks and their checkpoints, and the registry of network kinds.

A new kind of network is one new module in this package.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

from vla_bench.core.registry import Registry
from vla_bench.models.network_record import Conventions, NetworkRecord, read_record
from vla_bench.models.normalization import DatasetStatistics
from vla_bench.models.openvla.config import OpenVLAConfig, TowerConfig
from vla_bench.models.openvla.processor import Processor


class NetworkShape(Protocol):
    """Shape of a network, which decides its inputs and targets."""

    @property
    def image_size(self) -> int:
        """Size of the square images [pixels]."""

    @property
    def num_images(self) -> int:
        """Number of images per observation."""

    @property
    def chunk_size(self) -> int:
        """Number of actions per prediction."""

    @property
    def proprioception_dim(self) -> int:
        """Size of the proprioception input; 0: none."""

    @property
    def proprioception_fields(self) -> tuple[str, ...]:
        """Fields of the proprioception input, if recorded."""

    @property
    def action_dim(self) -> int:
        """Size of an action."""

    @property
    def num_slots(self) -> int:
        """Number of action tokens or slots per chunk."""

    @property
    def towers(self) -> tuple[TowerConfig, ...]:
        """The vision towers."""

    @property
    def prompt_length(self) -> int:
        """Padded prompt length; 0: the longest of the batch."""

    @property
    def new_modules(self) -> tuple[str, ...]:
        """Parts that are trained completely in addition to an adapter, because base files may lack them."""


class NetworkCheckpoint(Protocol):
    """A network with its processor, statistics and configuration."""

    @property
    def model(self) -> Any:
        """The network, a torch module."""

    @property
    def processor(self) -> Processor:
        """The `Processor` of the network inputs."""

    @property
    def statistics(self) -> Mapping[str, DatasetStatistics]:
        """Normalization statistics by key."""

    @property
    def folder(self) -> Path | None:
        """Folder of the loaded checkpoint."""

    @property
    def config(self) -> NetworkShape:
        """Shape of the network."""

    @property
    def record(self) -> NetworkRecord | None:
        """Content of `network.json` for an adapter; None if the base files are sufficient."""

    def learned(self, statistics: Mapping[str, DatasetStatistics], conventions: Conventions | None) -> Self:
        """Return a checkpoint of the same network, without folder, with its training inputs."""

    def write(self, folder: Path) -> None:
        """Write all files of a checkpoint that needs no other into the existing `folder`."""


_DEFAULT_KIND = "openvla"
AnyCheckpoint = TypeVar("AnyCheckpoint", bound=NetworkCheckpoint)


@dataclass(frozen=True)
class NetworkRequest:
    """Requested properties of a network that its base files do not define."""

    num_images: int
    chunk_size: int | None = None  # None: default of the kind
    proprioception_dim: int = 0  # configuration of a part that the base lacks
    seed: int = 0  # seed of the initial weights of parts that the base lacks


class NetworkKind(Protocol):
    """A kind of network."""

    @property
    def action_head(self) -> str:
        """Name of the training objective."""

    def holds(self, folder: Path) -> bool:
        """Return whether the checkpoint in `folder` is of this kind."""

    def shape(self, folder: Path | None, vla: OpenVLAConfig, request: NetworkRequest) -> NetworkShape:
        """Return the shape of the network on `vla`, the configuration in `folder`, without weights."""

    def load(self, folder: Path, request: NetworkRequest) -> NetworkCheckpoint:
        """Return the network with the weights in `folder`; missing parts are initialized."""


NETWORKS: Registry[NetworkKind] = Registry("kind of network", "vla_bench.models.networks")


def kind_of(folder: Path | None, action_head: str | None = None) -> NetworkKind:
    """Return the kind of network with `action_head`; if that is None, the kind of the checkpoint in `folder`."""
    if action_head is not None:
        return next(kind for kind in NETWORKS.values() if kind.action_head == action_head)
    if folder is None:
        return NETWORKS[_DEFAULT_KIND]
    return next(kind for kind in NETWORKS.values() if kind.holds(folder))


def load_base(base: Path, adapter: Path) -> NetworkCheckpoint:
    """Return the network that the adapter in the folder `adapter` was trained on, with the weights in `base`."""
    record = read_record(adapter)
    if record is None:
        return NETWORKS[_DEFAULT_KIND].load(base, NetworkRequest(1))
    request = NetworkRequest(record.num_images, record.chunk_size, record.proprioception_dim)
    return NETWORKS[record.kind].load(base, request)


def load_full(folder: Path) -> NetworkCheckpoint:
    """Return the network in `folder`, identified by its files or `network.json`."""
    record = read_record(folder)
    return kind_of(folder).load(folder, NetworkRequest(2 if record is None else record.num_images))
