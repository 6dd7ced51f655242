"""A task: a folder of data files that says what to ask a model for.

    prompts/la_conversation/
      task.toml        names, what a context must have, the form of a reply, rules, relations, sampling
      system.md        the system message; how to write a reply is added by its form
      query.md.j2      a context as text; rendered in a sandbox
      examples/*.yaml  contexts with the pairs we would want for them
      *.txt            lists of lines that the query may draw from
      reply.schema.json  in the form `json`: what a reply looks like

A folder anywhere works like a built-in one. It is checked when it is loaded: its own examples must obey its rules, since
a model imitates examples and not rules. `syphus tasks check` looks harder (`syphus.check`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from syphus.annotations.context import Context
from syphus.annotations.notes import Notes, PictureNotes, SegmentNotes, ThingNotes
from syphus.errors import TaskError
from syphus.forms import FORMS, Form, Pair
from syphus.obedience import check_examples, check_lists, check_replies, check_schema
from syphus.request import Sampling, Shape
from syphus.rules import Rules
from syphus.task_files import listed, read_json, read_text, read_toml, read_yaml
from syphus.wording import first_error, meant

if TYPE_CHECKING:
    from syphus.templates import Query

_HERE = Path(__file__).parent
BUILT_IN = next(p for p in (_HERE / "prompts", _HERE.parent / "prompts") if p.is_dir())
"""The wheel's copy, or the checkout's folder."""


MIN_OPTIONS = 2


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class _Conversation(_Strict):
    topic: str
    role: str = ""
    reason: str = ""
    rounds: tuple[Pair, ...] = Field(min_length=1)


class Example(_Strict):
    """A context and the reply wanted for it, written as `pairs`, `conversations`, `texts` or `reply` (any JSON)."""

    context: Notes
    pairs: tuple[Pair, ...] = ()
    conversations: tuple[_Conversation, ...] = ()
    texts: tuple[str, ...] = ()
    reply: Any = None
    origin: dict[str, Any] = Field(default_factory=dict)
    """Where it comes from, for examples that `syphus coldstart` collected."""

    @model_validator(mode="after")
    def _flat(self) -> Example:
        found = [
            pair._replace(conversation=n, topic=c.topic, role=c.role, reason=c.reason)
            for n, c in enumerate(self.conversations)
            for pair in c.rounds
        ]
        found += [Pair(question="", answer=text) for text in self.texts]
        given = (self.pairs, self.conversations, self.texts, self.reply)
        if sum(map(bool, given)) != 1:
            raise ValueError("give one of `pairs`, `conversations`, `texts` and `reply`")
        object.__setattr__(self, "pairs", self.pairs or tuple(found))
        return self

    def as_context(self) -> Context:
        named = self.context.model_copy(update={"id": self.context.id or "example"})
        return named.context("")


class ContextRules(_Strict):
    """The `[context]` of a task: which contexts it takes, and how they are cut to size."""

    needs: tuple[Literal["captions", "objects", "segments", "pictures", "facts"], ...] = ()
    """What must be there; a context without it is listed and not asked about."""
    pair: Literal["", "nearest"] = ""
    """`nearest`: each picture is put together with the one whose captions are most like its own."""
    split_seconds: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """A video is cut into clips of so many seconds, each a context of its own."""
    min_segments: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Clips with fewer segments are left out."""
    max_tokens: Annotated[int, Field(ge=16, le=10_000_000)] = 3_000
    """Of the query, estimated."""
    long: Literal["refuse", "shorten", "split"] = "shorten"
    """What to do with a context that is longer: list it, leave out what comes last, or cut it in two until it fits."""
    frames: Annotated[int, Field(ge=1, le=1_000)] = 16
    """Of a video, at most."""
    fps: Annotated[float, Field(gt=0, le=120)] = 1.0
    """At which a video's frames are counted and taken."""
    draw: dict[str, Annotated[int, Field(ge=1, le=1_000)]] = Field(default_factory=dict)
    """`{candidates = 9}`: nine lines of candidates.txt, drawn for each context, are `candidates` in the template."""


class Reply(_Strict):
    form: Literal["pairs", "conversations", "choices", "texts", "json"] = "pairs"
    """`json` is for tasks that make no records: translate, judge, annotate."""
    min_pairs: Annotated[int, Field(ge=1, le=100)] = 1
    max_pairs: Annotated[int, Field(ge=1, le=100)] = 8
    rounds: Annotated[int, Field(ge=0, le=100)] = 0
    options: Annotated[int, Field(ge=0, le=26)] = 0
    sentences: Annotated[int, Field(ge=0, le=40)] = 0
    """Of an answer of the embedded model, at most: without a bound it may never come to an end. 0 is one."""
    question: str = ""
    """In the form `texts`: the question that every text answers."""


class Related(_Strict):
    """`rel_ins_ids`: which records are given as context of a record."""

    strategy: Literal["none", "siblings", "turns"] = "none"
    """`siblings`: the others of the same context; `turns`: those before it in its conversation."""


class _Sampling(_Strict):
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 1_024


class _TaskFile(_Strict):
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)]
    title: str
    version: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    record_prefix: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]*$", max_length=100)]
    picture_prefix: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]*$", max_length=100)]
    annotations: tuple[str, ...] = ()
    """Formats that fit, as `syphus.annotations.READERS` names them; for people."""
    context: ContextRules = ContextRules()
    reply: Reply
    rules: Rules = Rules()
    related: Related = Related()
    sampling: _Sampling = _Sampling()


_FIELDS = frozenset(
    name
    for model in (
        _TaskFile, ContextRules, Reply, Rules, Related, _Sampling,
        Example, _Conversation, Notes, PictureNotes, SegmentNotes, ThingNotes,
    )
    for name in model.model_fields
) | frozenset(Pair._fields)  # fmt: skip
"""Every key that a task's files may have, for who misspells one."""


@dataclass(frozen=True)
class Task:
    name: str
    title: str
    version: int
    record_prefix: str
    """`LACONV` in `LACONV_INS_…`."""
    picture_prefix: str
    """`LA` in `LA_IMG_…`; tasks over the same pictures share it."""
    annotations: tuple[str, ...]
    context: ContextRules
    reply: Reply
    rules: Rules
    related: str
    sampling: Sampling
    system: str
    query: Query
    lists: dict[str, tuple[str, ...]]
    """Lines of the folder's `*.txt` files, by the file's stem."""
    examples: tuple[Example, ...]
    example_names: tuple[str, ...]
    """Their files, within the folder."""
    schema: dict[str, Any] | None
    """JSON schema of a reply in the form `json`."""
    folder: Path

    @cached_property
    def shape(self) -> Shape:
        reply = self.reply
        return Shape(reply.min_pairs, reply.max_pairs, reply.rounds, reply.options, reply.sentences)

    @cached_property
    def reply_schema(self) -> str:
        """The JSON schema of a reply, as text that is always the same."""
        schema = self.form.schema(self.shape) if self.schema is None else self.schema
        return json.dumps(schema, sort_keys=True)

    @property
    def makes_records(self) -> bool:
        return self.schema is None

    @property
    def form(self) -> Form:
        """Return the form of a reply; one of the form `json` is none of these."""
        return FORMS[self.reply.form]


def load_task(name_or_folder: str) -> Task:
    """Load a built-in task by name, or a user's folder.

    Raises:
        TaskError: no such task, or its files are wrong; the message names the file.
    """
    folder = find_task(name_or_folder)
    head = _head(folder)
    files = listed(folder, "examples/*.y*ml")
    task = Task(
        name=head.name,
        title=head.title,
        version=head.version,
        record_prefix=head.record_prefix,
        picture_prefix=head.picture_prefix,
        annotations=head.annotations,
        context=head.context,
        reply=head.reply,
        rules=head.rules,
        related=head.related.strategy,
        sampling=Sampling(**head.sampling.model_dump()),
        system=read_text(folder / "system.md", folder).strip(),
        query=_template(folder),
        lists={path.stem: _lines(path) for path in listed(folder, "*.txt")},
        examples=tuple(_example(path, folder) for path in files),
        example_names=tuple(f"examples/{path.name}" for path in files),
        schema=_schema(folder) if head.reply.form == "json" else None,
        folder=folder,
    )
    check_lists(task)
    if task.makes_records:
        check_examples(task)
    else:
        check_replies(task)
    return task


def find_task(name_or_folder: str) -> Path:
    """Return a task's folder.

    Raises:
        TaskError: no such task.
    """
    folder = BUILT_IN / name_or_folder
    if not _is_task(folder) or folder.parent != BUILT_IN:
        folder = Path(name_or_folder)
    if not _is_task(folder):
        here = [path.parent.name for path in Path().glob("*/task.toml")]
        raise TaskError(
            f"there is no task {name_or_folder!r}{meant(name_or_folder, [*built_in_tasks(), *here])}; "
            "name a folder with a task.toml, or one of: " + ", ".join(built_in_tasks())
        )
    return folder


def built_in_tasks() -> list[str]:
    return sorted(path.parent.name for path in BUILT_IN.glob("*/task.toml"))


def _is_task(folder: Path) -> bool:
    try:
        return (folder / "task.toml").exists()
    except (OSError, ValueError):  # too long a name, or one with a zero byte
        return False


def _head(folder: Path) -> _TaskFile:
    path = folder / "task.toml"
    try:
        head = _TaskFile.model_validate(read_toml(path, folder))
    except ValidationError as error:
        raise TaskError(f"{str(path)!r}: {first_error(error, _FIELDS)}") from None
    reply = head.reply
    if reply.min_pairs > reply.max_pairs:
        raise TaskError(
            f"{str(path)!r}: min_pairs {reply.min_pairs} is more than max_pairs {reply.max_pairs}"
        )
    if reply.form == "conversations" and not reply.rounds:
        raise TaskError(f"{str(path)!r}: the form `conversations` needs `rounds`")
    if reply.form == "choices" and reply.options < MIN_OPTIONS:
        raise TaskError(
            f"{str(path)!r}: the form `choices` needs `options`, how many a question has, at least 2"
        )
    if reply.form == "texts" and not reply.question:
        raise TaskError(f"{str(path)!r}: the form `texts` needs the `question` that they answer")
    return head


def _template(folder: Path) -> Query:
    from syphus.templates import compile_template

    path = folder / "query.md.j2"
    return compile_template(read_text(path, folder), str(path))


def _example(path: Path, folder: Path) -> Example:
    try:
        return Example.model_validate(read_yaml(path, folder))
    except ValidationError as error:
        raise TaskError(f"{str(path)!r}: {first_error(error, _FIELDS)}") from None


def _schema(folder: Path) -> dict[str, Any]:
    path = folder / "reply.schema.json"
    found = read_json(path, folder)
    if not isinstance(found, dict):
        raise TaskError(f"{str(path)!r} is no JSON schema: it must be an object")
    check_schema(found, path)
    return found


def _lines(path: Path) -> tuple[str, ...]:
    lines = (line.strip() for line in read_text(path, path.parent).splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))
