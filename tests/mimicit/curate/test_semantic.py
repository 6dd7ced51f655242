from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("wn")
pa = pytest.importorskip("pyarrow")

import pyarrow.parquet as pq  # noqa: E402

import mimicit.embed  # noqa: E402
from mimicit.curate import curate  # noqa: E402
from mimicit.curate.filters import semantic  # noqa: E402
from mimicit.curate.filters.semantic import semantic_duplicate  # noqa: E402
from mimicit.curate.meaning import guard  # noqa: E402
from mimicit.curate.meaning.guard import (  # noqa: E402
    contradict,
    exchanged,
    marks_of,
    tokens_of,
)
from mimicit.curate.meaning.synonyms import related  # noqa: E402
from mimicit.curate.meaning.vectors import packed, unit  # noqa: E402
from mimicit.curate.recipe import load_recipe  # noqa: E402
from mimicit.errors import MissingExtraError, RecipeError  # noqa: E402
from tests.builders import record  # noqa: E402
from tests.mimicit.curate.meant import (  # noqa: E402
    UNSEEN_CONTRADICTIONS,
    UNSEEN_PARAPHRASES,
    contradictions,
    paraphrases,
)


def fill(store, rows):
    with store.writing("test"):
        store.add([record(0, **{"image_ids": ["P"]} | row) for row in rows])
        store.sync()


@pytest.fixture
def dropped(store, tmp_path):
    """Curate with the filter, and return {id: reason} of what it drops."""

    def ask(parameters=""):
        path = tmp_path / "recipe.toml"
        path.write_text(f'name = "r"\n[[filter]]\nuse = "semantic_duplicate"\n{parameters}\n')
        curate(store, load_recipe(str(path)))
        with store.reading() as connection:
            return dict(connection.execute("SELECT record, reason FROM verdicts").fetchall())

    return ask


def pair_rows(pairs, kind):
    return [
        {
            "id": f"{kind}{n}_{side}",
            "instruction": said[0],
            "answer": said[1],
            "image_ids": [f"{kind}{n}"],
        }
        for n, pair in enumerate(pairs)
        for side, said in zip("ab", pair, strict=True)
    ]


# Planted pairs


def test_paraphrases_are_found_and_contradictions_are_not(store, dropped):
    pairs = {
        "p": paraphrases(),
        "q": paraphrases(UNSEEN_PARAPHRASES),
        "c": contradictions(),
        "d": contradictions(UNSEEN_CONTRADICTIONS),
    }
    fill(store, [row for kind, some in pairs.items() for row in pair_rows(some, kind)])
    said = dropped()
    found = {kind: sum(id_[0] == kind for id_ in said) for kind in pairs}
    assert found["p"] >= 32  # of 40
    assert found["q"] >= 16  # of 20
    assert found["c"] == 0  # of 50
    assert found["d"] <= 2  # of 25
    bare = dropped("guard = false")
    assert sum(id_[0] in "cd" for id_ in bare) >= 40


def test_the_reason_names_the_one_that_stays(store, dropped):
    (first, second), *_ = paraphrases()
    fill(
        store,
        [
            {"id": "a", "instruction": first[0], "answer": first[1]},
            {"id": "b", "instruction": second[0], "answer": second[1]},
            {
                "id": "c",
                "instruction": "Why is the street wet?",
                "answer": "It has been raining all night.",
            },
        ],
    )
    assert set(dropped()) == {"b"}  # the longest stays
    assert dropped()["b"].startswith("means the same as a (0.9")
    assert dropped("threshold = 1.0") == {}


def test_other_pictures_are_another_matter(store, dropped):
    rows = pair_rows(paraphrases()[:3], "p")
    for n, row in enumerate(rows):
        row["image_ids"] = [f"own {n}"]
    fill(store, rows)
    assert dropped() == {}
    assert len(dropped('scope = "dataset"')) == 3


def test_pictures_with_one_record_each_stand_between_the_others(store, dropped):
    pair = (("What is it?", "A big dog runs on the beach."), ("What is it?", "A large dog is running on the beach."))  # fmt: skip
    rows = [
        {"id": f"{n}{side}", "instruction": asked, "answer": f"{said}", "image_ids": [f"P{n}"]}
        for n in range(12)
        for side, (asked, said) in zip("ab"[: 1 + n % 2], pair, strict=False)
    ]
    fill(store, rows)
    assert {id_[:-1] for id_ in dropped()} == {"1", "3", "5", "7", "9", "11"}


def test_other_languages_are_left_alone(store, dropped):
    rows = pair_rows(paraphrases()[:3], "p")
    fill(store, [row | {"language": "de"} for row in rows])
    assert dropped() == {}


def test_what_says_the_same_goes_too(store, dropped):
    fill(
        store,
        [
            {"id": id_, "instruction": "What is it?", "answer": answer}
            for id_, answer in [("a", "It is a dog."), ("b", "It is a dog!"), ("c", "It is a hat.")]
        ],
    )
    assert dropped() == {"b": "means the same as a (1.00 alike)"}


def test_a_conversation_stays_or_goes_as_a_whole(store, dropped):
    first, second, third = paraphrases()[:3]

    def turns(name, *said):
        return [
            {"id": f"{name}{n}", "instruction": q, "answer": a, "conversation": name, "turn": n}
            for n, (q, a) in enumerate(said)
        ]

    fill(
        store,
        [
            *turns("x", first[0], second[0], third[0]),
            *turns("y", first[1], second[1]),  # all that it says is in x
            *turns("z", first[1], ("What is new here?", "A ship is entering the harbor at dawn.")),
        ],
    )
    assert set(dropped()) == {"y0", "y1"}


def test_the_same_records_give_the_same_verdicts_whatever_is_compared_at_once(
    store, dropped, monkeypatch
):
    rows = pair_rows([*paraphrases(), *contradictions()], "p")
    fill(store, rows)
    whole = dropped('scope = "dataset"')
    monkeypatch.setattr(semantic, "SMALL", 8)
    monkeypatch.setattr(semantic, "BLOCK", 7)
    assert dropped('scope = "dataset"') == whole
    assert len(whole) >= 32


def test_pictures_with_any_number_of_records_stand_side_by_side(store, dropped, monkeypatch):
    rng = np.random.default_rng(4)
    sizes = [1, 1, 7, 1, 2, 30, 1, 3, 1, 12, 1, 5, 1, 1]
    pictures = [f"P{n}" for n, size in enumerate(sizes) for _ in range(size)]
    fill(store, [{"id": f"r{n}", "image_ids": [p]} | said(n) for n, p in enumerate(pictures)])
    turns = np.radians(rng.integers(0, 12, len(pictures)) * 30 + rng.normal(size=len(pictures)))
    vectors = np.stack([np.cos(turns), np.sin(turns)], axis=1).tolist()
    table = pa.table({"id": [f"r{n}" for n in range(len(pictures))], "vector": vectors})
    pq.write_table(table, store.path / "v.parquet")
    ask = 'embeddings = "v.parquet"\nguard = false\nthreshold = 0.99\nprefer = "first"'
    whole = dropped(ask)
    kept = [n for n in range(len(pictures)) if f"r{n}" not in whole]
    kinds = {(pictures[n], round(float(turns[n]) / (np.pi / 6))) for n in range(len(pictures))}
    assert len(kept) == len(kinds)
    for small, block in ((1, 4), (4, 3), (8, 2_048), (31, 5)):
        monkeypatch.setattr(semantic, "SMALL", small)
        monkeypatch.setattr(semantic, "BLOCK", block)
        assert dropped(ask) == whole


def said(number):
    return {"instruction": "What is it?", "answer": f"It is thing number {number}."}


def test_new_records_alone_are_embedded(store, dropped, monkeypatch):
    fill(store, pair_rows(paraphrases()[:2], "p"))
    dropped()
    seen = []
    real = mimicit.embed.embed_texts
    monkeypatch.setattr(
        mimicit.embed, "embed_texts", lambda texts, model: seen.extend(texts) or real(texts, model)
    )
    dropped("threshold = 0.8")
    assert seen == []
    fill(store, pair_rows(paraphrases()[2:3], "new"))
    assert len(dropped()) == 3
    assert len(seen) == 2


# Vectors


def test_a_packed_vector_is_nearly_the_vector():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[1] = vectors[0] * 0.999 + vectors[2] * 0.03
    back = unit(packed(vectors))
    assert np.abs(back @ back.T - unit(vectors) @ unit(vectors).T).max() < 0.005
    assert packed(np.zeros((1, 4), np.float32)).tolist() == [[0, 0, 0, 0]]


def test_vectors_of_ones_own(store, dropped):
    fill(
        store,
        [
            {"id": f"r{n}", "instruction": "问？", "answer": f"{'一二三四'[n]}", "language": "zh"}
            for n in range(4)
        ],
    )
    path = store.path / "mine.parquet"
    vectors = [[1.0, 0, 0], [0.99, 0.1, 0], [0, 1, 0], [0, 0.3, 1]]
    pq.write_table(pa.table({"id": [f"r{n}" for n in range(4)], "vector": vectors}), path)
    assert set(dropped('embeddings = "mine.parquet"\nguard = false')) == {"r1"}
    pq.write_table(pa.table({"id": ["r0", "r1"], "vector": vectors[:2]}), path)
    with pytest.raises(RecipeError, match="no vector of 'r2'"):
        dropped('embeddings = "mine.parquet"')
    pq.write_table(
        pa.table({"id": ["r0", "r0", "r1", "r2", "r3"], "vector": [*vectors, [0, 0, 1]]}), path
    )
    with pytest.raises(RecipeError, match="one vector of each record"):
        dropped('embeddings = "mine.parquet"')
    pq.write_table(pa.table({"id": ["r0"], "other": [1]}), path)
    with pytest.raises(RecipeError, match="columns `id` and `vector`"):
        dropped('embeddings = "mine.parquet"')
    path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(RecipeError, match="no table of vectors"):
        dropped('embeddings = "mine.parquet"')
    with pytest.raises(RecipeError, match=r"no file 'other\.parquet'"):
        dropped('embeddings = "other.parquet"')


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.parquet", "a/../../x.parquet"])
def test_vectors_come_from_the_dataset_folder(path):
    with pytest.raises(ValueError, match="dataset folder"):
        semantic_duplicate(embeddings=path)


def test_a_link_out_of_the_dataset_folder_is_no_file_in_it(store, dropped, tmp_path):
    fill(store, [{"id": "a"}, {"id": "b"}])
    pq.write_table(pa.table({"id": ["a", "b"], "vector": [[1.0], [1.0]]}), tmp_path / "far.parquet")
    (store.path / "near.parquet").symlink_to(tmp_path / "far.parquet")
    with pytest.raises(RecipeError, match="no file"):
        dropped('embeddings = "near.parquet"')


# The guard


def differ(one, other, question="What?"):
    marks = marks_of([(question, one), (question, other)])
    by_marks = bool(contradict(marks, np.array([0]), np.array([1]))[0])
    return by_marks or exchanged((question, one), (question, other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It is on the left.", "It is on the right."),
        ("He can swim.", "He can't swim."),
        ("He can swim.", "He cannot swim."),
        ("She does not smile.", "She smiles."),
        ("Yes, there is.", "No, there is."),
        ("Two men sit there.", "3 men sit there."),
        ("A red and a blue hat.", "A red and a green hat."),
        ("A man waves.", "A woman waves."),
        ("The cup is above the plate.", "The cup is below the plate."),
        ("The dog bites the man.", "The man bites the dog."),
        ("The dog is behind the cat.", "The cat is behind the dog."),
        ("White shirts and black shoes.", "Black shirts and white shoes."),
        ("He eats a banana.", "He eats a sandwich."),
        ("Somebody is there.", "Nobody is there."),
        ("It opens at 10:15.", "It opens at 10:45."),
    ],
)
def test_what_turns_a_statement_around_keeps_both(one, other):
    assert differ(one, other)
    assert differ(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("It lies on the sofa.", "It lies on the couch."),
        ("Two men sit there.", "2 men are sitting there."),
        ("A man and a woman.", "A woman and a man."),
        ("A grey cat.", "A gray cat."),
        ("He can't swim.", "He cannot swim."),
        ("A big dog runs.", "A large dog runs."),
        ("It is a photo of a boat.", "It is a picture of a boat."),
        ("A dog runs through the park.", "A dog is running through the park."),
        ("She is his mother.", "His mother is she."),
        ("A black and white cat.", "A white and black cat."),
        ("The dog sleeps.", "The brown dog sleeps."),
    ],
)
def test_other_words_for_it_do_not(one, other):
    assert not differ(one, other)
    assert not differ(other, one)


def test_synonyms_and_kinds():
    assert related("sofa", "couch")
    assert related("puppy", "dog")
    assert not related("cat", "dog")
    assert not related("bathroom", "bedroom")


def test_long_texts_that_differ_throughout_cost_little(monkeypatch):
    asked = []
    monkeypatch.setattr(guard, "related", lambda a, b: asked.append(a) or related(a, b))
    assert not exchanged(("", _letters(3_000, "x")), ("", _letters(3_000, "y")))
    assert len(asked) < 5_000


def _letters(count, first):
    """Many different words, which have no number in them."""
    return " ".join(first + f"{n:05d}".translate(str.maketrans("0123456789", "abcdefghij")) for n in range(count))  # fmt: skip


def test_any_text_can_be_looked_at():
    for text in ("", "?!", "猫", "n't", "'", "no no no", "1,000.5", "x" * 10_000):
        marks_of([(text, text)])
        assert not exchanged((text, text), (text, text))
        assert isinstance(tokens_of(text), list)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"threshold": 0.3}, "0.7"),
        ({"scope": "page"}, "dataset"),
        ({"prefer": "shortest"}, "longest"),
    ],
)
def test_what_cannot_be_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        semantic_duplicate(**wrong)


def test_without_the_packages_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(mimicit.embed, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"mimicit\[similar\]"):
        semantic_duplicate()
