"""Axes that change the signals between policy and robot: sensor, action and instruction."""

import io
from collections import deque

import numpy as np
from PIL import Image, ImageFilter

from vla_bench.core.types import ACTION_DIM, FloatArray, ImageArray, still_action
from vla_bench.envs.perturbations.perturbation import Effect, PerturbationError, perturbation_axes
from vla_bench.tasks.task import Task

_OPENINGS = ("please", "could you", "I would like you to", "now it is your turn:", "robot,", "when you are ready,")
_CLOSINGS = (
    "and leave everything else where it is",
    "thank you",
    "without touching anything else",
    "take the time that you need",
    "and stop when you are done",
)
_MIN_TYPO_LETTERS = 4  # of a word that may get a typing error


@perturbation_axes.named("sensor")
class SensorEffect(Effect):
    """Blur of 0.2, 0.4 or 0.7 % of the width, JPEG of quality 60, 30 or 12, and a patch over 0, 4 or 10 % of the area.

    During an episode, each camera's patch has a constant position outside the middle third of the image.
    """

    def begin_episode(self, generator: np.random.Generator) -> None:
        """Choose the gray value of the patches."""
        super().begin_episode(generator)
        self._patches: dict[str, tuple[float, float]] = {}
        self._gray = int(generator.integers(30, 200))

    def modify_image(self, camera: str, image: ImageArray) -> ImageArray:
        """Return the degraded image."""
        size = image.shape[0]
        blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(self.by_severity(0.002, 0.004, 0.007) * size))
        buffer = io.BytesIO()
        blurred.save(buffer, format="JPEG", quality=int(self.by_severity(60, 30, 12)))
        degraded = np.array(Image.open(buffer))
        side = round(size * self.by_severity(0.0, 0.04, 0.10) ** 0.5)
        row, column = (round(position * (size - side)) for position in self._patch(camera))
        degraded[row : row + side, column : column + side] = self._gray
        return degraded

    def _patch(self, camera: str) -> tuple[float, float]:
        if camera not in self._patches:
            edge, along_edge = float(self.generator.integers(2)), float(self.generator.uniform(0.0, 1.0))
            at_top_or_bottom = bool(self.generator.integers(2))
            self._patches[camera] = (edge, along_edge) if at_top_or_bottom else (along_edge, edge)
        return self._patches[camera]


@perturbation_axes.named("action")
class ActionEffect(Effect):
    """Noise of standard deviation 0.05, 0.075 or 0.1 (1 is a full action) on the motion; delay of 0, 1 or 2 steps."""

    def begin_episode(self, generator: np.random.Generator) -> None:
        """Begin without delayed actions."""
        super().begin_episode(generator)
        self._delay = int(self.by_severity(0, 1, 2))
        self._delayed: deque[FloatArray] = deque()

    def modify_action(self, action: FloatArray) -> FloatArray:
        """Return the action that arrives now."""
        self._delayed.append(np.asarray(action, dtype=np.float64))
        arrives = len(self._delayed) > self._delay
        arrived = self._delayed.popleft().copy() if arrives else still_action(len(action))
        moving = np.arange(len(action)) % ACTION_DIM < ACTION_DIM - 1  # all numbers except the grippers'
        arrived[moving] += self.by_severity(0.05, 0.075, 0.1) * self.generator.normal(size=int(moving.sum()))
        return arrived


@perturbation_axes.named("instruction")
class InstructionEffect(Effect):
    """1: a paraphrase; 2: a paraphrase in a longer sentence; 3: the same with typing errors in two words."""

    def modify_task(self, task: Task) -> Task:
        """Raise `PerturbationError` for a task without paraphrases."""
        if not task.paraphrases:
            raise PerturbationError(
                f"{task.id} has no paraphrases. Axis 'instruction' needs the field `paraphrases` in the task's file."
            )
        return task

    def modify_instruction(self, task: Task, instruction: str, generator: np.random.Generator) -> str:
        """Return the instruction of this episode."""
        text = task.paraphrases[generator.integers(len(task.paraphrases))]
        if self.severity > 1:
            opening, closing = generator.choice(_OPENINGS), generator.choice(_CLOSINGS)
            text = f"{opening} {text}, {closing}"
        return _with_typos(text, 2, generator) if self.severity > 2 else text


def _with_typos(text: str, count: int, generator: np.random.Generator) -> str:
    """Return the text with two adjacent inner letters swapped in up to `count` words."""
    words = text.split(" ")
    long = [number for number, word in enumerate(words) if word.isalpha() and len(word) >= _MIN_TYPO_LETTERS]
    for number in generator.permutation(long)[:count]:
        word = words[number]
        position = int(generator.integers(1, len(word) - 2))
        words[number] = word[:position] + word[position + 1] + word[position] + word[position + 2 :]
    return " ".join(words)
