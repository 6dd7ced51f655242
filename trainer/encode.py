"""A record's questions, answers and pictures as one example.

    <image>User:What colour is it? GPT:<answer>It is red.<|endofchunk|><image>User:And this? GPT:<answer>Blue.<|endofchunk|>
       └ the first turn's medium                                          └ the second turn's own

Each turn shows its own media, so turns may be a conversation, or examples in context before the question that counts. The tokens
hold one `<image>` for each medium, whatever is cut: an example of which that cannot be said is refused by the name of its record,
and never mended with pictures of nothing.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from trainer.batch import Example
from trainer.errors import TrainingError
from trainer.masking import answer_labels
from trainer.models.otter_processor import IMAGE, OtterProcessor
from trainer.models.turns import Turn


def encode(
    record_id: str,
    turns: Sequence[Turn],
    processor: OtterProcessor,
    *,
    max_tokens: int,
    marked: bool = False,
) -> Example:
    """Lay turns out one after the other; all their answers are taught.

    Args:
        record_id: For messages.
        turns: At least one, all with answers. Their media are tensors: the bytes of frames of the model's size (bytes_FCHW).
        processor: Of the model.
        max_tokens: What is longer is cut, unless the cut would take an `<image>`.
        marked: The characters `<image>` in a question say where its media stand. Otherwise, and in a question that lacks them, the
            media stand before it.

    Raises:
        TrainingError: the marks in a question are not as many as its media, or an `<image>` lies beyond `max_tokens`.
    """
    for turn in turns if marked else ():
        marks = turn.question.count(IMAGE)
        if marks not in (0, len(turn.media)):
            raise TrainingError(
                f"record {record_id!r} has {len(turn.media)} pictures, but its question says {IMAGE} {marks} times; "
                "correct the record, or leave it out with data.where"
            )
    ids_T, shown = processor.conversation(turns, marked=marked)
    media = cast(list[Tensor], shown)
    kept = ids_T[:max_tokens]
    if kept.count(processor.image_id) < len(media):
        last = len(ids_T) - ids_T[::-1].index(processor.image_id)
        raise TrainingError(
            f"record {record_id!r} shows its last picture at token {last}, but an example has at most {max_tokens}; "
            "raise data.max_tokens, or leave the record out with data.where"
        )
    labels_T = answer_labels(kept, answer=processor.answer_id, end=processor.end_id)
    frames_N = tuple(len(medium) for medium in media)
    return Example(record_id, kept, labels_T, _pixels(media, processor), frames_N)


def _pixels(media: Sequence[Tensor], processor: OtterProcessor) -> Tensor:
    """Return pixels_NFCHW; shorter media are filled up with frames of zeros."""
    if len(media) == 1:
        return processor.normalised(media[0])[None]
    side = processor.image_size
    frames = max([1, *(len(medium) for medium in media)])
    pixels_NFCHW = torch.zeros(len(media), frames, 3, side, side)
    for number, bytes_FCHW in enumerate(media):
        pixels_NFCHW[number, : len(bytes_FCHW)] = processor.normalised(bytes_FCHW)
    return pixels_NFCHW
