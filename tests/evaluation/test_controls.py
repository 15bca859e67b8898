from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.tiny_environment import OneProcess, TinyEnvironment, episodes
from vla_bench.core.episode import EpisodeIdentity
from vla_bench.core.errors import UnknownNameError
from vla_bench.core.types import FloatArray, Observation
from vla_bench.evaluation.control_runs import control_names, run_control, write_control_paths
from vla_bench.evaluation.controls import ControlledPool, controls
from vla_bench.evaluation.options import RunOptions
from vla_bench.evaluation.rollout import FinishedEpisode, Rollout
from vla_bench.evaluation.run import run_evaluation
from vla_bench.policies import PolicyBase
from vla_bench.results.controls import REFERENCE_POLICIES, control_folders, read_controls
from vla_bench.results.ledger import read_ledger
from vla_bench.tasks import get_task

EPISODE = EpisodeIdentity("tabletop_object", "red_cube_in_basket", 3)


def observed(episode: EpisodeIdentity = EPISODE) -> Observation:
    images = {"agentview": np.full((4, 4, 3), 9, np.uint8)}
    instruction = get_task(episode.task_id).instruction
    return {"images": images, "proprioception": np.ones(2, np.float32), "instruction": instruction}


def instructions(control: str, count: int = 40) -> list[str]:
    """Return the instructions that the policy receives in `count` episodes of one task."""
    planned = [EpisodeIdentity(EPISODE.suite, EPISODE.task, index) for index in range(count)]
    return [controls[control](episode, observed(episode))["instruction"] for episode in planned]


def test_a_blank_instruction_is_empty_and_the_images_are_unchanged() -> None:
    altered = controls["blank-instruction"](EPISODE, observed())
    assert altered["instruction"] == ""
    assert altered["images"]["agentview"].all()


def test_a_shuffled_instruction_has_the_same_words_and_depends_on_the_episode() -> None:
    own, altered = observed()["instruction"], instructions("shuffled-instruction")
    assert {tuple(sorted(text.split())) for text in altered} == {tuple(sorted(own.split()))}
    assert len(set(altered)) > 10
    assert altered == instructions("shuffled-instruction")


def test_a_wrong_object_is_another_object_of_the_same_scene() -> None:
    altered = set(instructions("wrong-object"))
    assert len(altered) > 3
    assert not [text for text in altered if "red cube" in text]
    assert altered == {text for text in altered if "put" in text}, "an instruction of the suite"


def test_of_two_equal_objects_the_other_one_is_the_wrong_object() -> None:
    episode = EpisodeIdentity("tabletop_spatial", "next_to_box", 0)
    altered = controls["wrong-object"](episode, observed(episode))["instruction"]
    assert altered == get_task("tabletop_spatial.between_plate_and_ramekin").instruction, "of the same scene"


def test_black_images_leave_instruction_and_proprioception_unchanged() -> None:
    altered = controls["black-image"](EPISODE, observed())
    assert not altered["images"]["agentview"].any()
    assert altered["proprioception"].all()
    assert altered["instruction"] == observed()["instruction"]


class Reading(PolicyBase):
    """Moves if the instruction is not empty, and records the instructions."""

    def __init__(self) -> None:
        self.instructions: list[str] = []

    def reset(self, instructions: Sequence[str], *, rows: Sequence[int], seeds: Sequence[int]) -> None:
        self.instructions += instructions

    def act(self, observations: Sequence[Observation], *, rows: Sequence[int]) -> FloatArray:
        speeds = [0.5 if observation["instruction"] else 0.0 for observation in observations]
        return np.stack([np.full((1, 7), speed) for speed in speeds])


def test_a_control_changes_the_policy_input_only_and_is_recorded() -> None:
    policy, finished = Reading(), list[FinishedEpisode]()
    pool = ControlledPool(OneProcess(2), controls["blank-instruction"])
    Rollout(policy, pool, finished.append).run(episodes(3))
    assert policy.instructions == ["", "", ""]
    assert [item.result.outcome for item in finished] == ["failure"] * 3
    assert [item.result.instruction for item in finished] == [""] * 3
    assert finished[0].result.scene_hash == f"scene {episodes(1)[0].scene_seed()}"
    assert TinyEnvironment("tiny.reach").goal == 3.0


def test_an_unknown_control_suggests_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'black-image'"):
        controls["black-images"]


def test_reference_policies_are_shared_between_runs(tmp_path: Path) -> None:
    """Two runs of real environments with cheap policies, and three controls each."""
    names = ("expert", "noop", "blank-instruction")
    for policy in ("random", "noop"):
        asked = RunOptions(
            policy,
            "tabletop_pick",
            tmp_path / policy,
            tasks=("pick_red_cube",),
            episodes=2,
            workers=1,
            slots_per_worker=2,
        )
        report = run_evaluation(asked)
        write_control_paths(asked.output, {name: run_control(name, asked, report) for name in names})
    folders = [control_folders(tmp_path / policy) for policy in ("random", "noop")]
    assert folders[0]["expert"].resolve() == folders[1]["expert"].resolve()
    assert folders[0]["blank-instruction"].resolve() == tmp_path / "random" / "controls" / "blank-instruction"
    frame = read_ledger(folders[0]["blank-instruction"] / "ledger.sqlite")
    assert set(frame["policy"]) == {"random (blank-instruction)"}
    assert set(frame["instruction"]) == {""}
    (report,) = read_controls(tmp_path / "random")
    rates = {row.name: (row.success.rate, row.episodes) for row in report.rows}
    assert rates == {"expert": (1.0, 2), "noop": (0.0, 2), "blank-instruction": (0.0, 2)}
    assert set(control_names()) == {*REFERENCE_POLICIES, *controls}
