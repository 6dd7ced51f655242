"""How a dataset was made: models, prompts, runs, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mimicit.report.facts import Row, rows

if TYPE_CHECKING:
    import duckdb


@dataclass
class Making:
    totals: Row
    models: list[Row]
    """By task and model: replies, tokens, USD."""
    days: list[Row]
    """day, model, tokens, cost_usd."""
    prompts: list[Row]
    runs: list[Row]


def gather(connection: duckdb.DuckDBPyConnection) -> Making:
    [totals] = rows(connection, _TOTALS)
    return Making(
        totals=totals,
        models=rows(connection, _MODELS),
        days=rows(connection, _DAYS),
        prompts=rows(connection, _PROMPTS),
        runs=rows(connection, _RUNS),
    )


_TOTALS = """
SELECT coalesce(sum(replies), 0)::BIGINT AS replies, sum(cost_usd) AS cost_usd,
       coalesce(sum(prompt_tokens), 0)::BIGINT AS prompt_tokens,
       coalesce(sum(cached_tokens), 0)::BIGINT AS cached_tokens,
       coalesce(sum(completion_tokens), 0)::BIGINT AS completion_tokens,
       (SELECT count(*) FROM runs) AS runs, (SELECT count(*) FROM failures) AS failures,
       (SELECT count(*) FROM readings WHERE problem IS NOT NULL) AS unreadable,
       (SELECT count(*) FROM replies WHERE cost_usd IS NULL) AS unpriced,
       (SELECT count(request) FROM instructions) AS records
FROM costs"""

_MODELS = """
SELECT coalesce(task, '–') AS task, coalesce(model, '–') AS model, sum(replies)::BIGINT AS replies,
       sum(prompt_tokens)::BIGINT AS prompt_tokens, sum(cached_tokens)::BIGINT AS cached_tokens,
       sum(completion_tokens)::BIGINT AS completion_tokens, sum(cost_usd) AS cost_usd
FROM costs GROUP BY 1, 2 ORDER BY cost_usd DESC NULLS LAST, replies DESC, 1, 2 LIMIT 40"""

_DAYS = """
WITH known AS (SELECT model FROM costs GROUP BY 1 ORDER BY sum(replies) DESC, 1 LIMIT 5)
SELECT day, CASE WHEN model IN (FROM known) THEN model ELSE '(others)' END AS model,
       sum(cost_usd) AS cost_usd,
       sum(coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0))::BIGINT AS tokens
FROM costs WHERE day IS NOT NULL GROUP BY 1, 2 ORDER BY 1 DESC, 2 LIMIT 360"""
"""The last days."""

_PROMPTS = """
SELECT p.task, p.version, substr(p.digest, 1, 12) AS prompt, count(DISTINCT q.model) AS models,
       count(DISTINCT q.key) AS requests, count(i.id) AS records, min(q.time)::DATE::VARCHAR AS first
FROM prompts AS p LEFT JOIN requests AS q ON q.prompt = p.digest
LEFT JOIN (SELECT id, request FROM instructions WHERE request IS NOT NULL) AS i ON i.request = q.key
GROUP BY ALL ORDER BY 1, 2, 3 LIMIT 60"""

_RUNS = """
SELECT id, task, model, started::VARCHAR AS started, ended::VARCHAR AS ended, outcome FROM runs
ORDER BY runs.started DESC, id LIMIT 20"""
