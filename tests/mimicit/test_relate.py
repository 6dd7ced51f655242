import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mimicit.curate import curate
from mimicit.curate.recipe import load_recipe
from mimicit.errors import FormatError, LockedError, MissingExtraError, QueryError, RecipeError
from mimicit.exchange import import_files
from mimicit.formats import WriteOptions, mimicit
from mimicit.relate import relate
from mimicit.store import Store
from tests.builders import image, record

ROOT = Path(__file__).parent.parent.parent
PHOTOS = ("chelsea.png", "coffee.png", "rocket.jpg", "moon.png")
SEEN = {
    "chelsea": [("What animal is this?", "It is a ginger cat."), ("Where does the cat look?", "Up.")],
    "coffee": [("What is in the cup?", "Black coffee in a white cup."), ("Is it a cat?", "No, a cup.")],
    "rocket": [("What starts here?", "A rocket starts at night."), ("Why is it bright?", "Fire.")],
    "moon": [("What is grey here?", "The moon, at night."), ("Are there craters?", "Yes, many.")],
}  # fmt: skip


def ids(name):
    return [f"LACONV_INS_{name}_ab_{n:02d}" for n in range(2)]


@pytest.fixture
def filled(store, photos):
    with store.writing("test"):
        store.add_images(image(photos, name) for name in PHOTOS)
        store.add(
            [
                record(0, id=id_, instruction=question, answer=answer, image_ids=[f"LA_IMG_{name}"])
                for name, pairs in SEEN.items()
                for id_, (question, answer) in zip(ids(name), pairs, strict=True)
            ]
        )
        store.add(
            [
                record(0, id="LACONV_INS_chelsea_zh_00", language="zh", instruction="这是什么动物？",
                       answer="一只橘猫。", image_ids=["LA_IMG_chelsea"]),
                record(0, id="LADD_INS_chelsea_ab_00", task="la_detail", instruction="Describe the cat.",
                       answer="A ginger cat looks up.", image_ids=["LA_IMG_chelsea"]),
                record(0, id="LACONV_INS_empty_ab_00", answer="…"),
            ]
        )  # fmt: skip
        store.sync()
    curate(store, load_recipe("starter"))  # drops the empty one, and "Up.", "Fire.", …
    return store


def lists(store, strategy):
    with store.reading() as connection:
        rows = connection.execute(
            "SELECT record, related FROM relations WHERE strategy = ?", [strategy]
        ).fetchall()
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def accepted(store):
    with store.reading() as connection:
        return {id_ for (id_,) in connection.execute("SELECT id FROM accepted").fetchall()}


@pytest.fixture
def all_accepted(filled):
    for part in (filled.path / "verdicts").iterdir():
        part.unlink()
    filled.refresh()
    return filled


def test_every_accepted_record_gets_a_list_of_accepted_ones(filled):
    assert len(accepted(filled)) < 11
    for strategy in ("siblings", "turns", "text", "picture"):
        report = relate(filled, strategy=strategy, k=5)
        found = lists(filled, strategy)
        assert set(found) == accepted(filled)
        assert {name for related in found.values() for name in related} <= accepted(filled)
        assert all(id_ not in related for id_, related in found.items())
        assert report.records == len(found)
        assert report.pairs == sum(map(len, found.values()))
        assert report.related == sum(bool(related) for related in found.values())


def test_siblings_are_about_the_same_pictures(all_accepted):
    relate(all_accepted, strategy="siblings")
    found = lists(all_accepted, "siblings")
    assert found[ids("moon")[0]] == [ids("moon")[1]]
    assert found["LACONV_INS_empty_ab_00"] == []  # no picture is not the same picture
    assert found["LADD_INS_chelsea_ab_00"] == []
    relate(all_accepted, strategy="siblings", same_task=False)
    assert lists(all_accepted, "siblings")["LADD_INS_chelsea_ab_00"] == [
        *ids("chelsea"),
        "LACONV_INS_chelsea_zh_00",
    ]


def test_turns_are_those_before_in_the_same_conversation(store):
    turn = "LACONV_INS_000000377944_{}".format
    with store.writing("test"):
        store.add(
            [record(0, id=turn(n), answer=f"It is {n}.") for n in (10, 2, 0, 1)]
            + [record(0, id=f"DC_04_INS_0000{n}", answer=f"It is {n}.") for n in range(3)]
            + [
                record(0, id=f"T_INS_x_0{n}", request=f"r{n % 2}", answer=f"It is {n}.")
                for n in range(4)
            ]
        )
        store.sync()
    relate(store, strategy="turns", k=2)
    found = lists(store, "turns")
    assert found[turn(0)] == []
    assert found[turn(2)] == [turn(0), turn(1)]
    assert found[turn(10)] == [turn(1), turn(2)]
    assert found["DC_04_INS_00002"] == []
    assert found["T_INS_x_03"] == ["T_INS_x_01"]


def test_text_finds_what_speaks_of_the_same(all_accepted):
    relate(all_accepted, strategy="text", k=2)
    found = lists(all_accepted, "text")
    assert found[ids("chelsea")[0]][0] == ids("coffee")[1]  # "Is it a cat?"
    assert ids("moon")[0] in found[ids("rocket")[0]]  # "at night"
    assert found["LADD_INS_chelsea_ab_00"] == []
    relate(all_accepted, strategy="text", k=9, other_pictures=True)
    found = lists(all_accepted, "text")
    assert all(
        id_.split("_")[2] != name.split("_")[2] for id_, names in found.items() for name in names
    )


def test_picture_takes_one_record_of_each_other_picture(all_accepted):
    relate(all_accepted, strategy="picture", k=3)
    found = lists(all_accepted, "picture")
    for name in SEEN:
        for id_ in ids(name):
            stems = [related.split("_")[2] for related in found[id_]]
            assert sorted(stems) == sorted(set(SEEN) - {name})
    assert found["LACONV_INS_chelsea_zh_00"] == []  # the only one of its language
    drawn = {json.dumps(found, sort_keys=True)}
    for seed in range(1, 4):
        relate(all_accepted, strategy="picture", k=3, seed=seed)
        drawn.add(json.dumps(lists(all_accepted, "picture"), sort_keys=True))
    assert len(drawn) > 1


def test_a_copy_of_a_picture_is_no_other_picture(all_accepted, photos):
    copy = image(photos, "chelsea.png").model_copy(update={"id": "LA_IMG_copy"})
    with all_accepted.writing("test"):
        all_accepted.add_images([copy])
        all_accepted.add([record(0, id="LACONV_INS_copy_ab_00", image_ids=["LA_IMG_copy"])])
        all_accepted.sync()
    relate(all_accepted, strategy="picture", k=9)
    found = lists(all_accepted, "picture")
    assert [name for name in found["LACONV_INS_copy_ab_00"] if "chelsea" in name] == []


def test_the_answer_does_not_depend_on_the_order_of_parts(all_accepted, tmp_path):
    other = Store.open(tmp_path / "other", create=True)
    mimicit.write(all_accepted, tmp_path / "out", WriteOptions("true"))
    files = sorted((tmp_path / "out").rglob("*.*"), reverse=True)
    import_files([file for file in files if not file.name.endswith("_train.json")], other)
    for strategy in ("siblings", "turns", "text", "picture"):
        for store in (all_accepted, other):
            relate(store, strategy=strategy, k=3, seed=7)
        assert lists(other, strategy) == lists(all_accepted, strategy)


def test_relating_again_replaces_the_lists_of_this_strategy_only(filled):
    relate(filled, strategy="text", k=1)
    relate(filled, strategy="siblings")
    relate(filled, strategy="text", k=3, seed=5)
    assert len(list((filled.path / "relations").glob("*.parquet"))) == 2
    with filled.reading() as connection:
        rows = connection.execute("SELECT DISTINCT strategy, seed FROM relations").fetchall()
    assert sorted(rows) == [("siblings", 0), ("text", 5)]
    filled.rebuild()
    assert set(lists(filled, "text")) == accepted(filled)


def test_a_selection_is_related_among_itself(all_accepted):
    where = "id LIKE '%chelsea%' OR id LIKE '%moon%'"
    report = relate(all_accepted, strategy="picture", where=where)
    assert report.records == 6
    found = lists(all_accepted, "picture")
    assert found[ids("chelsea")[0]][0] in ids("moon")
    assert all(len(found[id_]) == 1 for id_ in (*ids("chelsea"), *ids("moon")))


def write_vectors(path, vectors, **columns):
    table = {"id": list(vectors), "vector": list(vectors.values())} | columns
    pq.write_table(pa.table(table), path)
    return path


def test_vectors_of_ones_own_are_used(all_accepted, tmp_path):
    pictures = {
        "LA_IMG_chelsea": [1.0, 0.0],
        "LA_IMG_moon": [0.9, 0.1],
        "LA_IMG_rocket": [0.0, 1.0],
    }
    path = write_vectors(tmp_path / "clip.parquet", pictures)
    relate(all_accepted, strategy="picture", k=1, embeddings=path)
    found = lists(all_accepted, "picture")
    assert found[ids("chelsea")[0]][0] in ids("moon")
    assert found[ids("coffee")[0]] == []  # no vector of it
    records = {id_: [float(n), 1.0] for n, id_ in enumerate([*ids("moon"), *ids("rocket")])}
    path = write_vectors(tmp_path / "text.parquet", records)
    relate(all_accepted, strategy="text", k=1, embeddings=path)
    assert lists(all_accepted, "text")[ids("rocket")[1]] == [ids("rocket")[0]]


@pytest.mark.parametrize(
    ("write", "said"),
    [
        pytest.param(lambda path: path.write_text("no"), "no table of vectors", id="no parquet"),
        pytest.param(lambda path: None, "no table of vectors", id="no file"),
        pytest.param(
            lambda path: pq.write_table(pa.table({"id": ["a"]}), path), "`vector`", id="no vector"
        ),
        pytest.param(
            lambda path: pq.write_table(pa.table({"id": ["a", "a"], "vector": [[1.0], [2.0]]}), path),
            "two vectors of 'a'", id="twice",
        ),
        pytest.param(
            lambda path: write_vectors(path, {ids("moon")[0]: [1.0], ids("rocket")[0]: [1.0, 2.0]}),
            "different lengths", id="lengths",
        ),
    ],
)  # fmt: skip
def test_a_wrong_file_of_vectors_is_a_sentence(all_accepted, tmp_path, write, said):
    path = tmp_path / "vectors.parquet"
    write(path)
    with pytest.raises(FormatError, match=said):
        relate(all_accepted, strategy="text", embeddings=path)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"strategy": "nearness"}, RecipeError, "there are: picture, siblings, text, turns"),
        ({"strategy": "text", "embedding": "bert"}, RecipeError, "there are: tfidf, minilm"),
        ({"strategy": "text", "k": 0}, RecipeError, "at least 1"),
        ({"strategy": "text", "where": "nothing = 1"}, QueryError, "selection"),
        ({"strategy": "text", "where": "1=1); DROP TABLE x; --"}, QueryError, "selection"),
    ],
)
def test_a_wrong_wish_is_a_sentence(filled, options, error, said):
    with pytest.raises(error, match=said):
        relate(filled, **options)
    with filled.reading() as connection:
        assert connection.execute("SELECT count(*) FROM relations").fetchall() == [(0,)]


def test_an_embedding_without_its_packages_is_a_sentence(filled, monkeypatch):
    monkeypatch.setattr("mimicit.embed.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"mimicit\[similar\]"):
        relate(filled, strategy="text", embedding="minilm")


def test_another_writer_loses_nothing_and_is_named(filled):
    with filled.writing("syphus generate"), pytest.raises(LockedError, match="syphus generate"):
        relate(filled, strategy="text")
    assert not list((filled.path / "relations").iterdir())


def test_the_export_writes_the_lists_of_a_strategy(filled, tmp_path):
    relate(filled, strategy="text", k=2)
    mimicit.write(filled, tmp_path / "out", WriteOptions("true", "text"))
    folder = tmp_path / "out" / "LACONV"
    data = json.loads((folder / "LACONV_instructions.json").read_text(encoding="utf-8"))["data"]
    train = json.loads((folder / "LACONV_train.json").read_text(encoding="utf-8"))
    found = lists(filled, "text")
    assert {id_: row["rel_ins_ids"] for id_, row in data.items()} == {
        id_: found[id_] for id_ in data
    }
    assert train == {id_: found[id_] for id_ in sorted(data)}
    assert list(train) == sorted(train)
    assert any(train.values())

    back = Store.open(tmp_path / "back", create=True)
    import_files([tmp_path / "out"], back)
    with back.reading() as connection:
        kept = connection.execute("SELECT id, rel_ins_ids FROM instructions").fetchall()
    assert dict(kept) == found


def test_the_train_file_leaves_out_related_ones_that_were_rejected_since(filled, tmp_path):
    relate(filled, strategy="text", k=9)
    gone = lists(filled, "text")[ids("rocket")[0]][0]
    path = tmp_path / "mine.toml"
    path.write_text(f"[[filter]]\nkeep = \"id <> '{gone}'\"\n")
    curate(filled, load_recipe(str(path)))
    mimicit.write(filled, tmp_path / "out", WriteOptions("language = 'en'", "text"))
    train = json.loads((tmp_path / "out" / "LACONV" / "LACONV_train.json").read_text())
    assert gone not in train
    assert gone not in train[ids("rocket")[0]]
    found = lists(filled, "text")
    assert train == {
        id_: [name for name in found[id_] if name in train] for id_ in found if id_ in train
    }


def test_without_a_strategy_the_records_own_lists_are_exported(filled, tmp_path):
    relate(filled, strategy="text")
    mimicit.write(filled, tmp_path / "out", WriteOptions("true"))
    train = json.loads((tmp_path / "out" / "LACONV" / "LACONV_train.json").read_text())
    assert set(map(tuple, train.values())) == {()}


def test_a_killed_relate_leaves_two_parts_and_the_newer_one_counts(filled, tmp_path):
    relate(filled, strategy="text", k=1)
    [old] = (filled.path / "relations").iterdir()
    kept = old.read_bytes()
    relate(filled, strategy="text", k=3)
    found = lists(filled, "text")
    old.write_bytes(kept)
    filled.refresh()
    mimicit.write(filled, tmp_path / "out", WriteOptions("task = 'la_conversation'", "text"))
    folder = tmp_path / "out" / "LACONV"
    data = json.loads((folder / "LACONV_instructions.json").read_text())["data"]
    assert {id_: row["rel_ins_ids"] for id_, row in data.items()} == {
        id_: found[id_] for id_ in data
    }


def test_an_export_by_a_strategy_that_never_ran_is_a_sentence(filled, tmp_path):
    relate(filled, strategy="siblings")
    with pytest.raises(QueryError, match=r"there is: siblings.*syphus data relate --by text"):
        mimicit.write(filled, tmp_path / "out", WriteOptions("true", "text"))


def syphus(*arguments):
    code = "from syphus.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_the_command(filled, tmp_path):
    ran = syphus("data", "relate", "--by", "text", "-k", 2, "-d", filled.path)
    assert ran.returncode == 0, ran.stderr
    assert "records have related ones" in ran.stdout
    out = tmp_path / "out"
    ran = syphus(
        "data", "export", "-f", "mimicit", "-o", out, "-d", filled.path, "--related", "text"
    )
    assert ran.returncode == 0, ran.stderr
    assert any(json.loads((out / "LACONV" / "LACONV_train.json").read_text()).values())
    ran = syphus("data", "relate", "--by", "nearness", "-d", filled.path)
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
