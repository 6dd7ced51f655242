"""Splits of real datasets: planted near-duplicates of real photographs and texts, and what comes later."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest

from mimicit.errors import DatasetError, FormatError, QueryError
from mimicit.formats import WriteOptions, llava
from mimicit.schema import Verdict
from mimicit.snapshot import freeze
from mimicit.splits import Joins, SplitOptions, check, split
from tests.builders import record
from tests.mimicit.curate.drawn import encoded, one, photographs, stored

HALVES = {"test": 0.5}
LONG = (
    "A man in a red jacket stands on a snowy slope, holds two poles and looks down into the valley, "
    "where a small village lies between dark pine trees under a cloudy sky."
)


def fill(store, records=(), pictures=()):
    with store.writing("test"):
        store.add_images(pictures)
        store.add(list(records))
        store.sync()
    return store


def splits_of(store, name="default"):
    with store.reading() as connection:
        return dict(
            connection.execute(
                'SELECT record, split FROM splits WHERE "name" = ?', [name]
            ).fetchall()
        )


def singles(count, **changes):
    return [record(n, id=f"T_INS_{n:05d}", **changes) for n in range(count)]


def test_real_photographs_encoded_again_are_in_one_split(store, photos):
    pictures, records = [], []
    for n, (name, image) in enumerate(photographs(photos).items()):
        half = image.resize((image.width // 2, image.height // 2))
        copies = {
            "a": encoded(image, quality=92),
            "b": encoded(image, quality=40),
            "c": encoded(half, quality=85),
            "d": encoded(image, "PNG"),
        }
        for letter, data in copies.items():
            pictures.append(stored(f"T_IMG_{letter}_{name}", data))
            records.append(one(f"T_INS_{letter}_{n:02d}", f"T_IMG_{letter}_{name}"))
    fill(store, records, pictures)
    for seed in range(4):
        split(store, SplitOptions(HALVES, name=f"s{seed}", seed=seed))
        found = splits_of(store, f"s{seed}")
        parts = {n: {found[f"T_INS_{letter}_{n:02d}"] for letter in "abcd"} for n in range(20)}
        assert all(len(one) == 1 for one in parts.values())
        assert set().union(*parts.values()) == {"train", "test"}
        assert check(store, f"s{seed}", Joins()).total == 0


def test_without_near_pictures_the_check_says_what_crosses(store, photos):
    image = photographs(photos)["coffee.png"]
    pictures = [stored(f"T_IMG_{n}", encoded(image, quality=60 + n)) for n in range(12)]
    fill(store, [one(f"T_INS_{n}", f"T_IMG_{n}") for n in range(12)], pictures)
    done = split(store, SplitOptions(HALVES, joins=Joins(near_pictures=False)))
    assert done.components == 12
    found = check(store, "default", Joins())
    assert found.crossings["near picture"] > 0
    assert found.crossings["picture"] == 0
    [crossing, *_] = [one for one in found.examples if one.kind == "near picture"]
    parts = splits_of(store)
    assert {parts[id_] for id_ in crossing.records} == {"train", "test"} == set(crossing.splits)


def test_a_near_pair_in_two_splits_is_counted_once(store, photos):
    image = photographs(photos)["coffee.png"]
    pictures = [stored(f"T_IMG_{n}", encoded(image, quality=q)) for n, q in enumerate((95, 8))]
    fill(store, [one(f"T_INS_{n}", f"T_IMG_{n}") for n in range(2)], pictures)
    split(store, SplitOptions(HALVES, joins=Joins(near_pictures=False)))
    assert sorted(splits_of(store).values()) == ["test", "train"]
    assert check(store, "default", Joins(distance=8)).crossings["near picture"] == 1


def test_one_picture_under_two_ids_is_one_picture(store, photos):
    data = encoded(photographs(photos)["coffee.png"], quality=90)
    pictures = [stored(f"T_IMG_{n}", data) for n in range(10)]
    fill(store, [one(f"T_INS_{n}", f"T_IMG_{n}") for n in range(10)], pictures)
    done = split(store, SplitOptions(HALVES, joins=Joins(near_pictures=False, near_texts=False)))
    assert done.components == 1
    assert done.splits[0]["pictures"] == 1
    assert set(splits_of(store).values()) == {"train"}


def test_frames_turns_translations_and_shared_pictures_stay_together(store):
    groups = {
        "frames": [one(f"f{n}", f"DC_IMG_v_abc_{n:04d}") for n in range(8)],
        "rooms": [one(f"r{n}", f"SN_IMG_scene0007_0{n}_color_000{n}00") for n in range(3)],
        "turns": [record(0, id=f"t{n}", conversation="t", turn=n) for n in range(6)],
        "told": [
            record(0, id="x0"),
            *(record(0, id=f"x{n}", translation_of=f"x{n - 1}") for n in range(1, 6)),
        ],
        "picture": [one(f"p{n}", "LA_IMG_1", f"LA_IMG_{n + 2}") for n in range(6)],
    }
    others = [one(f"o{n:03d}", f"DC_IMG_v_{n}_0001") for n in range(100)]
    fill(store, [*itertools.chain(*groups.values()), *others])
    for seed in range(5):
        options = SplitOptions(HALVES, name=f"s{seed}", seed=seed, joins=Joins(near_texts=False))
        split(store, options)
        found = splits_of(store, f"s{seed}")
        for members in groups.values():
            assert len({found[one.id] for one in members}) == 1


def test_pictures_whose_ids_end_in_numbers_are_no_frames(store):
    fill(store, [one(f"T_INS_{n}", f"LA_IMG_holiday_{n}") for n in range(20)])
    assert split(store, SplitOptions(HALVES)).components == 20


def test_near_texts_are_in_one_split_and_short_ones_about_pictures_are_not_joined(store):
    words = LONG.split()
    near = [
        one(
            f"n{n}",
            f"T_IMG_n{n}",
            instruction="Describe it.",
            answer=" ".join([*words[:n], "very", *words[n:]]),
        )
        for n in range(1, 9)
    ]
    short = [
        one(f"s{n:03d}", f"T_IMG_s{n}", instruction="What colour is the dog?", answer="Brown.")
        for n in range(60)
    ]
    fill(store, near + short)
    done = split(store, SplitOptions(HALVES))
    found = splits_of(store)
    assert len({found[one.id] for one in near}) == 1
    assert done.components == 61
    assert done.joined["text"] == 8
    assert {found[one.id] for one in short} == {"train", "test"}


def test_records_without_pictures_are_joined_by_equal_texts_however_short(store):
    same = [record(0, id=f"a{n}", instruction="Is 7 prime?", answer="Yes.") for n in range(9)]
    others = [
        record(0, id=f"b{n:02d}", instruction=f"Is {n} prime?", answer="Who knows.")
        for n in range(30)
    ]
    fill(store, same + others)
    done = split(store, SplitOptions(HALVES))
    assert done.components == 31
    assert len({splits_of(store)[one.id] for one in same}) == 1


def test_new_records_move_no_old_one_and_follow_what_they_are_joined_to(store):
    fill(store, [one(f"T_INS_{n:04d}", f"T_IMG_{n:04d}") for n in range(400)])
    options = SplitOptions({"validation": 0.1, "test": 0.1}, joins=Joins(near_texts=False))
    split(store, options)
    before = splits_of(store)
    more = [one(f"A_INS_{n:04d}", f"T_IMG_{n:04d}") for n in range(0, 400, 4)]
    more += [one(f"A_INS_{n:04d}", f"T_IMG_{n:04d}") for n in range(400, 800)]
    fill(store, more)
    done = split(store, options)
    after = splits_of(store)
    assert before.items() <= after.items()
    assert all(after[f"A_INS_{n:04d}"] == before[f"T_INS_{n:04d}"] for n in range(0, 400, 4))
    assert {row["split"]: row["records"] for row in done.splits} == {
        "train": 720,
        "validation": 90,
        "test": 90,
    }
    assert done.new == 500
    assert check(store, "default", Joins()).total == 0


def test_a_new_record_between_two_splits_is_in_none_and_said(store):
    fill(store, [one(f"T_INS_{n:02d}", f"T_IMG_{n:02d}") for n in range(20)])
    options = SplitOptions(HALVES, joins=Joins(near_texts=False))
    split(store, options)
    before = splits_of(store)
    train, test = (
        next(id_ for id_, part in before.items() if part == name)[-2:] for name in ("train", "test")
    )
    fill(
        store,
        [
            one("T_INS_bridge", f"T_IMG_{train}", f"T_IMG_{test}"),
            one("T_INS_pier_1", f"T_IMG_{train}", "T_IMG_river"),
            one("T_INS_pier_2", f"T_IMG_{test}", "T_IMG_river"),
            one("T_INS_near_the_bridge", f"T_IMG_{test}"),
            one("T_INS_own", "T_IMG_own"),
        ],
    )
    done = split(store, options)
    after = splits_of(store)
    assert before.items() <= after.items()
    assert done.left_out == 3 + ("T_INS_near_the_bridge" not in after)
    assert {one.record for one in done.examples} >= {"T_INS_bridge", "T_INS_pier_1", "T_INS_pier_2"}
    assert all(set(one.splits) == {"train", "test"} for one in done.examples)
    assert "T_INS_own" in after
    found = check(store, "default", Joins())
    assert (found.total, found.outside) == (0, done.left_out)


def test_what_is_rejected_and_accepted_again_keeps_its_split(store):
    fill(store, singles(50))
    options = SplitOptions(HALVES, joins=Joins(near_texts=False))
    split(store, options)
    before = splits_of(store)
    said = [
        Verdict(record=f"T_INS_{n:05d}", filter="f", reason="r", recipe="x", recipe_digest="0")
        for n in range(10)
    ]
    with store.writing("test"):
        store.add_verdicts(said)
        store.sync()
    done = split(store, options)
    assert done.records == 40
    assert splits_of(store) == before


def test_splitting_again_gives_the_same_and_anew_with_another_seed_another(store):
    fill(store, singles(200))
    split(store, SplitOptions(HALVES))
    first = splits_of(store)
    assert split(store, SplitOptions(HALVES, seed=1)).new == 0
    assert splits_of(store) == first
    split(store, SplitOptions(HALVES, name="same"))
    assert splits_of(store, "same") == first
    split(store, SplitOptions(HALVES, seed=1, anew=True))
    assert splits_of(store) != first


@pytest.mark.parametrize("stratify", ["task", "language", "source", "none"])
def test_shares_are_met_within_each_stratum(store, stratify):
    kinds = {"task": ("a", "b"), "language": ("en", "fr"), "source": ("x.json#", "y.json#")}
    records = [
        one(
            f"T_INS_{n:04d}",
            f"T_IMG_{n // 3:04d}",
            **{name: values[n % 4 == 0] for name, values in kinds.items()},
        )
        for n in range(1200)
    ]
    fill(store, records)
    done = split(
        store,
        SplitOptions(
            {"validation": 0.05, "test": 0.1}, stratify=stratify, joins=Joins(near_texts=False)
        ),
    )
    assert {row["split"]: row["records"] for row in done.splits} == {
        "train": 1020,
        "validation": 60,
        "test": 120,
    }
    for share in done.strata:  # to the size of a component, which has three records
        assert abs(share.share - share.wanted) * share.records / share.share <= 3


def test_an_export_writes_the_stored_splits(store, tmp_path):
    fill(store, singles(40))
    split(store, SplitOptions({"validation": 0.25}, name="mine"))
    found = splits_of(store, "mine")
    written = llava.write(store, tmp_path / "out", WriteOptions(splitting="mine"))
    texts = {file.path.name: file for file in written if file.path.suffix == ".json"}
    assert {name: file.records for name, file in texts.items()} == {
        "train.json": 30,
        "validation.json": 10,
    }
    validation = texts["validation.json"].path.read_text()
    assert all((id_ in validation) == (part == "validation") for id_, part in found.items())


def test_an_export_of_an_unknown_splitting_says_how_to_make_one(store, tmp_path):
    fill(store, singles(4))
    with pytest.raises(DatasetError, match="no splitting 'mine'; make it with"):
        llava.write(store, tmp_path / "out", WriteOptions(splitting="mine"))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"shares": {"train": 0.1}}, FormatError, "beside `train`"),
        ({"shares": {"../x": 0.1}}, FormatError, "cannot be a split"),
        ({"shares": {"a": 0.6, "b": 0.5}}, FormatError, "leave none"),
        ({"name": "a/b"}, FormatError, "cannot be called"),
        ({"stratify": "colour"}, FormatError, "there is no 'colour'"),
        ({"where": "task ="}, QueryError, "fails"),
        ({"where": "task = 'none'"}, DatasetError, "nothing to split"),
    ],
)
def test_what_cannot_be_is_said(store, options, error, said):
    fill(store, singles(3))
    with pytest.raises(error, match=said):
        split(store, SplitOptions(**options))


def test_translations_of_a_translation_that_was_rejected_stay_with_their_source(store):
    records = []
    for n in range(20):
        records += [
            record(0, id=f"T_INS_en_{n}", instruction=f"What is {n}?"),
            record(0, id=f"T_INS_de_{n}", instruction=f"Was ist {n}?", translation_of=f"T_INS_en_{n}"),
            record(0, id=f"T_INS_fr_{n}", instruction=f"Qu'est-ce {n} ?", translation_of=f"T_INS_de_{n}"),
        ]  # fmt: skip
    fill(store, records)
    with store.writing("test"):
        store.add_verdicts(
            [
                Verdict(
                    record=f"T_INS_de_{n}", filter="f", reason="r", recipe="x", recipe_digest="0"
                )
                for n in range(20)
            ]
        )
        store.sync()
    split(store, SplitOptions(HALVES, joins=Joins(near_texts=False)))
    found = splits_of(store)
    assert len(found) == 40
    assert all(found[f"T_INS_en_{n}"] == found[f"T_INS_fr_{n}"] for n in range(20))


def test_translations_that_go_round_in_a_circle_are_together(store):
    circle = {"T_INS_a": "T_INS_b", "T_INS_b": "T_INS_c", "T_INS_c": "T_INS_a"}
    fill(
        store,
        [record(0, id=id_, answer=id_, translation_of=of) for id_, of in circle.items()]
        + singles(9, answer="Another."),
    )
    split(store, SplitOptions({"test": 0.3}, joins=Joins(near_texts=False)))
    assert len({splits_of(store)[id_] for id_ in circle}) == 1


def test_more_splits_than_there_are_bits_are_refused(store):
    fill(store, singles(70))
    with pytest.raises(FormatError, match="more than 30 splits"):
        SplitOptions({f"s{n}": 0.01 for n in range(31)})
    names = {"record": [f"T_INS_{n:05d}" for n in range(70)], "split": [f"s{n}" for n in range(70)]}
    with store.writing("test"):
        store.write_splits("default", pa.table(names))
        store.sync()
    with pytest.raises(DatasetError, match="has 72 splits, and there can be 62"):
        split(store, SplitOptions({"test": 0.1}))
    with pytest.raises(DatasetError, match="has 71 splits, and there can be 62"):
        check(store, "default", Joins())
    assert split(store, SplitOptions({"test": 0.1}, anew=True)).records == 70


def test_what_is_frozen_by_a_split_is_that_split(store, photos):
    names = ["chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png"]
    there = {name: image for name, image in photographs(photos).items() if name in names}
    fill(
        store,
        [one(f"T_INS_{name}_{n}", f"T_IMG_{name}") for name in there for n in range(3)],
        [stored(f"T_IMG_{name}", encoded(image)) for name, image in there.items()],
    )
    split(store, SplitOptions({"test": 0.4}))
    of_test = {id_ for id_, name in splits_of(store).items() if name == "test"}
    for name in ("train", "test"):
        where = f"id IN (SELECT record FROM splits WHERE name = 'default' AND split = '{name}')"
        with freeze(store, where=where) as snapshot:
            frozen = {snapshot[n].id for n in range(len(snapshot))}
        assert (frozen & of_test) == (of_test if name == "test" else set())
        assert frozen
