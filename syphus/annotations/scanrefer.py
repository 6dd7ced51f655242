"""Sentences about the objects of ScanNet rooms: ScanRefer (Chen et al. 2020) and Nr3D (Achlioptas et al. 2020).

    [{"scene_id": "scene0000_00", "object_id": "4", "object_name": "trash_can", "description": "…"}]     ScanRefer
    scan_id,instance_type,utterance,target_id,…                                                           nr3d.csv
    {"scene0000_00": [["plant", "…"], …]}                                                                 both, as SQA3D gathers them

A context is a room. `facts.objects` counts the objects that are described, by name; the third form does not tell objects of
one name apart, so there it counts sentences.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from syphus.annotations import files
from syphus.annotations.base import Options, Reading
from syphus.annotations.context import Context, Problem
from syphus.annotations.groups import Grouped, Row
from syphus.annotations.values import file_name, identifier, mapping, sequence, sift, text

TITLE = "ScanRefer/Nr3D descriptions"

_SCENE = ("scene_id", "scan_id", "scene")
_LABEL = ("object_name", "instance_type")
_SENTENCE = ("description", "utterance")
_OBJECT = ("object_id", "target_id")


def sniff(path: Path) -> bool:
    """Say whether the rows tell a scene, an object and a sentence."""
    value = files.beginning(path)
    first = files.first_item(value)
    if isinstance(value, list):
        return isinstance(first, dict) and _is_row(first)
    if isinstance(value, dict):
        return _is_room(first)
    return _is_table(path)


def _is_row(names: Iterable[str]) -> bool:
    return all(set(names) & set(kinds) for kinds in (_SCENE, _LABEL, _SENTENCE))


def _is_table(path: Path) -> bool:
    return _is_row(files.header(path))


def _is_room(value: Any) -> bool:
    if isinstance(value, dict):
        value = value.get("description")
    pair = files.first_item(value) if isinstance(value, list) else None
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, str) for one in pair)


def read(paths: Sequence[Path], options: Options) -> Reading:
    return Grouped(paths, _rows, _parse, _contexts)


def _rows(path: Path) -> Iterable[tuple[str, Any] | Problem]:
    if _is_table(path):
        return files.table(path)
    return files.items(path) if isinstance(files.beginning(path), list) else files.pairs(path)


def _parse(row: Any) -> Iterator[tuple[str, Any] | str]:
    """Keep label, sentence and, where it is known, which object it is."""
    if not isinstance(row, tuple):
        named = {name: _get(mapping(row), kinds) for name, kinds in _KINDS.items()}
        which = _get(row, _OBJECT, needed=False)
        data = (
            _label(named["label"]),
            text(named["sentence"]),
            None if which is None else str(which),
        )
        yield identifier(named["scene"]), data
        return
    scene, room = row
    said = mapping(room)["description"] if isinstance(room, dict) else room
    described, unread = sift(sequence(said), _pair, f"{scene}, sentence")
    yield from unread
    for one in described:
        yield file_name(scene), one
    if not described and not unread:
        yield f"{scene!r} has no sentences"


_KINDS = {"scene": _SCENE, "label": _LABEL, "sentence": _SENTENCE}


def _get(row: Mapping[str, Any], names: Sequence[str], *, needed: bool = True) -> Any:
    for name in names:
        if name in row:
            return row[name]
    if needed:
        raise ValueError(f"it has no {names[0]}")
    return None


def _pair(pair: Any) -> tuple[str, str, None]:
    label, sentence = sequence(pair)
    return _label(label), text(sentence), None


def _label(name: Any) -> str:
    return text(name).replace("_", " ")


def _contexts(scene: str, rows: Sequence[Row]) -> Iterator[Context]:
    captions = tuple(dict.fromkeys(sentence for _, (_, sentence, _) in rows))
    described: dict[str, set[str]] = {}
    for number, (_, (label, _, which)) in enumerate(rows):
        described.setdefault(label, set()).add(f"object {which}" if which else f"row {number}")
    facts = {"objects": {label: len(those) for label, those in described.items()}}
    yield Context(scene, captions=captions, facts=facts, video=scene, source=rows[0].where)
