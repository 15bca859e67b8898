"""Merging, splitting and filtering of demonstration files."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vla_bench.core.episode import array_hash
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.files import claimed
from vla_bench.demos.demonstration import Demonstration
from vla_bench.demos.filters import FilterOptions, FilterReport, apply_filters, without_noops
from vla_bench.demos.header import FileHeader
from vla_bench.demos.store import DemonstrationFile
from vla_bench.demos.writing import StoredDemonstration, copy_demonstrations, write_demonstrations

_SPLITS = ("train", "valid")


class EditingError(VlaBenchError):
    """Files that cannot be merged, split or filtered as requested; nothing was written."""


@dataclass(frozen=True)
class MergeReport:
    """Result of merging files."""

    output: Path
    demonstrations: int
    duplicates: int  # left out: the same episode with the same actions as an earlier demonstration


def merge_files(paths: Sequence[Path], output: Path) -> MergeReport:
    """Merge files into one; every demonstration stays in its subsets.

    Raises:
        EditingError: the headers differ (cameras, sizes, robots, ...), or the output exists.
        DemonstrationFileError: a file is not a `vla_bench` demonstration file.
    """
    with claimed(_require_new_output(output, paths)):
        headers, stored, masks = _read_files(paths)
        for path, header in zip(paths[1:], headers[1:], strict=True):
            if differences := headers[0].differences(header):
                raise EditingError(f"{paths[0]} and {path} cannot be merged: {'; '.join(differences)}.")
        chosen = _without_duplicates(stored)
        header = _merged_header(headers, chosen, [str(path) for path in paths])
        copy_demonstrations(output, header, chosen, masks=_subset_indices(chosen, masks))
    return MergeReport(output, len(chosen), len(stored) - len(chosen))


@dataclass(frozen=True)
class SplitReport:
    """Result of splitting a file."""

    outputs: tuple[Path, ...]
    train: int
    valid: int


def split_file(path: Path, output: Path, *, valid: float = 0.1, seed: int = 0, separate: bool = False) -> SplitReport:
    """Split the successes of each task at random into `train` and `valid`: robomimic's masks, or two files.

    The same file, fraction and seed give the same split. Each task with at least two successes has at least one in
    either part. Separate files are called `<output stem>_train` and `<output stem>_valid`.
    """
    if not 0 < valid < 1:
        raise EditingError(f"The validation fraction is {valid}; expected a number between 0 and 1.")
    with claimed(output):
        headers, stored, _ = _read_files([path])
        if not stored:
            raise EditingError(f"There is no demonstration in {path}.")
        validation_names = _random_validation_names(stored, valid, seed)
        masks: dict[str, list[StoredDemonstration]] = {name: [] for name in _SPLITS}
        for one in stored:
            if one.summary.success:
                masks["valid" if one.name in validation_names else "train"].append(one)
        collection = {**headers[0].collection, "split": {"valid": valid, "seed": seed}}
        header = replace(headers[0], collection=collection)
        outputs = _write_split(_require_new_output(output, [path]), header, stored, masks, separate=separate)
    return SplitReport(outputs, len(masks["train"]), len(masks["valid"]))


def filter_file(path: Path, output: Path, options: FilterOptions) -> FilterReport:
    """Write the demonstrations of a file that pass the filters, and return what was dropped and why."""
    with claimed(_require_new_output(output, [path])):
        headers, stored, masks = _read_files([path])
        dropped = apply_filters({one.name: one.summary for one in stored}, options.filters())
        chosen = [one for one in stored if one.name not in dropped]
        if not chosen:
            raise EditingError(f"The filters drop every demonstration of {path}, so that no file is written.")
        history = [*headers[0].collection.get("filtered", ()), options.configuration()]
        header = replace(headers[0], collection={**headers[0].collection, "filtered": history})
        new_masks = _subset_indices(chosen, masks)
        if options.noops is None:
            copy_demonstrations(output, header, chosen, masks=new_masks)
            return FilterReport(len(stored), dropped)
        return _write_without_noops(path, output, header, chosen, new_masks, options.noops, (len(stored), dropped))


def _write_without_noops(
    path: Path,
    output: Path,
    header: FileHeader,
    chosen: Sequence[StoredDemonstration],
    masks: Mapping[str, Sequence[int]],
    size: float,
    found: tuple[int, Mapping[str, tuple[str, str]]],
) -> FilterReport:
    steps, left = 0, 0

    def shortened(file: DemonstrationFile, name: str) -> Demonstration:
        nonlocal steps, left
        one = file.read(name)
        shorter = without_noops(one, size)
        steps, left = steps + one.steps, left + shorter.steps
        return shorter

    with DemonstrationFile(path) as file:
        made = (shortened(file, one.name) for one in chosen)
        write_demonstrations(output, header, made, masks=masks)
    return FilterReport(*found, dropped_steps=steps - left, steps=steps)


def _write_split(
    output: Path,
    header: FileHeader,
    stored: list[StoredDemonstration],
    masks: Mapping[str, list[StoredDemonstration]],
    *,
    separate: bool,
) -> tuple[Path, ...]:
    if not separate:
        copy_demonstrations(output, header, stored, masks=_subset_indices(stored, masks))
        return (output,)
    outputs = []
    for name in _SPLITS:
        path = output.with_name(f"{output.stem}_{name}{output.suffix}")
        if not masks[name]:
            raise EditingError(f"{path} would hold no demonstration: a task needs two successes to be split.")
        _require_new_output(path, [])
        outputs.append(path)
    for name, path in zip(_SPLITS, outputs, strict=True):
        copy_demonstrations(path, header, masks[name], masks={name: range(len(masks[name]))})
    return tuple(outputs)


def _read_files(
    paths: Sequence[Path],
) -> tuple[list[FileHeader], list[StoredDemonstration], dict[str, list[StoredDemonstration]]]:
    """Return the headers, all demonstrations, and the subsets (name -> demonstrations) of several files."""
    headers: list[FileHeader] = []
    stored: list[StoredDemonstration] = []
    masks: dict[str, list[StoredDemonstration]] = defaultdict(list)
    for path in paths:
        with DemonstrationFile(path) as file:
            headers.append(file.header)
            by_name = {name: StoredDemonstration(path, name, file.summary(name)) for name in file.names}
            stored.extend(by_name.values())
            for mask in file.masks():
                masks[mask].extend(by_name[name] for name in file.mask(mask))
    return headers, stored, masks


def _subset_indices(
    chosen: Sequence[StoredDemonstration], masks: Mapping[str, Sequence[StoredDemonstration]]
) -> dict[str, list[int]]:
    """Return the subsets of the chosen demonstrations as positions in the new file."""
    position = {one: number for number, one in enumerate(chosen)}
    return {name: [position[one] for one in members if one in position] for name, members in masks.items()}


def _without_duplicates(stored: Sequence[StoredDemonstration]) -> list[StoredDemonstration]:
    """Leave out demonstrations of an earlier demonstration's episode with the same actions."""
    seen: set[Any] = set()
    chosen: list[StoredDemonstration] = []
    by_identity: dict[Any, list[StoredDemonstration]] = defaultdict(list)
    for one in stored:
        by_identity[one.summary.identity].append(one)
    for one in stored:
        if len(by_identity[one.summary.identity]) > 1:
            with DemonstrationFile(one.path) as file:
                key = one.summary.identity, array_hash(file.array(one.name, "executed_actions"))
            if key in seen:
                continue
            seen.add(key)
        chosen.append(one)
    return chosen


def _merged_header(
    headers: Sequence[FileHeader], chosen: Sequence[StoredDemonstration], names: list[str]
) -> FileHeader:
    task_ids = dict.fromkeys(one.summary.identity.task_id for one in chosen)
    header = headers[0] if len(task_ids) == 1 else headers[0].of_tasks(task_ids)
    merged = [{"file": name, **header.collection} for name, header in zip(names, headers, strict=True)]
    return replace(header, collection={"merged": merged})


def _random_validation_names(stored: Sequence[StoredDemonstration], fraction: float, seed: int) -> set[str]:
    """Return the names of the successes for validation."""
    chosen: set[str] = set()
    by_task: dict[str, list[str]] = defaultdict(list)
    for one in stored:
        if one.summary.success:
            by_task[one.summary.identity.task_id].append(one.name)
    for number, (_, names) in enumerate(sorted(by_task.items())):
        if len(names) > 1:
            count = int(np.clip(round(fraction * len(names)), 1, len(names) - 1))
            order = np.random.default_rng([seed, number]).permutation(len(names))
            chosen.update(names[place] for place in order[:count])
    return chosen


def _require_new_output(output: Path, sources: Sequence[Path]) -> Path:
    """Return `output`; raise where it exists or is one of the sources."""
    if output.resolve() in {path.resolve() for path in sources}:
        raise EditingError(f"{output} is the input file. Choose another --output.")
    if output.exists():
        raise EditingError(f"The output {output} exists already. Move it away, or choose another --output.")
    return output
