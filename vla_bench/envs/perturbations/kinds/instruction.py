"""The instruction is put in other words."""

import numpy as np

from vla_bench.envs.perturbations.effect import Effect, PerturbationError, axes
from vla_bench.tasks.task import Task

_OPENINGS = ("please", "could you", "I would like you to", "now it is your turn:", "robot,", "when you are ready,")
_CLOSINGS = (
    "and leave everything else where it is",
    "thank you",
    "without touching anything else",
    "take the time that you need",
    "and stop when you are done",
)
_SHORTEST_WORD = 4  # letters that a word must have for a slip of the keyboard


@axes.named("instruction")
class InstructionEffect(Effect):
    """1: a paraphrase; 2: a paraphrase in a longer sentence; 3: that with slips of the keyboard in two words."""

    def alter(self, task: Task) -> Task:
        """Raise `PerturbationError` for a task without paraphrases."""
        if not task.paraphrases:
            raise PerturbationError(f"{task.id} has no paraphrases: axis 'instruction' needs them in its file.")
        return task

    def instruct(self, task: Task, instruction: str, generator: np.random.Generator) -> str:
        """Return the instruction of this episode."""
        text = task.paraphrases[generator.integers(len(task.paraphrases))]
        if self.severity > 1:
            opening, closing = generator.choice(_OPENINGS), generator.choice(_CLOSINGS)
            text = f"{opening} {text}, {closing}"
        return _with_slips(text, 2, generator) if self.severity > 2 else text


def _with_slips(text: str, slips: int, generator: np.random.Generator) -> str:
    """Swap two neighbouring inner letters in so many words."""
    words = text.split(" ")
    long = [number for number, word in enumerate(words) if word.isalpha() and len(word) >= _SHORTEST_WORD]
    for number in generator.permutation(long)[:slips]:
        word = words[number]
        place = int(generator.integers(1, len(word) - 2))
        words[number] = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return " ".join(words)
