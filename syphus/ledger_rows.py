"""What the ledger's rows hold: the columns that are written, and values that SQLite and UTF-8 can take."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from typing import Any

from syphus.request import Request, digest

_LARGEST = 2**63 - 1

REQUEST_COLUMNS = (
    "key", "run", "prompt", "model", "context", "query", "parameters", "sample", "time",
)  # fmt: skip
SENT_COLUMNS = ("request", "run", "time")
REPLY_COLUMNS = (
    "sent", "request", "run", "model", "text", "finish_reason", "prompt_tokens", "completion_tokens",
    "cached_tokens", "cost_usd", "seconds", "time", "cache_write_tokens", "reasoning_tokens", "batch",
)  # fmt: skip
FAILURE_COLUMNS = ("sent", "request", "run", "kind", "message", "time")


def storable(text: str) -> str:
    """Replace what is no character: halves of surrogate pairs, which a JSON reply may hold and no file can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


@cache
def insertion(table: str, columns: tuple[str, ...], again: str = "IGNORE") -> str:
    """Return the SQL that adds a row; `again` says what becomes of one whose key is there already."""
    marks = ", ".join("?" * len(columns))
    return f"INSERT OR {again} INTO {table} ({', '.join(columns)}) VALUES ({marks})"


def parameters(request: Request) -> str:
    """Write what a request has beside its texts."""
    plain = _plain_parameters(request.sampling, request.shape, request.form, request.schema)
    if not request.pictures and not request.repair:
        return plain
    parameters = json.loads(plain)
    if request.pictures:
        parameters["pictures"] = [picture.sha256 for picture in request.pictures]
    if request.repair:
        parameters["repair"] = [asdict(message) for message in request.repair]
    return json.dumps(parameters, ensure_ascii=False)


@cache
def _plain_parameters(sampling: Any, shape: Any, form: str, schema: str | None) -> str:
    parameters: dict[str, object] = {
        "sampling": asdict(sampling),
        "shape": shape.as_dict(),
        "form": form,
    }
    if schema:
        parameters["schema"] = digest(schema)
    return json.dumps(parameters, ensure_ascii=False)


def storable_value(value: object) -> object:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, int):
        return max(-_LARGEST, min(value, _LARGEST))
    return value
