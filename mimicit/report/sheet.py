"""What a reader asks of a dataset, answered from what is counted; where nothing is known, the answer says so."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mimicit.report.facts import NONE, OTHERS, Row

if TYPE_CHECKING:
    from mimicit.report.page import Sheet

_NAMED = 6
"""Names in a sentence."""
_LETTERS = 60
"""Of a name in a sentence."""
_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What changes the direction of a text."""
_NOTHING = "There are no records yet."


def answers(sheet: Sheet) -> list[tuple[str, str]]:
    """Return questions and answers."""
    return [
        ("What is in it?", _contents(sheet)),
        ("Where do texts and pictures come from?", _sources(sheet)),
        ("Which models wrote it, and how were they asked?", _models(sheet)),
        ("How was it filtered?", _filters(sheet)),
        ("How good is it said to be?", _quality(sheet)),
        ("Does it repeat itself?", _repeats(sheet)),
        ("Which parts are for training, and which for testing?", _splits(sheet)),
        ("Under which licence is it?", _licences(sheet)),
        ("What did it cost?", _costs(sheet)),
        ("What is missing or damaged?", _damage(sheet)),
        ("What can this page not say?", _UNKNOWN),
    ]


_UNKNOWN = (
    "It counts what the dataset holds. Whether the people on the pictures agreed, whom the answers are unfair to, and what "
    "filters and judges overlooked cannot be counted: look at the samples below, and at the sources."
)


def _contents(sheet: Sheet) -> str:
    t = sheet.facts.totals
    if not t["records"]:
        return _NOTHING
    turns = t["conversations"] < t["records"]
    talks = f" in {counted(t['conversations'], 'conversation')}" if turns else ""
    said = [
        f"{counted(t['records'], 'question')} with answers{talks}, about "
        f"{counted(t['pictures'], 'picture')}; accepted: {t['accepted']:,}."
    ]
    if t["pictures"] > t["different"]:
        said.append(f"The pictures are {counted(t['different'], 'different file')}.")
    if t["frames"]:
        said.append(f"Frames of videos among them: {t['frames']:,}.")
    said.append(f"Tasks: {_names(sheet.facts.tasks, 'task', t['tasks'])}.")
    said.append(f"Languages: {_names(sheet.facts.languages, 'language', t['languages'])}.")
    if t["translations"]:
        said.append(f"Translations of other records: {t['translations']:,}.")
    if t["compared"]:
        said.append(f"With a second answer that was liked less: {t['compared']:,}.")
    return " ".join(said)


def _sources(sheet: Sheet) -> str:
    known = [row for row in sheet.facts.sources if row["source"] != NONE]
    total = sheet.facts.totals["sources"]
    said = ["No record says where it comes from."]
    if known:
        said = [f"Records name {counted(total, 'source')}: {_names(known, 'source', total)}."]
    notes = sheet.facts.annotations
    if notes:
        said.append(
            f"Beside them are kept {counted(notes['annotations'], 'annotation')}, with "
            f"{counted(notes['captions'], 'caption')} and {counted(notes['objects'], 'object')}."
        )
    return " ".join(said)


def _models(sheet: Sheet) -> str:
    making, totals = sheet.making, sheet.facts.totals
    if not totals["records"]:
        return _NOTHING
    if not making.totals["replies"]:
        return (
            "The ledger of this dataset has no replies: its records were imported, and what wrote them "
            "is for their sources to say."
        )
    models = _sums((row["model"], row["replies"]) for row in making.models)
    written = making.totals["records"]
    said = [
        f"Written in this toolkit: {counted(written, 'record')}, in "
        f"{counted(making.totals['runs'], 'run')}, from "
        f"{making.totals['replies']:,} replies of {_listed(models)}."
    ]
    if making.prompts:
        prompts = [f"{_name(row['task'])} (version {row['version']})" for row in making.prompts]
        said.append(f"Prompts: {_listed(prompts)}; their digests are below.")
    if totals["records"] > written:
        said.append(f"Imported: {counted(totals['records'] - written, 'record')}.")
    return " ".join(said)


def _filters(sheet: Sheet) -> str:
    said = []
    for funnel in sheet.funnels:
        most = sorted(funnel["stages"], key=lambda stage: -stage["dropped"])[:3]
        named = [f"{_name(s['filter'])} ({s['dropped']:,})" for s in most if s["dropped"]]
        dropped = funnel["records"] - funnel["accepted"]
        tail = f", most of them by {_listed(named)}" if named else ""
        said.append(
            f"The recipe '{_name(funnel['recipe'])}' asked {counted(len(funnel['stages']), 'filter')} "
            f"about {counted(funnel['records'], 'record')} and dropped {dropped:,}{tail}."
        )
    recipes = {funnel["recipe"] for funnel in sheet.funnels}
    others = sorted({row["recipe"] for row in sheet.verdicts} - recipes)
    if others:
        also = "also " if said else ""
        said.append(f"There are {also}verdicts of {_listed([_name(one) for one in others])}.")
    if not said:
        return "Not at all: no recipe was asked, and there are no verdicts."
    return " ".join([*said, "Nothing was deleted: dropped records are there, with the reasons."])


def _quality(sheet: Sheet) -> str:
    judged = [one for one in sheet.scores if "judge" in f"{one['filter']} {one['recipe']}".lower()]
    if not judged:
        return "No judge was asked. What other filters measured is shown below, where there is something."
    return " ".join(
        f"'{_name(one['recipe'])}' rated {one['records']:,} records from {one['least']:g} to "
        f"{one['most']:g}, {one['mean']:.3g} on average."
        for one in judged
    )


def _repeats(sheet: Sheet) -> str:
    if not sheet.duplicates:
        return "No filter of duplicates dropped anything, or none was asked."
    return " ".join(
        f"{_name(one['filter'])} ({_name(one['recipe'])}) dropped "
        f"{counted(one['records'], 'record')} as repetitions of others."
        for one in sheet.duplicates[:_NAMED]
    )


def _splits(sheet: Sheet) -> str:
    if not sheet.facts.splits:
        return "It is not split."
    by_name: dict[str, list[str]] = {}
    for row in sheet.facts.splits:
        part = f"{_name(row['split'])} ({row['records']:,})"
        by_name.setdefault(row["splitting"], []).append(part)
    return " ".join(f"'{_name(name)}' has {_listed(parts)}." for name, parts in by_name.items())


def _licences(sheet: Sheet) -> str:
    known = [row for row in sheet.facts.licences if row["licence"] != NONE]
    if not known:
        return "No record names a licence: ask its sources before you pass it on."
    named = sum(row["records"] for row in known)
    total = sheet.facts.totals["records"]
    return f"{named:,} of {total:,} records name one: {_names(known, 'licence')}."


def _costs(sheet: Sheet) -> str:
    totals = sheet.making.totals
    if not totals["replies"]:
        return "Nothing that is known here: no model was asked."
    tokens = (
        f"{totals['prompt_tokens']:,} tokens were sent and {totals['completion_tokens']:,} received"
    )
    if totals["cost_usd"] is None:
        return f"{tokens}; no price is known for them."
    spent = totals["cost_usd"]
    said = f"{tokens}, for {spent:,.2f} USD" if spent >= 0.1 else f"{tokens}, for {spent:.2g} USD"
    if totals["unpriced"]:
        said += (
            f"; the price of {totals['unpriced']:,} of {totals['replies']:,} replies is not known"
        )
    return f"{said}."


def _damage(sheet: Sheet) -> str:
    t, said = sheet.facts.totals, []
    if t["missing"] is None:
        said.append("There are too many pictures to look each one up here.")
    elif t["missing"]:
        said.append(f"Named by records, and not there: {counted(t['missing'], 'picture')}.")
    elif t["shown"]:
        said.append("Every picture that a record names is there.")
    if t["unused"]:
        said.append(f"Named by no record: {counted(t['unused'], 'picture')}.")
    if t["without_picture"]:
        said.append(f"Without a picture: {counted(t['without_picture'], 'record')}.")
    errors = sum(row["records"] for row in sheet.verdicts if row["filter"] == "error")
    if errors:
        said.append(f"Filters failed on {counted(errors, 'record')}.")
    if sheet.making.totals["unreadable"]:
        said.append(f"Replies that could not be read: {sheet.making.totals['unreadable']:,}.")
    said.append("The command syphus data validate looks at every file.")
    return " ".join(said)


# Sentences


def counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def _name(text: str | None) -> str:
    """Return a stranger's name as a part of a sentence: cut, and so that letters from right to left turn nothing around them."""
    plain = _TURNS.sub("", text or "–")
    if len(plain) > _LETTERS:
        plain = plain[: _LETTERS - 1] + "…"
    return plain if plain.isascii() else f"\u2068{plain}\u2069"


def _names(rows: Sequence[Row], column: str, total: int | None = None) -> str:
    """Name the most frequent ones, and count the others where it is known how many there are in all."""
    named = [row for row in rows if row[column] != OTHERS]
    said = [f"{_name(row[column])} ({row['records']:,})" for row in named]
    if total is None and len(named) < len(rows):
        return ", ".join([*said[:_NAMED], "and others"])
    return _listed(said, total)


def _sums(pairs: Iterable[tuple[str, int]]) -> list[str]:
    total: dict[str, int] = {}
    for name, count in pairs:
        total[name] = total.get(name, 0) + count
    ordered = sorted(total.items(), key=lambda item: -item[1])
    return [f"{_name(name)} ({count:,})" for name, count in ordered]


def _listed(names: Sequence[str], total: int | None = None) -> str:
    """Join names, and count those that are too many for a sentence: of all, where not even all names are here."""
    left = (len(names) if total is None else total) - min(_NAMED, len(names))
    others = [f"and {counted(left, 'other')}"] if left > 0 else []
    return ", ".join([*names[:_NAMED], *others]) or "none"
