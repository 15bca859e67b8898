"""A worker's share of a vector environment: some of its environments, in a process that does what it is told."""

import os
import signal
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, cast

from gymnasium import Space
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from vla_bench.core.errors import ConventionError, VlaBenchError
from vla_bench.envs.environment import VlaBenchEnv, make
from vla_bench.envs.vector.processes import send_quickly
from vla_bench.envs.vector.shared import SharedPictures

Infos = list[tuple[int, dict[str, Any]]]  # place in the share, what its environment says; in order


@dataclass(frozen=True)
class ShareSpec:
    """Which environments a worker has."""

    first: int  # place of the first of them in the vector environment
    task_ids: tuple[str, ...]
    options: Mapping[str, Any]  # of `make`
    autoreset_mode: AutoresetMode


@dataclass(frozen=True)
class ShareFacts:
    """The worker's first answer: what its environments are like, all alike."""

    observation_space: Space[Any]
    action_space: Space[Any]
    metadata: dict[str, Any]
    render_mode: str | None


@dataclass(frozen=True)
class Failed:
    """The answer where something went wrong."""

    error: VlaBenchError | str  # one of ours, or the traceback of any other


class Share(SyncVectorEnv):
    """Gymnasium's own vector environment, which puts pictures into shared memory and keeps infos as they come."""

    def __init__(self, spec: ShareSpec, pictures: SharedPictures) -> None:
        made = [make(task_id, **spec.options) for task_id in spec.task_ids]
        for task_id, environment in zip(spec.task_ids, made, strict=True):
            require_alike(spec.task_ids[0], _spaces(made[0]), task_id, _spaces(environment))
        super().__init__(
            [lambda environment=environment: environment for environment in made],  # type: ignore[misc]
            copy=False,
            autoreset_mode=spec.autoreset_mode,
        )
        self.infos: Infos = []
        self._pictures = pictures.batches()
        for kind, cameras in self._pictures.items():
            ours = {name: batch[spec.first : spec.first + self.num_envs] for name, batch in cameras.items()}
            cast(dict[str, Any], self._observations)[kind] = ours

    @property
    def facts(self) -> ShareFacts:
        """What the environments are like."""
        return ShareFacts(self.single_observation_space, self.single_action_space, self.metadata, self.render_mode)

    def reset_share(self, seeds: list[int | None], options: dict[str, Any] | None) -> tuple[dict[str, Any], Infos]:
        """Reset; return what of the observations is not in shared memory, and the infos."""
        self.infos = []
        observations, _ = self.reset(seed=seeds, options=options)
        return self._small(observations), self.infos

    def step_share(self, actions: Any) -> tuple[dict[str, Any], Any, Any, Any, Infos]:
        """Step; return what of the observations is not in shared memory, rewards, ends and infos."""
        self.infos = []
        observations, rewards, terminations, truncations, _ = self.step(actions)
        return self._small(observations), rewards, terminations, truncations, self.infos

    def _add_info(self, vector_infos: dict[str, Any], env_info: dict[str, Any], env_num: int) -> dict[str, Any]:
        self.infos.append((env_num, env_info))  # put together where all workers' infos are
        return vector_infos

    def _small(self, observations: Any) -> dict[str, Any]:
        return {key: value for key, value in observations.items() if key not in self._pictures}


def serve_share(
    connection: Connection, spec: ShareSpec, pictures: SharedPictures, variables: Mapping[str, str]
) -> None:
    """Make the environments and tell what they are like, then call what is asked for until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle: it closes the pipe
    os.environ.update(variables)  # before anything loads OpenGL or a maths library
    try:
        try:
            share = Share(spec, pictures)
            send_quickly(connection, share.facts)
        except Exception as error:
            send_quickly(connection, _failed(error))
            return
        try:
            while True:
                name, arguments, keywords = connection.recv()
                _answer(connection, share, name, arguments, keywords)
        finally:
            share.close()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the main process closed the pipe or is gone


def require_alike(
    first: str, first_spaces: Sequence[Space[Any]], second: str, second_spaces: Sequence[Space[Any]]
) -> None:
    """Raise `ConventionError` unless observations and actions of the two tasks can be put into one batch."""
    for kind, one, other in zip(("Observations", "Actions"), first_spaces, second_spaces, strict=True):
        if one != other:
            raise ConventionError(
                f"{kind} of {second} and of {first} are not alike, so that they fit into no batch: {other}, and {one}. "
                "Expected tasks with the same robot, arms, cameras and segments."
            )


def _spaces(environment: VlaBenchEnv) -> tuple[Space[Any], Space[Any]]:
    return environment.observation_space, environment.action_space


def _answer(connection: Connection, share: Share, name: str, arguments: Any, keywords: Any) -> None:
    try:
        send_quickly(connection, getattr(share, name)(*arguments, **keywords))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # of an environment, or an answer that no pipe can carry
        send_quickly(connection, _failed(error))


def _failed(error: Exception) -> Failed:
    return Failed(error if isinstance(error, VlaBenchError) else "".join(traceback.format_exception(error)))
