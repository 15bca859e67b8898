"""Axes that change what passes between policy and robot: sensor, action and instruction."""

import io
from collections import deque

import numpy as np
from PIL import Image, ImageFilter

from vla_bench.core.types import ACTION_DIM, FloatArray, ImageArray
from vla_bench.envs.perturbations.perturbation import Effect, PerturbationError, perturbation_axes
from vla_bench.tasks.task import Task

# ~ Pictures are blurred, compressed and partly covered.


@perturbation_axes.named("sensor")
class SensorEffect(Effect):
    """Blur of 0.2, 0.4 or 0.7 % of the width, JPEG of quality 60, 30 or 12, and a patch over 0, 4 or 10 % of the area.

    The patch stands in one place throughout an episode, in each camera its own, and never in the middle third.
    """

    def begin(self, generator: np.random.Generator) -> None:
        """Choose where the patches stand."""
        super().begin(generator)
        self._patches: dict[str, tuple[float, float]] = {}
        self._grey = int(generator.integers(30, 200))

    def see(self, camera: str, image: ImageArray) -> ImageArray:
        """Return the spoiled picture."""
        size = image.shape[0]
        picture = Image.fromarray(image).filter(ImageFilter.GaussianBlur(self.scaled(0.002, 0.004, 0.007) * size))
        buffer = io.BytesIO()
        picture.save(buffer, format="JPEG", quality=int(self.scaled(60, 30, 12)))
        spoiled = np.array(Image.open(buffer))
        side = round(size * self.scaled(0.0, 0.04, 0.10) ** 0.5)
        row, column = (round(share * (size - side)) for share in self._patch(camera))
        spoiled[row : row + side, column : column + side] = self._grey
        return spoiled

    def _patch(self, camera: str) -> tuple[float, float]:
        if camera not in self._patches:
            near, along = float(self.generator.integers(2)), float(self.generator.uniform(0.0, 1.0))
            upright = bool(self.generator.integers(2))
            self._patches[camera] = (near, along) if upright else (along, near)
        return self._patches[camera]


# ~ Actions arrive late and with noise.

_STILL = np.array([0, 0, 0, 0, 0, 0, -1.0])


@perturbation_axes.named("action")
class ActionEffect(Effect):
    """Noise on the motion of 0.05, 0.075 or 0.1 (standard deviation; 1 is a whole action), late by 0, 1 or 2 steps."""

    def begin(self, generator: np.random.Generator) -> None:
        """Begin with nothing on the way."""
        super().begin(generator)
        self._delay = int(self.scaled(0, 1, 2))
        self._on_the_way: deque[FloatArray] = deque()

    def act(self, action: FloatArray) -> FloatArray:
        """Return the action that arrives now."""
        self._on_the_way.append(np.asarray(action, dtype=np.float64))
        late = len(self._on_the_way) > self._delay
        arrived = self._on_the_way.popleft().copy() if late else np.tile(_STILL, len(action) // ACTION_DIM)
        moving = np.arange(len(action)) % ACTION_DIM < ACTION_DIM - 1  # all but the grippers
        arrived[moving] += self.scaled(0.05, 0.075, 0.1) * self.generator.normal(size=int(moving.sum()))
        return arrived


# ~ The instruction is put in other words.

_OPENINGS = ("please", "could you", "I would like you to", "now it is your turn:", "robot,", "when you are ready,")
_CLOSINGS = (
    "and leave everything else where it is",
    "thank you",
    "without touching anything else",
    "take the time that you need",
    "and stop when you are done",
)
_SHORTEST_WORD = 4  # letters that a word must have for a slip of the keyboard


@perturbation_axes.named("instruction")
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
        return _with_typos(text, 2, generator) if self.severity > 2 else text


def _with_typos(text: str, slips: int, generator: np.random.Generator) -> str:
    """Swap two neighbouring inner letters in so many words."""
    words = text.split(" ")
    long = [number for number, word in enumerate(words) if word.isalpha() and len(word) >= _SHORTEST_WORD]
    for number in generator.permutation(long)[:slips]:
        word = words[number]
        place = int(generator.integers(1, len(word) - 2))
        words[number] = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
    return " ".join(words)
