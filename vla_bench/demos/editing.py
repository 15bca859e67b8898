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
from vla_bench.demos.demonstration import Demonstration, DemonstrationSummary
from vla_bench.demos.filters import FilterOptions, FilterReport, apply_filters, without_noops
from vla_bench.demos.header import FileHeader
from vla_bench.demos.store import DemonstrationFile
from vla_bench.demos.writing import StoredDemonstration, copy_demonstrations, write_demonstrations

_SPLITS = ("train", "valid")


class EditingError(VlaBenchError):
    """Files that cannot be joined, divided or filtered as asked for; nothing was written."""


@dataclass(frozen=True)
class MergeReport:
    """What joining files gave."""

    output: Path
    demonstrations: int
    duplicates: int  # left out, because the same episode with the same actions came before


def merge_files(paths: Sequence[Path], output: Path) -> MergeReport:
    """Join files into one; every demonstration keeps the subsets it was in.

    Raises:
        EditingError: their headers differ: other cameras, sizes, robots, ...; or the output is there already.
        DemonstrationFileError: one is no demonstration file of ours.
    """
    with claimed(_require_new_output(output, paths)):
        headers, sources, masks = _read_files(paths)
        for path, header in zip(paths[1:], headers[1:], strict=True):
            if differences := headers[0].differences(header):
                raise EditingError(f"{paths[0]} and {path} cannot be one file: {'; '.join(differences)}.")
        chosen = _without_duplicates(sources)
        header = _merged_header(headers, chosen, [str(path) for path in paths])
        copy_demonstrations(output, header, list(chosen), masks=_subset_indices(list(chosen), masks))
        total = sum(map(_count, paths))
    return MergeReport(output, len(chosen), total - len(chosen))


@dataclass(frozen=True)
class SplitReport:
    """What dividing a file gave."""

    outputs: tuple[Path, ...]
    train: int
    valid: int


def split_file(path: Path, output: Path, *, valid: float = 0.1, seed: int = 0, separate: bool = False) -> SplitReport:
    """Divide the successes of each task at random into `train` and `valid`: robomimic's masks, or two files.

    The same file, fraction and seed give the same division; each task with at least two successes gives at least one
    to either side. Two files are called `<output stem>_train` and `<output stem>_valid`.
    """
    if not 0 < valid < 1:
        raise EditingError(f"A share of {valid} for validation: expected one between 0 and 1.")
    with claimed(output):
        headers, sources, _ = _read_files([path])
        if not sources:
            raise EditingError(f"There is no demonstration in {path}.")
        validates = _random_validation_names({source.name: one for source, one in sources.items()}, valid, seed)
        masks: dict[str, list[StoredDemonstration]] = {name: [] for name in _SPLITS}
        for source, summary in sources.items():
            if summary.success:
                masks["valid" if source.name in validates else "train"].append(source)
        collection = {**headers[0].collection, "split": {"valid": valid, "seed": seed}}
        header = replace(headers[0], collection=collection)
        outputs = _write_split(_require_new_output(output, [path]), header, list(sources), masks, separate=separate)
    return SplitReport(outputs, len(masks["train"]), len(masks["valid"]))


def filter_file(path: Path, output: Path, options: FilterOptions) -> FilterReport:
    """Write what filters leave of a file, and say what they dropped and why."""
    with claimed(_require_new_output(output, [path])):
        headers, sources, masks = _read_files([path])
        summaries = {source.name: summary for source, summary in sources.items()}
        dropped = apply_filters(summaries, options.filters())
        chosen = [source for source in sources if source.name not in dropped]
        if not chosen:
            raise EditingError(f"Nothing of {path} would be left: the filters drop every demonstration.")
        history = [*headers[0].collection.get("filtered", ()), options.configuration()]
        header = replace(headers[0], collection={**headers[0].collection, "filtered": history})
        kept = _subset_indices(chosen, masks)
        if options.noops is None:
            copy_demonstrations(output, header, chosen, masks=kept)
            return FilterReport(len(sources), dropped)
        return _write_without_noops(path, output, header, chosen, kept, options.noops, (len(sources), dropped))


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
        made = (shortened(file, source.name) for source in chosen)
        write_demonstrations(output, header, made, masks=masks)
    return FilterReport(*found, dropped_steps=steps - left, steps=steps)


def _write_split(
    output: Path,
    header: FileHeader,
    sources: list[StoredDemonstration],
    masks: Mapping[str, list[StoredDemonstration]],
    *,
    separate: bool,
) -> tuple[Path, ...]:
    if not separate:
        copy_demonstrations(output, header, sources, masks=_subset_indices(sources, masks))
        return (output,)
    outputs = []
    for name in _SPLITS:
        path = output.with_name(f"{output.stem}_{name}{output.suffix}")
        if not masks[name]:
            raise EditingError(f"No demonstration would be left for {path}: a task needs two successes to be divided.")
        _require_new_output(path, [])
        outputs.append(path)
    for name, path in zip(_SPLITS, outputs, strict=True):
        copy_demonstrations(path, header, masks[name], masks={name: range(len(masks[name]))})
    return tuple(outputs)


def _read_files(
    paths: Sequence[Path],
) -> tuple[list[FileHeader], dict[StoredDemonstration, DemonstrationSummary], dict[str, list[StoredDemonstration]]]:
    """Return headers, what there is, and in which subsets, of several files."""
    headers: list[FileHeader] = []
    sources: dict[StoredDemonstration, DemonstrationSummary] = {}
    masks: dict[str, list[StoredDemonstration]] = defaultdict(list)
    for path in paths:
        with DemonstrationFile(path) as file:
            headers.append(file.header)
            sources |= {StoredDemonstration(path, name): file.summary(name) for name in file.names}
            for mask in file.masks():
                masks[mask].extend(StoredDemonstration(path, name) for name in file.mask(mask))
    return headers, sources, masks


def _subset_indices(
    chosen: Sequence[StoredDemonstration], masks: Mapping[str, Sequence[StoredDemonstration]]
) -> dict[str, list[int]]:
    """Return the subsets of what is chosen, by place in the new file."""
    place = {source: number for number, source in enumerate(chosen)}
    return {name: [place[source] for source in members if source in place] for name, members in masks.items()}


def _without_duplicates(
    sources: Mapping[StoredDemonstration, DemonstrationSummary],
) -> dict[StoredDemonstration, DemonstrationSummary]:
    """Leave out episodes that are there already: the same episode by the same actions."""
    seen: set[Any] = set()
    chosen: dict[StoredDemonstration, DemonstrationSummary] = {}
    by_identity: dict[Any, list[StoredDemonstration]] = defaultdict(list)
    for source, summary in sources.items():
        by_identity[summary.identity].append(source)
    for source, summary in sources.items():
        if len(by_identity[summary.identity]) > 1:
            with DemonstrationFile(source.path) as file:
                key = summary.identity, array_hash(file.array(source.name, "executed_actions"))
            if key in seen:
                continue
            seen.add(key)
        chosen[source] = summary
    return chosen


def _count(path: Path) -> int:
    with DemonstrationFile(path) as file:
        return len(file)


def _merged_header(
    headers: Sequence[FileHeader], chosen: Mapping[StoredDemonstration, DemonstrationSummary], names: list[str]
) -> FileHeader:
    task_ids = dict.fromkeys(summary.identity.task_id for summary in chosen.values())
    header = headers[0] if len(task_ids) == 1 else headers[0].of_tasks(task_ids)
    merged = [{"file": name, **header.collection} for name, header in zip(names, headers, strict=True)]
    return replace(header, collection={"merged": merged})


def _random_validation_names(summaries: Mapping[str, DemonstrationSummary], share: float, seed: int) -> set[str]:
    """Return the names of the successes that validate."""
    chosen: set[str] = set()
    by_task: dict[str, list[str]] = defaultdict(list)
    for name, summary in summaries.items():
        if summary.success:
            by_task[summary.identity.task_id].append(name)
    for number, (_, names) in enumerate(sorted(by_task.items())):
        if len(names) > 1:
            count = int(np.clip(round(share * len(names)), 1, len(names) - 1))
            order = np.random.default_rng([seed, number]).permutation(len(names))
            chosen.update(names[place] for place in order[:count])
    return chosen


def _require_new_output(output: Path, sources: Sequence[Path]) -> Path:
    """Return `output`; raise where it is there already, or is read itself."""
    if output.resolve() in {path.resolve() for path in sources}:
        raise EditingError(f"{output} is what is read. Choose another --output.")
    if output.exists():
        raise EditingError(f"{output} exists already. Move it away, or choose another --output.")
    return output
