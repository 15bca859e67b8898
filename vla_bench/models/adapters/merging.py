"""An adapter and its base as one folder that stands by itself."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from vla_bench.core.errors import CheckpointError, VlaBenchError
from vla_bench.models.adapters.folder import (
    ADAPTER_CONFIG_FILE,
    ADAPTER_FILES,
    FILES_OF_SOME,
    read_base,
    write_base,
)
from vla_bench.models.adapters.loading import BUNDLED_BASE, attach, base_folder
from vla_bench.models.networks.network import load_base
from vla_bench.models.openvla.checkpoint import folder_written_whole


class OutputExistsError(VlaBenchError):
    """An output that would have to be overwritten."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} exists already and is left as it is. Choose another --output, or delete it first.")


@dataclass(frozen=True)
class MergeReport:
    """What a merge wrote."""

    output: Path
    why_not_folded: str | None  # None: a plain checkpoint; otherwise adapter and base stand side by side in it


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
    loaded, adapter = attach(load_base(place, folder), folder, apart=False)
    with folder_written_whole(output) as temporary:
        if adapter.why_not_folded is None:
            adapter.fold()
            loaded.write(temporary)
        else:
            for name in (*ADAPTER_FILES, *FILES_OF_SOME):
                if (folder / name).is_file():
                    shutil.copyfile(folder / name, temporary / name)
            shutil.copytree(place, temporary / BUNDLED_BASE)
            write_base(temporary, replace(reference, name=BUNDLED_BASE))
    return MergeReport(output, adapter.why_not_folded)
