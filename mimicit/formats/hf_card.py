"""The card of a dataset on the Hugging Face Hub: `README.md`, with what the hub reads in front and what people read behind.

The front is YAML: configurations and their files, and `dataset_info` with features, numbers of rows and bytes. Behind it stand counts by
task and language, licences as the records' `meta` names them (`licence` or `license`), the models and prompts by which records were made, and
what that cost. Nothing in it depends on the day, so the same records make the same card.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mimicit.errors import QueryError
from mimicit.formats.trl_table import ShardedTable, card_features
from mimicit.sandbox import predicate

if TYPE_CHECKING:
    from mimicit.formats.exporting import Conversation
    from mimicit.store import Store

UNKNOWN = "unknown"
HUB_LICENCES = frozenset((
    UNKNOWN, "apache-2.0", "mit", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0",
    "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "odbl", "odc-by", "pddl", "gpl-3.0", "bsd-3-clause", "cdla-permissive-2.0",
))  # fmt: skip
MOST_LICENCES = 100
MOST_GROUPS = 1_000
"""Tasks in a language that are counted by themselves."""
MOST_PROMPTS = 20
MOST_PROMPT_LETTERS = 4_000
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))  # fmt: skip


@dataclass
class Tally:
    """What is counted while rows are written."""

    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By task and language."""
    records: Counter[tuple[str, str]] = field(default_factory=Counter)
    shown: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Pictures, each as often as a row shows it."""
    licences: Counter[str] = field(default_factory=Counter)
    """Of rows."""

    def note(self, conversation: Conversation) -> None:
        group = (conversation.task, conversation.language)
        if len(self.rows) >= MOST_GROUPS and group not in self.rows:
            group = ("others", conversation.language)
        self.rows[group] += 1
        self.records[group] += len(conversation.turns)
        self.shown[group] += len(conversation.image_ids)
        said = conversation.meta.get("licence", conversation.meta.get("license"))
        licence = said if isinstance(said, str) and said else UNKNOWN
        full = len(self.licences) >= MOST_LICENCES and licence not in self.licences
        self.licences["others" if full else licence] += 1


@dataclass(frozen=True, slots=True)
class Making:
    """How the chosen records were made; each a list of rows, by column."""

    made: Sequence[Mapping[str, Any]]
    prompts: Sequence[Mapping[str, Any]]
    costs: Sequence[Mapping[str, Any]]
    imported: int
    """Records that came from files of others."""


def made_by(store: Store, where: str) -> Making:
    """Ask the catalog how the chosen records were made.

    Raises:
        QueryError: the predicate is not valid SQL over the view `accepted`.
    """
    import duckdb

    with store.reading() as connection:
        try:
            chosen = f"WITH chosen AS (SELECT * FROM accepted WHERE {predicate(connection, where)})"

            def ask(query: str) -> list[Mapping[str, Any]]:
                rows: list[Mapping[str, Any]] = (
                    connection.sql(f"{chosen} {query}").to_arrow_table().to_pylist()
                )
                return rows

            return Making(ask(_MADE), ask(_PROMPTS), ask(_COSTS), ask(_IMPORTED)[0]["records"])
        except duckdb.Error as error:
            raise QueryError(
                f"the selection {where!r} fails: {str(error).splitlines()[0]}"
            ) from None


_MADE = """
SELECT c.task, r.model, p.version AS prompt, left(p.digest, 12) AS digest,
       count(DISTINCT r.run) AS runs, count(DISTINCT r.id) AS replies, count(*) AS records
FROM chosen AS c
JOIN replies AS r ON r.id = c.reply AND r.request = c.request
LEFT JOIN requests AS q ON q.key = c.request
LEFT JOIN prompts AS p ON p.digest = q.prompt
GROUP BY ALL ORDER BY ALL"""

_PROMPTS = """
SELECT p.task, p.version, left(p.digest, 12) AS digest, p.messages
FROM prompts AS p
WHERE p.digest IN (SELECT q.prompt FROM chosen AS c JOIN requests AS q ON q.key = c.request)
ORDER BY ALL"""

_COSTS = """
SELECT task, model, sum(replies)::BIGINT AS replies, sum(prompt_tokens)::BIGINT AS prompt_tokens,
       sum(completion_tokens)::BIGINT AS completion_tokens, round(sum(cost_usd), 4) AS usd
FROM costs
WHERE task IN (SELECT p.task FROM chosen AS c JOIN requests AS q ON q.key = c.request
               JOIN prompts AS p ON p.digest = q.prompt)
GROUP BY ALL ORDER BY ALL"""

_IMPORTED = "SELECT count(*) AS records FROM chosen WHERE request IS NULL"


def card(tables: Sequence[ShardedTable], tally: Tally, making: Making) -> str:
    """Return the text of `README.md`.

    Args:
        tables: What was written.
        tally: What was counted on the way.
        making: From where the records are.
    """
    import yaml

    front = yaml.safe_dump(_front(tables, tally), sort_keys=False, allow_unicode=True)
    parts = ["---\n" + front + "---", "# Dataset", _contents(tally), _licences(tally)]
    parts += [_how(making), _cost(making)]
    return "\n\n".join(filter(None, parts)) + "\n"


# In front


def _front(tables: Sequence[ShardedTable], tally: Tally) -> dict[str, Any]:
    rows = sum(tally.rows.values())
    size = next((name for limit, name in SIZES if rows < limit), "n>10M")
    configs: dict[str, list[ShardedTable]] = {}
    for table in tables:
        name = "default" if table.folder.name == "data" else table.folder.name
        configs.setdefault(name, []).append(table)
    ordered = sorted(configs.items(), key=lambda config: config[0] != "default")
    return {
        "language": sorted({language for _, language in tally.rows}),
        "license": _licence(tally),
        "task_categories": ["image-text-to-text"],
        "size_categories": [size],
        "configs": [
            {
                "config_name": name,
                "data_files": [
                    {"split": table.split, "path": f"{table.folder.name}/{table.split}-*"}
                    for table in there
                ],
            }
            for name, there in ordered
        ],
        "dataset_info": [_info(name, there) for name, there in ordered],
    }


def _licence(tally: Tally) -> str:
    """Return what the hub knows by a name, where it is that of every row."""
    names = {licence.lower() for licence in tally.licences}
    [name] = names if len(names) == 1 else ["other"]
    return name if name in HUB_LICENCES else "other"


def _info(name: str, tables: Sequence[ShardedTable]) -> dict[str, Any]:
    return {
        "config_name": name,
        "features": card_features(tables[0].features),
        "splits": [
            {"name": table.split, "num_bytes": table.bytes, "num_examples": table.records}
            for table in tables
        ],
        "download_size": sum(table.file_bytes for table in tables),
        "dataset_size": sum(table.bytes for table in tables),
    }


# Behind


def _contents(tally: Tally) -> str:
    rows = [
        (task, language, tally.rows[task, language], tally.records[task, language], tally.shown[task, language])
        for task, language in sorted(tally.rows)
    ]  # fmt: skip
    total = ("all", "", *(sum(c.values()) for c in (tally.rows, tally.records, tally.shown)))
    names = ("task", "language", "rows", "questions", "pictures shown")
    return "## What is in it\n\n" + _table(names, [*rows, total])


def _licences(tally: Tally) -> str:
    rows = sorted(tally.licences.items())
    return "## Licences\n\n" + _table(("licence", "rows"), rows)


def _how(making: Making) -> str:
    said = ["## How it was made"]
    if making.imported:
        said.append(f"{making.imported:,} questions were imported, not generated here.")
    if making.made:
        said.append("Others were written by models, from annotations of the pictures:")
        said.append(_table(list(making.made[0]), [tuple(row.values()) for row in making.made]))
    said += [_prompt(row) for row in making.prompts[:MOST_PROMPTS]]
    if len(making.prompts) > MOST_PROMPTS:
        said.append(f"{len(making.prompts) - MOST_PROMPTS} more prompts are not shown.")
    return "\n\n".join(said)


def _cost(making: Making) -> str:
    if not making.costs:
        return ""
    rows = [tuple(row.values()) for row in making.costs]
    usd = sum(row["usd"] or 0 for row in making.costs)
    return (
        "## What it cost\n\nAll replies to these tasks, of records that are not in here too: "
        f"{usd:,.2f} USD where prices are known.\n\n" + _table(list(making.costs[0]), rows)
    )


def _prompt(row: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(json.loads(row["messages"]), ensure_ascii=False, indent=1)
    except (TypeError, ValueError):
        text = str(row["messages"])
    if len(text) > MOST_PROMPT_LETTERS:
        text = text[:MOST_PROMPT_LETTERS] + "\n…"
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    title = _cell(f"{row['task']}, prompt {row['version']} ({row['digest']})")
    return f"<details><summary>{title}</summary>\n\n{fence}json\n{text}\n{fence}\n\n</details>"


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: Any) -> str:
    """Write a value so that it stays in its cell, whatever is in it."""
    if value is None:
        return "–"
    if isinstance(value, int | float):
        return f"{value:,}"
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\`*_{}\[\]|#])", r"\\\1", text)
