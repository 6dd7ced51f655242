"""ShareGPT as LLaMA-Factory reads it: a JSON array of conversations with lists of pictures.

    [{"conversations": [{"from": "human", "value": "<image>Who is he?"}, {"from": "gpt", "value": "Thomas Müller."}],
      "images": ["images/2.jpg"], "system": "You know football."}, …]

or with `messages` of `role` and `content`. A `dataset_info.json` beside the file says how its columns and roles are called, as it says it to
LLaMA-Factory. Roles of tools (`observation`, `function_call`) stand for questions and answers, and keep their names. Preferences end with a
question, and have `chosen` and `rejected`. Videos and sounds are named, and stay where they are.

An export writes its files into the `dataset_info.json` of its folder: `train`, and `train_preference` where there are rejected answers, which
LLaMA-Factory wants in files of their own. Copy the folder into LLaMA-Factory's `data`, or give it as `dataset_dir`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mimicit.errors import FormatError
from mimicit.formats.base import BadRow, ReadOptions, WriteOptions, Written
from mimicit.formats.chat_links import linked
from mimicit.formats.chat_writing import columns, plain_columns, quoted, write_rows
from mimicit.formats.chats import BrokenChat, Chat, Reader, as_list, message, named, others
from mimicit.formats.exporting import Conversation, Export
from mimicit.formats.files import staged
from mimicit.formats.llava import (
    check_count,
    from_and_value,
    from_and_value_sql,
    rejected_answers,
    rejected_column,
    says,
)
from mimicit.formats.openai import speaks
from mimicit.formats.rows import first_rows, is_array
from mimicit.schema import ImageRecord, Instruction
from mimicit.store import Store

NAME = "sharegpt"
TITLE = "ShareGPT as LLaMA-Factory reads it: conversations, images; with dataset_info.json."

INFO = "dataset_info.json"
_MAX_INFO = 4 << 20
_SOURCES = ("file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
_OURS = frozenset({"images", "videos", "audios", "tools", "system", "chosen"})
_OTHERS = frozenset({
    "image", "video", "system_prompt", "image_id", "output_1", "preference",
    "rejected_response", "rejected_messages", "objects", "channel", "prompt", "completion",
})  # fmt: skip
"""Columns by which conversations are LLaVA's, messages ms-swift's or TRL's."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What a `dataset_info.json` says of one file."""

    columns: dict[str, str] = field(default_factory=dict)
    """What LLaMA-Factory calls a column -> what the file calls it."""
    tags: dict[str, str] = field(default_factory=dict)

    def column(self, name: str) -> str:
        return self.columns.get(name, name)

    @property
    def roles(self) -> dict[str, str]:
        """What the file calls a role -> what LLaMA-Factory does."""
        tags = ("user", "assistant", "observation", "function", "system")
        return {self.tags[f"{tag}_tag"]: _TAGS[tag] for tag in tags if f"{tag}_tag" in self.tags}


_TAGS = {"user": "user", "assistant": "assistant", "observation": "observation",
         "function": "function_call", "system": "system"}  # fmt: skip


# Reading


def detect(path: Path) -> bool:
    """Recognise by content, or by the `dataset_info.json` beside it, which is of this format too."""
    if path.name == INFO:
        return any(
            isinstance(one, dict) and one.keys() & set(_SOURCES) for one in _info(path).values()
        )
    told = first_rows(path)
    if not told or any(row.keys() & _OTHERS for row in told):
        return False
    if _entry(path) is not None:
        return True
    if any(says(row.get("conversations")) for row in told):
        return any(row.keys() & _OURS for row in told) or "id" not in told[0]
    if any(speaks(row.get("conversations")) for row in told):
        return True
    return is_array(path) and _has_plain_messages(told)


def _has_plain_messages(told: list[dict[str, Any]]) -> bool:
    spoken = [row["messages"] for row in told if speaks(row.get("messages"))]
    return bool(spoken) and all(
        isinstance(one, dict) and isinstance(one.get("content"), str)
        for said in spoken
        for one in said
    )


def read(path: Path, options: ReadOptions) -> Iterator[Instruction | ImageRecord | BadRow]:
    """Read a file as a stream; a `dataset_info.json` has no records itself.

    Raises:
        FormatError: it is broken from some place on; what came before it was read.
    """
    if path.name == INFO:
        return iter(())
    layout = _entry(path) or Layout()
    return linked(Reader(NAME, path, options).read(lambda row: _chat(row, layout)))


def _chat(row: dict[str, Any], layout: Layout) -> Chat:
    column = layout.columns.get("messages") or (
        "conversations" if "conversations" in row else "messages"
    )
    names = {
        name: layout.column(name) for name in ("images", "videos", "audios", "system", "tools")
    }
    chosen, rejected = layout.column("chosen"), layout.column("rejected")
    said = row.get(column)
    if not isinstance(said, list) or not all(isinstance(one, dict) for one in said):
        raise BrokenChat(f"`{column}` is no list of messages")
    said = [*said, *([_as_message(row[chosen])] if row.get(chosen) else ())]
    role, content = _keys(said, layout)
    chat = Chat(
        messages=[
            message(
                layout.roles.get(one.get(role), one.get(role)),
                one.get(content),
                others(one, role, content),
            )
            for one in said
        ],
        pictures=as_list(row.get(names["images"])),
        rejected=_rejected(row.get(rejected), content),
        meta=others(row, column, chosen, rejected, *names.values()),
    )
    for name in ("videos", "audios"):
        if things := as_list(row.get(names[name])):
            check_count(said, content, f"<{name[:-1]}>", things)
            chat.meta[name] = things
    for name in ("system", "tools"):
        if row.get(names[name]):
            chat.meta[name] = row[names[name]]
    return named(row, chat)


def _keys(said: list[dict[str, Any]], layout: Layout) -> tuple[str, str]:
    """Return what messages call their role and their text."""
    speaking = bool(said) and "role" in said[0] and "from" not in said[0]
    usual = ("role", "content") if speaking else ("from", "value")
    return layout.tags.get("role_tag", usual[0]), layout.tags.get("content_tag", usual[1])


def _as_message(said: Any) -> dict[str, Any]:
    if isinstance(said, str):
        return {"from": "gpt", "value": said, "role": "assistant", "content": said}
    if not isinstance(said, dict):
        raise BrokenChat("`chosen` is no message")
    return said


def _rejected(said: Any, content: str) -> dict[int, str]:
    if isinstance(said, dict):
        said = said.get(content)
        if not isinstance(said, str):
            raise BrokenChat("`rejected` has no text")
    return rejected_answers(said)


def _entry(path: Path) -> Layout | None:
    """Return what the `dataset_info.json` beside a file says of it."""
    for one in _info(path.with_name(INFO)).values():
        if (
            isinstance(one, dict)
            and one.get("file_name") == path.name
            and one.get("formatting") == "sharegpt"
        ):
            return Layout(_texts(one.get("columns")), _texts(one.get("tags")))
    return None


def _texts(said: Any) -> dict[str, str]:
    if not isinstance(said, dict):
        return {}
    return {key: value for key, value in said.items() if isinstance(value, str)}


def _info(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_INFO:
            return {}
        said = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


# Writing


def write(store: Store, folder: Path, options: WriteOptions) -> Sequence[Written]:
    """Write the accepted records that satisfy an SQL predicate, one file a split, and one for its preferences.

    Raises:
        QueryError: the predicate is not valid SQL over the view `accepted`.
        DatasetError: a record names a picture that the dataset does not have.
        FormatError: the folder has a `dataset_info.json` that is no JSON object.
    """
    info = folder / INFO
    before = _info(info)
    if info.exists() and not before and info.read_text(encoding="utf-8").strip() != "{}":
        raise FormatError(f"{str(info)!r} is no JSON object; mend it, or name another folder")
    filled: dict[Path, set[str]] = {}
    written = write_rows(store, folder, options, _row, suffix=".json", plain=_PLAIN, filled=filled)
    files = [one.path for one in written if one.path.suffix == ".json"]
    with staged(info) as file:
        entries = before | {path.stem: _described(path, filled.get(path, set())) for path in files}
        file.write(json.dumps(entries, ensure_ascii=False, indent=2).encode() + b"\n")
    return [*written, Written(info, len(files))]


_PLAIN = f"""
    '{{"id":', {quoted("id")}, ',"conversations":', {from_and_value_sql("<image>")},
    ',"images":[', '"' || shown || '"', ']', {plain_columns(NAME)}, '}}'"""
"""`_row` of a plain record, in SQL."""


def _row(export: Export, conversation: Conversation) -> tuple[str, dict[str, Any]]:
    said = from_and_value(conversation, glue="")
    row: dict[str, Any] = {"id": conversation.id, "conversations": said}
    row["images"] = [picture.name for picture in conversation.pictures]
    beside = columns(conversation, NAME, "id", "conversations", "images", "chosen", "rejected")
    rejected = rejected_column(conversation)
    if not isinstance(rejected.get("rejected"), str):
        return "", row | rejected | beside
    row["conversations"] = said[:-1]
    other = {"from": "gpt", "value": rejected["rejected"]}
    return "_preference", row | {"chosen": said[-1], "rejected": other} | beside


def _described(path: Path, filled: set[str]) -> dict[str, Any]:
    """Say of a file what LLaMA-Factory must know; it asks every row for each column that is named."""
    ranking = path.stem.endswith("_preference")
    named = ("images", "videos", "audios", "system", "tools")
    names = [
        name for name in (*named, *(("chosen", "rejected") if ranking else ())) if name in filled
    ]
    return {
        "file_name": path.name,
        "formatting": "sharegpt",
        **({"ranking": True} if ranking else {}),
        "columns": {"messages": "conversations", **{name: name for name in names}},
        "tags": {
            "role_tag": "from",
            "content_tag": "value",
            "user_tag": "human",
            "assistant_tag": "gpt",
        },
    }
