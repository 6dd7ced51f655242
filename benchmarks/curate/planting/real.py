"""How many texts that people wrote each filter of text drops: whatever a folder holds of captions, descriptions and stories, read and not copied."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILTERS = (
    "empty", "too_short", "too_long", "coordinates", "echo", "refusal", "boilerplate", "annotation_talk", "question_echo", "repetition", "unfinished",
    "no_valid_option", "encoding_damage", "mixed_script", "wrong_language", "toxic", "toxic_by_model", "personal_data",
)  # fmt: skip
WORDS = 5
"""A string of fewer is a name or a label."""
SKIPPED = ("prediction", "ancestor", "generative")
"""Parts of names of files that models wrote."""
MOST = 1 << 26
"""Bytes of a file."""
QUESTION = "What is to be seen here?"


def dropped_of_real(folder: Path, show: int = 0) -> list[dict[str, object]]:
    """Return a row for each filter, and how many texts there were."""
    import tempfile

    from mimicit.curate import curate
    from mimicit.curate.recipe import load_recipe
    from mimicit.schema import Instruction
    from mimicit.store import Store

    texts = sorted({text for path in sorted(folder.rglob("*")) for text in _texts_of(path)})
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(prefix="real-") as place:
        store = Store.open(Path(place) / "ds", create=True)
        with store.writing("benchmark"):
            store.add(
                [
                    Instruction(id=f"R_INS_{n:06d}", task="real", instruction=QUESTION, answer=text)
                    for n, text in enumerate(texts)
                ]
            )
            store.sync()
        for name in FILTERS:
            recipe = Path(place) / f"{name}.toml"
            recipe.write_text(f'name = "{name}"\n[[filter]]\nuse = "{name}"\n')
            curate(store, load_recipe(str(recipe)))
            with store.reading() as connection:
                found = connection.execute(
                    "SELECT record, reason FROM verdicts WHERE recipe = ? ORDER BY record", [name]
                ).fetchall()
            for record, reason in random.Random(1).sample(found, min(show, len(found))):
                print(f"  {name} real: {reason}\n    {texts[int(record[-6:])][:300]!r}")
            share = round(len(found) / max(1, len(texts)), 5)
            rows.append(
                {
                    "filter": name,
                    "on": "texts of people",
                    "records": len(texts),
                    "found": len(found),
                    "share_dropped": share,
                }
            )
    return rows


def _texts_of(path: Path) -> Iterator[str]:
    """Yield what people wrote in a file: strings of some words, in JSON, lines of JSON, or columns."""
    if (
        not path.is_file()
        or path.stat().st_size > MOST
        or any(part in str(path) for part in SKIPPED)
    ):
        return
    try:
        if path.suffix in (".json", ".jsonl"):
            text = path.read_text(encoding="utf-8")
            values = (
                [json.loads(text)]
                if path.suffix == ".json"
                else [json.loads(line) for line in text.splitlines() if line.strip()]
            )
            yield from (one for one in _strings(values) if _is_text(one))
        elif path.suffix in (".txt", ".tsv", ".csv"):
            for line in path.read_text(encoding="utf-8").splitlines():
                longest = max(
                    line.replace("\t", ",").split(",")
                    if path.suffix == ".csv"
                    else line.split("\t"),
                    key=len,
                )
                if _is_text(longest):
                    yield longest.strip()
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError):
        return


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)


def _is_text(text: str) -> bool:
    return (
        len(text.split()) >= WORDS
        and "://" not in text
        and not text.lstrip().startswith(("{", "["))
    )
