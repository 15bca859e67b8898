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
    """What decides how demonstrations become a network's inputs and targets."""

    @property
    def image_size(self) -> int:
        """Pixels, square."""

    @property
    def num_images(self) -> int:
        """Images of one observation."""

    @property
    def chunk_size(self) -> int:
        """Actions predicted at once."""

    @property
    def proprioception_dim(self) -> int:
        """Numbers of proprioception; 0: the network is not told."""

    @property
    def proprioception_fields(self) -> tuple[str, ...]:
        """Which fields those numbers are, where that is recorded."""

    @property
    def action_dim(self) -> int:
        """Numbers of one action."""

    @property
    def num_slots(self) -> int:
        """Action tokens, or what stands for them, of one chunk."""

    @property
    def towers(self) -> tuple[TowerConfig, ...]:
        """The vision towers."""

    @property
    def prompt_length(self) -> int:
        """Tokens that prompts are padded to; 0: only to the longest of the batch."""

    @property
    def new_modules(self) -> tuple[str, ...]:
        """Parts that are trained whole beside an adapter, since the base's files need not hold them."""

    def build(self) -> Any:
        """Return a network of this shape, a torch module."""


class NetworkCheckpoint(Protocol):
    """A network with everything that gives its inputs and outputs their meaning."""

    @property
    def model(self) -> Any:
        """The network, a torch module."""

    @property
    def processor(self) -> Processor:
        """What makes its inputs."""

    @property
    def statistics(self) -> Mapping[str, DatasetStatistics]:
        """What its numbers are normalised by, by name."""

    @property
    def folder(self) -> Path | None:
        """Where it was loaded from."""

    @property
    def config(self) -> NetworkShape:
        """The network's shape."""

    @property
    def record(self) -> NetworkRecord | None:
        """What has to stand in `network.json` beside an adapter; None: the base's files say everything."""

    def learned(self, statistics: Mapping[str, DatasetStatistics], conventions: Conventions | None) -> Self:
        """Return the checkpoint of the same network, no longer that of its folder, with what it was trained on."""

    def write(self, folder: Path) -> None:
        """Write all files of a checkpoint that needs no other into the existing `folder`."""


_DEFAULT_KIND = "openvla"
AnyCheckpoint = TypeVar("AnyCheckpoint", bound=NetworkCheckpoint)


@dataclass(frozen=True)
class NetworkRequest:
    """What is wanted of a network where the files of its base do not say it."""

    num_images: int
    chunk_size: int | None = None  # None: the kind's own
    proprioception_dim: int = 0  # of a part that the base lacks
    seed: int = 0  # of the first weights of parts that the base lacks


class NetworkKind(Protocol):
    """A kind of network."""

    @property
    def action_head(self) -> str:
        """What its actions come from: the name of an objective."""

    def holds(self, folder: Path) -> bool:
        """Return whether the checkpoint in `folder` is of this kind."""

    def shape(self, folder: Path | None, vla: OpenVLAConfig, request: NetworkRequest) -> NetworkShape:
        """Return the shape of the network on `vla`, that of the `config.json` in `folder`, without its weights."""

    def load(self, folder: Path, request: NetworkRequest) -> NetworkCheckpoint:
        """Return the network with the weights in `folder`; parts that these lack get first weights."""


NETWORKS: Registry[NetworkKind] = Registry("kind of network", "vla_bench.models.networks")


def kind_of(folder: Path | None, action_head: str | None = None) -> NetworkKind:
    """Return the kind of network with `action_head`; where that is None, the kind of the checkpoint in `folder`."""
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
    """Return the network in `folder`, which says itself, or in `network.json`, what it is."""
    record = read_record(folder)
    return kind_of(folder).load(folder, NetworkRequest(2 if record is None else record.num_images))
