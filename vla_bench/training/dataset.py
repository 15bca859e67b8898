"""Demonstrations as a dataset: frames, action chunks and instructions, the split by episode, and dataset statistics."""

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.errors import ConventionError
from vla_bench.core.types import ACTION_DIM, ImageArray
from vla_bench.demos.sources import DemonstrationSource, EpisodeFacts, SourceOptions, open_sources
from vla_bench.models.normalization import DatasetStatistics, VectorStatistics
from vla_bench.training.images import CachedImages, ImageStore, LazyImages

Subset = Literal["train", "valid"]


def subset_episodes(
    source: DemonstrationSource,
    subset: Subset,
    *,
    tasks: Sequence[str] = (),
    success_only: bool = True,
    validation_share: float = 0.1,
    seed: int = 0,
) -> list[EpisodeFacts]:
    """Return the episodes of a subset, in the source's order.

    If the source has both subsets `train` and `valid`, they decide; otherwise a random fraction of each task's episodes
    is for validation, chosen by the seed. `tasks` are `suite.task`; an empty sequence selects all.
    """
    members = {name: source.subset(name) for name in ("train", "valid")}
    chosen = members[subset]
    if chosen is None or any(names is None for names in members.values()):
        validating = _choose_validation_episodes(source.episodes, validation_share, seed)
        chosen = tuple(one.name for one in source.episodes if (one.name in validating) == (subset == "valid"))
    wanted = set(chosen)
    return [
        episode
        for episode in source.episodes
        if episode.name in wanted
        and (not tasks or episode.task_id in tasks)
        and not (success_only and episode.success is False)
    ]


def _choose_validation_episodes(episodes: Sequence[EpisodeFacts], share: float, seed: int) -> set[str]:
    by_task: dict[str, list[str]] = defaultdict(list)
    for episode in episodes:
        by_task[episode.task_id].append(episode.name)
    chosen: set[str] = set()
    for task, names in by_task.items():
        count = min(len(names) - 1, max(1, round(share * len(names)))) if share > 0 else 0
        order = np.random.default_rng([seed, zlib.crc32(task.encode())]).permutation(len(names))
        chosen |= {names[number] for number in order[:count]}
    return chosen


_MAX_NOOP_NORM = 1e-4  # norm of the arm's action; as in openvla's regenerate_libero_dataset.py


def steps_with_effect(actions: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the steps of actions (T, 7) at which the arm moves or the gripper command changes.

    Other steps are no-ops, which OpenVLA leaves out of the demonstrations of LIBERO. The gripper command is compared
    with the last step that is not a no-op; before the first such step the arm has to move.
    """
    kept: list[int] = []
    still = np.linalg.norm(actions[:, :-1], axis=1) < _MAX_NOOP_NORM
    for step, gripper in enumerate(actions[:, -1]):
        if still[step] and (not kept or gripper == actions[kept[-1], -1]):
            continue
        kept.append(step)
    return np.array(kept, dtype=np.int64)


N = TypeVar("N", bound=np.generic)

_CACHE_BYTES = 4_000_000_000


@dataclass(frozen=True)
class FrameSelection:
    """The part of the demonstrations that a network receives, and the conventions required of them."""

    cameras: tuple[str, ...]
    proprioception: tuple[str, ...]  # field names; empty: the network takes no proprioception
    proprioception_dim: int  # size of the proprioception vector of the network
    image_size: int  # side in pixels; frames are resized to this
    control_hz: int
    action_convention: str
    tasks: tuple[str, ...] = ()  # empty: all
    options: SourceOptions = field(default_factory=SourceOptions)  # conventions that the sources do not state
    success_only: bool = True
    drop_noops: bool = False
    validation_share: float = 0.1  # of each task's episodes, if a source has no subsets
    split_seed: int = 0
    cache_bytes: int = _CACHE_BYTES  # images are cached in memory up to this size, otherwise read on demand


@dataclass(frozen=True, eq=False)
class DemonstrationDataset:
    """The frames of several episodes, concatenated. Everything except images is in memory."""

    image_store: ImageStore
    proprioception: NDArray[np.float32]  # (frames, P), as recorded
    actions: NDArray[np.float32]  # (frames, 7), as recorded
    last_frame: NDArray[np.int64]  # (frames,), last frame of the same episode
    instruction_index: NDArray[np.int64]  # (frames,)
    instructions: tuple[str, ...]
    episodes: int
    sources: tuple[str, ...] = ()  # for each episode: file and demonstration
    origin: NDArray[np.int64] | None = None  # (frames, 2): episode, and step in the stored episode

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def images(self) -> ImageArray:
        """All images, (frames, cameras, H, W, 3), read into memory if necessary."""
        store = self.image_store
        return store.images if isinstance(store, CachedImages) else store.of(np.arange(len(self)))

    def images_of(self, frames: NDArray[np.int64]) -> ImageArray:
        """Return the images of `frames` in the given order, (B, cameras, H, W, 3)."""
        return self.image_store.of(frames)

    def origin_of(self, frame: int) -> str:
        """Return file, demonstration and step of a frame, for error messages."""
        if self.origin is None:
            return f"frame {frame}"
        episode, step = self.origin[frame].tolist()
        return f"{self.sources[episode]} step {step}"

    def chunks(self, frames: NDArray[np.int64], chunk_size: int) -> NDArray[np.float32]:
        """Return the action chunk that starts at each frame, (B, chunk_size, 7).

        Past the end of the episode the arm's action is zero and the last gripper command is repeated.
        """
        wanted = frames[:, None] + np.arange(chunk_size)
        last = self.last_frame[frames][:, None]
        chunk: NDArray[np.float32] = self.actions[np.minimum(wanted, last)]
        chunk[..., : ACTION_DIM - 1] *= (wanted <= last)[..., None]
        return chunk


def load_demonstrations(paths: Sequence[Path], selection: FrameSelection, subset: Subset) -> DemonstrationDataset:
    """Open sources of any format, load one subset and close them; see `load_subset`."""
    with open_sources(paths, selection.options) as sources:
        return load_subset(sources, selection, subset)


def load_subset(
    sources: Sequence[DemonstrationSource], selection: FrameSelection, subset: Subset
) -> DemonstrationDataset:
    """Return the episodes of one subset of all open sources; raise where a source does not fit the selection."""
    for source in sources:
        _check_source(source, selection)
    chosen = [
        (number, episode)
        for number, source in enumerate(sources)
        for episode in subset_episodes(
            source,
            subset,
            tasks=selection.tasks,
            success_only=selection.success_only,
            validation_share=selection.validation_share,
            seed=selection.split_seed,
        )
    ]
    if not chosen and subset == "train":
        paths = ", ".join(str(source.path) for source in sources)
        raise ConventionError(f"{paths}: {_explain_empty_selection(sources, selection)}.")
    return _build_dataset(sources, chosen, selection)


def suites_of(sources: Sequence[DemonstrationSource]) -> tuple[str, ...]:
    """Return the suites of all demonstrations, sorted."""
    return tuple(sorted({episode.suite for source in sources for episode in source.episodes}))


def robot_of(sources: Sequence[DemonstrationSource]) -> str | None:
    """Return the robot of all demonstrations; None where a source does not state it or the robots differ."""
    robots = {source.facts.robot for source in sources}
    return robots.pop() if len(robots) == 1 else None


def _check_source(source: DemonstrationSource, selection: FrameSelection) -> None:
    """Raise `ConventionError` if the source lacks required data or has other conventions."""
    source.require(cameras=selection.cameras, proprioception=selection.proprioception)
    facts = source.facts
    problems = []
    if facts.control_hz != selection.control_hz:
        problems.append(
            f"its control rate is {facts.control_hz} Hz, expected {selection.control_hz} Hz as for the policy"
        )
    if facts.action_convention != selection.action_convention:
        problems.append(
            f"its action convention is {facts.action_convention!r}, expected {selection.action_convention!r}"
        )
    sizes = {field.name: field.size for field in facts.proprioception_fields}
    width = sum(sizes[name] for name in selection.proprioception)
    if width != selection.proprioception_dim:
        names = ", ".join(selection.proprioception) or "none"
        problems.append(
            f"proprioception ({names}) has {width} values, the network takes {selection.proprioception_dim}"
        )
    if problems:
        raise ConventionError(f"{source.path} does not fit the policy: {'; '.join(problems)}.")


def _explain_empty_selection(sources: Sequence[DemonstrationSource], selection: FrameSelection) -> str:
    wanted = f" of {', '.join(selection.tasks)}" if selection.tasks else ""
    episodes = [
        one for source in sources for one in source.episodes if not selection.tasks or one.task_id in selection.tasks
    ]
    if episodes and selection.success_only and all(one.success is False for one in episodes):
        return f"all {len(episodes)} demonstrations{wanted} are failures (`success_only = false` includes them)"
    known = sorted({one.task_id for source in sources for one in source.episodes})
    return f"no demonstration to train on{wanted}; available tasks: {', '.join(known)}"


def _build_dataset(
    sources: Sequence[DemonstrationSource], chosen: Sequence[tuple[int, EpisodeFacts]], selection: FrameSelection
) -> DemonstrationDataset:
    actions = [sources[number].actions(episode.name) for number, episode in chosen]
    _check_actions(sources, chosen, actions)
    kept = [steps_with_effect(rows) if selection.drop_noops else np.arange(len(rows)) for rows in actions]
    lengths = np.array([len(steps) for steps in kept], dtype=np.int64)
    fields = [
        sources[number].proprioception(episode.name, selection.proprioception)[steps]
        for (number, episode), steps in zip(chosen, kept, strict=True)
    ]
    instructions = {episode.instruction: None for _, episode in chosen}
    numbers = {text: number for number, text in enumerate(instructions)}
    lazy = LazyImages(
        paths=[source.path for source in sources],
        options=selection.options,
        cameras=selection.cameras,
        side=selection.image_size,
        episodes=[(number, episode.name) for number, episode in chosen],
        episode_of_frame=np.repeat(np.arange(len(chosen)), lengths),
        step_of_frame=_concatenate(kept, np.empty(0, dtype=np.int64)),
    )
    return DemonstrationDataset(
        image_store=lazy.cached(sources) if lazy.size_bytes <= selection.cache_bytes else lazy,
        proprioception=_concatenate(fields, np.empty((0, selection.proprioception_dim), dtype=np.float32)),
        actions=_concatenate(
            [rows[steps] for rows, steps in zip(actions, kept, strict=True)], np.empty((0, ACTION_DIM), np.float32)
        ),
        last_frame=np.repeat(np.cumsum(lengths) - 1, lengths),
        instruction_index=np.repeat(
            np.array([numbers[episode.instruction] for _, episode in chosen], dtype=np.int64), lengths
        ),
        instructions=tuple(instructions),
        episodes=len(chosen),
        sources=tuple(f"{sources[number].path} {episode.name}" for number, episode in chosen),
        origin=np.stack([lazy.episode_of_frame, lazy.step_of_frame], axis=1),
    )


def _check_actions(
    sources: Sequence[DemonstrationSource],
    chosen: Sequence[tuple[int, EpisodeFacts]],
    actions: Sequence[NDArray[np.float32]],
) -> None:
    for number, source in enumerate(sources):
        here = [index for index, (of_source, _) in enumerate(chosen) if of_source == number]
        if here:
            gripper = np.concatenate([source.stored_actions(chosen[index][1].name)[:, -1] for index in here])
            source.require_conventional_actions(np.concatenate([actions[index] for index in here]), gripper)


def _concatenate(parts: Sequence[NDArray[N]], none: NDArray[N]) -> NDArray[N]:
    return np.concatenate([none, *parts])


_ACTION_MASK = np.array([True] * (ACTION_DIM - 1) + [False])  # the gripper is not normalized


def dataset_statistics(dataset: DemonstrationDataset) -> DatasetStatistics:
    """Return q01, q99, mean, standard deviation and range of actions and of proprioception if present."""
    has_proprioception = dataset.proprioception.shape[1] > 0
    return DatasetStatistics(
        action=VectorStatistics.of(dataset.actions, _ACTION_MASK),
        proprioception=VectorStatistics.of(dataset.proprioception) if has_proprioception else None,
        num_trajectories=dataset.episodes,
        num_transitions=len(dataset),
    )
