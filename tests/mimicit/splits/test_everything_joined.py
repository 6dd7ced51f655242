"""Datasets of all kinds of links at once, drawn at random; what is joined is found here another way, pair by pair."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import pytest
from PIL import Image

from mimicit.curate.filters import MEASURES
from mimicit.curate.measures import attach
from mimicit.curate.opening import opened
from mimicit.splits import Joins, SplitOptions, check, split
from mimicit.store import Store
from tests.mimicit.curate.drawn import encoded, one, stored
from tests.mimicit.splits.test_split import fill, splits_of

SHARES = {"validation": 0.15, "test": 0.15}
WORDS = [
    f"{a}{b}{c}" for a in "bdfgklmnprst" for b in ("o", "ai", "u") for c in ("nt", "rk", "ssel")
]


def pictures_of(rng):
    """Draw pictures; some are there under two ids, some encoded again, and some are frames."""
    found, names = [], []
    for n in range(60):
        image = (
            Image.frombytes("L", (64, 64), rng.randbytes(4096)).resize((256, 256)).convert("RGB")
        )
        data = encoded(image, quality=92)
        name = f"DC_IMG_v{n // 20}_{n:04d}" if n % 10 == 0 else f"T_IMG_p{n:02d}x"
        found.append(stored(name, data))
        names.append(name)
        if rng.random() < 0.2:
            found.append(stored(f"T_IMG_same{n}x", data))
            names.append(f"T_IMG_same{n}x")
        if rng.random() < 0.2:
            found.append(stored(f"T_IMG_near{n}x", encoded(image, quality=60)))
            names.append(f"T_IMG_near{n}x")
    return found, [*names, *(f"T_IMG_absent{n}x" for n in range(8)), "SN_IMG_scene0001_00_1", "SN_IMG_scene0001_01_2"]  # fmt: skip


def records_of(rng, names, count=160):
    found = []
    for n in range(count):
        answer = " ".join(rng.choices(WORDS, k=30))
        changes = {"instruction": f"{rng.choice(WORDS)} {rng.choice(WORDS)} {n}?", "answer": answer}
        if n and rng.random() < 0.08:
            changes |= _again(rng, rng.choice(found))
        if n and rng.random() < 0.08:
            changes["translation_of"] = rng.choice(found).id
            changes["language"] = "de"
        if rng.random() < 0.1:
            changes |= {"conversation": f"T_CONV_{rng.randrange(3)}", "turn": n}
        shown = rng.sample(names, rng.choice((0, 0, 0, 0, 1, 1, 1, 2)))
        found.append(one(f"T_INS_{rng.randrange(10**6):06d}_{n}", *shown, **changes))
    return found


def _again(rng, other):
    """Say what another record says, in another case or with another last word."""
    said = other.answer.upper() if rng.random() < 0.5 else other.answer + " " + rng.choice(WORDS)
    return {"instruction": other.instruction, "answer": said}


# What is joined, the slow way


def joined_pairs(records, pictures):
    """Return the pairs of ids that stand together by any of the documented links."""
    data = {one.id: one.image for one in pictures}
    hashes = hashes_of(pictures)
    texts = {r.id: _plain(f"{r.instruction} {r.answer}") for r in records}
    grams = {id_: {text[n : n + 5] for n in range(len(text) - 4)} for id_, text in texts.items()}
    roots = _ancestors(records)
    found = set()
    for a, b in combinations(records, 2):
        if (
            _share_picture(a, b, data, hashes)
            or (a.conversation and a.conversation == b.conversation)
            or roots[a.id] & roots[b.id]
            or _like(grams[a.id], grams[b.id], texts[a.id], texts[b.id])
        ):
            found.add((a.id, b.id))
    return found


def hashes_of(pictures):
    """Return the perceptual hash that the dataset has of each picture: that of another decoder may differ by a bit."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "looks", create=True)
        with store.writing("test"):
            store.add_images(pictures)
            store.sync()
            with opened(store) as connection:
                attach(store, connection, [("looks", MEASURES["looks"])])
                return dict(connection.execute("SELECT id, hash FROM looks").fetchall())


def _share_picture(a, b, data, hashes):
    for x in a.image_ids:
        for y in b.image_ids:
            if x == y or (x in data and data.get(y) == data[x]):
                return True
            if _film(x) and _film(x) == _film(y):
                return True
            if None not in (hashes.get(x), hashes.get(y)) and _far(hashes[x], hashes[y]) <= 3:
                return True
    return False


def _far(a, b):
    return bin((a ^ b) & (2**64 - 1)).count("1")


def _film(name):
    if found := re.match(r"SN_IMG_scene\d{4}_", name):
        return found[0]
    return name.rpartition("_")[0] if name.startswith("DC_IMG_") else None


def _plain(text):
    return " ".join(re.findall(r"\w+", text.lower()))


def _like(ours, theirs, a, b):
    if a == b:
        return True
    both = len(ours & theirs) / len(ours | theirs)
    assert not 0.6 < both < 0.8, "the drawn texts must be alike or not, for sketches are not exact"
    return both >= 0.7


def _ancestors(records):
    parent = {r.id: r.translation_of for r in records}
    found = {}
    for id_ in parent:
        line, at = set(), id_
        while at and at not in line:
            line.add(at)
            at = parent.get(at)
        found[id_] = line
    return found


def groups_of(pairs, ids):
    parent = {id_: id_ for id_ in ids}

    def root(id_):
        while parent[id_] != id_:
            id_ = parent[id_]
        return id_

    for a, b in pairs:
        if a in parent and b in parent:
            parent[root(a)] = root(b)
    found = defaultdict(set)
    for id_ in ids:
        found[root(id_)].add(id_)
    return list(found.values())


def crossing(pairs, splits):
    return [(a, b) for a, b in pairs if a in splits and b in splits and splits[a] != splits[b]]


@pytest.fixture(params=[0, 1, 2, 23, 25])
def drawn(request):
    rng = random.Random(request.param)
    pictures, names = pictures_of(rng)
    return rng, pictures, records_of(rng, names)


def test_nothing_that_is_joined_is_in_two_splits(store, drawn):
    _, pictures, records = drawn
    fill(store, records, pictures)
    done = split(store, SplitOptions(SHARES, stratify="none"))
    splits, pairs = splits_of(store), joined_pairs(records, pictures)
    assert set(splits) == {r.id for r in records}
    assert crossing(pairs, splits) == []
    groups = groups_of(pairs, splits)
    assert done.components == len(groups)
    assert done.largest == max(map(len, groups))
    for row in done.splits:
        assert row["share"] == pytest.approx(row["wanted"], abs=0.02), done
    assert check(store, "default", Joins()).total == 0


def test_nothing_that_is_joined_is_in_two_splits_whatever_comes_later(store, drawn):
    rng, pictures, records = drawn
    order = sources_first(rng.sample(records, len(records)))
    before, pairs = {}, joined_pairs(records, pictures)
    for at in range(0, len(order), 40):
        fill(store, order[at : at + 40], pictures if at == 0 else ())
        done = split(store, SplitOptions(SHARES))
        splits = splits_of(store)
        assert before.items() <= splits.items()
        there = {r.id for r in order[: at + 40]}
        assert done.left_out == len(there) - len(splits)
        known = [(a, b) for a, b in pairs if a in there and b in there]
        assert crossing(known, splits) == []
        for group in groups_of(known, splits):
            assert len({splits[id_] for id_ in group}) == 1
        before = splits
    assert check(store, "default", Joins()).total == 0


def sources_first(records):
    """Put a record behind what it translates: by way of one that is not there yet, nothing is known to be joined."""
    named, found = {r.id: r for r in records}, {}
    for each in records:
        line = [each]
        while (source := named.get(line[-1].translation_of)) and source not in line:
            line.append(source)
        found |= {r.id: r for r in reversed(line) if r.id not in found}
    return list(found.values())


RUN = """
import sys
from pathlib import Path
from mimicit.splits import SplitOptions, split
from mimicit.store import Store
split(Store.open(Path(sys.argv[1])), SplitOptions({"test": 0.3}, seed=5))
"""


def test_the_same_records_are_split_alike_in_whatever_order_and_process(tmp_path, drawn):
    rng, pictures, records = drawn
    found = []
    for name in ("a", "b"):
        store = Store.open(tmp_path / name, create=True)
        order = rng.sample(records, len(records))
        fill(store, order[:50], rng.sample(pictures, len(pictures)))
        fill(store, order[50:])
        subprocess.run([sys.executable, "-c", RUN, str(store.path)], check=True, timeout=120)
        found.append(splits_of(store))
    assert found[0] == found[1]
    assert set(found[0].values()) == {"train", "test"}
