"""What is wrong with rows that can be read, as SQL over the bench.

Each check fills `findings`. Their order matters: of two records with one id the one that has findings of its own is the
duplicate, and a duplicate is no turn of a conversation.

Ids are looked up by 64 bits of their hashes, which are a fraction of their size. That two of ten million ids have one hash happens once in
hundreds of thousands of datasets, and then hides one dangling reference; rows with one id are told apart by the ids themselves.
"""

from __future__ import annotations

from mimicit.validate.bench import Bench

USUAL_PICTURES = {"sd": (2, 2), "cgd": (2, 2), "csd": (2, 2)}
"""Task -> least and most pictures of a record, where the task says it: it compares two."""

_BAD_ID = "NOT regexp_full_match({0}, '[^\\x00-\\x1f\\x7f]+') OR len({0}) > 512"
_BAD_ID_SAID = """CASE WHEN {0} = '' THEN 'the id is empty'
    WHEN len({0}) > 512 THEN concat('the id has ', len({0}), ' characters')
    ELSE 'the id has control characters' END"""


def check_pictures(bench: Bench) -> None:
    """Find bad and double ids; after the pictures were decoded."""
    _bad_ids(bench, "pictures")
    _duplicates(bench, "pictures", "duplicate-picture", "a picture")


def check_records(bench: Bench) -> None:
    _bad_ids(bench, "records")
    bench.run(_EMPTY)
    _dangling(bench, "dangling-picture", "picture", _NAMES["image_ids"], there="pictures")
    bench.run(_PLACEHOLDERS)
    bench.run(_PLACEHOLDERS_OF_ALL_TURNS)
    for task, (least, most) in USUAL_PICTURES.items():
        bench.run(_COUNTS, task=task, least=least, most=most)
    _duplicates(bench, "records", "duplicate-record", "a record")
    _check_conversations(bench)
    bench.run(_DANGLING_TRANSLATIONS)
    for column in ("rel_ins_ids", "related"):
        _dangling(bench, "dangling-relation", "record", _NAMES[column], there="records")


def _bad_ids(bench: Bench, table: str) -> None:
    bench.run(
        f"""INSERT INTO findings BY NAME
        SELECT 'bad-id' AS fault, part, "row", id, {_BAD_ID_SAID.format("id")} AS what
        FROM {table} WHERE {_BAD_ID.format("id")}"""
    )


def _duplicates(bench: Bench, table: str, fault: str, noun: str) -> None:
    """Find the rows whose id another one has that is sound, or stands before it."""
    bench.run(
        f"""INSERT INTO findings BY NAME
        WITH doubled AS (
            SELECT part, "row", id FROM {table} SEMI JOIN (
                SELECT hash(id) AS h FROM {table} GROUP BY h HAVING count(*) > 1
            ) AS d ON d.h = hash(id)
        ), wrong AS (
            SELECT DISTINCT part, "row", true AS is_wrong FROM findings WHERE "row" IS NOT NULL
        ), ranked AS (
            SELECT part, "row", id,
                   row_number() OVER same AS n,
                   first_value({{'part': part, 'row': "row"}}) OVER same AS kept
            FROM doubled LEFT JOIN wrong USING (part, "row")
            WINDOW same AS (PARTITION BY id ORDER BY coalesce(is_wrong, false), part, "row")
        )
        SELECT $fault AS fault, r.part, "row", id,
               concat('{noun} of this id is in ', p.file, ', row ', kept['row']) AS what
        FROM ranked AS r JOIN parts AS p ON p.part = kept.part WHERE n > 1""",
        fault=fault,
    )


_EMPTY = """INSERT INTO findings BY NAME
SELECT 'empty-text' AS fault, part, "row", id,
       CASE WHEN no_instruction AND no_answer THEN 'its instruction and its answer are blank'
            WHEN no_answer THEN 'its answer is blank' ELSE 'its instruction is blank' END AS what
FROM records WHERE no_instruction OR no_answer"""


_NAMES = {
    "image_ids": """SELECT part, "row", id, coalesce(unnest(image_ids), '') AS named,
        generate_subscripts(image_ids, 1) AS place FROM records""",
    "rel_ins_ids": """SELECT part, "row", id, coalesce(unnest(rel_ins_ids), '') AS named,
        generate_subscripts(rel_ins_ids, 1) AS place FROM records""",
    "related": """SELECT part, "row", record AS id, coalesce(unnest(list_prepend(record, related)), '') AS named,
        generate_subscripts(list_prepend(record, related), 1) AS place FROM relations""",
}
"""Each name in a column of lists, and at which place it is there."""


def _dangling(bench: Bench, fault: str, noun: str, names: str, *, there: str) -> None:
    """Find the rows that name what is not there."""
    bench.run(
        f"""CREATE OR REPLACE TABLE gone AS SELECT * FROM ({names})
        ANTI JOIN (SELECT hash(id) AS h FROM {there}) AS there ON there.h = hash(named)"""
    )
    bench.in_spans("gone", _GONE, fault=fault, noun=noun)


_GONE = """INSERT INTO findings BY NAME
SELECT $fault AS fault, part, "row", id,
       concat('there is no ', $noun, ' ', list_aggregate(gone[1:3], 'string_agg', ', '),
              CASE WHEN n > 3 THEN concat(' and ', n - 3, ' more') END) AS what
FROM (
    SELECT part, "row", id, list(named ORDER BY place) AS gone, count(*) AS n FROM gone
    WHERE part = $part AND "row" >= $start AND "row" < $end GROUP BY part, "row", id
)"""

_COUNTS = """INSERT INTO findings BY NAME
SELECT 'picture-count' AS fault, part, "row", id,
       concat('it has ', len(image_ids), ' pictures, and a record of the task ', task, ' has ', $least,
              CASE WHEN $most > $least THEN concat(' to ', $most) END) AS what
FROM records WHERE task = $task AND NOT len(image_ids) BETWEEN $least AND $most"""

_PLACEHOLDERS = """INSERT INTO findings BY NAME
SELECT 'placeholder-count' AS fault, part, "row", id,
       concat(placeholders, ' times <image>, and ', len(image_ids), ' pictures') AS what
FROM records WHERE placeholders > len(image_ids)"""

_PLACEHOLDERS_OF_ALL_TURNS = """INSERT INTO findings BY NAME
WITH counted AS (
    SELECT conversation, sum(placeholders)::BIGINT AS said, max(pictures) AS pictures
    FROM (
        SELECT conversation, max(placeholders) AS placeholders, max(len(image_ids)) AS pictures
        FROM records WHERE conversation IS NOT NULL AND placeholders > 0 GROUP BY conversation, id
    )
    GROUP BY conversation HAVING said > max(pictures) AND max(placeholders) <= max(pictures)
)
SELECT 'placeholder-count' AS fault, part, "row", id,
       concat(said, ' times <image> in all of its turns, and ', pictures, ' pictures') AS what
FROM records JOIN counted USING (conversation) WHERE placeholders > 0
QUALIFY row_number() OVER (PARTITION BY conversation ORDER BY coalesce(turn, 0), part, "row") = 1"""


# Conversations


def _check_conversations(bench: Bench) -> None:
    for query in (_TURNS, _CONVERSATIONS, _OTHER_PICTURES, _LONE_TURNS, _WRONG_TURNS):
        bench.run(query)


# Of each turn also which one of its conversation it is, and the numbers of the next two, to be shown. No aggregate: windows spill.
_TURNS = """CREATE TABLE turns AS
SELECT part, "row", id, conversation, turn, hash(image_ids) AS shown, row_number() OVER w AS place,
       [turn, lead(turn) OVER w, lead(turn, 2) OVER w] AS numbers, lag(turn) OVER w = turn AS again
FROM records ANTI JOIN (FROM findings WHERE fault = 'duplicate-record') AS d USING (part, "row")
WHERE conversation IS NOT NULL AND NOT regexp_matches(id, '~[0-9]+$') -- an edited turn stands beside the old one
WINDOW w AS (PARTITION BY conversation ORDER BY turn NULLS LAST, part, "row")"""

_CONVERSATIONS = """CREATE TABLE conversations AS
SELECT conversation, count(*) AS n, min(shown) <> max(shown) AS differ,
       NOT (n = count(turn) AND min(turn) = 0 AND max(turn) = n - 1 AND NOT coalesce(bool_or(again), false)) AS wrong
FROM turns GROUP BY conversation HAVING wrong IS DISTINCT FROM false OR differ"""

_OTHER_PICTURES = """INSERT INTO findings BY NAME
WITH selections AS (
    SELECT conversation, count(*) AS selections FROM (
        SELECT DISTINCT conversation, shown FROM turns
        SEMI JOIN (FROM conversations WHERE differ) AS c USING (conversation)
    ) GROUP BY conversation
)
SELECT 'conversation-pictures' AS fault, part, "row", id,
       concat('the ', n, ' turns of ', conversation, ' name ', selections,
              ' different selections of pictures') AS what
FROM turns JOIN selections USING (conversation) JOIN conversations USING (conversation)
WHERE place = 1"""

_LONE_TURNS = """INSERT INTO findings BY NAME
SELECT 'conversation-turns' AS fault, part, "row", id,
       'it is a turn, and names no conversation' AS what
FROM records WHERE conversation IS NULL AND turn IS NOT NULL"""

_WRONG_TURNS = """INSERT INTO findings BY NAME
SELECT 'conversation-turns' AS fault, part, "row", id,
       concat('the turns of ', conversation, ' are ',
              list_aggregate([coalesce(x::VARCHAR, 'without a number') FOR x IN numbers[:n]],
                             'string_agg', ', '),
              CASE WHEN n > 3 THEN concat(' and ', n - 3, ' more') END) AS what
FROM turns JOIN conversations USING (conversation)
WHERE place = 1 AND wrong IS DISTINCT FROM false"""


# References between records


_DANGLING_TRANSLATIONS = """INSERT INTO findings BY NAME
SELECT 'dangling-translation' AS fault, part, "row", id,
       concat('there is no record ', translation_of) AS what
FROM records ANTI JOIN (SELECT hash(id) AS h FROM records) AS o ON o.h = hash(translation_of)
WHERE translation_of IS NOT NULL"""
