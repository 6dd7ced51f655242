"""Count what a dataset holds."""

from __future__ import annotations

from typing import Any

from mimicit.store import Store

_QUERIES = {
    "tasks": """
        SELECT i.task, i.language, count(*) AS records, count(a.id) AS accepted,
               count(DISTINCT i.image_ids) AS pictures,
               round(avg(len(string_split(i.instruction, ' '))), 1) AS words_asked,
               round(avg(len(string_split(i.answer, ' '))), 1) AS words_answered
        FROM instructions AS i LEFT JOIN accepted AS a USING (id)
        GROUP BY ALL ORDER BY ALL""",
    "models": """
        SELECT r.model, count(*) AS replies, sum(r.prompt_tokens)::BIGINT AS prompt_tokens,
               sum(r.cached_tokens)::BIGINT AS cached_tokens,
               sum(r.completion_tokens)::BIGINT AS completion_tokens,
               round(sum(r.cost_usd), 4) AS usd, sum(g.pairs)::BIGINT AS pairs,
               count(*) FILTER (g.problem IS NOT NULL) AS unreadable
        FROM replies AS r LEFT JOIN readings AS g ON g.reply = r.id
        GROUP BY ALL ORDER BY ALL""",
    "verdicts": """
        SELECT recipe, filter, count(*) AS records,
               count(*) FILTER (coalesce(rejects, true)) AS rejected,
               round(avg(score), 3) AS mean_score
        FROM verdicts GROUP BY ALL ORDER BY ALL""",
    "pictures": """
        SELECT count(*) AS pictures, count(DISTINCT sha256) AS different,
               coalesce(sum(length), 0)::BIGINT AS bytes,
               min(width) AS least_width, max(width) AS most_width
        FROM images""",
}


def stats(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Return a few small tables: tasks, models, verdicts, pictures."""
    with store.reading() as connection:
        return {
            name: connection.sql(query).to_arrow_table().to_pylist()
            for name, query in _QUERIES.items()
        }
