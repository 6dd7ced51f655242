"""Contexts cut to what one request can hold, by the task's own rule.

    needs          a context without them is listed
    split_seconds  a video becomes clips, each a context: <id>_clip000, <id>_clip001, …
    long           a context that is still too long is listed, shortened, or split once more

Shortening leaves out what comes last: boxes first, then sentences. What happened is counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from syphus.annotations.context import Context, Picture, Problem, Segment
from syphus.errors import TaskError
from syphus.prices import estimate_tokens, facts_of
from syphus.render import render_query
from syphus.request import Prompt
from syphus.task import Task

MIN_QUERY = 16
"""Tokens; less than that is no question."""
LONGEST_NAME = 400
"""Characters of a context's or picture's name, at most: ids, which are longer, have 512."""
_UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass
class Cuts:
    """How many contexts were cut."""

    shown: int = 0
    """How many the task's template could show."""
    shortened: int = 0
    split: int = 0
    left_out: int = 0
    """Clips with fewer segments than the task wants."""


def query_limit(task: Task, prompt: Prompt, model: str) -> int:
    """Return how many tokens a query may have: the task's limit, or what the model has left.

    Raises:
        TaskError: the prompt and the reply alone are too long for the model.
    """
    window = facts_of(model).window
    if window is None:
        return task.context.max_tokens
    fixed = sum(estimate_tokens(message.content) for message in prompt.messages)
    left = window - fixed - task.sampling.max_tokens
    if left < MIN_QUERY:
        raise TaskError(
            f"the task {task.name!r} is too long for {model}: its prompt has about {fixed:,} tokens and a "
            f"reply may have {task.sampling.max_tokens:,}, {fixed + task.sampling.max_tokens - window:,} more "
            f"than the model's {window:,}; leave out an example, or name a model with a longer window"
        )
    return min(task.context.max_tokens, left)


def fit(
    task: Task, contexts: Iterable[Context | Problem], limit: int, cuts: Cuts
) -> Iterator[Context | Problem]:
    """Pass contexts on that one request can hold."""
    for item in contexts:
        if isinstance(item, Problem):
            yield item
            continue
        unusable = _unusable(item)
        if unusable:
            yield Problem(item.source, unusable)
            continue
        missing = [need for need in task.context.needs if not getattr(item, need)]
        if missing:
            has = f"; it has the facts {', '.join(item.facts)}" if item.facts else ""
            yield Problem(item.source, f"{item.id!r} has no {' and no '.join(missing)}{has}")
            continue
        for clip in _clips(task, item, cuts):
            yield from _sized(task, clip, limit, cuts)


def _unusable(context: Context) -> str | None:
    """Say why no record can be named after a context."""
    names = [context.id, *(picture.key or picture.name for picture in context.pictures)]
    for name in [*names, context.video or ""]:
        if len(name) > LONGEST_NAME:
            return f"the name {name[:40]!r}… has {len(name):,} characters, more than {LONGEST_NAME}"
        if _UNNAMEABLE.search(name):
            return f"the name {name!r} holds characters that no name can have"
    return None


def _clips(task: Task, context: Context, cuts: Cuts) -> Iterator[Context]:
    """Cut a video into clips of the task's length, each from its first segment on."""
    seconds = task.context.split_seconds
    if seconds is None or not any(s.start is not None for s in context.segments):
        if len(context.segments) >= task.context.min_segments:
            yield context
        else:
            cuts.left_out += 1
        return
    clips: list[list[Segment]] = []
    first = 0.0
    for segment in context.segments:
        start = segment.start if segment.start is not None else first
        if not clips or start >= first + seconds:
            clips.append([])
            first = start
        clips[-1].append(segment)
    for number, segments in enumerate(clips):
        if len(segments) >= task.context.min_segments:
            yield _clip(context, number, tuple(segments))
        else:
            cuts.left_out += 1


def _clip(context: Context, number: int, segments: tuple[Segment, ...]) -> Context:
    starts = [s.start for s in segments if s.start is not None]
    ends = [s.end if s.end is not None else s.start for s in segments]
    known = [end for end in ends if end is not None]
    span = (min(starts), max(known)) if starts and known else context.span
    return replace(context, id=f"{context.id}_clip{number:03d}", segments=segments, span=span)


def _sized(task: Task, context: Context, limit: int, cuts: Cuts) -> Iterator[Context | Problem]:
    """Pass on what of a context one request can hold; a template that fails on it, or on a part of it, is its problem."""
    try:
        parts = list(_parts(task, context, limit, cuts))
    except TaskError as error:
        if not cuts.shown:  # the template fails on everything
            raise
        parts = [Problem(context.source, str(error))]
    yield from parts


def _parts(task: Task, context: Context, limit: int, cuts: Cuts) -> Iterator[Context | Problem]:
    def tokens(some: Context) -> int:
        return estimate_tokens(render_query(task, some))

    size, rule = tokens(context), task.context.long
    cuts.shown += 1
    if not size:
        yield Problem(context.source, f"{context.id!r} has nothing that the task shows to a model")
    elif size <= limit:
        yield context
    elif rule == "split" and len(context.segments) > 1:
        cuts.split += 1
        yield from _split(context, tokens, limit)
    elif rule == "shorten" and (short := _shortened(context, tokens, limit)):
        cuts.shortened += 1
        yield short
    else:
        yield _too_long(context, size, limit)


def _too_long(context: Context, size: int, limit: int) -> Problem:
    return Problem(
        context.source,
        f"{context.id!r} is too long: its query has about {size:,} tokens, {size - limit:,} more than {limit:,}",
    )


def _split(
    context: Context, tokens: Callable[[Context], int], limit: int
) -> Iterator[Context | Problem]:
    """Cut a context into clips of as many segments as fit."""
    left, number = context.segments, 0
    while left:
        count = _most(len(left), _fits(context, left, tokens, limit))
        if not count:
            yield _too_long(context, tokens(replace(context, segments=left[:1])), limit)
            count = 1
        else:
            yield _clip(context, number, left[:count])
            number += 1
        left = left[count:]


def _fits(
    context: Context,
    segments: tuple[Segment, ...],
    tokens: Callable[[Context], int],
    limit: int,
) -> Callable[[int], bool]:
    return lambda count: tokens(replace(context, segments=segments[:count])) <= limit


def _shortened(context: Context, tokens: Callable[[Context], int], limit: int) -> Context | None:
    """Leave out the last boxes, then the last sentences, as few as needed; None if nothing is left."""
    boxes = len(context.objects) + sum(len(picture.objects) for picture in context.pictures)
    kept = _most(boxes, lambda n: tokens(_with_boxes(context, n)) <= limit)
    if kept or tokens(_with_boxes(context, 0)) <= limit:
        return _with_boxes(context, kept)
    bare = _with_boxes(context, 0)
    kept = _most(_sentences(bare), lambda n: tokens(_with_sentences(bare, n)) <= limit)
    return _with_sentences(bare, kept) if kept else None


def _most(count: int, fits: Callable[[int], bool]) -> int:
    """Return the largest number up to `count` that fits, by halving; 0 if none does."""
    low, high = 0, count
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _with_boxes(context: Context, count: int) -> Context:
    objects, pictures = context.objects[:count], []
    left = count - len(objects)
    for picture in context.pictures:
        some = picture.objects[:left]
        left -= len(some)
        pictures.append(replace(picture, objects=some))
    return replace(context, objects=objects, pictures=tuple(pictures))


def _sentences(context: Context) -> int:
    return (
        len(context.captions)
        + len(context.segments)
        + sum(len(picture.captions) for picture in context.pictures)
        + sum(len(fact) for fact in context.facts.values() if isinstance(fact, list))
    )


def _with_sentences(context: Context, count: int) -> Context:
    captions = context.captions[:count]
    count -= len(captions)
    segments = context.segments[:count]
    count -= len(segments)
    pictures: list[Picture] = []
    for picture in context.pictures:
        pictures.append(replace(picture, captions=picture.captions[:count]))
        count -= len(pictures[-1].captions)
    facts = dict(context.facts)
    for name, fact in facts.items():
        if isinstance(fact, list):
            facts[name] = fact[:count]
            count -= len(facts[name])
    return replace(
        context, captions=captions, segments=segments, pictures=tuple(pictures), facts=facts
    )
