"""The benchmark of planted faults, small: every filter finds what was planted for it, and little else."""

import json
from collections import Counter

import pytest

from benchmarks.curate import planted as bench
from mimicit.curate import curate
from mimicit.curate.recipe import load_recipe
from mimicit.store import Store

RECORDS = 2_500
LEAST = {
    "near_duplicate_picture": 0.85,
    "blurred": 0.75,
    "near_duplicate": 0.95,
    "wrong_colour": 0.8,
    "semantic_duplicate": 0.5,
}
"""Recall of filters that miss some kinds; the others miss nothing but a case or two."""
WRONG = {"text_only": 0.75, "toxic_by_model": 0.85}
"""Precision of filters that take some kinds for what they are not: stars at night, an ass that eats hay."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    return folder, bench.planted(folder, RECORDS)


def found(folder, name):
    filters = {"use": name} | bench.parameters(name, folder)
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in filters.items())
    (folder / "one.toml").write_text(f'name = "alone_{name}"\n[[filter]]\n{lines}')
    curate(Store.open(folder / "ds"), load_recipe(str(folder / "one.toml")))
    return bench.reasons(folder, f"alone_{name}")


@pytest.mark.parametrize("name", [name for name in bench.PLANTERS if name not in bench.SLOW])
def test_a_filter_finds_what_was_planted_for_it_and_little_else(dataset, name):
    folder, drafts = dataset
    said = bench.compared(drafts, name, found(folder, name), show=3)
    assert said["planted"] >= 8
    assert said["recall"] >= LEAST.get(name, 0.98)
    assert said["precision"] >= WRONG.get(name, 0.96)


def test_most_records_are_good_and_no_two_plain_ones_ask_the_same(dataset):
    _, drafts = dataset
    kinds = Counter(draft.kind for draft in drafts)
    assert kinds[""] > RECORDS / 4
    assert set(bench.PLANTERS) <= set(kinds) | {"picture_mismatch"}
    plain = [
        (draft.image_ids, bench.copies.normal(draft.instruction))
        for draft in drafts
        if draft.kind == ""
    ]
    assert len(set(plain)) == len(plain)
    assert len({draft.language for draft in drafts}) == 8


def test_strict_drops_what_it_has_filters_for_and_keeps_what_is_plain(dataset):
    folder, drafts = dataset
    curate(Store.open(folder / "ds"), load_recipe("strict"))
    dropped = set(bench.reasons(folder, "strict"))
    bad = [draft.id for draft in drafts if draft.labels - bench.STRICT_LACKS]
    plain = [draft.id for draft in drafts if draft.kind in ("", "source") and not draft.labels]
    assert sum(id_ in dropped for id_ in bad) >= 0.97 * len(bad)
    assert sum(id_ in dropped for id_ in plain) <= 0.01 * len(plain)


def test_sentences_that_no_pattern_was_made_for_are_mostly_found():
    rows = {row["filter"]: row["recall"] for row in bench.found_of_unseen()}
    assert min(rows.values()) >= 0.55
