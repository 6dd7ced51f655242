"""Candidates as examples: their YAML, and what would keep a task from loading with them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import yaml
from pydantic import ValidationError

from syphus.annotations.context import Box, Context, Picture, Thing
from syphus.annotations.notes import Notes, PictureNotes, SegmentNotes, ThingNotes
from syphus.check import check
from syphus.errors import TaskError
from syphus.forms import Pair
from syphus.task import Example, Task
from syphus.wording import first_error

WIDTH = 110
"""Characters of a line of YAML, about."""
FOLDED_FROM = 80
"""Characters; longer texts are written as folded blocks."""
BOX_DIGITS = 3
_OF_CONVERSATION = ("topic", "role", "reason")


def notes_of(context: Context) -> Notes:
    """Write a context as notes, with boxes that people can read; where it comes from is left out."""
    pictures = tuple(_picture_notes(picture) for picture in context.pictures)
    alone = len(pictures) == 1 and pictures[0] == PictureNotes(name=pictures[0].name)
    return Notes(
        id=context.id,
        image=pictures[0].name if alone else None,
        pictures=() if alone else pictures,
        video=context.video,
        span=context.span,
        captions=context.captions,
        objects=_thing_notes(context.objects),
        segments=tuple(
            SegmentNotes(text=s.text, start=s.start, end=s.end, objects=s.objects)
            for s in context.segments
        ),
        facts=dict(context.facts),
    )


def _picture_notes(picture: Picture) -> PictureNotes:
    return PictureNotes(
        name=picture.name,
        captions=picture.captions,
        objects=_thing_notes(picture.objects),
        facts=dict(picture.facts),
    )


def _thing_notes(things: Sequence[Thing]) -> tuple[ThingNotes, ...]:
    return tuple(ThingNotes(name=thing.name, box=_rounded(thing.box)) for thing in things)


def _rounded(box: Box) -> Box:
    left, top, right, bottom = (round(share, BOX_DIGITS) for share in box)
    return left, top, right, bottom


def example_row(form: str, context: Notes, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return an example as the data of its YAML file, in the shape of its form."""
    row: dict[str, Any] = {"context": context.model_dump(mode="json", exclude_defaults=True)}
    if form == "texts":
        row["texts"] = [pair.answer for pair in pairs]
    elif form == "conversations":
        row["conversations"] = [
            _conversation(tuple(group))
            for _, group in groupby(pairs, key=lambda pair: pair.conversation)
        ]
    else:
        row["pairs"] = [_row(pair) for pair in pairs]
    return row


def _conversation(pairs: tuple[Pair, ...]) -> dict[str, Any]:
    said = {name: value for name in _OF_CONVERSATION if (value := getattr(pairs[0], name))}
    # An example's conversation must have a topic, even one that nobody named.
    return {"topic": "", **said, "rounds": [_row(pair) for pair in pairs]}


def _row(pair: Pair) -> dict[str, Any]:
    return pair.model_dump(
        mode="json", exclude_defaults=True, exclude={"conversation", *_OF_CONVERSATION}
    )


def read_example(text: str) -> Example:
    """Read an example's YAML.

    Raises:
        TaskError: it is no YAML, or no example.
    """
    try:
        return Example.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise TaskError(f"this is not valid YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise TaskError(first_error(error)) from None


def problems(
    task: Task, others: Sequence[Example], example: Example, *, model: str = "local"
) -> list[str]:
    """Return what would keep a task from loading, or passing its check, with an example more.

    Args:
        task: The task.
        others: Examples that were accepted before this one.
        example: The one in question.
        model: Whose window must hold them all.
    """
    found = []
    shape, count = task.shape, len(example.pairs)
    if not shape.min_pairs <= count <= shape.max_pairs:
        found.append(f"{count} pairs; the task asks for {shape.min_pairs} to {shape.max_pairs}")
    names = task.rules.names_in(example.as_context())
    for number, pair in enumerate(example.pairs, start=1):
        if broken := task.rules.broken(pair, names):
            found.append(f"pair {number}: {broken}")
    if not task.rules.speaks_in_person(example.pairs):
        found.append("fewer than half of the pairs are said in the first person")
    before = (*task.examples, *others)
    try:
        known = set(check(_with(task, before), model).errors)
        now = check(_with(task, (*before, example)), model).errors
    except TaskError as error:
        return [*found, str(error)]
    return [*found, *(text for text in now if text not in known)]


def _with(task: Task, examples: tuple[Example, ...]) -> Task:
    """Return a task with other examples, of which the last is called "this example"."""
    names = [*task.example_names, *(f"accepted example {n + 1}" for n in range(len(examples)))]
    names[len(task.examples) :] = names[len(task.examples) : len(examples)]
    if len(examples) > len(task.examples):
        names[-1] = "this example"
    return replace(task, examples=examples, example_names=tuple(names))


class _Dumper(yaml.SafeDumper):
    """Block style for people; what has a box in one line, long texts folded."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = ">" if len(text) > FOLDED_FROM and "\n" not in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    numbers = bool(items) and all(isinstance(item, int | float) for item in items)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=numbers)


def _dict(dumper: yaml.SafeDumper, items: dict[str, Any]) -> yaml.MappingNode:
    return dumper.represent_mapping("tag:yaml.org,2002:map", items, flow_style="box" in items)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(dict, _dict)
_Dumper.add_representer(list, _list)


def to_yaml(row: dict[str, Any]) -> str:
    """Write an example's data as YAML that people like to read."""
    options: dict[str, Any] = {"allow_unicode": True, "sort_keys": False, "width": WIDTH}
    text: str = yaml.dump(row, Dumper=_Dumper, default_flow_style=False, **options)
    if yaml.safe_load(text) == row:
        return text
    # Folding loses some odd spaces; then each text is quoted as it is.
    return str(yaml.safe_dump(row, default_flow_style=False, **options))
