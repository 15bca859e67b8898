"""Save and load adapters, and merge them into their base."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from vla_bench.core.errors import CheckpointError, VlaBenchError
from vla_bench.models.adapters.adapter import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_FILES,
    OPTIONAL_ADAPTER_FILES,
    Adapter,
    BaseReference,
    attach_saved_adapter,
    read_adapter_config,
    read_base,
    read_tensors,
    write_base,
    write_tensors,
)
from vla_bench.models.network_record import read_record, write_record
from vla_bench.models.networks.network import AnyCheckpoint, NetworkCheckpoint, load_base, load_full
from vla_bench.models.normalization import STATISTICS_FILE, read_statistics, write_statistics
from vla_bench.models.openvla.checkpoint import atomic_folder, find_base
from vla_bench.models.openvla.quantization import quantize_linear_layers, round_linear_layers
from vla_bench.models.openvla.weights import weights_digest

BUNDLED_BASE = "base"  # folder of a base inside the adapter folder


def save_adapter(folder: Path, adapter: Adapter, base: BaseReference, checkpoint: NetworkCheckpoint) -> None:
    """Write the adapter, the name of its base and the statistics of `checkpoint` into the existing `folder`."""
    if checkpoint.record is not None:
        write_record(folder, checkpoint.record)
    adapter.write_config(folder, base)
    write_tensors(folder, adapter.tensors())
    write_statistics(folder / STATISTICS_FILE, checkpoint.statistics)
    write_base(folder, base)


def load_adapter(checkpoint: AnyCheckpoint, folder: Path, *, merge: bool = True) -> AnyCheckpoint:
    """Attach the adapter in `folder` to the network of `checkpoint`, in place, and use its statistics.

    With `merge`, the adapter is merged into the base weights if possible; the actions are the same. Raises
    `CheckpointError` if the adapter is incomplete, damaged or belongs to other base weights, and `MissingExtraError` if
    its base is quantized to 4 bits and bitsandbytes is not installed.
    """
    loaded, adapter = attach_adapter(checkpoint, folder, apart=not merge)
    if merge and adapter.unmergeable_reason is None:
        adapter.merge_into_base()
    return loaded


def attach_adapter(checkpoint: AnyCheckpoint, folder: Path, *, apart: bool) -> tuple[AnyCheckpoint, Adapter]:
    """Return `checkpoint` with the adapter in `folder` attached, and that adapter, unmerged.

    A base quantized to 4 bits is quantized again if the adapter stays `apart`; otherwise its weights are rounded to the
    same values in full precision, so that the adapter can be added without rounding again.
    """
    base = read_base(folder)
    if checkpoint.folder is None or weights_digest(checkpoint.folder) != base.weights_sha256:
        problem = f"it was trained on other weights of {base.name!r} than those in {checkpoint.folder}"
        raise CheckpointError(folder, f"{problem}. Load it with its own base, or train it again")
    if base.quantisation is not None:
        # parts in the terms of PEFT, which were not quantized
        whole = read_adapter_config(folder).get("modules_to_save") or ()
        (quantize_linear_layers if apart else round_linear_layers)(checkpoint.model, base.quantisation, whole)
    adapter = attach_saved_adapter(checkpoint.model, folder)
    adapter.assign(read_tensors(folder, adapter.tensors()))
    checkpoint.model.eval().requires_grad_(False)
    record = read_record(folder)
    conventions = None if record is None else record.conventions
    return checkpoint.learned(read_statistics(folder / STATISTICS_FILE), conventions), adapter


def load_finetuned(folder: Path, base: Path | None = None, *, merge: bool = True) -> NetworkCheckpoint:
    """Return the output of `finetune` or `merge`: a full checkpoint, or an adapter on `base` (default: its own)."""
    if not (folder / ADAPTER_CONFIG_FILE).is_file():
        return load_full(folder)
    return load_adapter(load_base(base or base_folder(folder), folder), folder, merge=merge)


def base_folder(folder: Path) -> Path:
    """Return the base folder of the adapter in `folder`: inside it, or found by name."""
    name = read_base(folder).name
    return folder / BUNDLED_BASE if (folder / BUNDLED_BASE).is_dir() else find_base(name)


class OutputExistsError(VlaBenchError):
    """An output path that already exists."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} already exists and was not changed. Choose another --output, or delete it first.")


@dataclass(frozen=True)
class MergeReport:
    """Result of a merge."""

    output: Path
    unmergeable_reason: str | None  # None: a plain checkpoint; otherwise the folder has adapter and base


def merge(folder: Path, output: Path, base: Path | None = None) -> MergeReport:
    """Write the adapter in `folder`, merged into its base (default: found by its name), to the new folder `output`.

    An adapter that cannot be merged is written together with a copy of the base: that folder also loads by itself
    wherever an adapter is accepted. Raises `CheckpointError` if `folder` has no complete adapter of that base, and
    `OutputExistsError` instead of overwriting.
    """
    if output.exists():
        raise OutputExistsError(output)
    if not (folder / ADAPTER_CONFIG_FILE).is_file() and (folder / "config.json").is_file():
        raise CheckpointError(folder, "it is a full checkpoint without an adapter to merge")
    reference = read_base(folder)
    place = base or base_folder(folder)
    loaded, adapter = attach_adapter(load_base(place, folder), folder, apart=False)
    with atomic_folder(output) as temporary:
        if adapter.unmergeable_reason is None:
            adapter.merge_into_base()
            loaded.write(temporary)
        else:
            for name in (*ADAPTER_FILES, *OPTIONAL_ADAPTER_FILES):
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, temporary / name)
            shutil.copytree(place, temporary / BUNDLED_BASE)
            write_base(temporary, replace(reference, name=BUNDLED_BASE))
    return MergeReport(output, adapter.unmergeable_reason)
