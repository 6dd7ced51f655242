"""How the published trainer chose what is taught.

Ours is that of `OtterProcessor.lesson`. On rows whose answers are all whole, each with one mark and one end, the two differ in one
thing: the published rule also teaches every `</s>`. On others the published rule

- teaches nothing of an answer that was cut before its end, but still its `</s>`: to stop in the middle of a sentence;
- pairs a second `<answer>` before an end with the *next* end, so that a user's turn may be taught;
- teaches an `<answer>` inside an answer;
- teaches padding where the tokenizer pads with `</s>`.

OtterHD had a rule of its own (`otterhd_labels`). They are here so that published runs can be repeated and compared, never as a
default. Which picture Idefics' tokens see is as published: `trainer.models.idefics_processor.picture_mask` with `end`.

Letters: B rows, T tokens.
"""

from collections.abc import Collection, Sequence

from trainer.models.loss import IGNORED


def published_labels(
    ids_T: Sequence[int], *, answer: int, end: int, eos: int, fake: int | None = None
) -> list[int]:
    """Label one row by the published rule.

    Args:
        ids_T: The row, padding included.
        answer: `<answer>`.
        end: `<|endofchunk|>`; for Idefics `<end_of_utterance>`, which ends both sides' turns.
        eos: The end of a text.
        fake: `<fake_token_around_image>`, which is never taught; None: there is none.
    """
    answers = [at for at, token in enumerate(ids_T) if token == answer]
    ends = [at for at, token in enumerate(ids_T) if token == end]
    labels_T = [token if token == eos else IGNORED for token in ids_T]
    for start, stop in [*_next_end(answers, ends), *zip(answers, ends, strict=False)]:
        labels_T[start + 1 : stop + 1] = ids_T[start + 1 : stop + 1]
    labels_T[:1] = [IGNORED] * len(labels_T[:1])
    return [
        IGNORED if token == fake else label for token, label in zip(ids_T, labels_T, strict=True)
    ]


def _next_end(answers: Sequence[int], ends: Sequence[int]) -> list[tuple[int, int]]:
    """Pair each answer with the first end after it that no other answer has."""
    pairs = []
    left = iter(ends)
    for start in answers:
        stop = next((at for at in left if at >= start), None)
        if stop is not None:
            pairs.append((start, stop))
    return pairs


def without_tokens(
    ids_BT: Sequence[Sequence[int]],
    labels_BT: Sequence[Sequence[int]],
    attention_BT: Sequence[Sequence[int]],
    *,
    tokens: Collection[int],
    pad: int,
) -> tuple[list[list[int]], list[list[int]], list[list[int]]]:
    """Take tokens out of labelled rows (ids, labels and attention), which become as long as the longest left.

    Published runs took `<answer>` out of the text where a model has no embedding for it.
    """
    kept_BT = [[at for at, token in enumerate(row) if token not in tokens] for row in ids_BT]
    ids, labels, attention = (
        [[row[at] for at in kept] for row, kept in zip(rows, kept_BT, strict=True)]
        for rows in (ids_BT, labels_BT, attention_BT)
    )
    return pad_right(ids, pad), pad_right(labels, IGNORED), pad_right(attention, 0)


def pad_right(rows: Sequence[Sequence[int]], fill: int) -> list[list[int]]:
    """Make rows as long as the longest."""
    longest = max(map(len, rows), default=0)
    return [[*row, *[fill] * (longest - len(row))] for row in rows]


def otterhd_labels(ids_T: Sequence[int], *, answer: int) -> list[int]:
    """Label one row of OtterHD: from behind the first `answer` up to the second, which `otterhd_end` turns into an end.

    Right for one turn. Of two turns this teaches the first answer and the *second question*; `FuyuProcessor.sample` does not.

    Raises:
        ValueError: the row has only one `answer` (the published code crashes there).
    """
    marks = [at for at, token in enumerate(ids_T) if token == answer]
    if len(marks) == 1:
        raise ValueError(
            f"token {answer} occurs once in the row; the published labels need it twice"
        )
    first, second = marks[:2] if marks else (len(ids_T), len(ids_T))
    return [token if first < at <= second else IGNORED for at, token in enumerate(ids_T)]


def otterhd_end(
    ids_T: Sequence[int], labels_T: Sequence[int], *, answer: int, end: int
) -> tuple[list[int], list[int]]:
    """Return ids and labels with `end` in place of the last of two or more `answer`."""
    marks = [at for at, token in enumerate(ids_T) if token == answer]
    new_ids, new_labels = list(ids_T), list(labels_T)
    if len(marks) > 1:
        new_ids[marks[-1]] = new_labels[marks[-1]] = end
    return new_ids, new_labels
