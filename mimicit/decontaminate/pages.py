"""The report as a file: JSON for programs, Markdown for a repository, HTML for reading, with small pictures in it.

All that is shown was written by others, so all of it is escaped. The page asks nothing of any network.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit.decontaminate.reporting import Example, Report, summary, table
from mimicit.errors import FormatError, PictureError

if TYPE_CHECKING:
    from mimicit.store import Store

THUMB = 160
"""Pixels of a small picture's longer side."""
MOST_PICTURES = 400
"""In a page."""


def page_of(done: Report, suffix: str, store: Store) -> bytes:
    """Return a report as the kind of file that a suffix says.

    Raises:
        FormatError: it is none of ours.
    """
    if suffix == ".json":
        import orjson

        return orjson.dumps(asdict(done), option=orjson.OPT_INDENT_2) + b"\n"
    if suffix == ".md":
        return _markdown(done).encode()
    if suffix in (".html", ".htm"):
        return _html(done, _Thumbs(store)).encode()
    raise FormatError(f"a report is .json, .md or .html, not {suffix!r}")


def check_suffix(path: Path) -> None:
    """Find that a report can be written to a file of this name.

    Raises:
        FormatError: it cannot.
    """
    if path.suffix.lower() not in (".json", ".md", ".html", ".htm"):
        raise FormatError(f"a report is .json, .md or .html, not {path.suffix or path.name!r}")


def _markdown(done: Report) -> str:
    rows = table(done)
    lines = [f"# Benchmarks in {_cell(done.dataset)}", "", f"{summary(done)}.", ""]
    lines += ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"] if rows else []
    lines += ["| " + " | ".join(_cell(str(v)) for v in row.values()) + " |" for row in rows]
    if done.examples:
        lines += ["", "## Examples", "", "| how | record | benchmark |", "|---|---|---|"]
    for one in done.examples:
        how = f"{one.how}, {one.known_by}"
        record = f"**{one.record}** {one.instruction} → {one.answer}"
        item = f"**{one.benchmark}, {one.place}** {one.question} {one.options} → {one.expected}"
        lines.append(f"| {_cell(how)} | {_cell(record)} | {_cell(item)} |")
    if done.bad_count:
        lines += ["", f"## {done.bad_count:,} rows could not be used", ""]
        lines += [f"- {_cell(said)}" for said in done.bad]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Write a text into a cell of a Markdown table, where it can make neither tags nor cells."""
    plain = html.escape(" ".join(text.split()), quote=False)
    return plain.replace("\\", "\\\\").replace("|", "\\|").replace("[", "\\[").replace("`", "\\`")


# HTML

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: right; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
article { display: grid; grid-template-columns: 1fr 1fr; gap: 0 1.5rem; border-top: 1px solid var(--line); padding: 1rem 0; break-inside: avoid; }
article > p { grid-column: 1 / -1; margin: 0 0 .5rem; font-weight: 600; }
section { overflow-wrap: anywhere; }
section small { opacity: .75; }
img { float: right; margin: 0 0 .5rem .75rem; max-width: 40%; border-radius: 4px; }
.answer { background: var(--soft); padding: .4rem .6rem; border-radius: 4px; }
@media (max-width: 40rem) { article { grid-template-columns: 1fr; } }
"""


def _html(done: Report, thumbs: _Thumbs) -> str:
    rows = table(done)
    head = "".join(f"<th>{name}</th>" for name in rows[0]) if rows else ""
    body = "".join(
        "<tr>" + "".join(f"<td>{_shown(value)}</td>" for value in row.values()) + "</tr>"
        for row in rows
    )
    bad = "".join(f"<li>{html.escape(said)}</li>" for said in done.bad)
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>Benchmarks in {html.escape(done.dataset)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>Benchmarks in {html.escape(done.dataset)}</h1><p>{html.escape(summary(done))}.</p>",
        f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>",
        "<h2>Examples: record, benchmark</h2>" if done.examples else "",
        *(_example(one, thumbs) for one in done.examples),
        f"<h2>{done.bad_count:,} rows could not be used</h2><ul>{bad}</ul>" if bad else "",
        "</body></html>\n",
    ]
    return "".join(parts)


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else html.escape(str(value))


def _example(one: Example, thumbs: _Thumbs) -> str:
    ours = _side(one.record, one.instruction, "", one.answer, thumbs.of_record(one.image_ids))
    theirs = _side(
        f"{one.benchmark}, {one.place}",
        one.question,
        one.options,
        one.expected,
        thumbs.of_file(one.path),
    )
    said = html.escape(f"{one.how}: {one.known_by}")
    return f"<article><p>{said}</p>{ours}{theirs}</article>"


def _side(name: str, question: str, options: str, answer: str, picture: str) -> str:
    image = f"<img alt='' src='{picture}'>" if picture else ""
    more = f"<br><small>{html.escape(options)}</small>" if options else ""
    told = f"<p class='answer'>{html.escape(answer)}</p>" if answer else ""
    return (
        f"<section>{image}<small>{html.escape(name)}</small>"
        f"<p>{html.escape(question)}{more}</p>{told}</section>"
    )


class _Thumbs:
    """Small pictures as data URIs, up to so many."""

    def __init__(self, store: Store) -> None:
        self._store, self._left = store, MOST_PICTURES

    def of_record(self, ids: list[str]) -> str:
        return self._small(lambda: self._of_store(ids[0])) if ids else ""

    def of_file(self, path: str | None) -> str:
        return self._small(Path(path).read_bytes) if path else ""

    def _of_store(self, id_: str) -> bytes:
        pictures = self._store.images
        [data] = pictures.by_row(pictures.rows([id_]))
        return data

    def _small(self, read: Callable[[], bytes]) -> str:
        from mimicit.media.picture import decode

        if not self._left:
            return ""
        try:
            image = decode(read(), name="a picture", at_least=THUMB)
        except (PictureError, OSError, KeyError):
            return ""
        self._left -= 1
        image.thumbnail((THUMB, THUMB))
        sink = io.BytesIO()
        image.save(sink, "JPEG", quality=75)
        return "data:image/jpeg;base64," + base64.b64encode(sink.getvalue()).decode()
