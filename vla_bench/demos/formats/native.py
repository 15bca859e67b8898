"""Reader of the `vla_bench` HDF5 format."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import ImageArray
from vla_bench.demos.demonstration import NOMINAL
from vla_bench.demos.hdf5 import SourceCandidate
from vla_bench.demos.header import FORMAT
from vla_bench.demos.sources import (
    FORMATS,
    DemonstrationSource,
    EpisodeFacts,
    SourceFacts,
    SourceOptions,
    map_camera_names,
)
from vla_bench.demos.store import DemonstrationFile


@FORMATS.named("ours")
class NativeSource(DemonstrationSource):
    """A `DemonstrationFile` as a source; the file states all conventions, which are ours."""

    may_exceed_one = True

    def __init__(self, path: Path, options: SourceOptions) -> None:
        self.path = path
        self.file = DemonstrationFile(path)
        header = self.file.header
        self.facts = SourceFacts(
            format="ours",
            cameras=map_camera_names(path, header.cameras, {}, options.cameras),
            image_size=(header.image_size, header.image_size),
            proprioception_fields=header.proprioception_fields,
            control_hz=options.control_hz or header.control_hz,
            action_convention=header.action_convention,
            gripper="close_positive",
            orientation="upright",
            robot=header.robot,
        )
        self.episodes = tuple(self._episode(name, options) for name in self.file.names)

    @classmethod
    def recognizes(cls, candidate: SourceCandidate) -> bool:
        """Return whether the file states this format."""
        return candidate.attributes.get("format") == FORMAT

    def stored_actions(self, name: str) -> NDArray[np.float32]:
        """Return the actions to learn from."""
        return np.asarray(self.file.array(name, "actions"), dtype=np.float32)

    def stored_field(self, name: str, field: str) -> NDArray[np.float32]:
        """Return one field of the recorded proprioception."""
        return np.asarray(self.file.proprioception(name)[:, self.file.header.columns(field)], dtype=np.float32)

    def images(self, name: str, camera: str, steps: NDArray[np.int64]) -> ImageArray:
        """Return images as recorded."""
        return self.file.images(name, self.facts.cameras[camera], steps)

    def subset(self, subset: str) -> tuple[str, ...] | None:
        """Return a subset of the file's masks; empty where the file does not define it."""
        return self.file.mask(subset) if subset in self.file.masks() else ()

    def model_xml(self, name: str) -> str:
        """Return the MJCF stored in the file."""
        return self.file.model_xml(name)

    def step_labels(self, name: str) -> tuple[str, ...]:
        """Return the phase of each step, and its label where the step is disturbed or part of a recovery."""
        one = self.file.read(name, cameras=())
        pairs = zip(one.phases, one.labels, strict=True)
        return tuple(phase if label == NOMINAL else f"{phase}, {label}" for phase, label in pairs)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def _episode(self, name: str, options: SourceOptions) -> EpisodeFacts:
        summary = self.file.summary(name)
        return EpisodeFacts(
            name=name,
            instruction=options.instruction or summary.instruction,
            steps=summary.steps,
            suite=summary.identity.suite,
            task=summary.identity.task,
            success=summary.success,
        )
