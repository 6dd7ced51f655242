"""What is wrong with rows that can be read, as SQL over the bench.

Each check fills `findings`. Their order matters: of two records with one id the one that has findings of its own is the
duplicate, and a duplicate is no turn of a conversation.
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
    for query in (_EMPTY, _DANGLING_PICTURES, _PLACEHOLDERS):
        bench.run(query)
    for task, (least, most) in USUAL_PICTURES.items():
        bench.run(_COUNTS, task=task, least=least, most=most)
    _duplicates(bench, "records", "duplicate-record", "a record")
    _check_conversations(bench)
    for query in (_DANGLING_TRANSLATIONS, _DANGLING_EXAMPLES, _DANGLING_RELATIONS):
        bench.run(query)


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
            SELECT part, "row", id FROM {table}
            SEMI JOIN (SELECT id FROM {table} GROUP BY id HAVING count(*) > 1) AS d USING (id)
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


def _listed(names: str, count: str) -> str:
    """Return the SQL for the first three of some names, and how many more there are."""
    return f"""concat(list_aggregate({names}[1:3], 'string_agg', ', '),
               CASE WHEN {count} > 3 THEN concat(' and ', {count} - 3, ' more') END)"""


_DANGLING_PICTURES = f"""INSERT INTO findings BY NAME
SELECT 'dangling-picture' AS fault, part, "row", id,
       concat('there is no picture ', {_listed("gone", "n")}) AS what
FROM (
    SELECT part, "row", id, list(named ORDER BY place) AS gone, count(*) AS n
    FROM (
        SELECT part, "row", id, coalesce(unnest(image_ids), '') AS named,
               generate_subscripts(image_ids, 1) AS place
        FROM records
    ) ANTI JOIN pictures ON pictures.id = named
    GROUP BY part, "row", id
)"""

_COUNTS = """INSERT INTO findings BY NAME
SELECT 'picture-count' AS fault, part, "row", id,
       concat('it has ', len(image_ids), ' pictures, and a record of the task ', task, ' has ', $least,
              CASE WHEN $most > $least THEN concat(' to ', $most) END) AS what
FROM records WHERE task = $task AND NOT len(image_ids) BETWEEN $least AND $most"""

_PLACEHOLDERS = """INSERT INTO findings BY NAME
SELECT 'placeholder-count' AS fault, part, "row", id,
       concat(placeholders, ' times <image>, and ', len(image_ids), ' pictures') AS what
FROM records WHERE placeholders > len(image_ids)
UNION ALL BY NAME
SELECT 'placeholder-count' AS fault, first.part, first."row", first.id,
       concat(placeholders, ' times <image> in all of its turns, and ', pictures, ' pictures') AS what
FROM (
    SELECT arg_min({'part': part, 'row': "row", 'id': id}, coalesce(turn, 0)) AS first,
           sum(placeholders)::BIGINT AS placeholders, max(placeholders) AS most,
           max(len(image_ids)) AS pictures
    FROM (SELECT DISTINCT ON (conversation, id) * FROM records
          WHERE conversation IS NOT NULL AND placeholders > 0)
    GROUP BY conversation
) WHERE placeholders > pictures AND most <= pictures"""


# Conversations


def _check_conversations(bench: Bench) -> None:
    bench.run(_TURNS)
    bench.run(_CONVERSATIONS)
    bench.run(
        """INSERT INTO findings BY NAME
        SELECT 'conversation-pictures' AS fault, first.part, first."row", first.id,
               concat('the ', n, ' turns of ', conversation, ' name ', selections,
                      ' different selections of pictures') AS what
        FROM conversations WHERE selections > 1"""
    )
    bench.run(
        """INSERT INTO findings BY NAME
        SELECT 'conversation-turns' AS fault, part, "row", id,
               'it is a turn, and names no conversation' AS what
        FROM records WHERE conversation IS NULL AND turn IS NOT NULL"""
    )
    bench.run(
        f"""INSERT INTO findings BY NAME
        SELECT 'conversation-turns' AS fault, first.part, first."row", first.id,
               concat('the turns of ', c.conversation, ' are ', {_listed("said", "len(said)")}) AS what
        FROM (
            SELECT c.conversation, any_value(c.first) AS first,
                   list(coalesce(t.turn::VARCHAR, 'without a number') ORDER BY t.turn) AS said
            FROM conversations AS c JOIN turns AS t USING (conversation)
            WHERE NOT (n = numbered AND n = different AND least = 0 AND most = n - 1)
            GROUP BY c.conversation
        ) AS c"""
    )


_TURNS = """CREATE TABLE turns AS
SELECT part, "row", id, conversation, turn, image_ids FROM records
ANTI JOIN (FROM findings WHERE fault = 'duplicate-record') AS d USING (part, "row")
WHERE conversation IS NOT NULL"""

_CONVERSATIONS = """CREATE TABLE conversations AS
SELECT conversation, count(*) AS n, count(turn) AS numbered, count(DISTINCT turn) AS different,
       min(turn) AS least, max(turn) AS most, count(DISTINCT image_ids) AS selections,
       arg_min({'part': part, 'row': "row", 'id': id}, coalesce(turn, 2147483647)) AS first
FROM turns GROUP BY conversation
HAVING NOT (n = numbered AND n = different AND least = 0 AND most = n - 1) OR selections > 1"""


# References between records


_DANGLING_TRANSLATIONS = """INSERT INTO findings BY NAME
SELECT 'dangling-translation' AS fault, part, "row", id,
       concat('there is no record ', translation_of) AS what
FROM records ANTI JOIN records AS o ON o.id = records.translation_of
WHERE translation_of IS NOT NULL"""


def _dangling(table: str, owner: str, names: str) -> str:
    """Return the check of a list of records' ids."""
    return f"""INSERT INTO findings BY NAME
    SELECT 'dangling-relation' AS fault, part, "row", id,
           concat('there is no record ', {_listed("gone", "n")}) AS what
    FROM (
        SELECT part, "row", id, list(named ORDER BY place) AS gone, count(*) AS n
        FROM (
            SELECT part, "row", {owner} AS id, coalesce(unnest({names}), '') AS named,
                   generate_subscripts({names}, 1) AS place
            FROM {table}
        ) ANTI JOIN records ON records.id = named
        GROUP BY part, "row", id
    )"""


_DANGLING_EXAMPLES = _dangling("records", "id", "rel_ins_ids")
_DANGLING_RELATIONS = _dangling("relations", "record", "list_prepend(record, related)")
