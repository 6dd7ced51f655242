"""Lines of JSON: our own rows, see `syphus.annotations.notes`, or anybody's with `--column`. A line is a context.

{"id": "cat", "image": "cat.png", "captions": ["A cat asleep."], "objects": [{"name": "cat", "box": [0.1, 0.2, 0.9, 0.8]}]}
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from syphus.annotations import files, generic, llava, tvr
from syphus.annotations.base import FIELDS, Options, Reading
from syphus.annotations.groups import Streamed

TITLE = "lines of JSON"


def sniff(path: Path) -> bool:
    """Say whether a line is an object, of the file's suffix or our fields, and of no published format."""
    row = files.first_object(path)
    if row is None:
        return False
    is_ours = row.keys() <= {*FIELDS, "facts"} and any(name in row for name in generic.NAMING)
    is_named = files.suffix(path) in (".jsonl", ".ndjson")
    return (is_ours or is_named) and not (llava.sniff(path) or tvr.sniff(path))


def read(paths: Sequence[Path], options: Options) -> Reading:
    return Streamed(
        paths,
        files.json_lines,
        lambda where, row: generic.contexts(where, row, options),
        lambda: files.count_lines(paths),
    )
