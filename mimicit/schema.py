"""The records of a dataset, and so the specification of its Parquet files.

An *instruction record* is one question and answer about some pictures; it names the pictures by id:

    {"id": "LACONV_INS_000000000042_00", "task": "la_conversation", "language": "en",
     "instruction": "What is the cat doing?", "answer": "It is asleep on a red sofa.",
     "image_ids": ["LA_IMG_000000000042"], "rel_ins_ids": [],
     "source": "photos.json#42", "request": "9f2c…", "reply": 17}

`text/*.parquet` holds one column a field. `image_ids` are in the order in which the text speaks of them (frames: in
time order); `rel_ins_ids` name records that may serve as context. `request` and `reply` lead into the ledger; they are
null for imported records. An *image record* is a picture's bytes exactly as they were given, and what was measured of them:
`images/*.parquet`. A *verdict* is one filter's opinion of one record: `verdicts/*.parquet`. Records are content, verdicts are
opinions about content; curation writes verdicts and never deletes a record. A *relation* lists the records that one strategy
finds close to a record: `relations/*.parquet`. An *annotation* is what people said of some pictures, and what curation holds answers
against: `annotations/*.parquet`. A *split* is a part of a dataset that a record is in, by the name of the splitting: `splits/*.parquet`.

Columns are only ever added, nullable and at the end, so that a part of any age can be read: what it lacks is null.

Ids follow MIMIC-IT: `<TASK>_INS_<key>` and `<STORE>_IMG_<key>`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, StringConstraints

if TYPE_CHECKING:
    import pyarrow

Id = Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[^\x00-\x1f\x7f]+$")]

_ID = re.compile(r"[^\x00-\x1f\x7f]{1,512}")


def is_id(text: str) -> bool:
    """Say whether a text can be an id, where there is no model that says it."""
    return _ID.fullmatch(text) is not None


class _Frozen(BaseModel):
    # A run uses one or two of them: each is built when it is first needed.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Instruction(_Frozen):
    id: Id
    task: str
    instruction: str
    answer: str
    image_ids: tuple[Id, ...] = ()
    rel_ins_ids: tuple[Id, ...] = ()
    language: str = "en"
    """ISO 639-1 code."""
    source: str | None = None
    """Where the annotations came from: file and row."""
    request: str | None = None
    """Key of the request in the ledger."""
    reply: int | None = None
    """Number of the reply in the ledger."""
    translation_of: Id | None = None
    """Id of the record that this one translates."""
    conversation: Id | None = None
    """Shared by the turns of one conversation; their pictures are those of all turns."""
    turn: int | None = None
    """Of its conversation, from 0."""
    rejected: str | None = None
    """The answer that people liked less."""
    meta: str | None = None
    """What a format has beside, as a JSON object; of a conversation, on its first turn."""


class InstructionRow(NamedTuple):
    """What an `Instruction` holds, from somebody who knows that it is right: checking millions takes its time."""

    id: str
    task: str
    instruction: str
    answer: str
    image_ids: tuple[str, ...]
    rel_ins_ids: tuple[str, ...]
    language: str
    source: str | None
    request: str | None
    reply: int | None
    translation_of: str | None
    conversation: str | None = None
    turn: int | None = None
    rejected: str | None = None
    meta: str | None = None


class ImageRecord(_Frozen):
    id: Id
    image: bytes
    """Encoded, as given; never re-encoded."""
    sha256: str
    mime: str
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    source: str | None = None
    time: float | None = None
    """Seconds from the start of its video."""


class Verdict(_Frozen):
    record: Id
    filter: str
    reason: str
    recipe: str
    """Whoever judges again under this name replaces what it said before."""
    recipe_digest: str
    score: float | None = None
    """What the filter measured, for filters that measure."""
    rejects: bool = True
    """False: an opinion to look at or to select by, which leaves the record accepted."""


class Thing(NamedTuple):
    """Something that people saw in a picture."""

    name: str
    box: tuple[float, float, float, float] | None = None
    """Left, top, right, bottom, as shares of the picture's width and height."""


class Annotation(NamedTuple):
    """What people said of a picture, or of several together.

    A later one of the same pictures from the same file takes the place of an earlier one.
    """

    pictures: tuple[str, ...]
    """Their ids."""
    captions: tuple[str, ...] = ()
    objects: tuple[Thing, ...] = ()
    source: str | None = None
    """File and row: "photos.json#42"."""


REVIEWERS = "review:"
"""How the recipes of verdicts begin that people gave one by one."""


class Meta(_Frozen):
    """The `meta` object of a published `*_instructions.json`."""

    version: str
    time: str
    """YYYY-MM-DD."""
    author: str
    task: str | None = None
    language: str | None = None


@cache
def text_schema() -> pyarrow.Schema:
    import pyarrow as pa

    names = pa.list_(pa.string())
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("task", pa.string(), nullable=False),
            pa.field("instruction", pa.string(), nullable=False),
            pa.field("answer", pa.string(), nullable=False),
            pa.field("image_ids", names, nullable=False),
            pa.field("rel_ins_ids", names, nullable=False),
            pa.field("language", pa.string(), nullable=False),
            pa.field("source", pa.string()),
            pa.field("request", pa.string()),
            pa.field("reply", pa.int64()),
            pa.field("translation_of", pa.string()),
            pa.field("conversation", pa.string()),
            pa.field("turn", pa.int32()),
            pa.field("rejected", pa.string()),
            pa.field("meta", pa.string()),
        ]
    )


@cache
def image_schema() -> pyarrow.Schema:
    """Return the schema of an image shard; `length` lets offsets be found without reading pictures."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("image", pa.binary(), nullable=False),
            pa.field("length", pa.int64(), nullable=False),
            pa.field("sha256", pa.string(), nullable=False),
            pa.field("mime", pa.string(), nullable=False),
            pa.field("width", pa.int32(), nullable=False),
            pa.field("height", pa.int32(), nullable=False),
            pa.field("source", pa.string()),
            pa.field("time", pa.float64()),
        ]
    )


@cache
def verdict_schema() -> pyarrow.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("record", pa.string(), nullable=False),
            pa.field("filter", pa.string(), nullable=False),
            pa.field("reason", pa.string(), nullable=False),
            pa.field("recipe", pa.string(), nullable=False),
            pa.field("recipe_digest", pa.string(), nullable=False),
            pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
            pa.field("score", pa.float64()),
            pa.field("rejects", pa.bool_()),
        ]
    )


@cache
def relation_schema() -> pyarrow.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("record", pa.string(), nullable=False),
            pa.field("related", pa.list_(pa.string()), nullable=False),
            pa.field("strategy", pa.string(), nullable=False),
            pa.field("seed", pa.int64(), nullable=False),
        ]
    )


@cache
def annotation_schema() -> pyarrow.Schema:
    import pyarrow as pa

    thing = pa.struct([("name", pa.string()), ("box", pa.list_(pa.float32()))])
    return pa.schema(
        [
            pa.field("pictures", pa.list_(pa.string()), nullable=False),
            pa.field("captions", pa.list_(pa.string()), nullable=False),
            pa.field("objects", pa.list_(thing), nullable=False),
            pa.field("source", pa.string()),
        ]
    )


@cache
def split_schema() -> pyarrow.Schema:
    import pyarrow as pa

    return pa.schema(
        [pa.field(name, pa.string(), nullable=False) for name in ("name", "record", "split")]
    )
