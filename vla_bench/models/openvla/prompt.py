"""The one prompt that OpenVLA was trained with."""

ACTION_PROMPT_START = "In: What action should the robot take to"
QUESTION_START = "In:"
PROMPT_END = "?\nOut:"


def action_prompt(instruction: str) -> str:
    """Return the prompt that asks for the next action."""
    return f"{ACTION_PROMPT_START} {instruction.lower().strip()}{PROMPT_END}"


def question_prompt(question: str) -> str:
    """Return the prompt of a question about the images, in the same form. A closing question mark is not doubled."""
    return f"{QUESTION_START} {question.strip().removesuffix('?')}{PROMPT_END}"
