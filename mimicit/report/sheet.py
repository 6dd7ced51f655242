"""What a reader asks of a dataset, answered from what is counted; where nothing is known, the answer says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from mimicit.report.facts import NONE, Row

if TYPE_CHECKING:
    from mimicit.report.page import Sheet

_NAMED = 6
"""Names in a sentence."""


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
    said = [
        f"{t['records']:,} questions with answers in {t['conversations']:,} conversations, "
        f"about {t['pictures']:,} pictures; {t['accepted']:,} of them are accepted."
    ]
    if t["pictures"] > t["different"]:
        said.append(f"{t['different']:,} pictures are different files.")
    if t["frames"]:
        said.append(f"{t['frames']:,} pictures are frames of videos.")
    said.append(f"Tasks: {_names(sheet.facts.tasks, 'task')}.")
    said.append(f"Languages: {_names(sheet.facts.languages, 'language')}.")
    if t["translations"]:
        said.append(f"{t['translations']:,} records are translations of others.")
    if t["compared"]:
        said.append(f"{t['compared']:,} have a second answer that was liked less.")
    return " ".join(said)


def _sources(sheet: Sheet) -> str:
    known = [row for row in sheet.facts.sources if row["source"] != NONE]
    if not known:
        return "No record says where it comes from."
    said = [f"Records name {sheet.facts.totals['sources']:,} sources: {_names(known, 'source')}."]
    notes = sheet.facts.annotations
    if notes:
        said.append(
            f"{notes['annotations']:,} annotations are kept beside them, with {notes['captions']:,} captions "
            f"and {notes['objects']:,} objects."
        )
    return " ".join(said)


def _models(sheet: Sheet) -> str:
    making, totals = sheet.making, sheet.facts.totals
    if not making.totals["replies"]:
        return (
            "The ledger of this dataset has no replies: its records were imported, and what wrote them "
            "is for their sources to say."
        )
    models = _sums((row["model"], row["replies"]) for row in making.models)
    written = making.totals["records"]
    said = [
        f"{written:,} records were written in this toolkit, in {making.totals['runs']:,} runs, from "
        f"{making.totals['replies']:,} replies of {_listed(models)}."
    ]
    if making.prompts:
        prompts = [f"{row['task']} (version {row['version']})" for row in making.prompts]
        said.append(f"Prompts: {_listed(prompts)}; their digests are below.")
    if totals["records"] > written:
        said.append(f"{totals['records'] - written:,} records were imported.")
    return " ".join(said)


def _filters(sheet: Sheet) -> str:
    said = []
    for funnel in sheet.funnels:
        most = sorted(funnel["stages"], key=lambda stage: -stage["dropped"])[:3]
        named = [f"{s['filter']} ({s['dropped']:,})" for s in most if s["dropped"]]
        dropped = funnel["records"] - funnel["accepted"]
        tail = f", most of them by {_listed(named)}" if named else ""
        said.append(
            f"The recipe {funnel['recipe']!r} asked {len(funnel['stages'])} filters about "
            f"{funnel['records']:,} records and dropped {dropped:,}{tail}."
        )
    recipes = {funnel["recipe"] for funnel in sheet.funnels}
    others = sorted({row["recipe"] for row in sheet.verdicts} - recipes)
    if others:
        said.append(f"There are {'also ' if said else ''}verdicts of {_listed(others)}.")
    if not said:
        return "Not at all: no recipe was asked, and there are no verdicts."
    return " ".join([*said, "Nothing was deleted: dropped records are there, with the reasons."])


def _quality(sheet: Sheet) -> str:
    judged = [one for one in sheet.scores if "judge" in f"{one['filter']} {one['recipe']}".lower()]
    if not judged:
        return "No judge was asked. What other filters measured is shown below, where there is something."
    return " ".join(
        f"{one['recipe']!r} rated {one['records']:,} records from {one['least']:g} to {one['most']:g}, "
        f"{one['mean']:.2f} on average."
        for one in judged
    )


def _repeats(sheet: Sheet) -> str:
    if not sheet.duplicates:
        return "No filter of duplicates dropped anything, or none was asked."
    return " ".join(
        f"{one['filter']} ({one['recipe']}) dropped {one['records']:,} records that repeat others."
        for one in sheet.duplicates[:_NAMED]
    )


def _splits(sheet: Sheet) -> str:
    if not sheet.facts.splits:
        return "It is not split."
    by_name: dict[str, list[str]] = {}
    for row in sheet.facts.splits:
        by_name.setdefault(row["splitting"], []).append(f"{row['split']} ({row['records']:,})")
    return " ".join(f"{name!r} has {_listed(parts)}." for name, parts in by_name.items())


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
    return f"{tokens}, for {totals['cost_usd']:,.2f} USD."


def _damage(sheet: Sheet) -> str:
    t, said = sheet.facts.totals, []
    if t["missing"] is None:
        said.append("There are too many pictures to look each one up here.")
    elif t["missing"]:
        said.append(f"{t['missing']:,} pictures are named by records, and are not there.")
    else:
        said.append("Every picture that a record names is there.")
    if t["unused"]:
        said.append(f"{t['unused']:,} pictures are named by no record.")
    if t["without_picture"]:
        said.append(f"{t['without_picture']:,} records have no picture.")
    errors = sum(row["records"] for row in sheet.verdicts if row["filter"] == "error")
    if errors:
        said.append(f"Filters failed on {errors:,} records.")
    if sheet.making.totals["unreadable"]:
        said.append(f"{sheet.making.totals['unreadable']:,} replies could not be read.")
    said.append("The command syphus data validate looks at every file.")
    return " ".join(said)


# Sentences


def _names(rows: Sequence[Row], column: str) -> str:
    return _listed([f"{row[column]} ({row['records']:,})" for row in rows])


def _sums(pairs: Iterable[tuple[str, int]]) -> list[str]:
    total: dict[str, int] = {}
    for name, count in pairs:
        total[name] = total.get(name, 0) + count
    ordered = sorted(total.items(), key=lambda item: -item[1])
    return [f"{name} ({count:,})" for name, count in ordered]


def _listed(names: Sequence[str]) -> str:
    """Join names, and count those that are too many for a sentence."""
    return ", ".join(_cut(names)) or "none"


def _cut(names: Sequence[str]) -> Iterator[str]:
    yield from names[:_NAMED]
    if len(names) > _NAMED:
        yield f"and {len(names) - _NAMED:,} others"
