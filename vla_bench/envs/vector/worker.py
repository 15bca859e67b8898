"""Worker processes of a vector environment: their variables, their environments and the messages to them."""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, cast

from gymnasium import Space
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from vla_bench.core.errors import ConventionError, VlaBenchError
from vla_bench.core.worker_process import WorkerDiedError, WorkerProcess, send_message
from vla_bench.envs.environment import VlaBenchEnv, make
from vla_bench.envs.vector.shared_images import SharedImages

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


def serve_vector_worker(connection: Connection, spec: WorkerSpec, pictures: SharedImages) -> None:
    """Make the environments and send their facts, then call the requested methods until the pipe is closed."""
    try:
        share = WorkerVectorEnv(spec, pictures)
        send_message(connection, share.facts)
    except Exception as error:
        send_message(connection, _failed(error))
        return
    try:
        while True:
            name, arguments, keywords = connection.recv()
            _answer(connection, share, name, arguments, keywords)
    finally:
        share.close()


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
        send_message(connection, getattr(share, name)(*arguments, **keywords))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # of an environment, or an answer that no pipe can carry
        send_message(connection, _failed(error))


def _failed(error: Exception) -> WorkerFailure:
    return WorkerFailure(error if isinstance(error, VlaBenchError) else "".join(traceback.format_exception(error)))


# ~ A worker process as the main process sees it: asked one thing at a time, it answers.


class EnvironmentProcessError(VlaBenchError):
    """A worker process of a vector environment that failed, with all environments in it."""


class VectorWorker:
    """One worker process and its environments. It is asked one thing at a time and answers each."""

    def __init__(self, spec: WorkerSpec, pictures: SharedImages, variables: Mapping[str, str]) -> None:
        self.spec = spec
        self.places = slice(spec.first, spec.first + len(spec.task_ids))  # in the vector environment
        self.process = WorkerProcess(serve_vector_worker, (spec, pictures), variables)

    def facts(self) -> WorkerFacts:
        """Return the first answer: the properties of the environments."""
        return cast(WorkerFacts, self.answer())

    def ask(self, name: str, *arguments: Any, **keywords: Any) -> None:
        """Call a method of the worker's `WorkerVectorEnv`; `answer` returns the result."""
        self.process.send((name, arguments, keywords))

    def answer(self) -> Any:
        """Wait for the answer and return it; raise the error if the call failed."""
        try:
            answer = self.process.receive()
        except WorkerDiedError as death:
            first, last = self.places.start, self.places.stop - 1
            raise EnvironmentProcessError(
                f"The process of environments {first} to {last} ended with exit code {death.exit_code}. A script "
                "that makes a vector environment must be a file and do so under `if __name__ == '__main__':`."
            ) from None
        if isinstance(answer, WorkerFailure):
            raise EnvironmentProcessError(answer.error) if isinstance(answer.error, str) else answer.error
        return answer
