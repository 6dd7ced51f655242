"""A task: a folder of data files that says what to ask a model for.

    prompts/la_conversation/
      task.toml        names, how a reply must look, sampling, words an answer must not contain
      system.md        the system message
      query.md.j2      a context as text; rendered in a sandbox with `captions` and `objects`
      examples/*.yaml  contexts with the pairs we would want for them

A folder anywhere works like a built-in one. It is checked when it is loaded: its own examples must obey its rules, since
a model imitates examples and not rules.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from syphus.errors import TaskError
from syphus.request import Sampling, Shape

if TYPE_CHECKING:
    import jinja2

_HERE = Path(__file__).parent
BUILT_IN = next(p for p in (_HERE / "prompts", _HERE.parent / "prompts") if p.is_dir())
"""The wheel's copy, or the checkout's folder."""


class Pair(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str
    answer: str


class _Box(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    box: tuple[float, float, float, float]


class _ExampleContext(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    captions: tuple[str, ...] = ()
    objects: tuple[_Box, ...] = ()


class Example(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    context: _ExampleContext
    pairs: tuple[Pair, ...] = Field(min_length=1)


class _Reply(BaseModel):
    model_config = ConfigDict(extra="forbid")

    min_pairs: Annotated[int, Field(ge=1)]
    max_pairs: Annotated[int, Field(ge=1, le=100)]


class _Sampling(BaseModel):
    model_config = ConfigDict(extra="forbid")

    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    max_tokens: Annotated[int, Field(ge=1)] = 512


class _TaskFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    title: str
    version: Annotated[int, Field(ge=1)]
    record_prefix: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]*$")]
    picture_prefix: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]*$")]
    forbidden: tuple[str, ...] = ()
    reply: _Reply
    sampling: _Sampling = _Sampling()


@dataclass(frozen=True)
class Task:
    name: str
    title: str
    version: int
    record_prefix: str
    """`LACONV` in `LACONV_INS_…`."""
    picture_prefix: str
    """`LA` in `LA_IMG_…`; tasks over the same pictures share it."""
    forbidden: tuple[str, ...]
    shape: Shape
    sampling: Sampling
    system: str
    query: jinja2.Template
    examples: tuple[Example, ...]


def load_task(name_or_folder: str) -> Task:
    """Load a built-in task by name, or a user's folder.

    Raises:
        TaskError: no such task, or its files are wrong; the message names the file.
    """
    folder = BUILT_IN / name_or_folder
    if not (folder / "task.toml").is_file() or folder.parent != BUILT_IN:
        folder = Path(name_or_folder)
    if not (folder / "task.toml").is_file():
        raise TaskError(
            f"there is no task {name_or_folder!r}; name a folder with a task.toml, or one of: "
            + ", ".join(built_in_tasks())
        )
    head = _head(folder / "task.toml")
    task = Task(
        name=head.name,
        title=head.title,
        version=head.version,
        record_prefix=head.record_prefix,
        picture_prefix=head.picture_prefix,
        forbidden=head.forbidden,
        shape=Shape(head.reply.min_pairs, head.reply.max_pairs),
        sampling=Sampling(**head.sampling.model_dump()),
        system=_text(folder / "system.md").strip(),
        query=_template(folder / "query.md.j2"),
        examples=tuple(_example(path) for path in sorted((folder / "examples").glob("*.yaml"))),
    )
    _check_examples(task, folder)
    return task


def built_in_tasks() -> list[str]:
    return sorted(path.parent.name for path in BUILT_IN.glob("*/task.toml"))


def _head(path: Path) -> _TaskFile:
    try:
        head = _TaskFile.model_validate(tomllib.loads(_text(path)))
    except tomllib.TOMLDecodeError as error:
        raise TaskError(f"{str(path)!r} is not valid TOML: {error}") from None
    except ValidationError as error:
        raise TaskError(f"{str(path)!r}: {_first(error)}") from None
    if head.reply.min_pairs > head.reply.max_pairs:
        raise TaskError(
            f"{str(path)!r}: min_pairs {head.reply.min_pairs} is more than "
            f"max_pairs {head.reply.max_pairs}"
        )
    return head


def _template(path: Path) -> jinja2.Template:
    from jinja2 import StrictUndefined, TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    # A task folder may come from a stranger; its template can compute, and reach nothing.
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    try:
        return environment.from_string(_text(path))
    except TemplateSyntaxError as error:
        raise TaskError(f"{str(path)!r}, line {error.lineno}: {error.message}") from None


def _example(path: Path) -> Example:
    try:
        raw: Any = yaml.safe_load(_text(path))
        return Example.model_validate(raw)
    except yaml.YAMLError as error:
        raise TaskError(
            f"{str(path)!r} is not valid YAML: {' '.join(str(error).split())}"
        ) from None
    except ValidationError as error:
        raise TaskError(f"{str(path)!r}: {_first(error)}") from None


def _check_examples(task: Task, folder: Path) -> None:
    forbidden = re.compile(
        r"\b(" + "|".join(map(re.escape, task.forbidden)) + r")\b", re.IGNORECASE
    )
    for number, example in enumerate(task.examples, start=1):
        where = f"example {number} of {str(folder)!r}"
        if not task.shape.min_pairs <= len(example.pairs) <= task.shape.max_pairs:
            raise TaskError(
                f"{where} has {len(example.pairs)} pairs; its task asks for "
                f"{task.shape.min_pairs} to {task.shape.max_pairs}"
            )
        for pair in example.pairs:
            said = forbidden.search(f"{pair.question} {pair.answer}") if task.forbidden else None
            if said:
                raise TaskError(f"{where} says {said[0]!r}, which its task forbids")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise TaskError(f"the task folder {str(path.parent)!r} has no {path.name}") from None
    except UnicodeDecodeError as error:
        raise TaskError(f"{str(path)!r} is not UTF-8: {error}") from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
