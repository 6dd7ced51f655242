"""The ledger's tables: one definition for the SQLite file that is written and for the catalog that is read.

Every table only grows, so the catalog follows it by row number. Times are seconds since 1970 (UTC) in SQLite and
TIMESTAMPTZ in the catalog. New columns come last, and are NULL in a ledger that was begun before them. A request without a reply or failure after its `sent` row was in flight when its process
ended, and may have been billed.
"""

from __future__ import annotations

LEDGER_TABLES: dict[str, dict[str, str]] = {
    "run_starts": {
        "id": "VARCHAR",
        "time": "TIMESTAMPTZ",
        "task": "VARCHAR",
        "model": "VARCHAR",
        "arguments": "VARCHAR",
        "versions": "VARCHAR",
    },
    "run_ends": {
        "run": "VARCHAR",
        "time": "TIMESTAMPTZ",
        "outcome": "VARCHAR",
        "summary": "VARCHAR",
    },
    "prompts": {
        "digest": "VARCHAR",
        "task": "VARCHAR",
        "version": "BIGINT",
        "messages": "VARCHAR",
    },
    "schemas": {"digest": "VARCHAR", "schema": "VARCHAR"},
    "requests": {
        "key": "VARCHAR",
        "run": "VARCHAR",
        "prompt": "VARCHAR",
        "model": "VARCHAR",
        "context": "VARCHAR",
        "query": "VARCHAR",
        "parameters": "VARCHAR",
        "sample": "BIGINT",
        "time": "TIMESTAMPTZ",
    },
    "sent": {"id": "BIGINT", "request": "VARCHAR", "run": "VARCHAR", "time": "TIMESTAMPTZ"},
    "replies": {
        "id": "BIGINT",
        "sent": "BIGINT",
        "request": "VARCHAR",
        "run": "VARCHAR",
        "model": "VARCHAR",
        "text": "VARCHAR",
        "finish_reason": "VARCHAR",
        "prompt_tokens": "BIGINT",
        "completion_tokens": "BIGINT",
        "cached_tokens": "BIGINT",
        "cost_usd": "DOUBLE",
        "seconds": "DOUBLE",
        "time": "TIMESTAMPTZ",
        "cache_write_tokens": "BIGINT",
        "reasoning_tokens": "BIGINT",
        "batch": "VARCHAR",
    },
    "failures": {
        "sent": "BIGINT",
        "request": "VARCHAR",
        "run": "VARCHAR",
        "kind": "VARCHAR",
        "message": "VARCHAR",
        "time": "TIMESTAMPTZ",
    },
    "readings": {
        "reply": "BIGINT",
        "pairs": "BIGINT",
        "problem": "VARCHAR",
        "time": "TIMESTAMPTZ",
        "context": "VARCHAR",
    },
    "batches": {
        "id": "VARCHAR",
        "run": "VARCHAR",
        "model": "VARCHAR",
        "requests": "BIGINT",
        "digest": "VARCHAR",
        "time": "TIMESTAMPTZ",
    },
    "batch_requests": {"batch": "VARCHAR", "request": "VARCHAR", "sent": "BIGINT"},
    "batch_events": {
        "batch": "VARCHAR",
        "event": "VARCHAR",
        "remote": "VARCHAR",
        "detail": "VARCHAR",
        "time": "TIMESTAMPTZ",
    },
}
