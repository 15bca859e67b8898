"""A small task file of a user's own."""

from pathlib import Path

TEN_LINES = """
suite = "kitchen"
horizon = 160
objects = { mug = "orange_mug", can = "blue_can", plate = "plate" }
initial = ["in_region(plate, right)", "in_region(mug, middle)", "in_region(can, middle)"]
[[task]]
name = "mug_on_plate"
instruction = "put the mug on the plate"
goal = ["on(mug, plate)", "released(mug)"]
"""

PARAPHRASES = 'paraphrases = ["one way", "another way", "a third way", "a fourth way", "a fifth way"]\n'

SECOND_TASK = (
    """
[[task]]
name = "can_on_plate"
instruction = "put the can on the plate"
goal = ["on(can, plate)", "released(can)"]
"""
    + PARAPHRASES
)

TWO_TASKS = TEN_LINES + PARAPHRASES + SECOND_TASK.replace("way", "fashion")


def written(folder: Path, text: str, name: str = "kitchen.toml") -> Path:
    """Return the path of a file with this text."""
    path = folder / name
    path.write_text(text)
    return path
