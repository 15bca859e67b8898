"""Worker processes of a vector environment, each with some of its environments."""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, cast

from gymnasium import Space
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from vla_bench.core.env_options import EnvOptions
from vla_bench.core.errors import ConventionError, VlaBenchError
from vla_bench.core.worker_process import WorkerDiedError, WorkerProcess, send_message
from vla_bench.envs.environment import VlaBenchEnv, make
from vla_bench.envs.vector.shared_images import SharedImages

Infos = list[tuple[int, dict[str, Any]]]  # index within the worker, and the environment's info; in order


class EnvironmentProcessError(VlaBenchError):
    """A worker process of a vector environment that failed, with all environments in it."""


@dataclass(frozen=True)
class WorkerSpec:
    """The environments of a worker."""

    first: int  # index of its first environment in the vector environment
    task_ids: tuple[str, ...]
    options: EnvOptions
    autoreset_mode: AutoresetMode


@dataclass(frozen=True)
class WorkerFacts:
    """The worker's first answer: the properties that all its environments share."""

    observation_space: Space[Any]
    action_space: Space[Any]
    metadata: dict[str, Any]
    render_mode: str | None


class VectorWorker:
    """One worker process and its environments. It answers one request at a time."""

    def __init__(self, spec: WorkerSpec, images: SharedImages, variables: Mapping[str, str]) -> None:
        self.spec = spec
        self.indices = slice(spec.first, spec.first + len(spec.task_ids))  # in the vector environment
        self.process = WorkerProcess(_serve, (spec, images), variables)

    def facts(self) -> WorkerFacts:
        """Return the first answer."""
        return cast(WorkerFacts, self.answer())

    def request(self, name: str, *arguments: Any, **keywords: Any) -> None:
        """Call a method of the worker's `_WorkerVectorEnv`; `answer` returns the result."""
        self.process.send((name, arguments, keywords))

    def answer(self) -> Any:
        """Wait for the answer to the last request and return it; raise the error if the request failed."""
        try:
            answer = self.process.receive()
        except WorkerDiedError as death:
            first, last = self.indices.start, self.indices.stop - 1
            raise EnvironmentProcessError(
                f"The process of environments {first} to {last} ended with exit code {death.exit_code}. A script that "
                "makes a vector environment must be a file and do so under `if __name__ == '__main__':`."
            ) from None
        if isinstance(answer, _Failure):
            raise EnvironmentProcessError(answer.error) if isinstance(answer.error, str) else answer.error
        return answer


def require_same_spaces(
    first: str, first_spaces: Sequence[Space[Any]], second: str, second_spaces: Sequence[Space[Any]]
) -> None:
    """Raise `ConventionError` unless observations and actions of the two tasks can be batched."""
    for kind, one, other in zip(("Observations", "Actions"), first_spaces, second_spaces, strict=True):
        if one != other:
            raise ConventionError(
                f"{kind} of {second} and of {first} differ and cannot be batched: {other}, and {one}. Expected tasks "
                "with the same robot, number of arms, cameras and segments."
            )


@dataclass(frozen=True)
class _Failure:
    """The answer to a request that failed."""

    error: VlaBenchError | str  # the traceback of any other error


class _WorkerVectorEnv(SyncVectorEnv):
    """Gymnasium's vector environment with images in shared memory; infos are returned as a list."""

    def __init__(self, spec: WorkerSpec, images: SharedImages) -> None:
        made = [make(task_id, **spec.options.env_kwargs()) for task_id in spec.task_ids]
        for task_id, environment in zip(spec.task_ids, made, strict=True):
            require_same_spaces(spec.task_ids[0], _spaces(made[0]), task_id, _spaces(environment))
        super().__init__(
            [lambda environment=environment: environment for environment in made],  # type: ignore[misc]
            copy=False,
            autoreset_mode=spec.autoreset_mode,
        )
        self._infos: Infos = []
        self._images = images.batches()
        for kind, cameras in self._images.items():
            own = {name: batch[spec.first : spec.first + self.num_envs] for name, batch in cameras.items()}
            cast(dict[str, Any], self._observations)[kind] = own

    @property
    def facts(self) -> WorkerFacts:
        """The properties of the environments."""
        return WorkerFacts(self.single_observation_space, self.single_action_space, self.metadata, self.render_mode)

    def reset_worker(self, seeds: list[int | None], options: dict[str, Any] | None) -> tuple[dict[str, Any], Infos]:
        """Reset; return the observations without images, and the infos."""
        self._infos = []
        observations, _ = self.reset(seed=seeds, options=options)
        return self._without_images(observations), self._infos

    def step_worker(self, actions: Any) -> tuple[dict[str, Any], Any, Any, Any, Infos]:
        """Step; return the observations without images, rewards, terminations, truncations and infos."""
        self._infos = []
        observations, rewards, terminations, truncations, _ = self.step(actions)
        return self._without_images(observations), rewards, terminations, truncations, self._infos

    def _add_info(self, vector_infos: dict[str, Any], env_info: dict[str, Any], env_num: int) -> dict[str, Any]:
        self._infos.append((env_num, env_info))  # the main process combines the infos of all workers
        return vector_infos

    def _without_images(self, observations: Any) -> dict[str, Any]:
        return {key: value for key, value in observations.items() if key not in self._images}


def _serve(connection: Connection, spec: WorkerSpec, images: SharedImages) -> None:
    """Make the environments and send their facts, then call the requested methods until the pipe is closed."""
    try:
        environments = _WorkerVectorEnv(spec, images)
        send_message(connection, environments.facts)
    except Exception as error:
        send_message(connection, _failure(error))
        return
    try:
        while True:
            name, arguments, keywords = connection.recv()
            _answer(connection, environments, name, arguments, keywords)
    finally:
        environments.close()


def _answer(connection: Connection, environments: _WorkerVectorEnv, name: str, arguments: Any, keywords: Any) -> None:
    try:
        send_message(connection, getattr(environments, name)(*arguments, **keywords))
    except (BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:  # of an environment, or an answer that cannot be pickled
        send_message(connection, _failure(error))


def _spaces(environment: VlaBenchEnv) -> tuple[Space[Any], Space[Any]]:
    return environment.observation_space, environment.action_space


def _failure(error: Exception) -> _Failure:
    return _Failure(error if isinstance(error, VlaBenchError) else "".join(traceback.format_exception(error)))
