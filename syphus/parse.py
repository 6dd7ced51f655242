"""Reply -> pairs. Pure.

A form reads whatever pairs a reply holds (see `syphus.forms`); here they are counted, and what is too much, too little or cut
off is left out. What cannot be read becomes a `ReplyError` that keeps the reply, never silence.
"""

from __future__ import annotations

from itertools import groupby

from syphus.errors import ReplyError
from syphus.forms import FORMS, Form, Pair
from syphus.request import Shape

_NAMES = {
    "pairs": ("pair", "pairs"),
    "conversations": ("round", "rounds"),
    "choices": ("question with its options", "questions with their options"),
    "texts": ("text", "texts"),
}
_MORE = ("x", "\nx")
"""What may have followed a cut-off reply: more of the word, or another line."""


def parse_pairs(
    text: str, *, shape: Shape, form: str = "pairs", finish_reason: str = "stop"
) -> tuple[Pair, ...]:
    """Read the pairs of a reply.

    Surplus pairs are left out. Where the reply was cut off (`finish_reason` is "length"), its last pair is left out too, unless
    nothing that could have followed would change it.

    Raises:
        ReplyError: fewer pairs than the task asks for.
    """
    read = FORMS[form].read(text)
    cut = finish_reason == "length"
    if cut and read and not _last_is_whole(text, read, FORMS[form]):
        read = read[:-1]
    if shape.rounds:
        fitting = _of_rounds(read, shape)
    else:
        fitting = _of_options(read, shape) if shape.options else read
    if len(fitting) < shape.min_pairs:
        raise ReplyError(
            _reason(len(fitting), len(read) - len(fitting), shape, form, cut=cut), text
        )
    return tuple(fitting[: shape.max_pairs])


def _last_is_whole(text: str, read: list[Pair], form: Form) -> bool:
    """Return whether the last pair stays the same, however the text goes on: its JSON is closed, or the next pair has begun."""
    last = len(read) - 1
    return all(form.read(text + more)[last : last + 1] == read[last:] for more in _MORE)


def _of_options(read: list[Pair], shape: Shape) -> list[Pair]:
    return [pair for pair in read if len(pair.options) == shape.options]


def _of_rounds(read: list[Pair], shape: Shape) -> list[Pair]:
    """Keep whole conversations, as many as there may be, and number them anew."""
    groups = [list(group) for _, group in groupby(read, key=lambda pair: pair.conversation)]
    whole = [group[: shape.rounds] for group in groups if len(group) >= shape.rounds]
    return [
        pair._replace(conversation=number)
        for number, group in enumerate(whole[: shape.max_pairs // shape.rounds])
        for pair in group
    ]


def _reason(fitting: int, unfit: int, shape: Shape, form: str, *, cut: bool) -> str:
    """Say what is wrong so that the model can write it better."""
    one, many = _NAMES.get(form, ("pair", "pairs"))
    verb = "is" if shape.min_pairs == 1 else "are"
    said = f"{fitting} {one if fitting == 1 else many} could be read, at least {shape.min_pairs} {verb} needed"
    if unfit and shape.rounds:
        said += f"; conversations with fewer than {shape.rounds} rounds do not count"
    elif unfit:
        said += f"; questions with another number of options than {shape.options} do not count"
    if form == "choices" and not unfit:
        said += "; each answer must name one of its options, and options must differ"
    if cut:
        said += "; the reply was cut off at its length limit"
    return said
