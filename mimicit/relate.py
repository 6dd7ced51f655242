"""Which records may serve as context for which: a list for each record, by a strategy, written beside the records.

    siblings   other records about the same pictures
    turns      the turns before it in one conversation
    text       the records whose question and answer are nearest
    picture    records about the pictures that look most like its first picture, one a picture

Related are accepted records only, and, unless asked otherwise, of the same task and language: these are exported together. A
strategy's lists replace what it said before. Nothing here depends on the order of parts: choices are made by `md5(seed || id)`.

To add a strategy, write a function that fills the table `found`, and add it to STRATEGIES.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit.embed import check_embedding
from mimicit.errors import QueryError, RecipeError
from mimicit.sandbox import predicate
from mimicit.schema import relation_schema
from mimicit.similar import Progress, nearest_by_text, nearest_by_vector, workbench
from mimicit.store import Store
from mimicit.vectors import describe_pictures, embed_records, load_vectors

if TYPE_CHECKING:
    import duckdb

COMMAND = "syphus data relate"
PATIENCE = 600.0
"""Seconds that a finished search waits for another writer."""


@dataclass(frozen=True)
class Related:
    """What became of the records."""

    strategy: str
    records: int
    related: int
    """Records that got at least one."""
    pairs: int
    unreadable: int
    """Pictures that could not be decoded; their records got none."""
    seconds: float


@dataclass
class Work:
    """What a strategy works on: the table `records`, and the table `found` to fill."""

    connection: duckdb.DuckDBPyConnection
    store: Store
    k: int
    seed: int
    embedding: str
    embeddings: Path | None
    other_pictures: bool
    progress: Progress
    done: int = 0
    unreadable: int = 0

    def run(self, query: str, **values: object) -> None:
        self.connection.execute(query, values)

    def kinds(self) -> list[int]:
        """List the groups of records that are compared apart."""
        rows = self.connection.execute("SELECT DISTINCT kind FROM records ORDER BY ALL").fetchall()
        return [kind for (kind,) in rows]

    def counting(self) -> Progress:
        """Count on from what is done: each step begins with 0."""
        base = self.done

        def tell(done: int) -> None:
            self.done = base + done
            self.progress(self.done)

        return tell


def relate(
    store: Store,
    *,
    strategy: str,
    k: int = 10,
    seed: int = 0,
    where: str = "true",
    embedding: str = "tfidf",
    embeddings: Path | None = None,
    same_task: bool = True,
    other_pictures: bool = False,
    progress: Progress = lambda done: None,
) -> Related:
    """Find the related records of every accepted record, and write them as the strategy's lists.

    Args:
        store: The dataset.
        strategy: A name in STRATEGIES.
        k: Related records of one record, at most.
        seed: Decides between equals; another one chooses other records about a picture.
        where: An SQL predicate over `accepted`; other records neither get nor become related ones.
        embedding: How "text" compares: "tfidf" or "minilm".
        embeddings: A Parquet file with the columns `id` and `vector` that is used instead: ids of
            records for "text", of pictures for "picture".
        same_task: Relate only records of one task and language.
        other_pictures: With "text": never relate records about exactly the same pictures.
        progress: Told how many records or pictures are done.

    Raises:
        RecipeError: no such strategy or embedding.
        QueryError: the predicate is wrong.
        FormatError: the file of vectors is not what it should be.
        MissingExtraError: the embedding's packages are not installed.
        LockedError: another process is writing.
    """
    if strategy not in STRATEGIES:
        raise RecipeError(
            f"there is no strategy {strategy!r}; there are: {', '.join(sorted(STRATEGIES))}"
        )
    if k < 1:
        raise RecipeError(f"{k} related records are none; ask for at least 1")
    check_embedding(embedding)
    started = time.monotonic()
    with store.writing(COMMAND):  # before the long work, not after it, is the time to be refused
        store.sync()
    with workbench() as connection:
        _copy_records(store, connection, where, same_task)
        connection.execute("CREATE TABLE found (record VARCHAR, related VARCHAR[])")
        work = Work(connection, store, k, seed, embedding, embeddings, other_pictures, progress)
        STRATEGIES[strategy](work)
        [(records, related, pairs)] = connection.execute(
            "SELECT (SELECT count(*) FROM records), count(*) FILTER (len(related) > 0), "
            "coalesce(sum(len(related)), 0)::BIGINT FROM found"
        ).fetchall()
        _write(store, connection, strategy, seed)
    seconds = time.monotonic() - started
    return Related(strategy, records, related, pairs, work.unreadable, seconds)


def _copy_records(
    store: Store, connection: duckdb.DuckDBPyConnection, where: str, same_task: bool
) -> None:
    """Copy the chosen records out of the catalog, which is then free for others again."""
    import duckdb

    kind = "dense_rank() OVER (ORDER BY task, language)" if same_task else "1"
    with store.reading() as catalog:
        try:
            rows = catalog.sql(
                "SELECT id, instruction || chr(10) || answer AS text, image_ids, request, "
                f"({kind})::INTEGER AS kind FROM accepted WHERE {predicate(catalog, where)}"
            ).to_arrow_reader(10_000)
        except duckdb.Error as error:
            raise QueryError(
                f"the selection {where!r} fails: {str(error).splitlines()[0]}"
            ) from None
        connection.register("rows", rows)
        connection.execute("CREATE TABLE records AS FROM rows")
        connection.unregister("rows")


def _write(store: Store, connection: duckdb.DuckDBPyConnection, strategy: str, seed: int) -> None:
    """Write the new lists before the old ones go."""
    with store.writing(COMMAND, patience=PATIENCE):
        store.sync()
        with store.reading() as catalog:
            old = catalog.execute(
                "SELECT DISTINCT part FROM relations WHERE strategy = ?", [strategy]
            ).fetchall()
        rows = connection.sql(
            "SELECT id AS record, coalesce(related, []) AS related, $strategy AS strategy, "
            "$seed::BIGINT AS seed FROM records LEFT JOIN found ON record = id ORDER BY id",
            params={"strategy": strategy, "seed": seed},
        ).to_arrow_reader(100_000)
        store.write_part("relations", "r", rows.cast(relation_schema()))
        for (part,) in old:
            (store.path / part).unlink(missing_ok=True)
        store.sync()


def siblings(work: Work) -> None:
    """Relate records with the same pictures, in the order of their ids; of too many, a choice by seed."""
    work.run(
        """INSERT INTO found
        SELECT record, list_sort(list(id ORDER BY draw, id)[1:$k]) FROM (
            SELECT r.id AS record, s.id, md5($seed || s.id) AS draw
            FROM records AS r JOIN records AS s
            ON s.image_ids = r.image_ids AND s.kind = r.kind AND s.id <> r.id
            WHERE len(r.image_ids) > 0
        ) GROUP BY record""",
        k=work.k,
        seed=str(work.seed),
    )


def turns(work: Work) -> None:
    """Relate a turn to those before it: of one request, with ids alike up to `_<n>`, in the order of n.

    `LACONV_INS_000000377944_2` follows `…_0` and `…_1`; `DC_04_INS_00001` is no turn.
    """
    work.run(
        rf"""INSERT INTO found
        SELECT id, list(id) OVER (
            PARTITION BY kind, request, id_.stem ORDER BY id_.n::BIGINT, id
            ROWS BETWEEN {work.k:d} PRECEDING AND 1 PRECEDING
        ) FROM (
            SELECT id, kind, request,
                   regexp_extract(id, '^(.*_INS_.+)_(\d{{1,3}})$', ['stem', 'n']) AS id_
            FROM records
        ) WHERE id_.stem <> ''"""
    )


def text(work: Work) -> None:
    """Relate the nearest texts."""
    same = "CASE WHEN len(image_ids) > 0 THEN image_ids::VARCHAR END"
    grp = same if work.other_pictures else "NULL"
    if work.embeddings:
        load_vectors(work.connection, work.embeddings)
    elif work.embedding != "tfidf":
        embed_records(work.connection, work.embedding, work.counting())
    by_vector = work.embeddings is not None or work.embedding != "tfidf"
    nearest = nearest_by_vector if by_vector else nearest_by_text
    compared = "vector FROM records JOIN vectors USING (id)" if by_vector else "text FROM records"
    for kind in work.kinds():
        rows = f"SELECT id, {grp} AS grp, {compared} WHERE kind = {kind}"
        nearest(work.connection, rows, work.k, seed=work.seed, progress=work.counting())
        work.run("INSERT INTO found SELECT id, neighbours FROM nearest")


def picture(work: Work) -> None:
    """Relate, for each of the pictures that look most like a record's first, one record about it."""
    work.run(
        "CREATE TABLE firsts AS SELECT id, kind, image_ids, image_ids[1] AS picture "
        "FROM records WHERE len(image_ids) > 0"
    )
    work.unreadable = describe_pictures(
        work.connection, work.store, work.embeddings, work.counting()
    )
    for kind in work.kinds():
        # A copy of a picture under another id is no other picture.
        nearest_by_vector(
            work.connection,
            "SELECT id, vector, sha256 AS grp FROM vectors LEFT JOIN places USING (id) "
            f"SEMI JOIN (FROM firsts WHERE kind = {kind}) AS f ON f.picture = vectors.id",
            work.k,
            seed=work.seed,
            progress=work.counting(),
        )
        work.run(_ONE_RECORD_A_PICTURE, seed=str(work.seed), kind=kind)


_ONE_RECORD_A_PICTURE = """INSERT INTO found
SELECT record, list(chosen ORDER BY place) FROM (
    SELECT q.id AS record, place, arg_min(c.id, (md5($seed || q.id || c.id), c.id)) AS chosen
    FROM (FROM firsts WHERE kind = $kind) AS q
    JOIN (
        SELECT id AS picture, unnest(neighbours) AS near,
               generate_subscripts(neighbours, 1) AS place FROM nearest
    ) AS n USING (picture)
    JOIN (FROM firsts WHERE kind = $kind) AS c ON c.picture = n.near
    WHERE NOT list_has_any(q.image_ids, c.image_ids)
    GROUP BY q.id, place
) GROUP BY record"""

STRATEGIES: dict[str, Callable[[Work], None]] = {
    "siblings": siblings,
    "turns": turns,
    "text": text,
    "picture": picture,
}
