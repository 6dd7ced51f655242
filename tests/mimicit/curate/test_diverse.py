from __future__ import annotations

import pytest

np = pytest.importorskip("numpy")
pa = pytest.importorskip("pyarrow")

import pyarrow.parquet as pq  # noqa: E402

from mimicit.curate import curate  # noqa: E402
from mimicit.curate.filters import diverse as module  # noqa: E402
from mimicit.curate.filters.diverse import diverse, farthest_first  # noqa: E402
from mimicit.curate.meaning.vectors import packed, unit  # noqa: E402
from mimicit.curate.recipe import load_recipe  # noqa: E402
from mimicit.errors import RecipeError  # noqa: E402
from tests.builders import record  # noqa: E402


def clouds(count, width, kinds=20, seed=0):
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=(kinds, width))
    return packed(
        (middle[rng.integers(0, kinds, count)] + 0.5 * rng.normal(size=(count, width))).astype("f4")
    )


def by_the_book(vectors, wanted):
    """Farthest first, all distances each time."""
    rows = unit(vectors)
    order = [int((rows @ rows.sum(axis=0)).argmax())]
    like, radii = rows @ rows[order[0]], []
    while len(order) < wanted:
        like[order] = np.inf
        at = int(like.argmin())
        radii.append(like[at])
        order.append(at)
        like = np.maximum(like, rows @ rows[at])
    return order, radii


def radii_of(vectors, order):
    """How like each row was to those taken before it, when it was taken."""
    rows = unit(vectors[order])
    return [float((rows[:n] @ rows[n]).max()) for n in range(1, len(rows))]


@pytest.mark.parametrize("pool", [4, 64, 10_000])
@pytest.mark.parametrize(
    ("count", "wanted", "width"), [(700, 150, 8), (700, 700, 16), (3, 2, 4), (1, 5, 4)]
)
def test_it_takes_the_farthest_each_time_whatever_the_pool(monkeypatch, pool, count, wanted, width):
    monkeypatch.setattr(module, "POOL", pool)
    monkeypatch.setattr(module, "SLICE", 16)
    monkeypatch.setattr(module, "CENTRES", 8)
    vectors = clouds(count, width)
    chosen = farthest_first(vectors, np.ones(count, int), wanted)
    assert len(set(chosen.order.tolist())) == len(chosen.order) == min(wanted, count)
    _, radii = by_the_book(vectors, min(wanted, count))
    assert radii_of(vectors, chosen.order) == pytest.approx(radii, abs=1e-5)


def test_every_row_knows_what_stays_nearest_to_it():
    vectors = clouds(3_000, 24)
    chosen = farthest_first(vectors, np.ones(3_000, int), 40)
    rows = unit(vectors)
    cosines = rows @ rows[chosen.order].T
    assert chosen.likeness == pytest.approx(np.minimum(cosines.max(axis=1), 1), abs=1e-5)
    near = np.einsum("ij,ij->i", rows, rows[chosen.nearest])
    assert near == pytest.approx(cosines.max(axis=1), abs=1e-5)


def test_rows_that_are_all_the_same_end_too(monkeypatch):
    monkeypatch.setattr(module, "POOL", 8)
    vectors = np.ones((100, 4), np.int8)
    assert len(farthest_first(vectors, np.ones(100, int), 50).order) == 50
    assert len(farthest_first(np.zeros((20, 4), np.int8), np.ones(20, int), 30).order) == 20


def test_it_covers_better_than_chance():
    vectors = clouds(4_000, 32, kinds=200)
    rows = unit(vectors)
    chosen = farthest_first(vectors, np.ones(4_000, int), 200).likeness
    drawn = np.random.default_rng(1).choice(4_000, 200, replace=False)
    by_chance = (rows @ rows[drawn].T).max(axis=1)
    assert chosen.min() > by_chance.min() + 0.1
    assert chosen.mean() > by_chance.mean()


# The filter


@pytest.fixture
def dropped(store, tmp_path):
    """Curate, and return {id: (reason, score)} of what is dropped."""

    def ask(parameters):
        path = tmp_path / "r.toml"
        path.write_text(f'[[filter]]\nuse = "diverse"\n{parameters}\n')
        curate(store, load_recipe(str(path)))
        with store.reading() as connection:
            found = connection.execute("SELECT record, reason, score FROM verdicts").fetchall()
        return {id_: (reason, score) for id_, reason, score in found}

    return ask


def fill(store, rows):
    """Add records whose vectors turn in a plane, by `at` degrees."""
    turns = np.radians([row["at"] for row in rows])
    vectors = np.stack([np.cos(turns), np.sin(turns)], axis=1).tolist()
    pq.write_table(
        pa.table({"id": [row["id"] for row in rows], "vector": vectors}), store.path / "v.parquet"
    )
    with store.writing("test"):
        store.add([record(0, **{k: v for k, v in row.items() if k != "at"}) for row in rows])
        store.sync()


def turning(count, **more):
    return [{"id": f"r{n:03d}", "at": n, **more} for n in range(count)]


MINE = 'embeddings = "v.parquet"\n'


def test_what_goes_names_what_is_nearest_of_what_stays(store, dropped):
    fill(store, turning(91))
    said = dropped(MINE + "records = 3")
    kept = {f"r{n:03d}" for n in range(91)} - set(said)
    assert {"r000", "r090"} < kept
    assert 43 <= int((kept - {"r000", "r090"}).pop()[1:]) <= 47
    reason, score = said["r002"]
    assert reason == "its nearest kept one is r000 (0.99 alike)"
    assert score == pytest.approx(np.cos(np.radians(2)), abs=0.02)


def test_a_larger_number_keeps_what_a_smaller_one_keeps(store, dropped):
    fill(store, turning(60))
    before = None
    for number in (1, 2, 7, 30, 59, 60, 100):
        said = set(dropped(MINE + f"records = {number}"))
        assert len(said) == max(60 - number, 0)
        assert before is None or said <= before
        before = said


def test_so_many_of_each_picture(store, dropped):
    fill(
        store,
        [
            {"id": f"{picture}{n}", "at": 10 * n, "image_ids": [picture]}
            for picture, count in (("p", 8), ("q", 5), ("s", 1))
            for n in range(count)
        ],
    )
    said = dropped(MINE + 'scope = "picture"\nrecords = 2')
    assert sum(id_[0] == "p" for id_ in said) == 6
    assert sum(id_[0] == "q" for id_ in said) == 3
    assert all(reason.split()[5][0] == id_[0] for id_, (reason, _) in said.items())


def test_of_no_picture_all_stay(store, dropped):
    rows = [{"id": f"p{n}", "at": 9 * n, "image_ids": ["p"]} for n in range(4)]
    fill(store, rows + [{"id": f"none{n}", "at": n, "image_ids": []} for n in range(6)])
    assert {id_[0] for id_ in dropped(MINE + 'scope = "picture"\nrecords = 1')} == {"p"}
    assert len(dropped(MINE + "records = 1")) == 9


def test_turns_stay_together(store, dropped):
    fill(
        store,
        [
            {"id": f"c{c}_{t}", "at": 8 * c + t, "conversation": f"c{c}", "turn": t}
            for c in range(10)
            for t in range(3)
        ],
    )
    said = dropped(MINE + "records = 10")
    assert len(said) == 21  # three conversations of three turns stay
    for c in range(10):
        assert sum(f"c{c}_{t}" in said for t in range(3)) in (0, 3)


def test_it_sees_what_came_so_far(store, tmp_path):
    fill(store, turning(10))
    path = tmp_path / "r.toml"
    path.write_text(
        '[[filter]]\nwhere = "id < \'r005\'"\n[[filter]]\nuse = "diverse"\nrecords = 2\n' + MINE
    )
    assert [stage.dropped for stage in curate(store, load_recipe(str(path))).stages] == [5, 3]


def test_no_records_are_no_trouble(store, dropped):
    fill(store, turning(3))
    with store.writing("test"):
        pass
    assert dropped(MINE + "records = 5") == {}


def test_a_record_without_a_vector_is_named(store, dropped):
    fill(store, turning(3))
    with store.writing("test"):
        store.add([record(0, id="new")])
        store.sync()
    with pytest.raises(RecipeError, match="no vector of 'new'"):
        dropped(MINE)


def test_with_minilm(store, dropped):
    pytest.importorskip("onnxruntime")
    texts = [
        "A dog runs.",
        "The dog is running.",
        "A dog is running fast.",
        "The engine needs new oil.",
        "She won the election.",
    ]
    with store.writing("test"):
        store.add(
            [
                record(0, id=f"r{n}", instruction="What is it?", answer=text)
                for n, text in enumerate(texts)
            ]
        )
        store.sync()
    said = dropped("records = 3")
    assert set(said) < {"r0", "r1", "r2"}
    assert len(said) == 2


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"records": 0}, "from 1"), ({"scope": "page"}, "picture"), ({"embeddings": "/x"}, "folder")],
)
def test_what_cannot_be_is_refused(wrong, says):
    with pytest.raises(ValueError, match=says):
        diverse(**wrong)
