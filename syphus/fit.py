"""Contexts cut to what one request can hold, by the task's own rule.

    needs          a context without them is listed
    split_seconds  a video becomes clips, each a context: <id>_clip000, <id>_clip001, …
    long           a context that is still too long is listed, shortened, or split once more

Shortening leaves out what comes last: boxes first, then sentences. What happened is counted.
To know how long a context is, it is rendered; so what passes goes on with its text, which need not be made again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

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


class Fitted(NamedTuple):
    """A context that one request can hold, and its text."""

    context: Context
    query: str


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
    for item in fit_queries(task, contexts, limit, cuts):
        yield item.context if isinstance(item, Fitted) else item


def fit_queries(
    task: Task, contexts: Iterable[Context | Problem], limit: int, cuts: Cuts, *, seed: int = 0
) -> Iterator[Fitted | Problem]:
    """Pass contexts on that one request can hold, each with its query.

    Args:
        task: The task.
        contexts: As a reader makes them.
        limit: Tokens of a query, at most.
        cuts: What is counted.
        seed: Of the requests: what a task draws by it is part of the query.

    Raises:
        TaskError: the template fails on everything.
    """
    needs = task.context.needs
    is_cut = task.context.split_seconds is not None or task.context.min_segments
    for item in contexts:
        if isinstance(item, Problem):
            yield item
        elif unusable := _unusable(item):
            yield Problem(item.source, unusable)
        elif needs and (missing := [need for need in needs if not getattr(item, need)]):
            has = f"; it has the facts {', '.join(item.facts)}" if item.facts else ""
            yield Problem(item.source, f"{item.id!r} has no {' and no '.join(missing)}{has}")
        elif is_cut:
            for clip in _clips(task, item, cuts):
                yield from _sized(task, clip, limit, cuts, seed)
        else:
            yield from _sized(task, item, limit, cuts, seed)


def _unusable(context: Context) -> str | None:
    """Say why no record can be named after a context."""
    names = [context.id, context.video or ""]
    names += [picture.key or picture.name for picture in context.pictures]
    every = "".join(names)
    if len(every) <= LONGEST_NAME and (every.isprintable() or not _UNNAMEABLE.search(every)):
        return None
    for name in names:
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


def _sized(
    task: Task, context: Context, limit: int, cuts: Cuts, seed: int
) -> list[Fitted | Problem]:
    """Return what of a context one request can hold; a template that fails on it, or on a part of it, is its problem."""
    try:
        query = render_query(task, context, seed=seed)
        size = estimate_tokens(query)
        cuts.shown += 1
        if 0 < size <= limit:
            return [Fitted(context, query)]
        return list(_parts(task, context, size, limit, cuts, seed))
    except TaskError as error:
        if not cuts.shown:  # the template fails on everything
            raise
        return [Problem(context.source, str(error))]


def _parts(
    task: Task, context: Context, size: int, limit: int, cuts: Cuts, seed: int
) -> Iterator[Fitted | Problem]:
    """Make what fits out of a context that does not."""
    rule = task.context.long

    def tokens(some: Context) -> int:
        return estimate_tokens(render_query(task, some, seed=seed))

    if not size:
        yield Problem(context.source, f"{context.id!r} has nothing that the task shows to a model")
    elif rule == "split" and len(context.segments) > 1:
        cuts.split += 1
        for part in _split(context, tokens, limit):
            yield part if isinstance(part, Problem) else _fitted(task, part, seed)
    elif rule == "shorten" and (short := _shortened(context, tokens, limit)):
        cuts.shortened += 1
        yield _fitted(task, short, seed)
    else:
        yield _too_long(context, size, limit)


def _fitted(task: Task, context: Context, seed: int) -> Fitted:
    return Fitted(context, render_query(task, context, seed=seed))


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
