"""What a fine-tuning method is, and what putting one on a network gives."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from vla_bench.core.errors import UnknownNameError
from vla_bench.core.registry import Registry
from vla_bench.training.methods.options import MethodOptions

if TYPE_CHECKING:  # methods are listed and checked without torch
    from torch import nn

    from vla_bench.models.adapters import Adapter, BaseReference
    from vla_bench.models.networks.network import NetworkCheckpoint


class Method(Protocol):
    """A way to fine-tune."""

    @property
    def summary(self) -> str:
        """What is trained, in a few words."""

    @property
    def quantisation(self) -> str | None:
        """How the base's linear layers are held while training; None: as they are."""

    def put_on(self, model: "nn.Module", options: MethodOptions) -> "Adapter | None":
        """Freeze what `model` holds and put what is trained on it, in place; None where the network itself is trained.

        Raises `UnknownNameError` for a layer that is not there.
        """


METHODS: Registry[Method] = Registry("fine-tuning method", "vla_bench.training.methods.kinds")


@dataclass(frozen=True)
class Trained:
    """A network in training, and what of it is."""

    adapter: "Adapter | None"  # None: the whole network
    trainable_parameters: int
    total_parameters: int  # the adapter's among them

    @property
    def percentage(self) -> float:
        """How much of the network is trained."""
        return 100.0 * self.trainable_parameters / self.total_parameters

    def save(self, folder: Path, base: "BaseReference", checkpoint: "NetworkCheckpoint") -> None:
        """Write what was trained, and no more, into the existing `folder`."""
        from vla_bench.models.adapters import save_adapter

        if self.adapter is None:
            checkpoint.write(folder)
        else:
            save_adapter(folder, self.adapter, base, checkpoint)


def parts_named(model: "nn.Module", names: tuple[str, ...]) -> tuple[str, ...]:
    """Return `names`, all of which must be parts of `model`. Raises `UnknownNameError`."""
    known = [name for name, _ in model.named_modules() if name]
    for name in names:
        if name not in known:
            raise UnknownNameError("part of the network", name, known)
    return names


def put_on(model: "nn.Module", options: MethodOptions) -> Trained:
    """Prepare `model`, in place, for the method chosen in `options`: from here on what it trains wants a gradient.

    Raises `MissingExtraError` where the base should be held in 4 bits without bitsandbytes.
    """
    from vla_bench.models.adapters.quantisation import quantise

    total = sum(value.numel() for value in model.parameters())  # before two weights share a byte
    quantisation = METHODS[options.method].quantisation
    if quantisation is not None:
        quantise(model, quantisation, parts_named(model, options.train_whole))
    return put_on_as_held(model, options, total)


def put_on_as_held(model: "nn.Module", options: MethodOptions, total: int) -> Trained:
    """Put the method on `model`, of `total` parameters, in place, however its weights are held."""
    parts = parts_named(model, options.train_whole)
    whole = sum(value.numel() for name in parts for value in model.get_submodule(name).parameters())
    adapter = METHODS[options.method].put_on(model, options)
    trainable = sum(value.numel() for value in model.parameters() if value.requires_grad)
    return Trained(adapter, trainable, total if adapter is None else total + trainable - whole)
