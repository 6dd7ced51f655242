import math
import random
import re
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimicit import similar
from mimicit.errors import FormatError
from mimicit.similar import nearest_by_text, nearest_by_vector, workbench


@pytest.fixture(scope="module")
def bench():
    with workbench() as connection:
        yield connection


def by_text(connection, rows, k, **options):
    """Return id -> [(neighbour, score)]."""
    names = ("id", "text", "grp")[: len(rows[0]) if rows else 2]
    columns = {
        name: pa.array([row[n] for row in rows], pa.string()) for n, name in enumerate(names)
    }
    return found(connection, pa.table(columns), nearest_by_text, k, options)


def by_vector(connection, rows, k, **options):
    columns = {
        "id": pa.array([id_ for id_, _ in rows], pa.string()),
        "vector": pa.array([vector for _, vector in rows], pa.list_(pa.float32())),
    }
    return found(connection, pa.table(columns), nearest_by_vector, k, options)


def found(connection, table, nearest, k, options):
    connection.register("given", table)
    rows = nearest(connection, "given", k, **options).fetchall()
    connection.unregister("given")
    return {id_: list(zip(names, scores, strict=True)) for id_, names, scores in rows}


def tfidf_cosines(rows):
    """What similar.py promises, in plain Python: id -> {id: cosine}, of those that share a term."""
    terms = {row[0]: Counter(re.findall(r"[^\W_]+", row[1].lower())) for row in rows}
    df = Counter(term for counts in terms.values() for term in counts)
    vectors = {}
    for id_, counts in terms.items():
        weights = {
            term: (1 + math.log(tf)) * (math.log((1 + len(rows)) / (1 + df[term])) + 1)
            for term, tf in counts.items()
        }
        length = math.sqrt(sum(w * w for w in weights.values()))
        vectors[id_] = {term: w / length for term, w in weights.items()}
    return {
        a: {
            b: sum(w * other.get(term, 0) for term, w in vector.items())
            for b, other in vectors.items()
            if b != a and vector.keys() & other.keys()
        }
        for a, vector in vectors.items()
    }


def corpus(seed, count, words=120):
    rng = random.Random(seed)
    zipf = [1 / (n + 1) for n in range(words)]
    return [
        (f"r{n:04d}", " ".join(f"w{w}" for w in rng.choices(range(words), zipf, k=rng.randint(0, 12))))
        for n in range(count)
    ]  # fmt: skip


def assert_is_top(got, cosines, k):
    """Each list is the k best, in order; among equals any will do."""
    for id_, neighbours in got.items():
        expected = sorted(cosines[id_].values(), reverse=True)[:k]
        assert [score for _, score in neighbours] == pytest.approx(expected, abs=1e-6)
        for name, score in neighbours:
            assert score == pytest.approx(cosines[id_][name], abs=1e-6)


def test_without_frequent_terms_it_is_exact(bench):
    rows = corpus(1, 250)
    got = by_text(bench, rows, 7)
    assert len(got) == 250
    assert_is_top(got, tfidf_cosines(rows), 7)


def test_blocks_make_no_difference(bench, monkeypatch):
    rows = corpus(2, 200)
    whole = by_text(bench, rows, 5)
    monkeypatch.setattr(similar, "BLOCK_PAIRS", 300)
    done = []
    assert by_text(bench, rows, 5, progress=done.append) == whole
    assert len(done) > 20
    assert done[-1] == 200


def test_with_frequent_terms_no_similarity_is_wrong_and_few_are_missed(bench):
    rows = corpus(3, 400, words=400)
    cosines = tfidf_cosines(rows)
    got = by_text(bench, rows, 5, cap=40)
    hits = total = 0
    for id_, neighbours in got.items():
        scores = [score for _, score in neighbours]
        assert scores == sorted(scores, reverse=True)
        assert scores == pytest.approx([cosines[id_][name] for name, _ in neighbours], abs=1e-6)
        best = sorted(cosines[id_].values(), reverse=True)[:5]
        hits += sum(score >= best[-1] - 1e-6 for score in scores)
        total += len(best)
    assert hits / total > 0.85


def test_a_text_of_frequent_words_only_still_has_neighbours(bench):
    rows = [
        (f"r{n:03d}", "a dog on the grass" if n < 60 else f"a dog in the snow {n}")
        for n in range(90)
    ]
    got = by_text(bench, rows, 3, cap=10)
    assert all(len(neighbours) == 3 for neighbours in got.values())


@settings(deadline=None, max_examples=25)
@given(
    texts=st.lists(st.text("ab cé1", max_size=8), min_size=1, max_size=12),
    seed=st.integers(0, 3),
    k=st.integers(1, 4),
    shuffle=st.randoms(use_true_random=False),
)
def test_the_order_of_rows_makes_no_difference(texts, seed, k, shuffle):
    rows = [(f"r{n}", text) for n, text in enumerate(texts)]
    mixed = rows.copy()
    shuffle.shuffle(mixed)
    with workbench() as connection:
        got = by_text(connection, rows, k, seed=seed)
        assert by_text(connection, mixed, k, seed=seed) == got
    assert_is_top(got, tfidf_cosines(rows), k)


def test_threads_make_no_difference(bench):
    rows = corpus(4, 3_000, words=60)
    bench.execute("SET threads = 1")
    alone = by_text(bench, rows, 4, cap=100)
    bench.execute("SET threads = 4")
    assert by_text(bench, rows, 4, cap=100) == alone


def test_equals_are_chosen_by_the_seed(bench):
    rows = [(f"r{n}", "the same words") for n in range(40)]
    first = by_text(bench, rows, 3, seed=0)
    assert by_text(bench, rows, 3, seed=0) == first
    assert by_text(bench, rows, 3, seed=1) != first
    assert all(id_ not in dict(neighbours) for id_, neighbours in first.items())


def test_rows_of_one_group_are_no_neighbours(bench):
    rows = [("a", "red cat", "g"), ("b", "red cat", "g"), ("c", "red dog", "h"), ("d", "red cat", None),
            ("e", "red cat", None)]  # fmt: skip
    got = by_text(bench, rows, 9)
    names = {id_: {name for name, _ in neighbours} for id_, neighbours in got.items()}
    assert names == {"a": {"c", "d", "e"}, "b": {"c", "d", "e"}, "c": {"a", "b", "d", "e"},
                     "d": {"a", "b", "c", "e"}, "e": {"a", "b", "c", "d"}}  # fmt: skip


def test_scripts_without_spaces_are_compared_by_pairs_of_characters(bench):
    rows = [
        ("cat", "一只猫在沙发上睡觉。"),
        ("cats", "两只猫在沙发上玩 ball"),
        ("dog", "雪地里有狗"),
        ("thai", "แมวนอนหลับ"),
        ("thai2", "แมวนอนอยู่"),
        ("one", "狗"),
        ("ball", "The BALL."),
    ]
    got = by_text(bench, rows, 9)
    names = {id_: [name for name, _ in neighbours] for id_, neighbours in got.items()}
    assert names == {
        "cat": ["cats"], "cats": ["cat", "ball"], "dog": [], "thai": ["thai2"], "thai2": ["thai"],
        "one": [], "ball": ["cats"],
    }  # fmt: skip


def test_nothing_and_next_to_nothing(bench):
    assert by_text(bench, [], 3) == {}
    assert by_text(bench, [("a", "…"), ("b", "")], 3) == {"a": [], "b": []}
    assert by_vector(bench, [], 3) == {}
    assert by_vector(bench, [("a", [0.0, 0.0]), ("b", [1.0, 0.0]), ("c", None)], 3) == {
        "a": [], "b": [], "c": [],
    }  # fmt: skip


def test_a_query_is_as_good_as_a_table(bench):
    got = nearest_by_text(
        bench, "SELECT 'r' || range AS id, 'word' AS text FROM range(3)", 1, into="mine"
    )
    assert len(got.fetchall()) == 3
    assert bench.table("mine").columns == ["id", "neighbours", "scores"]


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)


def test_vectors_are_exact(bench, monkeypatch):
    rng = random.Random(5)
    rows = [(f"v{n:03d}", [rng.gauss(0, 1) for _ in range(9)]) for n in range(120)]
    cosines = {a: {b: cosine(x, y) for b, y in rows if b != a} for a, x in rows}
    got = by_vector(bench, rows, 6)
    assert_is_top(got, cosines, 6)
    monkeypatch.setattr(similar, "BLOCK_VECTORS", 7)
    assert by_vector(bench, rng.sample(rows, len(rows)), 6) == got


def test_equal_vectors_are_chosen_by_the_seed(bench):
    rows = [(f"v{n}", [1.0, 2.0]) for n in range(30)]
    assert by_vector(bench, rows, 2) == by_vector(bench, rows[::-1], 2)
    assert by_vector(bench, rows, 2, seed=1) != by_vector(bench, rows, 2)


def test_vectors_of_two_lengths_are_a_sentence(bench):
    with pytest.raises(FormatError, match="different lengths, 2 and 3"):
        by_vector(bench, [("a", [1.0, 0.0]), ("b", [1.0, 0.0, 0.0])], 1)
