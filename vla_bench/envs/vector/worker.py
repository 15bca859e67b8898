"""Worker processes of a vector environment: their variables, their environments and the messages to them."""

import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, cast

from gymnasium import Space
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from vla_bench.core.errors import ConventionError, VlaBenchError
from vla_bench.core.machine import usable_cores
from vla_bench.envs.environment import VlaBenchEnv, make
from vla_bench.envs.rendering.backend import opengl_variables
from vla_bench.envs.vector.shared_images import SharedImages

# ~ What processes that simulate have in common: their share of the machine, and quick messages.


def process_variables(workers: int, worker: int = 0) -> dict[str, str]:
    """Return environment variables for worker number `worker` of `workers`, which share the machine's cores and GPUs.

    What the user has set stays as it is. Threads of software OpenGL, by measurement: on two cores, one worker made 116,
    113 and 145 control steps a second with 0, 1 and 2 threads, two workers 210, 193 and 201.
    """
    threads = str(max(1, usable_cores() // workers))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
    defaults = {**dict.fromkeys(names, threads), **opengl_variables(workers, worker)}
    return {name: os.environ.get(name, default) for name, default in defaults.items()}


def send_quickly(connection: Connection, message: object) -> None:
    """Do as `connection.send` without a pickler of its own for every message; `recv` understands it."""
    connection.send_bytes(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))


# ~ A worker's share of a vector environment: some of its environments, in a process that does what it is told.

Infos = list[tuple[int, dict[str, Any]]]  # place in the share, what its environment says; in order


@dataclass(frozen=True)
class WorkerSpec:
    """Which environments a worker has."""

    first: int  # place of the first of them in the vector environment
    task_ids: tuple[str, ...]
    options: Mapping[str, Any]  # of `make`
    autoreset_mode: AutoresetMode


@dataclass(frozen=True)
class WorkerFacts:
    """The worker's first answer: what its environments are like, all alike."""

    observation_space: Space[Any]
    action_space: Space[Any]
    metadata: dict[str, Any]
    render_mode: str | None


@dataclass(frozen=True)
class WorkerFailure:
    """The answer where something went wrong."""

    error: VlaBenchError | str  # one of ours, or the traceback of any other


class WorkerVectorEnv(SyncVectorEnv):
    """Gymnasium's own vector environment, which puts pictures into shared memory and keeps infos as they come."""

    def __init__(self, spec: WorkerSpec, pictures: SharedImages) -> None:
        made = [make(task_id, **spec.options) for task_id in spec.task_ids]
        for task_id, environment in zip(spec.task_ids, made, strict=True):
            require_same_spaces(spec.task_ids[0], _spaces(made[0]), task_id, _spaces(environment))
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
    def facts(self) -> WorkerFacts:
        """What the environments are like."""
        return WorkerFacts(self.single_observation_space, self.single_action_space, self.metadata, self.render_mode)

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


def serve_worker(
    connection: Connection, spec: WorkerSpec, pictures: SharedImages, variables: Mapping[str, str]
) -> None:
    """Make the environments and tell what they are like, then call what is asked for until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's to handle: it closes the pipe
    os.environ.update(variables)  # before anything loads OpenGL or a maths library
    try:
        try:
            share = WorkerVectorEnv(spec, pictures)
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


def require_same_spaces(
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


def _answer(connection: Connection, share: WorkerVectorEnv, name: str, arguments: Any, keywords: Any) -> None:
    try:
        send_quickly(connection, getattr(share, name)(*arguments, **keywords))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # of an environment, or an answer that no pipe can carry
        send_quickly(connection, _failed(error))


def _failed(error: Exception) -> WorkerFailure:
    return WorkerFailure(error if isinstance(error, VlaBenchError) else "".join(traceback.format_exception(error)))


# ~ A worker process as the main process sees it: asked one thing at a time, it answers.

_JOIN_S = 5.0


class EnvironmentProcessError(VlaBenchError):
    """A process of a vector environment that broke, with all environments in it."""


class WorkerProcess:
    """One process and its environments."""

    def __init__(self, spec: WorkerSpec, pictures: SharedImages, variables: Mapping[str, str]) -> None:
        self.spec = spec
        self.places = slice(spec.first, spec.first + len(spec.task_ids))  # in the vector environment
        context = multiprocessing.get_context("spawn")  # a fork would share OpenGL and torch threads
        self._connection, theirs = context.Pipe()
        self.process = context.Process(target=serve_worker, args=(theirs, spec, pictures, variables), daemon=True)
        self.process.start()
        theirs.close()  # or the end of the process would not close the pipe

    def facts(self) -> WorkerFacts:
        """Return the first answer: what the environments are like."""
        return cast(WorkerFacts, self.answer())

    def ask(self, name: str, *arguments: Any, **keywords: Any) -> None:
        """Have a method of the worker's `Share` called."""
        with suppress(BrokenPipeError, ConnectionResetError):  # `answer` tells
            send_quickly(self._connection, (name, arguments, keywords))

    def answer(self) -> Any:
        """Wait for the answer; raise what went wrong in its place."""
        try:
            answer = self._connection.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(_JOIN_S)
            first, last = self.places.start, self.places.stop - 1
            raise EnvironmentProcessError(
                f"The process of environments {first} to {last} ended with exit code {self.process.exitcode}. A script "
                "that makes a vector environment must be a file and do so under `if __name__ == '__main__':`."
            ) from None
        if isinstance(answer, WorkerFailure):
            raise EnvironmentProcessError(answer.error) if isinstance(answer.error, str) else answer.error
        return answer

    def close(self) -> None:
        """Ask the process to end."""
        self._connection.close()

    def join(self) -> None:
        """Wait for the process to end, and end it if it does not."""
        self.process.join(_JOIN_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
