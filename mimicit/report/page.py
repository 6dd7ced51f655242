"""The page: facts, figures and samples as one HTML file.

It has no script, asks for nothing, and says so in a policy that a browser holds it to. Everything that is put into it is escaped
by Jinja, but for what is made here: the style sheet, and figures, which `mimicit.report.svg` writes. The switch between light and
dark is a row of buttons that the style sheet reads.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mimicit.report import plots
from mimicit.report.facts import MOST_PICTURES, OTHERS, Facts, Row
from mimicit.report.sheet import answers, counted

if TYPE_CHECKING:
    from mimicit.report.asking import Asked
    from mimicit.report.making import Making
    from mimicit.report.samples import Sample

HERE = Path(__file__).parent
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass
class Sheet:
    """All that the page shows."""

    title: str
    time: datetime
    seed: int
    facts: Facts
    funnels: list[Row]
    verdicts: list[Row]
    scores: list[Row]
    duplicates: list[Row]
    making: Making
    asked: Asked | None
    samples: list[Sample]


def render(sheet: Sheet) -> str:
    import jinja2
    from markupsafe import Markup

    css = (HERE / "page.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    environment.tests["language"] = is_language
    return environment.get_template("page.html.j2").render(
        sheet=sheet,
        facts=sheet.facts,
        totals=sheet.facts.totals,
        making=sheet.making,
        css=Markup(css),
        policy=policy(css),
        figures={name: Markup(svg) for name, svg in figures(sheet).items()},
        answers=answers(sheet),
        letters=max(300, min(1_500, 75_000 // max(1, len(sheet.samples)))),
        quantiles=plots.quantiles,
        others=OTHERS,
        verbs=sheet.asked.verbs() if sheet.asked else [],
    )


def policy(css: str) -> str:
    """Allow this style sheet and pictures inside the page, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )


def figures(sheet: Sheet) -> dict[str, str]:
    """Draw what there is something to draw of."""
    facts, found = sheet.facts, {}
    tasks = [row["task"] for row in facts.tasks]
    if tasks:
        for name, said, what in (
            ("asked", facts.question_lengths, "questions"),
            ("answered", facts.answer_lengths, "answers"),
        ):
            found[name] = plots.lengths(said, name, what)
            if len(tasks) > 1:
                found[f"{name}_by_task"] = plots.lengths_by_task(said, tasks, f"{name}t", what)
        named = [(_many(row["pictures"]), row["records"]) for row in facts.per_record]
        found["per_record"] = plots.columns(
            named, "per", "Pictures of a record", "pictures of a record"
        )
    if facts.sizes:
        found["sizes"] = plots.sizes(facts.sizes, "sizes", "Pictures by their longer side")
        found["shapes"] = plots.shapes(facts.shapes, "shapes", "Pictures by width to height")
    for n, one in enumerate(sheet.scores):
        title = f"Scores by {one['filter']}"
        found[f"score{n}"] = plots.scores(one, f"score{n}", title)
    if sheet.making.days:
        found["tokens"] = plots.days(
            sheet.making.days, "tokens", "tokens", "Tokens by day", "tokens"
        )
        if sheet.making.totals["cost_usd"]:
            found["usd"] = plots.days(sheet.making.days, "cost_usd", "usd", "USD by day", "USD")
    if sheet.asked and sheet.asked.pairs:
        found["asks"] = plots.sunburst(sheet.asked.verbs(), "asks")
    return found


def _many(pictures: int) -> str:
    return f"{pictures}+" if pictures >= MOST_PICTURES else str(pictures)


# What values look like


def printable(value: Any) -> Any:
    """Return a value without the control characters that no text has and HTML forbids."""
    if value is None:
        return "–"
    return _CONTROL.sub("\ufffd", value) if type(value) is str else value


def is_language(value: object) -> bool:
    return isinstance(value, str) and _LANGUAGE.fullmatch(value) is not None


def number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.1f}" if isinstance(value, float) else f"{value:,}"


def share(part: float, whole: float) -> str:
    """Write a part in percent, and never say 0 of something or 100 of not all."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %" if percent % 1 else f"{percent:.0f} %"


def size(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}" if value < 100 else f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def usd(value: float | None) -> str:
    if value is None:
        return "–"
    return f"${value:,.2f}" if value >= 0.1 or not value else f"${value:.2g}"


def score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def cut(text: str | None, letters: int) -> str:
    if text is None or len(text) <= letters:
        return text or ""
    more = f"… ({len(text) - letters:,} more characters)"
    # An isolate, so that it can be read after a text from right to left, too.
    return f"{text[:letters].rstrip()} \u2066{more}\u2069"


def percent(part: float, whole: float) -> str:
    """Return the length of a bar of 100."""
    return f"{100 * part / whole:.2f}" if whole else "0"


def moment(value: str | date | None) -> str:
    """Return a time to the minute."""
    return "–" if value is None else str(value)[:16]


FILTERS: dict[str, Callable[..., str]] = {
    "number": number,
    "share": share,
    "size": size,
    "usd": usd,
    "score": score,
    "counted": counted,
    "cut": cut,
    "percent": percent,
    "moment": moment,
}
