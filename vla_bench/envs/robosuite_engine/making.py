"""Building a stock robosuite environment."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any

from vla_bench.core.errors import ConventionError, UnknownNameError
from vla_bench.core.types import CONTROL_HZ
from vla_bench.envs.robosuite_engine.guests import with_guests

_ROBOTS = {"panda": "Panda"}
_SIZE_SEED = 0  # robosuite draws the size of Lift's cube when it builds the model: the same cube in every environment
_OURS: dict[str, object] = {  # options that are the same in every task
    "has_renderer": False,
    "has_offscreen_renderer": False,
    "use_camera_obs": False,
    "use_object_obs": False,
    "control_freq": CONTROL_HZ,
    "ignore_done": True,  # the horizon is the task's
    "hard_reset": False,  # compiling anew takes two seconds
    "seed": _SIZE_SEED,
}


def make_stock(robot: str, guests: Sequence[str] = (), *, env_name: object = "", **options: object) -> Any:
    """Return robosuite's environment `env_name` with one robot, or two where it takes two; `options` are its own.

    `guests` are kinds of our objects that stand in its scene besides.
    """
    with _silenced():
        import robosuite
        from robosuite.environments.manipulation.two_arm_env import TwoArmEnv

        check_options(env_name=env_name, **options)
        if robot not in _ROBOTS:
            raise ConventionError(f"Suite `robosuite` has no robot {robot!r}. Known: {', '.join(_ROBOTS)}.")
        two_arms = issubclass(robosuite.environments.REGISTERED_ENVS[env_name], TwoArmEnv)
        env = robosuite.make(
            env_name,
            robots=[_ROBOTS[robot]] * (2 if two_arms else 1),
            **_OURS,
            **options,
        )
        if guests:
            env.set_xml_processor(lambda xml: with_guests(xml, guests))
            env._initialize_sim()  # compiles the same model, processed; a hard reset would draw sizes anew
            env.reset()
        return env


def check_options(*, env_name: object = "", **options: object) -> None:
    """Raise `UnknownNameError` for an environment that robosuite lacks, or an option that it does not leave to us."""
    with _silenced():
        import robosuite

        if env_name not in robosuite.ALL_ENVIRONMENTS:
            raise UnknownNameError("robosuite environment", str(env_name), robosuite.ALL_ENVIRONMENTS)
        kinds = robosuite.environments.REGISTERED_ENVS[env_name].__mro__
        names = {name for kind in kinds if "__init__" in vars(kind) for name in signature(kind.__init__).parameters}
        known = names - {"self", "args", "kwargs", "robots", *_OURS}
        for option in options:
            if option not in known:
                raise UnknownNameError(f"option of robosuite's {env_name}", option, known)


@contextmanager
def _silenced() -> Iterator[None]:
    """Keep robosuite's remarks about optional packages and controller files off the user's terminal."""
    logger = logging.getLogger("robosuite_logs")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before  # one silence may lie within another
