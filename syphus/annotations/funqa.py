"""FunQA (Xie et al. 2023; github.com/Nicous20/FunQA): questions about funny (H), creative (C) and magic (M) videos.

    [{"instruction": "Why is …?", "visual_input": "H_A_1.mp4", "output": "…", "task": "H3", "ID": "…"}]

The task's number is what is asked: 1 when it happens, 2 to describe it, 3 why it is so, 4 a title, 5 a score. Rows without `task` are
known by their id or the question's wording. A context is a video as one of the letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from syphus.annotations import files
from syphus.annotations.base import Options, Reading
from syphus.annotations.context import Context
from syphus.annotations.groups import Grouped, Row
from syphus.annotations.values import file_name, identifier, optional, stem, text

TITLE = "FunQA"

FACTS = {2: "description", 3: "reason", 4: "title"}

_TASK = re.compile(r"(?:^|[_\W])([HCM])_?([1-5])(?=$|[_\W])")
_LETTER = re.compile(r"([HCM])_")
_LETTERS = {
    "H": r"funny|humou?r|comed|comic|laugh|amus|hilari",
    "C": r"creativ|imaginat",
    "M": r"magic|illusion|trick",
}
# What a question asks for, the first that fits.
_WORDINGS = (
    (5, r"\bscor|\brat(e|ing)\b|\b0\s*(-|–|to)\s*20\b"),
    (4, r"\b(title|caption|headline)|\bdescription (for|of) the (whole |entire )?video\b"),
    (3, r"\bwhy\b|what makes|\bfactors?\b|\breasons?\b|\bcause|\belements?\b|\bhow does\b"),
    (2, r"\bdescri|\baccount\b|\bnarrat|\bdepict|\bdetail|\bwhat happens\b"),
    (1, r"\blocat|\bfind\b|\bwhen\b|\btime|\bpinpoint|\bidentify\b|\bwhich (second|frame|part)|\bmoment"),
)  # fmt: skip


def sniff(path: Path) -> bool:
    """Say whether the first item of a list has `instruction`, `visual_input` and `output`."""
    value = files.beginning(path)
    row = files.first_item(value) if isinstance(value, list) else None
    return isinstance(row, dict) and {"instruction", "visual_input", "output"} <= row.keys()


def read(paths: Sequence[Path], options: Options) -> Reading:
    return Grouped(paths, files.items, _parse, _contexts)


def _parse(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    video, question = file_name(row["visual_input"]), text(row["instruction"])
    letter, asked = task(optional(row.get("task")), str(row.get("ID", "")), video, question)
    answer = row["output"] if isinstance(row["output"], str) else _written(row["output"])
    yield f"{letter} {video}", (asked, question, text(answer))


def _written(value: Any) -> str:
    """Write a score, or a list of two times, as the text that it is elsewhere."""
    if isinstance(value, list):
        return f"[{', '.join(identifier(part) for part in value)}]"
    return identifier(int(value) if isinstance(value, float) and value.is_integer() else value)


def task(named: str, id_: str, video: str, question: str) -> tuple[str, int]:
    """Return a task's letter and number.

    Raises:
        ValueError: neither it, nor the id, the video's name and the wording tell.
    """
    for name in (named, id_):
        if match := _TASK.search(name):
            return match[1], int(match[2])
    by_name = _LETTER.match(stem(video))
    letter = by_name[1] if by_name else _first(_LETTERS.items(), question)
    number = _first(_WORDINGS, question)
    if letter is None or number is None:
        raise ValueError(f"it is not clear what {question!r} asks")
    return letter, number


def _first(choices: Any, question: str) -> Any:
    return next((choice for choice, wording in choices if re.search(wording, question, re.I)), None)


def _contexts(key: str, rows: Sequence[Row]) -> Iterator[Context]:
    letter, _, video = key.partition(" ")
    facts: dict[str, Any] = {}
    for _, (asked, _, answer) in rows:
        if asked in FACTS:
            facts.setdefault(FACTS[asked], answer)
    facts["answers"] = [
        {"question": question, "answer": answer, "task": f"{letter}{asked}"}
        for asked, question, answer in (row.data for row in rows)
    ]
    yield Context(f"{stem(video)}_{letter}", facts=facts, video=video, source=rows[0].where)
