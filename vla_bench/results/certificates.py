"""Certificates of episodes: whether the expert solves an episode, and in which scene. One CSV file per run."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from vla_bench.core.episode import CLEAN, EpisodeIdentity
from vla_bench.core.errors import VlaBenchError
from vla_bench.core.files import written_whole

CERTIFICATES_NAME = "certificates.csv"
CERTIFICATE_COLUMNS: dict[str, type] = {
    "suite": str,
    "task": str,
    "variant": str,
    "episode_index": int,
    "seed": int,
    "scene_hash": str,
    "physics_hash": str,  # equal fingerprints: the same episode under the same actions
    "solved": bool,
    "steps": int,  # of the expert
    "shown_in": str,  # variant of the episode that the expert ran; that of another variant with the same physics
    "used": bool,  # whether the policy is evaluated on it
    "error": str,  # error if the episode could not be run
}
_KEY = ["suite", "task", "episode_index", "seed", "variant"]


@dataclass(frozen=True)
class Certificate:
    """Result of the expert in one episode."""

    episode: EpisodeIdentity
    scene_hash: str
    physics_hash: str
    solved: bool
    steps: int
    shown_in: str
    error: str = ""

    @property
    def clean(self) -> EpisodeIdentity:
        """The clean episode of the same scene."""
        return replace(self.episode, variant=CLEAN)


def add_certificates(path: Path, certificates: Iterable[Certificate], used: Iterable[EpisodeIdentity]) -> None:
    """Write the certificates, each with whether the policy is evaluated on it; those of other episodes are kept."""
    chosen = set(used)
    rows = [
        (
            *(one.episode.suite, one.episode.task, one.episode.variant, one.episode.index, one.episode.seed),
            *(one.scene_hash, one.physics_hash, one.solved, one.steps, one.shown_in, one.episode in chosen, one.error),
        )
        for one in sorted(certificates, key=lambda one: one.episode)
    ]
    table = pd.DataFrame(rows, columns=list(CERTIFICATE_COLUMNS))
    if path.exists():
        table = pd.concat([read_certificates(path), table]).drop_duplicates(_KEY, keep="last").sort_values(_KEY)
    with written_whole(path) as whole:
        table.to_csv(whole, index=False, lineterminator="\n")


def read_certificates(path: Path) -> pd.DataFrame:
    """Return the certificates at `path` in `CERTIFICATE_COLUMNS`; raise `VlaBenchError` if the file is missing or
    invalid.
    """
    if not path.exists():
        raise VlaBenchError(f"{path} does not exist. `vla-bench robustness` writes it next to the run of the policy.")
    table = pd.read_csv(path, dtype=CERTIFICATE_COLUMNS, keep_default_na=False)
    missing = [name for name in CERTIFICATE_COLUMNS if name not in table]
    if missing:
        raise VlaBenchError(f"{path} has no certificates: its first line lacks {', '.join(missing)}.")
    return table
