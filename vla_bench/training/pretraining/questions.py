"""Visual grounding as questions with answers in the decoder's own tokens.

"Where is the red cube?" is answered by action tokens: its position relative to the gripper and on the table, scaled to
[-1, 1]. Questions of relation and color are answered by words. See `baselines/openvla-nano/README.md`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vla_bench.core.types import FloatArray
from vla_bench.models.openvla.action_tokens import ActionTokenizer
from vla_bench.models.openvla.network import IGNORED_LABEL

RELATIVE_SCALE_M = 0.4  # an offset of this size from the gripper is the end of the token range
TABLE_SCALE_M = 0.5
ANSWER_SLOTS = 5  # x, y, z from the gripper; x, y on the table
_WORD_QUESTION_FRACTION = 0.15
_COLOR_QUESTION = "What colour is the object nearest to the gripper?"
ANSWER_WORDS = ("yes", "no")


@dataclass(frozen=True)
class Vocabulary:
    """The words of questions and answers, with the token ids of the answers."""

    nouns: Mapping[str, str]  # item -> "red cube"
    colours: Mapping[str, str]  # item -> "red"
    word_ids: Mapping[str, int]


@dataclass(frozen=True)
class Question:
    """Text of a prompt and the labels of its answer tokens."""

    text: str
    labels: NDArray[np.int64]
    item: int | None = None  # whose position it asks for


class QuestionGenerator:
    """Generator of random questions about scenes with known ground truth."""

    def __init__(self, items: Sequence[str], vocabulary: Vocabulary, actions: ActionTokenizer, slots: int) -> None:
        self._items, self._vocabulary, self._actions, self._slots = tuple(items), vocabulary, actions, slots

    def ask(self, positions_world: FloatArray, gripper_world: FloatArray, generator: np.random.Generator) -> Question:
        """Return a random question about items at `positions_world` (items, 3), with the gripper at (3,) [m]."""
        if generator.random() >= _WORD_QUESTION_FRACTION:
            return self.where(int(generator.integers(len(self._items))), positions_world, gripper_world)
        if generator.random() < 0.5:
            return self._left_of(positions_world, generator)
        return self._nearest_color(positions_world, gripper_world, generator)

    def where(self, item: int, positions_world: FloatArray, gripper_world: FloatArray) -> Question:
        """Return the question for the position of one item."""
        offset = (positions_world[item] - gripper_world) / RELATIVE_SCALE_M
        table = positions_world[item][:2] / TABLE_SCALE_M
        labels = self._unanswered()
        labels[:ANSWER_SLOTS] = self._actions.encode(np.concatenate([offset, table]))
        return Question(f"Where is the {self._noun(item)}?", labels, item)

    def _left_of(self, positions: FloatArray, generator: np.random.Generator) -> Question:
        first, second = generator.choice(len(self._items), 2, replace=False)
        left = positions[first][1] > positions[second][1]  # the robot's left is +y
        text = f"Is the {self._noun(first)} left of the {self._noun(second)}?"
        return self._word(text, "yes" if left else "no")

    def _nearest_color(self, positions: FloatArray, gripper: FloatArray, generator: np.random.Generator) -> Question:
        nearest = int(np.argmin(np.linalg.norm(positions - gripper, axis=1)))
        return self._word(_COLOR_QUESTION, self._color(nearest))

    def _word(self, text: str, answer: str) -> Question:
        labels = self._unanswered()
        labels[0] = self._vocabulary.word_ids[answer]
        return Question(text, labels)

    def _unanswered(self) -> NDArray[np.int64]:
        return np.full(self._slots, IGNORED_LABEL, dtype=np.int64)

    def _noun(self, item: int) -> str:
        return self._vocabulary.nouns[self._items[item]]

    def _color(self, item: int) -> str:
        return self._vocabulary.colours[self._items[item]]


def all_questions(vocabulary: Vocabulary) -> list[str]:
    """Return every possible question, to train the tokenizer."""
    nouns = list(vocabulary.nouns.values())
    pairs = [f"Is the {first} left of the {second}?" for first in nouns for second in nouns if first != second]
    return [*(f"Where is the {noun}?" for noun in nouns), *pairs, _COLOR_QUESTION]
