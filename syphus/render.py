"""Task + context -> request. Pure."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any

from syphus.annotations.context import Context, Picture, Segment, Thing
from syphus.errors import TaskError
from syphus.forms import Pair
from syphus.request import Message, Prompt, Request, Sampling, SeenPicture
from syphus.task import Example, Task
from syphus.task_files import shortened
from syphus.wording import meant

AS_JSON = "Reply with JSON of the given schema and nothing else."


def render_prompt(task: Task, *, as_json: bool = False) -> Prompt:
    """Render what all requests of a run begin with: the system message, then the examples as turns.

    Args:
        task: The task.
        as_json: Whether replies are wanted as JSON, because the provider sees to their schema.
    """
    as_json = as_json or not task.makes_records
    end = AS_JSON if as_json else task.form.describe(task.shape)
    messages = [Message("system", f"{task.system}\n\n{end}")]
    for name, example in zip(task.example_names, task.examples, strict=True):
        query = render_query(task, example.as_context(), where=name)
        messages.append(Message("user", query))
        messages.append(Message("assistant", render_reply(task, example, as_json=as_json)))
    return Prompt(task.name, task.version, tuple(messages))


def render_reply(task: Task, example: Example, *, as_json: bool = False) -> str:
    """Write an example's reply as a model should."""
    if not task.makes_records:
        return json.dumps(example.reply, ensure_ascii=False)
    return render_pairs(task, example.pairs, as_json=as_json)


def render_request(
    task: Task,
    prompt: Prompt,
    context: Context,
    *,
    model: str,
    seed: int,
    as_json: bool = False,
    pictures: tuple[SeenPicture, ...] = (),
    query: str | None = None,
) -> Request:
    """Render one context's request.

    Args:
        task: The task.
        prompt: What all requests of the run begin with.
        context: The context.
        model: Who is asked.
        seed: What is drawn, and what the model samples by.
        as_json: Whether the reply is wanted as JSON.
        pictures: What the model is shown.
        query: The context as text, where it is rendered already (`syphus.fit.fit_queries`).

    Raises:
        TaskError: the template fails.
    """
    sampling = task.sampling
    return Request(
        context_id=context.id,
        model=model,
        prompt=prompt,
        query=render_query(task, context, seed=seed) if query is None else query,
        sampling=Sampling(sampling.temperature, sampling.top_p, sampling.max_tokens, seed),
        shape=task.shape,
        form=task.reply.form,
        schema=task.reply_schema if as_json or not task.makes_records else None,
        pictures=pictures,
    )


def render_pairs(task: Task, pairs: Iterable[Pair], *, as_json: bool = False) -> str:
    """Write pairs in the form that a reply must have."""
    if as_json:
        return json.dumps(task.form.value(tuple(pairs)), ensure_ascii=False)
    return task.form.write(tuple(pairs))


def render_query(task: Task, context: Context, *, seed: int = 0, where: str = "") -> str:
    """Show a context as text, with what its task draws for it by the seed.

    Args:
        task: The task.
        context: The context; a fact of the name of a list stands for what would be drawn of it.
        seed: Another one draws other lines.
        where: Where the context comes from, for messages.

    Raises:
        TaskError: the template fails.
    """
    try:
        text = task.query.fill(_shown(task, context, seed, task.query.reads))
    except Exception as error:  # noqa: BLE001  (whatever happens in a stranger's template is about the template)
        line = _line(error)
        place = f", line {line}" if line else ""
        about = f" (on {where or context.source or 'a context'})"
        said = _explained(error, [*_SHOWN, *task.context.draw])
        raise TaskError(f"{str(task.folder / 'query.md.j2')!r}{place}{about}: {said}") from None
    text = text.strip()
    # Half a character, as `"%c"` can make one, could not be sent.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _line(error: BaseException) -> int | None:
    """Return the template's line that failed."""
    found, step = None, error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == "<template>":
            found = step.tb_lineno
        step = step.tb_next
    return found


def _explained(error: Exception, shown: Collection[str]) -> str:
    """Say what to do about what Jinja says."""
    if isinstance(error, RecursionError):
        return "it calls itself too often, or a value is nested too deeply"
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    said = shortened(str(error))
    if variable := re.fullmatch(r"'(\w+)' is undefined", said):
        return f"there is no variable {variable[1]!r}{meant(variable[1], shown)}; there are: {', '.join(dict.fromkeys(shown))}"
    if member := re.fullmatch(r"'dict object' has no attribute '(\w+)'", said):
        return (
            f"there is no {member[1]!r} in it; where it may be missing, ask first: "
            f"{{% if facts.{member[1]} is defined %}}"
        )
    if "has no element" in said:
        return f"{said}; ask for its length first: {{% if captions | length > 1 %}}"
    if not said or isinstance(error, LookupError | AttributeError):
        return f"{type(error).__name__}{': ' if said else ''}{said}"
    return said


def _shown(task: Task, context: Context, seed: int, names: Collection[str]) -> dict[str, Any]:
    """Return those of the template's variables: plain data, of which nothing can be reached."""
    shown = {name: _SHOWN[name](context) for name in names if name in _SHOWN}
    for name, count in task.context.draw.items():
        if name in context.facts:
            shown[name] = context.facts[name]
        elif name in names:
            draw = random.Random(f"{seed}:{context.id}:{name}")
            shown[name] = draw.sample(task.lists[name], count)
    return shown


def _picture(picture: Picture) -> dict[str, Any]:
    return {
        "name": picture.name,
        "captions": list(picture.captions),
        "objects": _things(picture.objects),
        "facts": dict(picture.facts),
    }


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "text": segment.text,
        "start": segment.start,
        "end": segment.end,
        "objects": list(segment.objects),
    }


def _things(things: Iterable[Thing]) -> list[dict[str, Any]]:
    return [{"name": thing.name, "box": list(thing.box)} for thing in things]


_SHOWN: dict[str, Callable[[Context], Any]] = {
    "captions": lambda context: list(context.captions),
    "objects": lambda context: _things(context.objects),
    "pictures": lambda context: [_picture(picture) for picture in context.pictures],
    "segments": lambda context: [_segment(segment) for segment in context.segments],
    "facts": lambda context: dict(context.facts),
}
"""A template's variables, each made only where the template looks it up."""
