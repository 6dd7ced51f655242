import pytest

from mimicit.report import facts, making, opinions
from mimicit.report.facts import LONGEST, NONE, OTHERS
from mimicit.schema import Verdict
from tests.builders import image, record

SAID = {"recipe": "r", "recipe_digest": "d"}


def put(store, records, *, images=(), verdicts=()):
    with store.writing("test"):
        store.add_images(images)
        store.add(records)
        store.add_verdicts(verdicts)
        store.sync()


def gathered(store):
    with store.reading() as connection:
        return facts.gather(connection)


@pytest.fixture
def filled(store, photos):
    cat, coffee = (image(photos, name) for name in ("chelsea.png", "coffee.png"))
    records = [
        record(0, instruction="What  is it?", answer="A cat.\nIt sleeps.", image_ids=(cat.id,)),
        record(1, answer="", image_ids=(cat.id, "LA_IMG_gone"), source="a.json#1"),
        record(2, task="sd", language="de", source="a.json#2", meta='{"licence": "CC0"}'),
        record(3, task="sd", source="b.json#1", conversation="c", turn=0, rejected="No."),
        record(4, task="sd", source="b.json#2", conversation="c", turn=1, translation_of="x"),
    ]
    verdict = Verdict(record=records[4].id, filter="f", reason="so", **SAID)
    opinion = Verdict(record=records[3].id, filter="g", reason="hm", rejects=False, **SAID)
    put(store, records, images=[cat, coffee], verdicts=[verdict, opinion])
    return store


def test_totals_are_counted(filled):
    totals = gathered(filled).totals
    expected = {
        "records": 5, "accepted": 4, "dropped": 1, "conversations": 4, "pictures": 2, "different": 2,
        "tasks": 2, "languages": 2, "sources": 2, "translations": 1, "compared": 1, "without_picture": 3,
        "missing": 1, "unused": 1, "frames": 0,
    }  # fmt: skip
    assert {name: totals[name] for name in expected} == expected


def test_bytes_and_words_are_counted(filled):
    totals = gathered(filled).totals
    with filled.reading() as connection:
        [(size,)] = connection.execute(
            "SELECT sum(octet_length(encode(instruction || answer))) FROM instructions"
        ).fetchall()
    assert totals["text_bytes"] == size
    assert totals["picture_bytes"] == sum(map(len, filled.images.by_row([0, 1])))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0), (" \n", 0), ("one", 1), (" two words ", 2), ("a\nb\tc d", 4), ("图片里有什么", 1),
        ("One  is.\n\nTwo are.\r\n", 4),
    ],
)  # fmt: skip
def test_words_are_what_stands_between_spaces(store, text, words):
    put(store, [record(0, answer=text)])
    [row] = gathered(store).answer_lengths
    assert row["words"] == words


def test_groups_say_what_is_accepted(filled):
    found = gathered(filled)
    by_task = {row["task"]: (row["records"], row["accepted"]) for row in found.tasks}
    by_source = {row["source"]: (row["records"], row["accepted"]) for row in found.sources}
    assert by_task == {"sd": (3, 2), "la_conversation": (2, 2)}
    assert by_source == {"a.json": (2, 2), "b.json": (2, 1), NONE: (1, 1)}
    assert found.sources[-1]["source"] == NONE


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("a/b.json#7", "a/b.json"), ("b.json: row 7", "b.json"), ("c.jsonl:12", "c.jsonl"), ("s.tar: 00:1", "s.tar"),
        ("video 7: part 2", "video 7: part 2"), ("photo.jpg", "photo.jpg"), ("#", ""),
    ],
)  # fmt: skip
def test_a_source_is_its_file(store, source, file):
    put(store, [record(0, source=source)])
    [row] = gathered(store).sources
    assert row["source"] == file


def test_licences_are_those_that_records_name(filled):
    said = {row["licence"]: row["records"] for row in gathered(filled).licences}
    assert said == {"CC0": 1, NONE: 4}


def test_licences_without_a_row_of_their_own_stand_last(store, monkeypatch):
    monkeypatch.setattr(facts, "SOURCES", 1)
    names = ["CC0"] * 3 + [f"L{n}" for n in range(5)]
    put(store, [record(n, meta=f'{{"licence": "{name}"}}') for n, name in enumerate(names)])
    found = [(row["licence"], row["records"]) for row in gathered(store).licences]
    assert found == [("CC0", 3), (OTHERS, 5)]


def test_metadata_that_is_no_json_names_no_licence(store):
    put(store, [record(0, meta="{licence"), record(1, meta='"text"'), record(2, meta="[1]")])
    assert gathered(store).licences == []


def test_many_tasks_become_the_most_frequent_ones_and_the_others(store):
    many = facts.TASKS + 30
    records = [record(n, task=f"t{n:02d}") for n in range(many)]
    records += [record(1000 + n, task="often") for n in range(9)]
    put(store, records)
    found = gathered(store)
    assert sum(row["records"] for row in found.tasks) == many + 9
    assert found.tasks[0]["task"] == "often"
    assert found.tasks[-1]["task"] == OTHERS
    assert len(found.tasks) <= facts.TASKS + 1
    assert found.totals["tasks"] == many + 1


def test_of_hundreds_of_tasks_those_with_a_row_are_the_most_frequent_ones(store):
    tasks = [f"t{n:03d}" for n in range(400)] * 2 + [f"t{n:03d}" for n in range(0, 400, 16)]
    put(store, [record(n, task=task) for n, task in enumerate(tasks)])
    found = gathered(store).tasks[:-1]
    assert [row["records"] for row in found] == [3] * facts.TASKS


def test_a_very_long_text_counts_as_the_longest_that_is_told_apart(store):
    put(store, [record(0, answer="word " * (LONGEST + 500))])
    [row] = gathered(store).answer_lengths
    assert row["words"] == LONGEST


def test_lengths_are_counted_by_task_and_by_verdict(filled):
    found = gathered(filled)
    for said in (found.question_lengths, found.answer_lengths):
        assert sum(row["records"] for row in said) == 5
        assert sum(row["records"] for row in said if row["dropped"]) == 1


def test_pictures_of_a_record_and_their_shape(filled):
    found = gathered(filled)
    assert [(row["pictures"], row["records"]) for row in found.per_record] == [
        (0, 3),
        (1, 1),
        (2, 1),
    ]
    assert sum(row["pictures"] for row in found.sizes) == 2
    [png] = found.formats
    assert (png["format"], png["pictures"]) == ("image/png", 2)


def test_an_empty_dataset_has_facts(store):
    with store.writing("test"):
        store.sync()
    found = gathered(store)
    assert found.totals["records"] == 0
    assert found.tasks == []


def test_splits_are_counted_with_what_is_accepted(filled):
    import pyarrow as pa

    ids = [f"LACONV_INS_{n:03d}_00" for n in range(5)]
    with filled.writing("test"):
        filled.write_splits(
            "main", pa.table({"record": ids, "split": ["train"] * 3 + ["test"] * 2})
        )
        filled.sync()
    found = [(row["split"], row["records"], row["accepted"]) for row in gathered(filled).splits]
    assert found == [("train", 3, 3), ("test", 2, 1)]


@pytest.mark.parametrize("task", ["a\0b", "'; DROP TABLE x; --", "\0", "''\0''"])
def test_a_name_is_a_name(store, task):
    put(store, [record(0, task=task)])
    assert [row["task"] for row in gathered(store).tasks] == [task]


# Verdicts


def asked(store, question):
    with store.reading() as connection:
        return question(connection)


def scored(scores, **changes):
    said = {"filter": "judge", "reason": "r", "rejects": False} | SAID | changes
    return [
        Verdict(record=f"LACONV_INS_{n:03d}_00", score=score, **said)
        for n, score in enumerate(scores)
    ]


def test_whole_scores_are_their_own_bins(store):
    put(store, [record(n) for n in range(6)], verdicts=scored([1, 2, 2, 5, 5, 5]))
    [one] = asked(store, opinions.scores)
    assert [(row["from"], row["records"]) for row in one["bins"]] == [(1, 1), (2, 2), (5, 3)]
    assert (one["mean"], one["opinions"]) == (pytest.approx(20 / 6), 6)


def test_marks_by_quarters_have_a_bin_each(store):
    marks = [1 + n / 4 for n in range(17)]
    put(store, [record(n) for n in range(17)], verdicts=scored(marks))
    [one] = asked(store, opinions.scores)
    assert [row["from"] for row in one["bins"]] == marks
    assert [row["most"] for row in one["bins"]] == marks


def test_a_score_that_no_axis_holds_is_left_out(store):
    put(store, [record(n) for n in range(6)], verdicts=scored([1e308, -1e308, 1, 2]))
    [one] = asked(store, opinions.scores)
    assert (one["least"], one["most"]) == (1, 2)


@pytest.mark.parametrize(
    ("width", "round_one"),
    [(0.2, 0.25), (0.1, 0.1), (0.3, 0.5), (60, 100), (25, 25), (0.0, 1), (5e-324, 1)],
)
def test_bins_are_of_a_round_width(width, round_one):
    assert opinions.rounded(width) == pytest.approx(round_one)


@pytest.mark.parametrize(
    "scores", [[0.5, 0.5, 0.5], [0.0, 0.25, 1.0], [1e300, -1e300], [0.1, 7e-9, 3]]
)
def test_every_score_is_in_a_bin(store, scores):
    put(store, [record(n) for n in range(6)], verdicts=scored(scores))
    [one] = asked(store, opinions.scores)
    assert sum(row["records"] for row in one["bins"]) == len(scores)


def test_scores_that_are_no_numbers_are_left_out(store):
    put(
        store,
        [record(n) for n in range(6)],
        verdicts=scored([1, float("nan"), float("inf"), 2, None]),
    )
    [one] = asked(store, opinions.scores)
    assert (one["records"], one["least"], one["most"]) == (2, 1, 2)


def test_duplicates_are_counted_with_their_groups(store):
    said = scored([None] * 3, filter="exact_duplicate", reason="the same as A", rejects=True)
    said += scored([None] * 4, filter="near_duplicate", reason="like B", rejects=True)[3:]
    said += scored([None], filter="echo", reason="like B", rejects=True)
    put(store, [record(n) for n in range(6)], verdicts=said)
    found = {
        row["filter"]: (row["records"], row["groups"], row["most"])
        for row in asked(store, opinions.duplicates)
    }
    assert found == {"exact_duplicate": (3, 1, 3), "near_duplicate": (1, 1, 1)}


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "7", "{}", '{"funnel": null}', '{"funnel": {"recipe": "r"}}',
        '{"funnel": {"recipe": "r", "records": "many", "accepted": 1, "stages": []}}',
        '{"funnel": {"recipe": "r", "records": 1, "accepted": 1, "stages": [7]}}',
        '{"funnel": {"recipe": "r", "records": 1, "accepted": 1, "stages": [{"filter": "f", "dropped": 1, "examples": [3]}]}}',
    ],
)  # fmt: skip
def test_a_damaged_note_of_a_funnel_is_passed_over(store, text):
    folder = store.path / "curation" / "r"
    folder.mkdir(parents=True)
    (folder / "funnel.json").write_text(text)
    assert opinions.funnels(store.path) == []


# Making


def test_costs_and_prompts_come_from_the_ledger(store):
    from syphus.ledger import Ledger

    with Ledger(store.path / "ledger" / "ledger.sqlite") as ledger:
        run = ledger.start_run(task="la_conversation", model="m", arguments=[])
        ledger.end_run(run, "done")
        ledger.insert(
            "prompts",
            [{"digest": "d" * 40, "task": "la_conversation", "version": 3, "messages": "[]"}],
        )
        for n, cost in enumerate((0.5, 0.25, None)):
            asked_for = {
                "key": f"k{n}",
                "run": run,
                "prompt": "d" * 40,
                "model": "m",
                "context": "c",
            }
            ledger.insert(
                "requests",
                [asked_for | {"query": "q", "parameters": "{}", "sample": 0, "time": 1.7e9}],
            )
            tokens = {
                "prompt_tokens": 100,
                "completion_tokens": 10,
                "cached_tokens": 0,
                "cost_usd": cost,
            }
            reply = {
                "id": n + 1,
                "sent": n + 1,
                "request": f"k{n}",
                "run": run,
                "model": "m",
                "text": "t",
            }
            ledger.insert("replies", [reply | tokens | {"time": 1.7e9 + 86_400 * n}])
    put(store, [record(n, request=f"k{n}", reply=n + 1) for n in range(2)])
    found = asked(store, making.gather)
    assert (found.totals["replies"], found.totals["cost_usd"], found.totals["records"]) == (
        3,
        0.75,
        2,
    )
    assert [(row["model"], row["replies"], row["cost_usd"]) for row in found.models] == [
        ("m", 3, 0.75)
    ]
    assert found.totals["unpriced"] == 1
    assert len(found.days) == 3
    [prompt] = found.prompts
    assert (prompt["version"], prompt["requests"], prompt["records"]) == (3, 3, 2)
    assert [row["outcome"] for row in found.runs] == ["done"]
