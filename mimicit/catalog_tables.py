"""What is in `catalog.duckdb`, as SQL; the ledger's tables are those of `mimicit.ledger_tables`.

Whoever changes a table or a view counts CATALOG_VERSION up: a catalog of another version is built again.
"""

from mimicit.ledger_tables import LEDGER_TABLES

CATALOG_VERSION = 9

TABLES = """
CREATE TABLE instructions (
    id VARCHAR, task VARCHAR,
    instruction VARCHAR USING COMPRESSION zstd, answer VARCHAR USING COMPRESSION zstd,
    image_ids VARCHAR[], rel_ins_ids VARCHAR[], language VARCHAR,
    source VARCHAR, request VARCHAR, reply BIGINT, translation_of VARCHAR,
    conversation VARCHAR, turn INTEGER, rejected VARCHAR, meta VARCHAR, part VARCHAR
);
CREATE TABLE images (
    id VARCHAR, shard VARCHAR, "row" BIGINT, "offset" BIGINT, length BIGINT,
    sha256 VARCHAR, mime VARCHAR, width INTEGER, height INTEGER, source VARCHAR, time DOUBLE,
    part VARCHAR
);
CREATE TABLE verdicts (
    record VARCHAR, filter VARCHAR, reason VARCHAR, recipe VARCHAR, recipe_digest VARCHAR,
    time TIMESTAMPTZ, score DOUBLE, rejects BOOLEAN DEFAULT true, part VARCHAR
);
CREATE TABLE relations (
    record VARCHAR, related VARCHAR[], strategy VARCHAR, seed BIGINT, part VARCHAR
);
CREATE TABLE _annotations (
    pictures VARCHAR[], captions VARCHAR[], objects STRUCT("name" VARCHAR, box FLOAT[])[],
    source VARCHAR, part VARCHAR
);
CREATE TABLE _splits ("name" VARCHAR, record VARCHAR, split VARCHAR, part VARCHAR);
CREATE TABLE _steps (
    run VARCHAR, snapshot VARCHAR, step BIGINT, loss DOUBLE, lr DOUBLE, grad_norm DOUBLE,
    taught BIGINT, tokens BIGINT, seconds DOUBLE, waited DOUBLE,
    epoch BIGINT, records BIGINT, time TIMESTAMPTZ,
    pictures BIGINT, figures MAP(VARCHAR, DOUBLE), aside MAP(VARCHAR, DOUBLE),
    flops DOUBLE, mfu DOUBLE, memory BIGINT, skipped VARCHAR[], part VARCHAR
);
CREATE TABLE _step_records (run VARCHAR, step BIGINT, record VARCHAR, part VARCHAR);
CREATE TABLE _parts ("table" VARCHAR, part VARCHAR);
CREATE TABLE _followed ("table" VARCHAR, last BIGINT);
CREATE TABLE _meta (catalog_version INTEGER, ledger VARCHAR);
"""

VIEWS = """
CREATE VIEW steps AS SELECT * EXCLUDE (part) FROM _steps;
CREATE VIEW step_records AS
    SELECT r.run, r.step, r.record, s.record IS NULL AS taught FROM _step_records AS r
    JOIN (SELECT run, max(step) AS last FROM _steps GROUP BY run) AS taken
        ON taken.run = r.run AND r.step <= taken.last
    LEFT JOIN (SELECT DISTINCT run, unnest(skipped) AS record FROM _steps) AS s
        ON s.run = r.run AND s.record = r.record;
CREATE VIEW annotations AS
    SELECT * EXCLUDE (part) FROM _annotations
    QUALIFY row_number() OVER (
        PARTITION BY pictures, split_part(source, '#', 1) ORDER BY part DESC, rowid DESC) = 1;
CREATE VIEW splits AS
    SELECT * EXCLUDE (part) FROM _splits
    WHERE part IN (SELECT max(part) FROM _splits GROUP BY "name");
CREATE VIEW accepted AS
    SELECT * EXCLUDE (part) FROM instructions
    WHERE id NOT IN (SELECT record FROM verdicts WHERE coalesce(rejects, true));
CREATE VIEW rejected AS
    SELECT i.* EXCLUDE (part), v.reasons
    FROM instructions AS i
    JOIN (
        SELECT record, list({'filter': filter, 'reason': reason, 'recipe': recipe}) AS reasons
        FROM verdicts WHERE coalesce(rejects, true) GROUP BY record
    ) AS v ON v.record = i.id;
CREATE VIEW runs AS
    SELECT s.id, s.task, s.model, s.time AS started, e.time AS ended, e.outcome,
           s.arguments, s.versions, e.summary
    FROM run_starts AS s LEFT JOIN run_ends AS e ON e.run = s.id;
CREATE VIEW attempts AS
    SELECT s.id, s.request, s.run, s.time AS sent,
           CASE WHEN r.id IS NOT NULL THEN 'answered'
                WHEN f.sent IS NOT NULL THEN f.kind
                ELSE 'in flight' END AS outcome,
           r.id AS reply, f.message
    FROM sent AS s
    LEFT JOIN replies AS r ON r.sent = s.id
    LEFT JOIN failures AS f ON f.sent = s.id;
CREATE VIEW costs AS
    SELECT p.task, coalesce(q.model, r.model) AS model,
           make_timestamp(epoch_us(r.time))::DATE AS day,
           count(*) AS replies, count(r.batch) AS batch_replies,
           sum(r.prompt_tokens)::BIGINT AS prompt_tokens,
           sum(r.cached_tokens)::BIGINT AS cached_tokens,
           sum(r.cache_write_tokens)::BIGINT AS cache_write_tokens,
           sum(r.completion_tokens)::BIGINT AS completion_tokens,
           sum(r.reasoning_tokens)::BIGINT AS reasoning_tokens,
           sum(r.cost_usd) AS cost_usd
    FROM replies AS r
    LEFT JOIN requests AS q ON q.key = r.request
    LEFT JOIN prompts AS p ON p.digest = q.prompt
    GROUP BY 1, 2, 3;
CREATE VIEW provenance AS
    SELECT i.id, i.task, i.instruction, i.answer, i.source,
           q.context, q.query, q.key AS request, p.version AS prompt_version, p.digest AS prompt,
           r.id AS reply, r.model, r.text AS reply_text, r.finish_reason,
           r.prompt_tokens, r.cached_tokens, r.completion_tokens, r.cost_usd, r.seconds,
           r.run, n.started AS run_started,
           coalesce(v.verdicts, []) AS verdicts
    FROM instructions AS i
    LEFT JOIN replies AS r ON r.id = i.reply AND r.request = i.request
    LEFT JOIN requests AS q ON q.key = i.request
    LEFT JOIN prompts AS p ON p.digest = q.prompt
    LEFT JOIN runs AS n ON n.id = r.run
    LEFT JOIN (
        SELECT record, list({'filter': filter, 'reason': reason, 'recipe': recipe, 'score': score,
                             'rejects': coalesce(rejects, true)}) AS verdicts
        FROM verdicts GROUP BY record
    ) AS v ON v.record = i.id;
"""

TRAINING = "training"
"""Folder of the files of steps, one a run, which only grow, and of what records they use (`trainer.steps`)."""

STEPS = """
SELECT * EXCLUDE (line) FROM (
    SELECT *, row_number() OVER () AS line
    FROM read_json({file}, format = 'newline_delimited', ignore_errors = true, columns = {{
        run: 'VARCHAR', snapshot: 'VARCHAR', step: 'BIGINT', loss: 'DOUBLE', lr: 'DOUBLE',
        grad_norm: 'DOUBLE', taught: 'BIGINT', tokens: 'BIGINT', seconds: 'DOUBLE',
        waited: 'DOUBLE', epoch: 'BIGINT', records: 'BIGINT', time: 'TIMESTAMPTZ',
        pictures: 'BIGINT', figures: 'MAP(VARCHAR, DOUBLE)', aside: 'MAP(VARCHAR, DOUBLE)',
        flops: 'DOUBLE', mfu: 'DOUBLE', memory: 'BIGINT', skipped: 'VARCHAR[]'}})
    WHERE run IS NOT NULL AND step > 0)
QUALIFY step < coalesce(min(step) OVER (
    PARTITION BY run ORDER BY line DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), step + 1)
"""
"""The steps in such a file. A step that comes again was taken again by a resumed run, and takes the place of itself
and of all that came after it; a line that is no step, such as the last one of a killed process, is passed over."""

_LONG = frozenset({"messages", "query", "parameters", "text"})
"""Columns of the ledger for which DuckDB need not try every compression: it costs more than loading them."""


def statements() -> list[str]:
    """Return what makes an empty catalog."""
    tables = []
    for name, columns in LEDGER_TABLES.items():
        listed = ", ".join(
            f'"{column}" {kind}{" USING COMPRESSION zstd" if column in _LONG else ""}'
            for column, kind in columns.items()
        )
        tables.append(f"CREATE TABLE {name} ({listed})")
    return [TABLES, *tables, VIEWS]
