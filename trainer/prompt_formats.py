r"""The published ways to write an instruction down: cleaned, in turns, with a slot for what is shown.

    simple   <image>User:{question} GPT:<answer>{answer}<|endofchunk|>
    llama2   [INST]<image>\n{question}[/INST]<answer>{answer}<|endofchunk|>
    idefics  User:<fake_token_around_image><image><fake_token_around_image>{question}<end_of_utterance>\n
             Assistant:<answer>{answer}<end_of_utterance>\n
    fuyu     User:{question} Assistant:\x04 {answer}            (its processor puts the patches first)

These strings are what published weights were taught, so they are kept to the letter: no space after `User:`, and two fuyu turns
follow each other with nothing between. A record's own text may contain `<image>` or `<answer>`; written into such a string it
could not be told from the real ones, so what teaches by default (`OtterProcessor`) places special tokens by id, and these
strings are for recipes that ask for the published data path.

`keep_symbols=False` is the published default, and not ours: it turns "50% of 10-4" into "50 of 104" and takes links, code and
sums apart.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np

Record = TypeVar("Record")
Group = Literal["IMAGE_TEXT", "TEXT_ONLY", "VIDEO_TEXT", "IMAGE_TEXT_IN_CONTEXT"]
"""How the records of a published YAML are shown: with pictures, without, with frames, or each example with its picture."""

_SYMBOL = re.compile(r"""[^\w\s.,?!()"']""")
_GAP = re.compile(r"\s{2,}")


@dataclass(frozen=True, slots=True)
class PromptFormat:
    turn: str
    """With places for `image`, `question` and `answer`."""
    image: str
    """What stands where a medium is shown."""
    after_image: str = ""
    """Between the slot and the question, also where the slot of a text-only record is empty."""

    def write(self, question: str, answer: str, *, has_slot: bool, shows: bool = True) -> str:
        """Return one turn.

        Args:
            question: As it is to stand there, already cleaned.
            answer: As it is to stand there, already cleaned.
            has_slot: The turn is one that carries a slot for a medium.
            shows: There is a medium; false for text-only records, whose slot stays empty.
        """
        slot = (self.image if shows else "") + self.after_image if has_slot else ""
        # One pass, so that braces and names of places in a record's text stay what they are.
        return self.turn.format(image=slot, question=question, answer=answer)


FORMATS = {
    "simple": PromptFormat("{image}User:{question} GPT:<answer>{answer}<|endofchunk|>", "<image>"),
    "llama2": PromptFormat(
        "[INST]{image}{question}[/INST]<answer>{answer}<|endofchunk|>", "<image>", after_image="\n"
    ),
    "idefics": PromptFormat(
        "User:{image}{question}<end_of_utterance>\nAssistant:<answer>{answer}<end_of_utterance>\n",
        "<fake_token_around_image><image><fake_token_around_image>",
    ),
    "fuyu": PromptFormat("User:{question} Assistant:\x04 {answer}", ""),
}


def clean_question(text: str, *, keep_symbols: bool = True) -> str:
    """Strip a question as published: spaces first, then line ends, so spaces inside line ends stay.

    With `keep_symbols=False` (published default) every character but letters, digits, blanks and `. , ? ! ( ) " '` goes, and
    then runs of blanks become one space.
    """
    if keep_symbols:
        return text.strip(" ").strip("\n")
    return _without_symbols(text)


def clean_answer(text: str, *, keep_symbols: bool = True) -> str:
    """Strip an answer as published: as a question, but without spaces at all at its ends, and with Unix line ends."""
    cleaned = text.strip(" \n") if keep_symbols else _without_symbols(text)
    return cleaned.replace("\r\n", "\n")


def _without_symbols(text: str) -> str:
    return _GAP.sub(" ", _SYMBOL.sub("", text)).strip(" \n")


def conversation(
    turns: Sequence[tuple[str, str]],
    name: str,
    *,
    group: Group = "IMAGE_TEXT",
    keep_symbols: bool = True,
    description: str | None = None,
) -> str:
    """Write the turns of a record, examples first.

    The first turn carries the slot; in IMAGE_TEXT_IN_CONTEXT each does, for each example has a picture of its own. Line ends
    at the very end are dropped.

    Args:
        turns: Questions and answers as the records have them.
        name: One of FORMATS.
        group: How the records are shown.
        keep_symbols: See `clean_question`.
        description: Of the task, a line of its own before all.

    Raises:
        ValueError: there is no such format.
    """
    if name not in FORMATS:
        raise ValueError(f"there is no prompt format {name!r}; take one of {', '.join(FORMATS)}")
    written = "".join(
        FORMATS[name].write(
            clean_question(question, keep_symbols=keep_symbols),
            clean_answer(answer, keep_symbols=keep_symbols),
            has_slot=nth == 0 or group == "IMAGE_TEXT_IN_CONTEXT",
            shows=group != "TEXT_ONLY",
        )
        for nth, (question, answer) in enumerate(turns)
    )
    return ("" if description is None else f"{description}\n") + written.rstrip("\n")


def task_description(descriptions: Sequence[str], *, seed: int, epoch: int, record: int) -> str:
    """Choose a description for a record, another one in another epoch.

    Published, one and the same was chosen for all records of an epoch, because each began with the same seed; a list of
    descriptions is there to be used.
    """
    return descriptions[
        int(np.random.default_rng([seed, epoch, record]).integers(len(descriptions)))
    ]


def resampled(records: Sequence[Record], number: int) -> list[Record]:
    """Return `num_samples` records of a published YAML: some, or all of them again and again; 0 and less are all.

    The choice is the published one, from Python's generator with seed 0, and the same in each epoch: who asks for a part of a
    dataset gets the part that the published weights were taught. What is over after whole rounds is drawn with replacement.
    """
    if number <= 0 or number == len(records):
        return list(records)
    draw = random.Random(0)
    if number < len(records):
        return draw.sample(records, number)
    rounds, left = divmod(number, len(records))
    return list(records) * rounds + draw.choices(records, k=left)
