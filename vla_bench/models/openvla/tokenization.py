"""Prompts of OpenVLA, and training of the small byte-level BPE tokenizer of openvla-nano."""

from collections.abc import Sequence

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from vla_bench.core.errors import VlaBenchError
from vla_bench.models.openvla.config import NANO_SLOT_TOKENS, NANO_VOCABULARY

ACTION_PROMPT_START = "In: What action should the robot take to"
QUESTION_START = "In:"
PROMPT_END = "?\nOut:"


def action_prompt(instruction: str) -> str:
    """Return the prompt for the next action, as in the training of OpenVLA."""
    return f"{ACTION_PROMPT_START} {instruction.lower().strip()}{PROMPT_END}"


def question_prompt(question: str) -> str:
    """Return the prompt of a question about the images, in the same form, with exactly one question mark."""
    return f"{QUESTION_START} {question.strip().removesuffix('?')}{PROMPT_END}"


PAD, BOS, EOS, UNKNOWN = "<pad>", "<s>", "</s>", "<unk>"
_ACTION_BINS = 256
_PHRASES = (
    ACTION_PROMPT_START,
    PROMPT_END,
)  # one token each, so the fixed text of the prompt takes two tokens instead of eleven
_WORD_WEIGHT = 50  # repetitions of a listed word for the BPE trainer, so that it becomes one token


class VocabularyError(VlaBenchError):
    """Words that do not fit the vocabulary."""


def train_nano_tokenizer(
    sentences: Sequence[str],
    words: Sequence[str] = (),
    *,
    vocabulary: int = NANO_VOCABULARY,
    slots: int = NANO_SLOT_TOKENS,
) -> PreTrainedTokenizerFast:
    """Return a tokenizer of exactly `vocabulary` ids: text, then `slots` placeholders, then 256 action bins.

    `sentences` are whole prompts or instructions; every one of `words` becomes a single token when it follows a space
    (see `word_token`). Equal input gives an equal tokenizer.
    """
    text_size = vocabulary - slots - _ACTION_BINS - len(_PHRASES)
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=text_size,
        special_tokens=[PAD, BOS, EOS, UNKNOWN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    corpus = [*_without_phrases(sentences), *(f" {word}" for word in words for _ in range(_WORD_WEIGHT))]
    tokenizer.train_from_iterator(corpus, trainer)
    _fill(tokenizer, text_size, slots)
    start = tokenizer.token_to_id(BOS)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, start)])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, bos_token=BOS, eos_token=EOS, unk_token=UNKNOWN, padding_side="right"
    )
    for word in words:
        word_token(wrapped, word)
    return wrapped


def word_token(tokenizer: PreTrainedTokenizerFast, word: str) -> int:
    """Return the id of `word` after a space; raise `VocabularyError` if it is not a single token."""
    ids = tokenizer.encode(f" {word}", add_special_tokens=False)
    if len(ids) != 1:
        raise VocabularyError(f"{word!r} takes {len(ids)} tokens. Expected one; the vocabulary is too small.")
    return int(ids[0])


def _without_phrases(sentences: Sequence[str]) -> list[str]:
    """Return the text that merges must cover, without the fixed phrases of the prompt."""
    shortened = list(sentences)
    for phrase in _PHRASES:
        shortened = [sentence.replace(phrase, "") for sentence in shortened]
    return shortened


def _fill(tokenizer: Tokenizer, text_size: int, slots: int) -> None:
    unused = [f"<unused_{number}>" for number in range(text_size - tokenizer.get_vocab_size())]
    tokenizer.add_special_tokens(unused)
    tokenizer.add_tokens([AddedToken(phrase, normalized=False) for phrase in _PHRASES])
    tokenizer.add_special_tokens([f"<slot_{number}>" for number in range(slots)])
    tokenizer.add_special_tokens([f"<action_{number}>" for number in range(_ACTION_BINS)])
