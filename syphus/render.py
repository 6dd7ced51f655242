"""Task + context -> request. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from syphus.annotations.context import Context, Thing
from syphus.errors import TaskError
from syphus.request import Message, Prompt, Request
from syphus.task import Pair, Task


def render_prompt(task: Task) -> Prompt:
    """Render what all requests of a run begin with: the system message, then the examples as turns."""
    messages = [Message("system", task.system)]
    for example in task.examples:
        things = tuple(Thing(thing.name, thing.box) for thing in example.context.objects)
        messages.append(Message("user", _render_query(task, example.context.captions, things)))
        messages.append(Message("assistant", render_pairs(example.pairs)))
    return Prompt(task.name, task.version, tuple(messages))


def render_request(
    task: Task, prompt: Prompt, context: Context, *, model: str, seed: int, sample: int = 0
) -> Request:
    """Render one context's request; a further `sample` asks the same with another seed."""
    return Request(
        context_id=context.id,
        model=model,
        prompt=prompt,
        query=_render_query(task, context.captions, context.objects),
        sampling=replace(task.sampling, seed=seed + sample),
        shape=task.shape,
        sample=sample,
    )


def render_pairs(pairs: Iterable[Pair]) -> str:
    """Write pairs in the form that a reply must have."""
    return "\n\n".join(f"Question: {pair.question}\nAnswer: {pair.answer}" for pair in pairs)


def _render_query(task: Task, captions: tuple[str, ...], objects: tuple[Thing, ...]) -> str:
    from jinja2 import TemplateError

    try:
        text = task.query.render(
            captions=list(captions),
            objects=[{"name": thing.name, "box": list(thing.box)} for thing in objects],
        )
    except (TemplateError, ArithmeticError, TypeError, ValueError) as error:
        raise TaskError(f"query.md.j2 of the task {task.name!r} fails: {error}") from None
    return text.strip()
