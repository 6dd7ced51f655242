"""Look hard at a task folder before a model is paid for it.

`load_task` refuses what cannot work. This finds what would work badly: examples that their own parser reads otherwise, that repeat each other
or themselves, a prompt that leaves no room in the model's window, a template that fails on a context with less in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations, islice
from typing import Any

from syphus.annotations.context import Context, Picture, Problem, Segment, Thing
from syphus.errors import ReplyError, TaskError
from syphus.fit import Cuts, fit, query_limit
from syphus.parse import parse_pairs
from syphus.prices import estimate_tokens
from syphus.render import render_pairs, render_prompt, render_query, render_reply
from syphus.task import Task

SAMPLE = 50
"""Contexts of an annotation file that are tried."""


@dataclass
class Checked:
    """What was found in one task."""

    task: str
    examples: int = 0
    pairs: int = 0
    prompt_tokens: int = 0
    """Of what all requests begin with, estimated."""
    query_tokens: int = 0
    """Of the longest query that was tried, estimated."""
    contexts: int = 0
    """Of the annotation file, those that were tried."""
    was_tried: bool = False
    """Whether there was an annotation file."""
    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check(
    task: Task, model: str = "local", contexts: Iterable[Context | Problem] | None = None
) -> Checked:
    """Check a loaded task, for a model, and on contexts of an annotation file if there are any."""
    found = Checked(
        task.name,
        examples=len(task.examples),
        pairs=sum(len(example.pairs) for example in task.examples),
    )
    try:
        prompt = render_prompt(task)
    except TaskError as error:
        found.errors.append(str(error))
        return found
    found.prompt_tokens = sum(estimate_tokens(message.content) for message in prompt.messages)
    if task.makes_records:
        found.errors += [*_unread(task), *_empty(task)]
    found.errors += _repeated(task)
    if not task.examples and task.makes_records:
        found.warnings.append(
            "it has no examples; `syphus coldstart` collects some, and a model imitates them "
            "better than it follows rules"
        )
    try:
        limit = query_limit(task, prompt, model)
    except TaskError as error:
        found.errors.append(str(error))
        limit = task.context.max_tokens
    if limit < task.context.max_tokens:
        found.warnings.append(
            f"with {model}, a query may have {limit:,} tokens, not the {task.context.max_tokens:,} "
            "that [context] max_tokens allows"
        )
    found.errors += _fragile(task)
    for name, example in zip(task.example_names, task.examples, strict=True):
        size = estimate_tokens(render_query(task, example.as_context(), where=name))
        found.query_tokens = max(found.query_tokens, size)
        if size > limit:
            found.errors.append(f"the query of {name} has {size:,} tokens, more than {limit:,}")
        reply = estimate_tokens(render_reply(task, example))
        if reply > task.sampling.max_tokens:
            found.errors.append(
                f"the reply of {name} has about {reply:,} tokens; [sampling] max_tokens would cut it off at "
                f"{task.sampling.max_tokens:,}"
            )
    if contexts is not None:
        _try(task, contexts, limit, found)
    return found


def _unread(task: Task) -> Iterator[str]:
    """Find examples that the parser of replies does not give back as they are."""
    for name, example in zip(task.example_names, task.examples, strict=True):
        for as_json in (False, True):
            text = render_pairs(task, example.pairs, as_json=as_json)
            kind = "JSON" if as_json else "text"
            try:
                pairs = parse_pairs(text, shape=task.shape, form=task.reply.form)
            except ReplyError as error:
                yield f"{name}, written as {kind}, cannot be read: {error}"
                continue
            different = [n for n, (a, b) in enumerate(zip(pairs, example.pairs), 1) if a != b]  # noqa: B905
            if len(pairs) != len(example.pairs):
                yield f"{name}, written as {kind}, is read as {len(pairs)} pairs, not {len(example.pairs)}"
            elif different:
                yield f"{name}, pair {different[0]}, written as {kind}, is read as {pairs[different[0] - 1].answer!r}"


def _repeated(task: Task) -> Iterator[str]:
    """Find examples that are paid for on every request and teach nothing new."""
    numbered = list(zip(task.example_names, task.examples, strict=True))
    for (first, one), (second, other) in combinations(numbered, 2):
        if one.pairs == other.pairs and one.reply == other.reply:
            yield f"{first} and {second} have the same reply"
        elif one.context == other.context:
            yield f"{first} and {second} have the same context"
    for name, example in numbered:
        said = Counter(
            (_plain(pair.question), _plain(pair.answer), pair.conversation)
            for pair in example.pairs
        )
        asked = Counter(
            (_plain(pair.question), pair.conversation) for pair in example.pairs if pair.question
        )
        for (question, *_), count in [*said.items(), *asked.items()]:
            if count > 1:
                yield f"{name} asks {count} times: {question!r}"
                break


def _empty(task: Task) -> Iterator[str]:
    for name, example in zip(task.example_names, task.examples, strict=True):
        for place, pair in enumerate(example.pairs, start=1):
            texts = (pair.answer,) if task.reply.form == "texts" else (pair.question, pair.answer)
            if not all(any(c.isalnum() for c in text) for text in texts):
                yield f"{name}, pair {place}, has an empty question or answer"


def _fragile(task: Task) -> Iterator[str]:
    """Find a template that fails on contexts which the task allows."""
    # A task that makes no records is shown contexts by its own command only.
    tried = (("bare", _bare(task)), ("full", _FULL)) if task.makes_records else ()
    for kind, context in tried:
        try:
            text = render_query(task, context, where=f"a {kind} context")
        except TaskError as error:
            yield str(error)
            continue
        if kind == "full" and not text:
            yield "query.md.j2 shows nothing of a context with captions, objects, pictures and segments"


def _bare(task: Task) -> Context:
    """Return a context with only what the task needs."""
    needs = task.context.needs
    changes: dict[str, Any] = {need: getattr(_FULL, need) for need in needs}
    if "facts" in needs:
        facts = task.examples[0].context.facts if task.examples else {}
        changes["facts"] = facts
    return replace(Context("bare"), **changes)


_FULL = Context(
    "full",
    pictures=(
        Picture("a.png", ("A dog on a beach.",), (Thing("dog", (0.1, 0.2, 0.5, 0.9)),)),
        Picture("b.png", ("A dog at a lake.",), (Thing("dog", (0.3, 0.2, 0.6, 0.9)),)),
    ),
    captions=("A dog on a beach.", "The dog runs."),
    objects=(Thing("dog", (0.1, 0.2, 0.5, 0.9)), Thing("ball", (0.6, 0.7, 0.7, 0.8))),
    segments=(
        Segment("A dog runs.", 0.0, 2.5, ("dog", "ball")),
        Segment("The dog stops.", 2.0, 3.0),
        Segment("It barks."),
    ),
    facts={"description": "A dog runs.", "reason": "It runs in shoes.", "title": "Shoes"},
)


def _try(task: Task, contexts: Iterable[Context | Problem], limit: int, found: Checked) -> None:
    cuts, found.was_tried = Cuts(), True
    try:
        for item in islice(fit(task, contexts, limit, cuts), SAMPLE):
            if isinstance(item, Problem):
                found.warnings.append(f"{item.where}: {item.reason}")
                continue
            found.contexts += 1
            size = estimate_tokens(render_query(task, item))
            found.query_tokens = max(found.query_tokens, size)
            if not size:
                found.errors.append(f"{item.source}: the query is empty")
    except TaskError as error:
        found.errors.append(str(error))
    if not found.contexts:
        found.errors.append("no context of the annotations can be used")
    if cuts.shortened:
        found.warnings.append(f"{cuts.shortened} contexts were shortened to {limit:,} tokens")


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())
