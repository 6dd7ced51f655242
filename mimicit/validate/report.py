"""Findings for people (grouped, the first of each kind) and for programs (all of them, as JSON, streamed)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import IO, Any

from mimicit.validate.bench import Bench
from mimicit.validate.faults import FAULTS

EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Finding:
    fault: str
    """A name in FAULTS."""
    where: str
    """For people: the file, and the row in it from 0."""
    what: str
    """What is wrong, as a sentence's beginning."""
    fix: str
    """What to do about it."""
    file: str
    """Below the dataset folder."""
    row: int | None
    id: str | None
    """The row's, as it is there."""


class Report:
    def __init__(self, bench: Bench) -> None:
        """Use `mimicit.validate.checking`."""
        self._bench = bench
        bench.run(
            "CREATE TABLE ranks AS SELECT unnest($names) AS fault, "
            "generate_subscripts($names, 1) AS rank",
            names=list(FAULTS),
        )
        self.counts: dict[str, int] = dict(
            bench.rows(
                "SELECT fault, count(*) FROM findings JOIN ranks USING (fault) GROUP BY ALL "
                "ORDER BY any_value(rank)"
            )
        )
        """Fault -> findings, in the order of FAULTS; only what was found."""

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def checked(self) -> dict[str, int]:
        """What was read: rows that could be."""
        [(records, pictures, relations)] = self._bench.rows(
            "SELECT (SELECT count(*) FROM records), (SELECT count(*) FROM pictures), "
            "(SELECT count(*) FROM relations)"
        )
        return {
            "files": len(self._bench.parts),
            "records": records,
            "pictures": pictures,
            "relations": relations,
        }

    def findings(self, fault: str | None = None, limit: int | None = None) -> Iterator[Finding]:
        """Yield what was found, by fault, file and row."""
        rows = self._bench.stream(
            """SELECT fault, coalesce(p.file, f.file), "row", id, what
            FROM findings AS f LEFT JOIN parts AS p USING (part) JOIN ranks USING (fault)
            WHERE $fault IS NULL OR fault = $fault
            ORDER BY rank, part, "row", f.file, what LIMIT $limit""",
            fault=fault,
            limit=limit if limit is not None else sys.maxsize,
        )
        for name, file, row, id_, what in rows:
            where = file if row is None else f"{file}, row {row}"
            yield Finding(name, where, what, FAULTS[name].fix, file, row, id_)

    def text(self) -> str:
        """Say how many of each kind there are, and show the first few."""
        said = ", ".join(f"{count:,} {what}" for what, count in self.checked.items())
        if not self.counts:
            return f"nothing is wrong ({said})"
        lines = [f"{self.total:,} findings ({said})"]
        for fault, count in self.counts.items():
            lines += ["", f"{count:,} {fault}: {FAULTS[fault].title}"]
            for found in self.findings(fault, EXAMPLES):
                named = f"  {found.id!r}" if found.id is not None else ""
                lines.append(f"  {_plain(f'{found.where}{named}: {found.what}')}")
            if count > EXAMPLES:
                lines.append(f"  … and {count - EXAMPLES:,} more")
            lines.append(f"  → {FAULTS[fault].fix}")
        return "\n".join(lines)

    def write_json(self, file: IO[bytes], **more: Any) -> None:
        """Write all findings, a line each, in one JSON object.

        Args:
            file: Where to.
            more: What else is to be told, as JSON values.
        """
        import orjson

        head = {"checked": self.checked, "counts": self.counts, **more}
        file.write(orjson.dumps(head)[:-1] + b',\n"findings": [')
        before = b"\n"
        for found in self.findings():
            file.write(before + orjson.dumps(asdict(found)))
            before = b",\n"
        file.write(b"\n]}\n")


def _plain(text: str) -> str:
    """Leave nothing of a stranger's text that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
