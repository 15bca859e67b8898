"""Recorders without a simulator, for failures, worker deaths and interruptions.

They are in a module of their own because worker processes import them.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.demos.synthetic import demonstration, header
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import RenderingError
from vla_bench.demos import CollectOptions, Demonstration, FileHeader
from vla_bench.demos.rerendering import RenderFactory

FAILING = {1, 4}


class Recorder:
    """Recorder of synthetic demonstrations that fails at the indices in `FAILING`."""

    def __init__(self, options: CollectOptions) -> None:
        self.options = options

    def __call__(self, identity: EpisodeIdentity) -> Demonstration:
        made = demonstration(identity.index, task=identity.task, success=identity.index not in FAILING)
        return replace(made, identity=identity)

    def complete(self, demonstration: Demonstration) -> Demonstration:
        return demonstration

    def header(self) -> FileHeader:
        return header()


class SlowRecorder(Recorder):
    """Recorder that is slow, and slower for even indices, so that two workers finish out of order."""

    def __call__(self, identity: EpisodeIdentity) -> Demonstration:
        time.sleep(0.15 if identity.index % 2 else 0.25)
        return super().__call__(identity)


class UnsuccessfulRecorder(Recorder):
    """Recorder that never succeeds."""

    def __call__(self, identity: EpisodeIdentity) -> Demonstration:
        return replace(super().__call__(identity), success=False)


class BrokenRecorder(Recorder):
    """Recorder with a programming error in the third episode."""

    def __call__(self, identity: EpisodeIdentity) -> Demonstration:
        if identity.index == 2:
            raise ZeroDivisionError("of the recorder")
        return super().__call__(identity)


class NoRenderingRecorder(Recorder):
    """Recorder on a machine without off-screen rendering."""

    def __init__(self, options: CollectOptions) -> None:
        raise RenderingError("no EGL device")


class DyingRecorder(Recorder):
    """Recorder whose process is killed once, in the third episode."""

    def __call__(self, identity: EpisodeIdentity) -> Demonstration:
        mark = Path(f"{self.options.output}.died")
        if identity.index == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(identity)


class DeadlyRecorder(Recorder):
    """Recorder whose process is killed in every attempt at the third episode."""

    def __call__(self, identity: EpisodeIdentity) -> Demonstration:
        if identity.index == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(identity)


class FullDiskRecorder(Recorder):
    """Recorder with a disk that is full after a few kilobytes."""

    def __init__(self, options: CollectOptions) -> None:
        import resource

        super().__init__(options)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


class FullDiskRenderFactory(RenderFactory):
    """Rendering worker with a disk that is full after a few kilobytes."""

    def __call__(self) -> Callable[[str], str]:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        return super().__call__()
