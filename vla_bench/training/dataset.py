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

# ~ Which episodes of a source a network is trained on, and which it is validated on.

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

    The source's own subsets `train` and `valid` decide where it has both; otherwise a share of each task's episodes
    validates, drawn by the seed. `tasks` are `suite.task`, none of them meaning all.
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


# ~ Steps at which nothing was done, which OpenVLA leaves out of LIBERO's demonstrations.

_MAX_NOOP_NORM = 1e-4  # largest norm of the arm's action; openvla's regenerate_libero_dataset.py


def steps_with_effect(actions: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the steps of an episode, of actions (T, 7), at which the arm moves or the gripper's command changes.

    A change is against the last step that is kept; the first step needs the arm to move.
    """
    kept: list[int] = []
    still = np.linalg.norm(actions[:, :-1], axis=1) < _MAX_NOOP_NORM
    for step, gripper in enumerate(actions[:, -1]):
        if still[step] and (not kept or gripper == actions[kept[-1], -1]):
            continue
        kept.append(step)
    return np.array(kept, dtype=np.int64)


# ~ Demonstrations as a data set: frames, chunks of actions and prompts, split by episode.

N = TypeVar("N", bound=np.generic)

_CACHE_BYTES = 4_000_000_000


@dataclass(frozen=True)
class FrameSelection:
    """Which part of demonstrations a network is shown, and the conventions that they must have been recorded in."""

    cameras: tuple[str, ...]
    proprioception: tuple[str, ...]  # field names; none: the network takes no proprioception
    proprioception_dim: int  # numbers that the network takes
    image_size: int  # pixels; frames are resized to this
    control_hz: int
    action_convention: str
    tasks: tuple[str, ...] = ()  # none: all
    options: SourceOptions = field(default_factory=SourceOptions)  # what the sources do not say themselves
    success_only: bool = True
    drop_noops: bool = False
    validation_share: float = 0.1  # of each task's episodes, where a source has no subsets of its own
    split_seed: int = 0
    cache_bytes: int = _CACHE_BYTES  # images are kept in memory up to this size, read on demand beyond


@dataclass(frozen=True, eq=False)
class DemonstrationDataset:
    """All frames of some episodes, one after the other. Everything but images is in memory."""

    image_store: ImageStore
    proprioception: NDArray[np.float32]  # (frames, P), as recorded
    actions: NDArray[np.float32]  # (frames, 7), as recorded
    last_frame: NDArray[np.int64]  # (frames,), where the frame's episode ends
    instruction_index: NDArray[np.int64]  # (frames,)
    instructions: tuple[str, ...]
    episodes: int
    sources: tuple[str, ...] = ()  # of each episode: file and demonstration
    origin: NDArray[np.int64] | None = None  # (frames, 2): episode, and step in it as it is stored

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def images(self) -> ImageArray:
        """All images in memory, (frames, cameras, H, W, 3); they are read first where they are not there yet."""
        store = self.image_store
        return store.images if isinstance(store, CachedImages) else store.of(np.arange(len(self)))

    def images_of(self, frames: NDArray[np.int64]) -> ImageArray:
        """Return the images of `frames` in any order, (B, cameras, H, W, 3)."""
        return self.image_store.of(frames)

    def origin_of(self, frame: int) -> str:
        """Return file, demonstration and step of a frame, for messages."""
        if self.origin is None:
            return f"frame {frame}"
        episode, step = self.origin[frame].tolist()
        return f"{self.sources[episode]} step {step}"

    def chunks(self, frames: NDArray[np.int64], chunk_size: int) -> NDArray[np.float32]:
        """Return the actions from each frame on, (B, chunk_size, 7).

        Past the end of the episode the robot stands still and the gripper holds.
        """
        wanted = frames[:, None] + np.arange(chunk_size)
        last = self.last_frame[frames][:, None]
        chunk: NDArray[np.float32] = self.actions[np.minimum(wanted, last)]
        chunk[..., : ACTION_DIM - 1] *= (wanted <= last)[..., None]
        return chunk


def load_demonstrations(paths: Sequence[Path], selection: FrameSelection, subset: Subset) -> DemonstrationDataset:
    """Open sources of any format, load one subset of them and close them; see `load_subset`."""
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
    """Raise where the source lacks something or was recorded in other conventions."""
    source.require(cameras=selection.cameras, proprioception=selection.proprioception)
    facts = source.facts
    problems = []
    if facts.control_hz != selection.control_hz:
        problems.append(f"recorded at {facts.control_hz} Hz, the policy acts at {selection.control_hz} Hz")
    if facts.action_convention != selection.action_convention:
        problems.append(f"actions are {facts.action_convention!r}, the policy's {selection.action_convention!r}")
    sizes = {field.name: field.size for field in facts.proprioception_fields}
    width = sum(sizes[name] for name in selection.proprioception)
    if width != selection.proprioception_dim:
        names = ", ".join(selection.proprioception) or "none"
        problems.append(
            f"{names} are {width} numbers of proprioception, the network takes {selection.proprioception_dim}"
        )
    if problems:
        raise ConventionError(f"{source.path} does not fit the policy: {'; '.join(problems)}.")


def _explain_empty_selection(sources: Sequence[DemonstrationSource], selection: FrameSelection) -> str:
    wanted = f" of {', '.join(selection.tasks)}" if selection.tasks else ""
    episodes = [
        one for source in sources for one in source.episodes if not selection.tasks or one.task_id in selection.tasks
    ]
    if episodes and selection.success_only and all(one.success is False for one in episodes):
        return f"all {len(episodes)} demonstrations{wanted} are failures (`success_only = false` takes them)"
    known = sorted({one.task_id for source in sources for one in source.episodes})
    return f"there is no demonstration to train on{wanted}; there are {', '.join(known)}"


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


# ~ Statistics of demonstrations, as OpenVLA normalises by them.

_ACTION_MASK = np.array([True] * (ACTION_DIM - 1) + [False])  # the gripper is left as it is


def dataset_statistics(dataset: DemonstrationDataset) -> DatasetStatistics:
    """Return q01, q99, mean, standard deviation and range of actions and, where there is any, proprioception."""
    seen = dataset.proprioception.shape[1] > 0
    return DatasetStatistics(
        action=VectorStatistics.of(dataset.actions, _ACTION_MASK),
        proprioception=VectorStatistics.of(dataset.proprioception) if seen else None,
        num_trajectories=dataset.episodes,
        num_transitions=len(dataset),
    )
