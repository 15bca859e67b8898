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

# ~ Saving an adapter and loading it, kept apart from the base's weights or folded into them.

BUNDLED_BASE = "base"  # folder, inside an adapter's, of a base that is shipped with it


def save_adapter(folder: Path, adapter: Adapter, base: BaseReference, checkpoint: NetworkCheckpoint) -> None:
    """Write the adapter, its base's name and the statistics of `checkpoint` into the existing `folder`."""
    if checkpoint.record is not None:
        write_record(folder, checkpoint.record)
    adapter.write_config(folder, base)
    write_tensors(folder, adapter.tensors())
    write_statistics(folder / STATISTICS_FILE, checkpoint.statistics)
    write_base(folder, base)


def load_adapter(checkpoint: AnyCheckpoint, folder: Path, *, merge: bool = True) -> AnyCheckpoint:
    """Put the adapter in `folder` on the network of `checkpoint`, which is changed, and take over its statistics.

    With `merge`, an adapter that can become part of the base's own weights does, and what cannot stays apart: the
    actions are the same. Raises `CheckpointError` when the adapter is incomplete or damaged, or belongs to other base
    weights than those loaded; `MissingExtraError` when its base was held in 4 bits and bitsandbytes is not installed.
    """
    loaded, adapter = attach_adapter(checkpoint, folder, apart=not merge)
    if merge and adapter.unmergeable_reason is None:
        adapter.merge_into_base()
    return loaded


def attach_adapter(checkpoint: AnyCheckpoint, folder: Path, *, apart: bool) -> tuple[AnyCheckpoint, Adapter]:
    """Return `checkpoint` with the adapter in `folder` on its network, and that adapter, not folded.

    A base that was held in 4 bits is so again where the adapter stays `apart` from it; otherwise its weights are
    rounded to the same values and kept in full, so that the adapter can be added to them without rounding again.
    """
    base = read_base(folder)
    if checkpoint.folder is None or weights_digest(checkpoint.folder) != base.weights_sha256:
        problem = f"it was trained on other weights of {base.name!r} than those in {checkpoint.folder}"
        raise CheckpointError(folder, f"{problem}; load it with the base that it was made from, or make it again")
    if base.quantisation is not None:
        whole = read_adapter_config(folder).get("modules_to_save") or ()  # parts in PEFT's words; those were not
        (quantize_linear_layers if apart else round_linear_layers)(checkpoint.model, base.quantisation, whole)
    adapter = attach_saved_adapter(checkpoint.model, folder)
    adapter.assign(read_tensors(folder, adapter.tensors()))
    checkpoint.model.eval().requires_grad_(False)
    record = read_record(folder)
    conventions = None if record is None else record.conventions
    return checkpoint.learned(read_statistics(folder / STATISTICS_FILE), conventions), adapter


def load_finetuned(folder: Path, base: Path | None = None, *, merge: bool = True) -> NetworkCheckpoint:
    """Return what `finetune` or `merge` wrote: a full checkpoint, or an adapter on `base` (default: its own)."""
    if not (folder / ADAPTER_CONFIG_FILE).is_file():
        return load_full(folder)
    return load_adapter(load_base(base or base_folder(folder), folder), folder, merge=merge)


def base_folder(folder: Path) -> Path:
    """Return where the base of the adapter in `folder` lies: inside it, or where its name leads."""
    name = read_base(folder).name
    return folder / BUNDLED_BASE if (folder / BUNDLED_BASE).is_dir() else find_base(name)


# ~ An adapter and its base as one folder that stands by itself.


class OutputExistsError(VlaBenchError):
    """An output that would have to be overwritten."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists already and is left as it is. Choose another --output, or delete it first.")


@dataclass(frozen=True)
class MergeReport:
    """What a merge wrote."""

    output: Path
    unmergeable_reason: str | None  # None: a plain checkpoint; otherwise adapter and base stand side by side in it


def merge(folder: Path, output: Path, base: Path | None = None) -> MergeReport:
    """Write the adapter in `folder`, merged into its base (default: found by its name), to the new folder `output`.

    An adapter that cannot be part of the base's own weights is written beside a copy of the base instead: that folder
    also loads by itself, wherever an adapter is taken. Raises `CheckpointError` where `folder` holds no whole adapter
    of that base, and `OutputExistsError` rather than overwrite.
    """
    if output.exists():
        raise OutputExistsError(output)
    if not (folder / ADAPTER_CONFIG_FILE).is_file() and (folder / "config.json").is_file():
        raise CheckpointError(folder, "it is a full checkpoint, with nothing to merge")
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
