"""The rule of what is taught of a text with marks, written once more: what encoders do is held against it."""

from collections.abc import Sequence

from trainer.models.loss import IGNORED


def answer_labels(input_ids: Sequence[int], *, answer: int, end: int) -> list[int]:
    """Label only what the model should say: after each `answer` up to and including its `end`.

        input_ids  <image> What ?  <answer> A cat <end> Why ? <answer> It sat <end>
        labels        -      -  -      -    A cat <end>  -  -     -    It sat <end>

    An answer that was cut before its end is taught as far as it goes, and that it ends there is not taught.
    """
    labels = []
    answering = False
    for token in input_ids:
        is_mark = token == answer
        labels.append(token if answering and not is_mark else IGNORED)
        answering = is_mark or (answering and token != end)
    return labels
