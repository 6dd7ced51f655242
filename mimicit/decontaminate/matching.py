"""Which records hold what a benchmark asks, and how one knows.

Short questions say little: "Is there a dog in the image?" is asked in thousands of records of any training set, and of a benchmark,
and no answer follows from it without the picture. So there are three findings, the first the worst:

    both       the same picture, and the question word for word
    text       a text of at least `least` words of which most runs of `words` words are in the record; or a question and
               its answer, word for word, where the answer says something; or, without pictures, a question of `words` words.
               A question about a picture needs `words` words of its own: "Is there a brown dog in the image? Please
               answer yes or no." has two
    picture    the same picture, whatever is asked about it

What is said again and again is a way of asking. A run of words that is in more than `common` different items of the benchmarks counts
for none of them, and a text, or a question, that more than `common` records about pictures share counts for none of those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from mimicit.decontaminate.grams import Index, Words, digests, joined, runs, taken, words
from mimicit.decontaminate.items import Benchmarks
from mimicit.decontaminate.seen import see
from mimicit.errors import FormatError

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow

AT_ONCE = 2_048
"""Records whose words are in memory together."""
READ = 65_536
"""Records that are read at a time."""
SAYS = 4
"""Words of an answer that says something."""
WAY = 3
"""Words of a run that belongs to a way of asking, if many items have it."""
MOST_WORDS = 30_000_000
"""Of benchmarks' long texts, each text counted once. A word takes some hundred bytes while they are prepared."""
_ODD = 0x1F83D9ABFB41BD6B


@dataclass(frozen=True, slots=True)
class Matching:
    words: int = 8
    """Of a run."""
    least: int = 13
    """Words of a text that is looked for by runs."""
    share: float = 0.7
    """Of a text's runs that are in a record that holds it."""
    common: int = 10
    """Items, or records about pictures, that share a text that is only a way of asking, are more."""
    distance: int = 3
    """Bits of 64 in which the hashes of one picture differ, at most."""
    names: bool = True
    """Whether a picture that is not there is known by its name."""

    def __post_init__(self) -> None:
        """Check it.

        Raises:
            ValueError: a number that cannot be.
        """
        for name, good, meant in (
            ("words", 2 <= self.words <= 100, "from 2 to 100"),
            ("least", self.least >= self.words, "no fewer than `words`"),
            ("share", 0 < self.share <= 1, "above 0 and at most 1"),
            ("common", self.common >= 1, "at least 1"),
            ("distance", 0 <= self.distance <= 16, "from 0 to 16"),
        ):
            if not good:
                raise ValueError(f"'{name}' cannot be {getattr(self, name)!r}; it is {meant}")


class _Texts(NamedTuple):
    """The texts of benchmarks that are looked for by runs."""

    sought: Index
    size: np.ndarray
    """Different runs of each."""
    item: np.ndarray
    """One that has it."""


def find(
    connection: duckdb.DuckDBPyConnection,
    benchmarks: Benchmarks,
    matching: Matching,
    tell: Callable[[int], None] = lambda _: None,
) -> pyarrow.Table:
    """Return record, benchmark, item, how, share, distance, known_by: of each benchmark the best finding of each kind.

    Args:
        connection: Has `candidates` (id, instruction, answer, image_ids), and `looks`.
        benchmarks: What is looked for.
        matching: What is found.
        tell: Is told how many records were read.
    """
    connection.register("bench_given", benchmarks.items)
    connection.execute("CREATE OR REPLACE TEMP TABLE bench_items AS SELECT * FROM bench_given")
    connection.unregister("bench_given")
    see(connection, benchmarks, distance=matching.distance, names=matching.names)
    questions, texts = _prepared(benchmarks, matching)
    told, asked = _scanned(connection, questions["q"].to_numpy(), texts, matching, tell)
    for name, table in (("questions", questions), ("told", told), ("asked", asked)):
        connection.register("bench_given", table)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE bench_{name} AS SELECT * FROM bench_given"
        )
        connection.unregister("bench_given")
    return connection.sql(
        _found(), params={"words": matching.words, "common": matching.common, "says": SAYS}
    ).to_arrow_table()


# Benchmarks


def _prepared(benchmarks: Benchmarks, matching: Matching) -> tuple[pyarrow.Table, _Texts]:
    """Return the questions as numbers, and the texts with their runs."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    items = benchmarks.items.combine_chunks()
    question, options, answer = (
        items[name].combine_chunks() if items.num_rows else pa.array([], pa.string())
        for name in ("question", "options", "answer")
    )
    whole = pc.binary_join_element_wise(question, options, " ")
    asked, told, both = _words(question), _words(answer), _words(whole)
    shown = np.zeros(items.num_rows, bool)
    shown[benchmarks.shown["item"].to_numpy()] = True
    questions = pa.table(
        {
            "item": items["item"],
            "benchmark": items["benchmark"],
            "q": digests(asked),
            "a": digests(told),
            "shown": pa.array(shown),
            "question_words": asked.count,
            "answer_words": told.count,
        }
    )
    return questions, _texts(benchmarks, both, told, shown, matching)


def _words(texts: pyarrow.Array) -> Words:
    """Cut texts into words, some at a time: of each byte, some thirty are needed in between."""
    parts = [words(texts.slice(at, AT_ONCE)) for at in range(0, max(1, len(texts)), AT_ONCE)]
    return joined(parts)


def _texts(
    benchmarks: Benchmarks, asked: Words, told: Words, shown: np.ndarray, matching: Matching
) -> _Texts:
    """Return the texts that are looked for by runs.

    Raises:
        FormatError: there are too many to be held in memory.
    """
    import numpy as np

    _, source = np.unique(benchmarks.items["benchmark"].to_numpy(), return_inverse=True)
    picture = _pictures(benchmarks)
    questions, often = _different(asked, source, picture, matching.least)
    answers, as_often = _different(told, source, picture, matching.least)
    _check_size(int(asked.count[questions].sum() + told.count[answers].sum()))
    own = _own(taken(asked, questions), often, matching.common)
    says = (own >= matching.words) | ~shown[questions]
    item = np.concatenate([questions[says], answers])
    times = np.concatenate([often[says], as_often])
    texts = joined([taken(asked, questions[says]), taken(told, answers)])
    run, text, is_rare = _rare(*runs(texts, matching.words), times, matching.common)
    total = np.bincount(text, minlength=len(item))
    size = np.bincount(text[is_rare], minlength=len(item))
    known = is_rare & (size * 2 >= total)[text]
    return _Texts(Index(run[known], text[known]), size, item)


def _check_size(count: int) -> None:
    if count > MOST_WORDS:
        raise FormatError(
            f"the benchmarks hold {count:,} words in long texts, of which {MOST_WORDS:,} can be looked for at once; name fewer files"
        )


def _pictures(benchmarks: Benchmarks) -> np.ndarray:
    """Return a number for what each item shows first."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    found = np.full(benchmarks.items.num_rows, -1, np.int64)
    shown = benchmarks.shown
    if shown.num_rows:
        key = pc.coalesce(shown["sha256"], shown["name"], pa.scalar(""))
        place = pc.dictionary_encode(key.combine_chunks()).indices.to_numpy()
        item = shown["item"].to_numpy()
        found[item[::-1]] = place[::-1]
    return found


def _different(
    given: Words, source: np.ndarray, picture: np.ndarray, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return an item for each long text of a benchmark, and in how many different items the text is.

    One text about one picture is one item, however often and in whatever benchmarks it is there.
    """
    import numpy as np

    item = np.flatnonzero(given.count >= least)
    digest = digests(given)[item]
    _, first, text = np.unique(
        digest ^ (source[item] * _ODD), return_index=True, return_inverse=True
    )
    _, one = np.unique(digest ^ (picture[item] * _ODD), return_index=True)
    return item[first], np.bincount(text[one], minlength=len(first))


def _rare(
    run: np.ndarray, text: np.ndarray, times: np.ndarray, common: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the different runs of each text, and which of them are in few items.

    Args:
        run: Of words.
        text: The number of its text.
        times: In how many items each text is.
        common: What is in more is in many.
    """
    import numpy as np

    order = np.lexsort((text, run))
    run, text = run[order], text[order]
    new = np.ones(len(run), bool)
    new[1:] = run[1:] != run[:-1]
    different = new.copy()
    different[1:] |= text[1:] != text[:-1]
    run, text, new = run[different], text[different], new[different]
    number = np.cumsum(new) - 1
    return run, text, (np.bincount(number, times[text]) <= common)[number]


def _own(given: Words, times: np.ndarray, common: int) -> np.ndarray:
    """Return how many words of each text stand in no run of three that many items have.

    In "Is there a brown dog in the image? Please answer yes or no." these are two, the rest is a way of asking.
    """
    import numpy as np

    run, text = runs(given, WAY)
    different, _, is_rare = _rare(run, text, times, common)
    said_often = np.flatnonzero(np.isin(run, different[~is_rare]))
    first_word = said_often + (WAY - 1) * text[said_often]  # a text has two runs less than words
    own = np.ones(len(given.word), bool)
    for n in range(WAY):
        own[first_word + n] = False
    owner = np.repeat(np.arange(len(times)), given.count)
    return np.bincount(owner[own], minlength=len(times))


# Records


def _scanned(
    connection: duckdb.DuckDBPyConnection,
    questions: np.ndarray,
    texts: _Texts,
    matching: Matching,
    tell: Callable[[int], None],
) -> tuple[pyarrow.Table, pyarrow.Table]:
    """Return the records that hold texts (record, shown, text, item, share), and those that ask a question (record, shown, q, a)."""
    import numpy as np
    import pyarrow as pa

    wanted = np.unique(questions[questions != 0])
    told, asked, done = [_told_none()], [_asked_none()], 0
    for ids, question, answer, shown in _batches(connection):
        instruction, said = words(question), words(answer)
        parts = [texts.sought.found(one, matching.words) for one in (instruction, said)]
        row, text, count = (np.concatenate([part[n] for part in parts]) for n in range(3))
        share = count / np.maximum(texts.size[text], 1)
        good = share >= matching.share
        columns = {"text": text[good], "item": texts.item[text[good]], "share": share[good]}
        told.append(_rows(ids, shown, row[good], columns))
        q = digests(instruction)
        same = np.flatnonzero(_among(q, wanted))
        asked.append(_rows(ids, shown, same, {"q": q[same], "a": digests(said)[same]}))
        done += len(ids)
        tell(done)
    return pa.concat_tables(told), pa.concat_tables(asked)


def _batches(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[pyarrow.Array, ...]]:
    found = connection.sql(
        "SELECT id, instruction, answer, len(image_ids) > 0 AS shown FROM candidates"
    )
    for batch in found.to_arrow_reader(READ):
        for at in range(0, batch.num_rows, AT_ONCE):
            yield tuple(batch.slice(at, AT_ONCE).columns)


def _among(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    import numpy as np

    if not len(wanted):
        return np.zeros(len(values), bool)
    found: np.ndarray = (
        wanted[np.minimum(np.searchsorted(wanted, values), len(wanted) - 1)] == values
    )
    return found


def _rows(
    ids: pyarrow.Array, shown: pyarrow.Array, row: np.ndarray, columns: dict[str, np.ndarray]
) -> pyarrow.Table:
    import pyarrow as pa

    places = pa.array(row, pa.int64())
    return pa.table({"record": ids.take(places), "shown": shown.take(places), **columns})


def _told_none() -> pyarrow.Table:
    import pyarrow as pa

    kinds = {"record": pa.string(), "shown": pa.bool_(), "text": pa.int64(), "item": pa.int64()}
    return pa.schema([*kinds.items(), ("share", pa.float64())]).empty_table()


def _asked_none() -> pyarrow.Table:
    import pyarrow as pa

    kinds = {"record": pa.string(), "shown": pa.bool_(), "q": pa.int64(), "a": pa.int64()}
    return pa.schema(list(kinds.items())).empty_table()


def _found() -> str:
    from mimicit.curate.filters.text import normal

    return _FOUND.format(asked=normal("c.instruction"), question=normal("i.question"))


_FOUND = """
WITH named AS (
    SELECT id AS record, unnest(image_ids) AS picture FROM candidates
), pairs AS MATERIALIZED (
    SELECT record, item, min_by(known_by, coalesce(distance, 64)) AS known_by, min(distance) AS distance
    FROM named JOIN bench_seen USING (picture) GROUP BY record, item
), pictured AS (
    SELECT record, item, known_by, distance,
        {question} <> '' AND contains(' ' || {asked} || ' ', ' ' || {question} || ' ') AS same
    FROM pairs JOIN (SELECT id, instruction FROM candidates WHERE id IN (SELECT record FROM pairs)) AS c ON c.id = record
    JOIN bench_items AS i USING (item)
), popular AS (
    SELECT text FROM (SELECT DISTINCT text, record FROM bench_told WHERE shown) GROUP BY text HAVING count(*) > $common
), known AS (
    SELECT benchmark, q, a, shown, any_value(question_words) AS question_words, any_value(answer_words) AS answer_words,
        min(item) AS item
    FROM bench_questions WHERE question_words > 0 GROUP BY benchmark, q, a, shown
), equal AS (
    SELECT record, item, asked.shown, q, asked.a = k.a AS answered FROM bench_asked AS asked JOIN known AS k USING (q)
    WHERE (asked.a = k.a AND (answer_words >= $says OR NOT (asked.shown OR k.shown)))
        OR (NOT (asked.shown OR k.shown) AND question_words >= $words)
), repeated AS (
    SELECT q FROM bench_asked WHERE shown GROUP BY q HAVING count(*) > $common
), findings AS (
    SELECT record, item, if(same, 'both', 'picture') AS how, 1.0 AS share, distance, known_by FROM pictured
    UNION ALL
    SELECT record, item, 'text', share, NULL, NULL FROM bench_told
    WHERE NOT (shown AND text IN (SELECT text FROM popular))
    UNION ALL
    SELECT record, item, 'text', 1.0, NULL, NULL FROM equal WHERE NOT (shown AND q IN (SELECT q FROM repeated))
)
SELECT record, benchmark, best.item AS item, how, share, best.distance AS distance, best.known_by AS known_by FROM (
    SELECT record, benchmark, how, max(share) AS share,
        arg_max({{'item': item, 'distance': distance, 'known_by': known_by}}, (share, -coalesce(distance, 64), -item)) AS best
    FROM findings JOIN (SELECT item, benchmark FROM bench_items) USING (item)
    GROUP BY record, benchmark, how
) ORDER BY record, benchmark, how"""
