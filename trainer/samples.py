"""`samples.html`: held-out questions with their pictures, what was expected, and what the model said at each look.

One page that needs nothing beside it. Looks at which an answer stayed the same are one line.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from pathlib import Path

LINES = 40
"""Of a record: the first, and the last ones."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One line of `samples.jsonl`."""

    step: int
    """That were learned before."""
    record: str
    question: str
    expected: str
    said: str


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --faint: light-dark(#666, #aaa); --line: light-dark(#e3e3e3, #3a3a3a); --right: light-dark(#1c7a3c, #67c587) }}
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
h1 {{ font-size: 1.25rem; margin-bottom: .2rem }}
header p, .id, td:first-child, dt {{ color: var(--faint) }}
article {{ display: grid; grid-template-columns: 170px 1fr; gap: 0 1.5rem; border-top: 1px solid var(--line); padding: 1.2rem 0 }}
article.text {{ grid-template-columns: 1fr }}
img {{ max-width: 160px; display: block; margin-bottom: .4rem; border-radius: 4px }}
.id {{ font-size: .8rem; overflow-wrap: anywhere }}
.question {{ font-weight: 600; margin: 0 0 .2rem }}
.expected {{ margin: 0 0 .7rem }}
.question, .expected, td {{ white-space: pre-wrap; overflow-wrap: anywhere }}
.expected::before {{ content: "expected  "; color: var(--faint) }}
table {{ border-collapse: collapse; width: 100% }}
td {{ border-top: 1px solid var(--line); padding: .2rem 0; vertical-align: top }}
td:first-child {{ white-space: nowrap; padding-right: 1rem; width: 9rem; font-variant-numeric: tabular-nums }}
.right {{ color: var(--right) }}
.right::after {{ content: " ✓" }}
@media (max-width: 36rem) {{ article {{ grid-template-columns: 1fr }} td:first-child {{ width: 6rem }} }}
</style>
<header><h1>{title}</h1><p>{said}</p></header>
{articles}
</html>
"""


def write_page(
    path: Path,
    asked: Sequence[Asked],
    pictures: Mapping[str, Sequence[str]],
    losses: Mapping[int, float],
    *,
    name: str,
) -> None:
    """Write the page; the file that is there stays whole.

    Args:
        path: Of the page.
        asked: All answers so far.
        pictures: Of each record, as data: URLs.
        losses: Held-out losses, by the steps that were learned before.
        name: Of the run.
    """
    by_record: dict[str, list[Asked]] = {}
    for one in asked:
        by_record.setdefault(one.record, []).append(one)
    step = max(one.step for one in asked)
    right = sum(each[-1].said == each[-1].expected for each in by_record.values())
    said = f"After {step:,} steps: {right} of {len(by_record)} answers word for word"
    if step in losses:
        said += f", held-out loss {losses[step]:.4g}"
    articles = "\n".join(
        _article(each, pictures.get(record, ())) for record, each in by_record.items()
    )
    title = escape(f"Held-out questions to {name}")
    staged = path.with_name(f".{path.name}")
    page = _PAGE.format(title=title, said=escape(said + "."), articles=articles)
    staged.write_text(page, encoding="utf-8", errors="replace")
    staged.replace(path)


def _article(asked: Sequence[Asked], pictures: Sequence[str]) -> str:
    last = asked[-1]
    images = "".join(f'<img src="{escape(one)}" alt="">' for one in pictures)
    lines = [_line(list(same)) for _, same in groupby(asked, key=lambda one: one.said)]
    if len(lines) > LINES:
        lines = [lines[0], "<tr><td>…<td>", *lines[-LINES:]]
    shown = f"<div>{images}</div>" if images else ""
    return (
        f'<article{"" if images else " class=text"}>{shown}<div><div class="id">{escape(last.record)}</div>'
        f'<p class="question" dir="auto">{escape(last.question)}</p><p class="expected" dir="auto">{escape(last.expected)}</p>'
        f"<table>{''.join(lines)}</table></div></article>"
    )


def _line(same: Sequence[Asked]) -> str:
    first, last = same[0], same[-1]
    steps = f"{first.step:,}" if first.step == last.step else f"{first.step:,} – {last.step:,}"
    kind = ' class="right"' if first.said == first.expected else ""
    return f'<tr><td>step {steps}<td{kind} dir="auto">{escape(first.said) or "<i>nothing</i>"}'
