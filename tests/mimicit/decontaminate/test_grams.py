"""Runs of words, beside the same done with sets of tuples."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from mimicit.decontaminate.grams import Index, digests, joined, runs, taken, words

TEXTS = st.lists(st.text("abAB ,.\n1", max_size=30), min_size=1, max_size=12)


def cut(text):
    return re.findall(r"[a-z0-9]+", text.lower())


def tuples(text, length):
    found = cut(text)
    return [tuple(found[n : n + length]) for n in range(len(found) - length + 1)]


@settings(deadline=None, max_examples=300)
@given(TEXTS, st.integers(1, 4))
def test_runs_are_equal_where_their_words_are(texts, length):
    given_words = words(pa.array(texts))
    assert given_words.count.tolist() == [len(cut(text)) for text in texts]
    run, text = runs(given_words, length)
    expected = [(n, one) for n, said in enumerate(texts) for one in tuples(said, length)]
    assert text.tolist() == [n for n, _ in expected]
    pairs = set(zip(run.tolist(), [one for _, one in expected], strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    digest = digests(given_words).tolist()
    assert len({(d, tuple(cut(t))) for d, t in zip(digest, texts, strict=True)}) == len(set(digest))
    assert [d == 0 for d in digest] == [not cut(text) for text in texts]


@settings(deadline=None, max_examples=300)
@given(TEXTS, TEXTS, st.integers(1, 3))
def test_the_index_counts_different_runs_that_two_texts_share(ours, theirs, length):
    run, text = runs(words(pa.array(ours)), length)
    found = Index(run, text).found(words(pa.array(theirs)), length)
    said = {(a, b): n for a, b, n in zip(*(part.tolist() for part in found), strict=True)}
    expected = {
        (a, b): len(set(tuples(x, length)) & set(tuples(y, length)))
        for a, x in enumerate(theirs)
        for b, y in enumerate(ours)
    }
    assert said == {pair: n for pair, n in expected.items() if n}


def test_long_words_and_long_texts_differ_where_powers_begin_again():
    long = ["a" * 4_096 + "b" + "c" * 4_096, "a" * 4_096 + "c" + "b" + "c" * 4_095]
    many = [
        " ".join(f"w{n}" for n in range(9_000)),
        " ".join(f"w{n}" for n in (*range(8_998), 8_999, 8_998)),
    ]
    for texts in (long, many):
        assert len(set(digests(words(pa.array(texts))).tolist())) == 2


def test_slices_and_nulls_are_texts_too():
    texts = pa.array(["x y", None, "", "a b c"])
    assert words(texts.slice(1, 3)).count.tolist() == [0, 0, 3]
    assert np.array_equal(words(texts.slice(3)).word, words(pa.array(["A, b: C!"])).word)


@settings(deadline=None)
@given(st.lists(st.text("ab 犬.", max_size=12), min_size=1, max_size=9), st.data())
def test_parts_are_joined_and_taken_as_they_would_be_cut(texts, data):
    given = words(pa.array(texts))
    parts = joined([words(pa.array(texts[at : at + 2])) for at in range(0, len(texts), 2)])
    assert (parts.word.tolist(), parts.start.tolist()) == (
        given.word.tolist(),
        given.start.tolist(),
    )
    rows = data.draw(st.lists(st.integers(0, len(texts) - 1), max_size=5))
    some = taken(given, np.array(rows, np.int64))
    other = words(pa.array([texts[row] for row in rows], pa.string()))
    assert (some.word.tolist(), some.start.tolist()) == (other.word.tolist(), other.start.tolist())
