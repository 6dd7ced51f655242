"""A record's questions, answers and pictures as one example.

    <image>User:What colour is it? GPT:<answer>It is red.<|endofchunk|><image>User:And this? GPT:<answer>Blue.<|endofchunk|>
       └ the first turn's medium                                          └ the second turn's own

Each turn shows its own media, so turns may be a conversation, or examples in context before the question that counts. The tokens
hold one `<image>` for each medium, whatever is cut: an example of which that cannot be said is refused by the name of its record,
and never mended with pictures of nothing.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from trainer.batch import Example, Scale
from trainer.errors import MarksError, TooLongError
from trainer.models.loss import IGNORED
from trainer.models.otter_processor import IMAGE, OtterProcessor
from trainer.models.turns import Turn
from trainer.sources.base import Document, Shown


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
        MarksError, TooLongError: the marks in a question are not as many as its media, or an `<image>` lies beyond `max_tokens`.
    """
    for turn in turns if marked else ():
        marks = turn.question.count(IMAGE)
        if marks not in (0, len(turn.media)):
            raise MarksError(
                f"record {record_id!r} has {len(turn.media)} pictures, but its question says {IMAGE} {marks} times; "
                "correct the record, or leave it out with data.where"
            )
    ids_T, taught_T, shown = processor.lesson(turns, marked=marked)
    media = cast(list[Tensor], shown)
    kept = ids_T[:max_tokens]
    if kept.count(processor.image_id) < len(media):
        last = len(ids_T) - ids_T[::-1].index(processor.image_id)
        raise TooLongError(
            f"record {record_id!r} shows its last picture at token {last}, but an example has at most {max_tokens}; "
            "raise data.max_tokens, or leave the record out with data.where"
        )
    labels_T = [token if taught else IGNORED for token, taught in zip(kept, taught_T, strict=False)]
    frames_N = tuple(len(medium) for medium in media)
    return Example(
        record_id, kept, labels_T, pixels(media, processor), frames_N, scale_of(processor)
    )


def encode_document(
    document: Document,
    processor: OtterProcessor,
    pictures: Callable[[Shown], Tensor],
    *,
    max_tokens: int,
) -> Example:
    """Lay out a page, or a picture and its caption, as OpenFlamingo's pretraining does; the text after each picture is taught.

        page   We saw <image> a cat . <end> <image> and a dog . <end> </s>        pair   <image> A cat <end> </s>
        labels  -  -     -    a cat . <end>    -    and a dog . <end>   -         labels    -    A cat <end> </s>

    What is longer is cut, and pictures that stand behind the cut are not shown. Text before the first picture, which teaches
    nothing, is cut at its beginning to half of what there is room for.

    Args:
        document: With at least one picture.
        processor: Of the model; of either layout.
        pictures: Gives the bytes of a picture of the model's size (bytes_CHW).
        max_tokens: Of the run.

    Raises:
        TooLongError: there is no room for a picture and a word.
        PictureError: a picture cannot be read.
    """
    most = min(max_tokens, document.max_tokens or max_tokens)
    begin, eos = processor.tokenizer.bos_token_id, processor.tokenizer.eos_token_id
    ids_T = [] if begin is None else [int(begin)]
    taught_T = [False] * len(ids_T)
    shown: list[Shown] = []
    for part in document.parts:
        if isinstance(part, str):
            words = processor.reply(part)[:-1]
            if not shown:
                words = words[-max(1, most // 2 - len(ids_T)) :]
            ids_T += words
            taught_T += [bool(shown)] * len(words)
        else:
            if taught_T and taught_T[-1]:
                ids_T.append(processor.end_id)
                taught_T.append(True)
            ids_T.append(processor.image_id)
            taught_T.append(False)
            shown.append(part)
    ids_T.append(processor.end_id)
    taught_T.append(True)
    if eos is not None and eos != processor.end_id:
        ids_T.append(int(eos))
        taught_T.append(document.is_pair)

    kept = ids_T[:most]
    while kept and kept[-1] == processor.image_id:  # of its text nothing is left
        kept.pop()
    shown = shown[: kept.count(processor.image_id)]
    if not shown:
        raise TooLongError(
            f"record {document.id!r} shows no picture with a word after it within {most} tokens; raise data.max_tokens"
        )
    media = [pictures(one)[None] for one in shown]
    labels_T = [token if taught else IGNORED for token, taught in zip(kept, taught_T, strict=False)]
    return Example(
        document.id,
        kept,
        labels_T,
        pixels(media, processor),
        (1,) * len(media),
        scale_of(processor),
    )


def pixels(media: Sequence[Tensor], processor: OtterProcessor) -> Tensor:
    """Return the media's bytes (bytes_NFCHW); shorter ones are filled up with frames of zeros."""
    if len(media) == 1:
        return media[0][None]
    side = processor.image_size
    frames = max([1, *(len(medium) for medium in media)])
    bytes_NFCHW = torch.zeros(len(media), frames, 3, side, side, dtype=torch.uint8)
    for number, bytes_FCHW in enumerate(media):
        bytes_NFCHW[number, : len(bytes_FCHW)] = bytes_FCHW
    return bytes_NFCHW


def scale_of(processor: OtterProcessor) -> Scale:
    return tuple(processor.image_mean), tuple(processor.image_std)
