import json

import numpy as np
import pytest

from tests.evaluation.tiny_environment import TinySpec, episodes
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.types import FloatArray
from vla_bench.evaluation.environment_slots import EnvironmentCache, EnvironmentSlots, EnvironmentSpec
from vla_bench.evaluation.messages import Abandon, Begin, Execute, Finished, Ready

STEP: FloatArray = np.full((1, 7), 0.5, dtype=np.float32)


def test_an_environment_is_used_again_for_the_next_episode_of_its_task() -> None:
    cache = EnvironmentCache(TinySpec(), max_free=2)
    first = cache.take("tiny.reach")
    assert cache.take("tiny.reach") is not first, "an environment in use is not free"
    cache.give_back("tiny.reach", first)
    assert cache.take("tiny.push") is not first
    assert cache.take("tiny.reach") is first


def test_the_least_recently_used_environment_is_closed() -> None:
    cache = EnvironmentCache(TinySpec(), max_free=2)
    taken = [cache.take(f"tiny.{name}") for name in ("reach", "push", "pull")]
    for name, environment in zip(("reach", "push", "pull"), taken, strict=True):
        cache.give_back(f"tiny.{name}", environment)
    assert [environment.kind for environment in taken] == ["closed", "push", "pull"]  # type: ignore[attr-defined]


def test_an_environment_that_raised_is_not_used_again() -> None:
    spec = TinySpec()
    slots = EnvironmentSlots(spec, 1)
    for errors in (1, 2):
        slots.handle(Begin(0, episodes(1, "broken")[0]))
        event = slots.handle(Execute(0, np.repeat(STEP, 3, axis=0)))
        assert isinstance(event, Finished)
        assert event.result.outcome == "error"
        slots.handle(Begin(0, episodes(1, "broken")[0]))
        assert len(spec.made) == 1 + errors


def test_an_abandoned_episode_has_a_result() -> None:
    slots = EnvironmentSlots(TinySpec(), 1)
    slots.handle(Begin(0, episodes(1)[0]))
    assert isinstance(slots.handle(Execute(0, np.repeat(STEP, 3, axis=0))), Ready)
    event = slots.handle(Abandon(0, "the policy broke"))
    assert isinstance(event, Finished)
    result = event.result
    assert (result.outcome, result.error, result.steps, result.progress) == ("error", "the policy broke", 3, 0.5)


def test_a_new_episode_drops_the_one_that_ran() -> None:
    slots = EnvironmentSlots(TinySpec(), 1)
    slots.handle(Begin(0, episodes(2)[0]))
    slots.handle(Execute(0, STEP))
    ready = slots.handle(Begin(0, episodes(2)[1]))
    assert isinstance(ready, Ready)
    assert ready.observation["proprioception"] == pytest.approx([0.0])
    event = slots.handle(Execute(0, np.repeat(STEP, 12, axis=0)))
    assert isinstance(event, Finished)
    assert event.result.instruction == f"reach {episodes(2)[1].scene_seed()}"
    assert event.result.steps == 6


def test_the_order_of_subgoals_is_recorded() -> None:
    slots = EnvironmentSlots(EnvironmentSpec(image_size=32, cameras=(), expert="expert"), 1)
    event = slots.handle(Begin(0, EpisodeIdentity("tabletop_long", "close_drawer_then_stove_on", 0)))
    while isinstance(event, Ready):
        event = slots.handle(Execute(0, event.observation["expert_action"][None]))
    slots.close()
    assert isinstance(event, Finished)
    (first, at), (second, later) = json.loads(event.result.subgoals)
    assert ("drawer" in first, "stove" in second) == (True, True)
    assert 0 < at < later <= event.result.steps
