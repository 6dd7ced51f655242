"""Task + context -> request. Pure."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from syphus.annotations.context import Context, Picture, Thing
from syphus.errors import TaskError
from syphus.forms import Pair
from syphus.request import Message, Prompt, Request, SeenPicture
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
) -> Request:
    """Render one context's request."""
    return Request(
        context_id=context.id,
        model=model,
        prompt=prompt,
        query=render_query(task, context, seed=seed),
        sampling=replace(task.sampling, seed=seed),
        shape=task.shape,
        form=task.reply.form,
        schema=render_schema(task) if as_json or not task.makes_records else None,
        pictures=pictures,
    )


def render_schema(task: Task) -> str:
    """Return the JSON schema of a reply, as text that is always the same."""
    schema = task.form.schema(task.shape) if task.schema is None else task.schema
    return json.dumps(schema, sort_keys=True)


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
    drawn = {
        name: context.facts[name]
        if name in context.facts
        else random.Random(f"{seed}:{context.id}:{name}").sample(task.lists[name], count)
        for name, count in task.context.draw.items()
    }
    shown = {**_shown(context), **drawn}
    try:
        text = task.query.render(**shown)
    except Exception as error:  # noqa: BLE001  (whatever happens in a stranger's template is about the template)
        line = _line(error)
        place = f", line {line}" if line else ""
        about = f" (on {where or context.source or 'a context'})"
        raise TaskError(
            f"{str(task.folder / 'query.md.j2')!r}{place}{about}: {_explained(error, shown)}"
        ) from None
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


def _explained(error: Exception, shown: Mapping[str, Any]) -> str:
    """Say what to do about what Jinja says."""
    if isinstance(error, RecursionError):
        return "it calls itself too often, or a value is nested too deeply"
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    said = shortened(str(error))
    if variable := re.fullmatch(r"'(\w+)' is undefined", said):
        return f"there is no variable {variable[1]!r}{meant(variable[1], shown)}; there are: {', '.join(shown)}"
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


def _shown(context: Context) -> dict[str, Any]:
    """Return the template's variables: plain data, of which nothing can be reached."""
    return {
        "captions": list(context.captions),
        "objects": _things(context.objects),
        "pictures": [_picture(picture) for picture in context.pictures],
        "segments": [
            {"text": s.text, "start": s.start, "end": s.end, "objects": list(s.objects)}
            for s in context.segments
        ],
        "facts": dict(context.facts),
    }


def _picture(picture: Picture) -> dict[str, Any]:
    return {
        "name": picture.name,
        "captions": list(picture.captions),
        "objects": _things(picture.objects),
        "facts": dict(picture.facts),
    }


def _things(things: Iterable[Thing]) -> list[dict[str, Any]]:
    return [{"name": thing.name, "box": list(thing.box)} for thing in things]
