"""The description of a run, `run.json`: policy, protocol, software versions, machine and times."""

import hashlib
import json
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from vla_bench.core.files import written_whole
from vla_bench.core.machine import cpu_model, memory_gb, usable_cores
from vla_bench.results.errors import RunFolderError
from vla_bench.results.protocols import differing_fields, full_protocol_differences, merged_protocol

RUN_INFO_NAME = "run.json"

_PACKAGES = (  # packages that can change an episode
    "vla-bench",
    "numpy",
    "mujoco",
    "robosuite",
    "gymnasium",
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "pillow",
)
_REPOSITORY = Path(__file__).resolve().parents[2]  # root of the clone, if the package runs from one
_SOURCES = ("vla_bench", "envs", "tasks", "policies")  # folders of the clone that can change an episode


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlannedTask(_Model):
    """Planned number of episodes of one task."""

    suite: str
    task: str
    episodes: Annotated[int, Field(ge=0)]
    variant: str = "clean"


class Hardware(_Model):
    """The machine that a session ran on."""

    cpu: str
    cores: int  # usable by this process
    memory_gb: float
    accelerator: str = ""  # GPU, if the policy ran on one


class GitState(_Model):
    """The state of the clone that the code ran from; empty for an installed package."""

    commit: str = ""
    dirty: bool = False  # uncommitted changes in sources that can change an episode


class Numerics(_Model):
    """Arithmetic of the policy, which decides the last bits of its actions."""

    device: str = ""  # "cpu" or the GPU's name
    batch_shape: int | None = None  # batch size of the forward pass; None: one environment slot at a time
    bit_equal: bool = False  # the ledger is guaranteed to be identical for any workers, slots and interruptions
    why_not: str = ""


class Session(_Model):
    """One invocation that worked on the run; a resumed run has several."""

    command: tuple[str, ...]
    started: datetime  # UTC
    finished: datetime | None = None
    hardware: Hardware
    git: GitState
    threads: int = 0  # threads of the policy; 0: it uses no library with threads
    policy_code: str = ""  # digest of the code of a user policy; empty for packaged policies and unknown code


class RunInfo(_Model):
    """Description of a run, without its episodes.

    `protocol` holds the conditions that must be equal for comparing runs (rendering, wait steps, horizon, ...),
    `planned` the number of episodes and `card` the policy.
    """

    format_version: Literal[2] = 2
    policy: str
    policy_argument: str = ""  # policy name, path or factory as given by the user
    card: dict[str, JsonValue]
    card_hash: str
    checkpoint: str = ""
    checkpoint_hash: str = ""
    protocol: dict[str, JsonValue]
    planned: tuple[PlannedTask, ...]
    verdict: str = ""  # reason why the plan stopped before all planned episodes were run
    numerics: Numerics = Numerics()
    python: str
    versions: dict[str, str]
    sessions: Annotated[tuple[Session, ...], Field(min_length=1)]

    @property
    def started(self) -> datetime:
        """Start of the first session, UTC."""
        return self.sessions[0].started

    @property
    def finished(self) -> datetime | None:
        """End of the last session, UTC; None while it runs or if it was killed."""
        return self.sessions[-1].finished

    def differences(self, other: Self) -> list[str]:
        """Return what differs in the configuration of `other`: policy, card, checkpoint, protocol, numerics, versions.

        Hardware, git state and planned episodes may differ between the sessions of one run.
        """
        names = {"policy", "card", "checkpoint_hash", "numerics", "python", "versions"}
        ours, theirs = (run.model_dump(mode="json", include=names) for run in (self, other))
        return [*differing_fields(ours, theirs), *full_protocol_differences(self.protocol, other.protocol)]

    def continued_by(self, other: Self) -> Self:
        """Return this run with the sessions of `other` added; the plan of `other` replaces that of the same tasks."""
        planned = {(item.suite, item.task, item.variant): item for item in (*self.planned, *other.planned)}
        update = {
            "planned": tuple(planned.values()),
            "protocol": merged_protocol(self.protocol, other.protocol),
            "sessions": (*self.sessions, *other.sessions),
        }
        return self.model_copy(update=update)

    def finished_now(self, verdict: str = "") -> Self:
        """Return this run with the end of its last session set to now, and the reason for an early stop."""
        last = self.sessions[-1].model_copy(update={"finished": _now()})
        return self.model_copy(update={"sessions": (*self.sessions[:-1], last), "verdict": verdict})

    def write(self, folder: Path) -> None:
        """Write `run.json` into the run folder."""
        with written_whole(folder / RUN_INFO_NAME) as path:
            path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read `run.json` of the run; raise `RunFolderError` if it is missing or invalid."""
        path = folder / RUN_INFO_NAME
        if not path.is_file():
            raise RunFolderError(folder, f"it has no {RUN_INFO_NAME}")
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "(whole file)"
            raise RunFolderError(folder, f"{RUN_INFO_NAME}: field `{field}`: {first['msg']}") from None


def describe_run(
    policy: str,
    card: Mapping[str, object],
    protocol: Mapping[str, object],
    planned: Iterable[PlannedTask],
    *,
    policy_argument: str = "",
    checkpoint: Path | None = None,
    command: Iterable[str] | None = None,
    numerics: Numerics | None = None,
    accelerator: str = "",
    threads: int = 0,
    policy_code: str = "",
) -> RunInfo:
    """Return the description of a run that starts now in this process; `command` defaults to `sys.argv`.

    The folder of the program is omitted because it depends on the machine. The values of `card` and `protocol` must be
    representable as JSON.
    """
    hardware = Hardware(cpu=cpu_model(), cores=usable_cores(), memory_gb=memory_gb(), accelerator=accelerator)
    words = (Path(sys.argv[0]).name, *sys.argv[1:]) if command is None else tuple(command)
    session = Session(
        command=words,
        started=_now(),
        hardware=hardware,
        git=git_state(_REPOSITORY),
        threads=threads,
        policy_code=policy_code,
    )
    return RunInfo(
        policy=policy,
        policy_argument=policy_argument,
        card=_as_json(card),
        card_hash=_text_hash(json.dumps(_as_json(card), sort_keys=True)),
        checkpoint=str(checkpoint or ""),
        checkpoint_hash=content_hash(checkpoint) if checkpoint else "",
        protocol=_as_json(protocol),
        planned=tuple(planned),
        numerics=numerics or Numerics(),
        python=platform.python_version(),
        versions=_installed_versions(),
        sessions=(session,),
    )


def content_hash(path: Path) -> str:
    """Return a short SHA-256 digest of a file, or of a folder's file names and contents."""
    digest = hashlib.sha256()
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        with file.open("rb") as handle:
            content = hashlib.file_digest(handle, "sha256").hexdigest()
        digest.update(f"{file.relative_to(path).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:16]


def git_state(clone: Path) -> GitState:
    """Return the state of the clone of this package at `clone`, or an empty state if it is not a clone."""
    if not (clone / ".git").exists():  # an installed package may be inside another repository
        return GitState()
    commit = _git(clone, "rev-parse", "HEAD")
    changed = _git(clone, "status", "--porcelain", "--", *(name for name in _SOURCES if (clone / name).exists()))
    return GitState(commit=commit, dirty=bool(changed))


def _git(clone: Path, *arguments: str) -> str:
    try:
        # Without the optional lock a run neither blocks other git commands nor leaves a lock behind.
        command = ["git", "--no-optional-locks", "-C", str(clone), *arguments]
        finished = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or no commit yet
        return ""
    return finished.stdout.strip()


def _installed_versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _as_json(values: Mapping[str, object]) -> dict[str, JsonValue]:
    """Return the values as they will be read back from JSON: lists instead of tuples."""
    plain: dict[str, JsonValue] = json.loads(json.dumps(dict(values)))
    return plain


def _text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
