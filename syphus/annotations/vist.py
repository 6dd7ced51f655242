"""VIST, visual storytelling (Huang et al. 2016; visionandlanguage.net/VIST): stories of five sentences, one per photo of an album.

The published `*.story-in-sequence.json` has `albums`, `images` (photos) and `annotations`, each a list with one sentence in it:

    [{"story_id": "30", "album_id": "7", "photo_flickr_id": "99", "worker_arranged_photo_order": 0, "text": "we went …"}]

A context is a story or, on request, an album with all its stories. Photos are known by their id. Also two simpler forms that are about: an object of
ids and tokenised stories (`{"45530": "it was late . we left ."}`), and `{"stories": [{"story": …, "sis": [[photo, sentence], …]}]}`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from syphus.annotations import files
from syphus.annotations.base import Options, Reading
from syphus.annotations.context import Context, Picture, Problem
from syphus.annotations.groups import Grouped, Row
from syphus.annotations.values import (
    file_name,
    identifier,
    mapping,
    number,
    optional,
    sequence,
    sift,
    text,
)

TITLE = "VIST stories"

_LISTS = ("albums", "images", "annotations")
_Sentence: TypeAlias = tuple[str, float, str, str]
"""Story, place in it, photo, text."""


def sniff(path: Path) -> bool:
    """Say whether the lists are VIST's, or the values are stories."""
    value = files.beginning(path)
    return is_published(value) or _is_keyed(value) or _is_texts(value)


def is_published(value: Any) -> bool:
    """Tell VIST from COCO, whose lists have the same names."""
    if not isinstance(value, dict):
        return False
    photo, sentence = (files.first_item(value.get(name)) for name in ("images", "annotations"))
    if "albums" in value and (photo is not None or sentence is not None or len(value) == 1):
        return True
    return (isinstance(photo, dict) and "album_id" in photo) or isinstance(sentence, list)


def _is_keyed(value: Any) -> bool:
    first = files.first_item(value.get("stories")) if isinstance(value, dict) else None
    return isinstance(first, dict) and ("sis" in first or "sis_text" in first)


def _is_texts(value: Any) -> bool:
    first = files.first_item(value) if isinstance(value, dict) else None
    return isinstance(first, str) and " . " in first


def read(paths: Sequence[Path], options: Options) -> Reading:
    is_by_album = options.by == "album"
    reading = _Stories(paths, _rows, _parse, _albums if is_by_album else _stories)
    reading.per_group = 1 if is_by_album else None
    return reading


class _Stories(Grouped):
    """Groups are albums; there are several stories to each."""

    per_group: int | None = 1

    def __len__(self) -> int:
        albums = super().__len__()
        if self.per_group:
            return albums
        [(stories,)] = self._scratch.connection.execute(
            "SELECT count(DISTINCT json_extract(data, '$[1]')) FROM (SELECT CAST(data AS TEXT) AS data FROM rows) "
            "WHERE json_extract(data, '$[0]') IN ('sentence', 'whole')"
        ).fetchall()
        return int(stories)


def _rows(path: Path) -> Iterable[tuple[str, Any] | Problem]:
    value = files.beginning(path)
    if is_published(value):
        return _numbered(path)
    if _is_keyed(value):
        return ((where, ("stories", item)) for where, item in files.items(path, "stories.item"))
    return ((where, ("texts", pair)) for where, pair in files.pairs(path))


def _numbered(path: Path) -> Iterator[tuple[str, Any]]:
    numbers = dict.fromkeys(_LISTS, -1)
    for section, item in files.sections(path, _LISTS):
        numbers[section] += 1
        yield f"{files.shown(path)}#{numbers[section]}", (section, item)


def _parse(row: tuple[str, Any]) -> Iterator[tuple[str, Any] | str]:
    """Keep of each row its kind and what is needed; the key is the album's."""
    section, item = row
    yield from _PARSERS[section](item)


def _album(item: Any) -> Iterator[tuple[str, Any]]:
    facts = {name: optional(mapping(item).get(name)) for name in ("title", "description")}
    yield identifier(item["id"]), ("album", facts)


def _photo(item: Any) -> Iterator[tuple[str, Any]]:
    facts = {name: optional(mapping(item).get(name)) for name in ("title", "tags")}
    yield identifier(item["album_id"]), ("photo", identifier(item["id"]), facts)


def _sentence(item: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(item, list) and len(item) == 1:
        [item] = item
    told = mapping(item)
    order = next(
        (told[k] for k in ("worker_arranged_photo_order", "photo_order_in_story") if k in told), 0
    )
    data = (identifier(told["story_id"]), number(order), identifier(told["photo_flickr_id"]))
    yield identifier(told["album_id"]), ("sentence", *data, text(told["text"]))


def _text(pair: Any) -> Iterator[tuple[str, Any]]:
    id_, story = pair
    yield f"story {id_}", ("whole", text(id_), [], split(text(story)))


def _keyed(item: Any) -> Iterator[tuple[str, Any] | str]:
    id_ = identifier(mapping(item)["story"])
    if "sis" in item:
        told, unread = sift(sequence(item["sis"]), _photo_and_text, "sentence")
        yield from unread
        photos, sentences = [photo for photo, _ in told], [said for _, said in told]
    else:
        photos = [file_name(name) for name in sequence(item.get("images") or [])]
        sentences = split(text(item["sis_text"]))
    if not sentences:
        raise ValueError("it has no sentences")
    yield f"story {id_}", ("whole", id_, photos, sentences)


def _photo_and_text(pair: Any) -> tuple[str, str]:
    photo, said = sequence(pair)
    return identifier(photo), text(said)


_PARSERS: dict[str, Callable[[Any], Iterator[tuple[str, Any] | str]]] = {
    "albums": _album, "images": _photo, "annotations": _sentence, "texts": _text, "stories": _keyed,
}  # fmt: skip


def split(story: str) -> list[str]:
    """Split a tokenised story into its sentences."""
    parts = (part.strip().removesuffix(" .") for part in story.split(" . "))
    return [part for part in parts if part.strip(" .")]


def _whole(rows: Sequence[Row]) -> Iterator[Context]:
    for where, (_, id_, photos, sentences) in rows:
        if len(photos) == len(sentences):
            pairs = zip(photos, sentences, strict=True)
            yield Context(id_, tuple(Picture(p, (said,)) for p, said in pairs), source=where)
        else:
            yield Context(id_, tuple(map(Picture, photos)), tuple(sentences), source=where)


def _stories(album: str, rows: Sequence[Row]) -> Iterator[Context | Problem]:
    if rows[0].data[0] == "whole":
        yield from _whole(rows)
        return
    facts, photos, stories = _gather(rows)
    for id_, told in stories.items():
        pictures = tuple(
            Picture(photo, (said,), facts=photos.get(photo, {}))
            for _, (_, _, photo, said) in _told(told)
        )
        yield Context(id_, pictures, facts=facts, source=told[0][0])
    if not stories:
        yield Problem(rows[0].where, f"the album {album!r} has no stories")


def _albums(album: str, rows: Sequence[Row]) -> Iterator[Context | Problem]:
    if rows[0].data[0] == "whole":
        yield from _whole(rows)
        return
    facts, photos, stories = _gather(rows)
    texts = [[said for _, (*_, said) in _told(told)] for told in stories.values()]
    about: dict[str, list[str]] = {photo: [] for photo in photos}
    for told in stories.values():
        for _, (_, _, photo, said) in _told(told):
            about.setdefault(photo, []).append(said)
    pictures = tuple(
        Picture(photo, tuple(said), facts=photos.get(photo, {}))
        for photo, said in about.items()
        if said
    )
    if not stories:
        yield Problem(rows[0].where, f"the album {album!r} has no stories")
    else:
        yield Context(album, pictures, facts={**facts, "stories": texts}, source=rows[0].where)


def _gather(
    rows: Sequence[Row],
) -> tuple[dict[str, str], dict[str, dict[str, str]], dict[str, list[tuple[str, _Sentence]]]]:
    """Part an album's rows into what it is, its photos, and its stories."""
    facts: dict[str, str] = {}
    photos: dict[str, dict[str, str]] = {}
    stories: dict[str, list[tuple[str, _Sentence]]] = {}
    for where, (kind, *data) in rows:
        if kind == "album":
            facts = data[0]
        elif kind == "photo":
            photos[data[0]] = data[1]
        else:
            stories.setdefault(data[0], []).append((where, tuple(data)))
    return facts, photos, stories


def _told(story: list[tuple[str, _Sentence]]) -> list[tuple[str, _Sentence]]:
    return sorted(story, key=lambda sentence: sentence[1][1])
