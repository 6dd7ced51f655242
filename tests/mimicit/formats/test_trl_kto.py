"""Rows of KTO: which answers become `answer`, which `rejected`, and that none is lost or taught."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mimicit.errors import FormatError
from mimicit.formats import ReadOptions, WriteOptions, trl, trl_kto, webdataset
from mimicit.schema import ImageRecord, Instruction, Verdict
from mimicit.store import Store
from tests.mimicit.formats.trl_builders import png, rows


def kto(prompt, completion, label, **more):
    return {"prompt": prompt, "completion": completion, "label": label, "images": [], **more}


def read(path, rows_, **options):
    pq.write_table(pa.Table.from_pylist(rows_), path / "x.parquet")
    found = list(trl.read(path / "x.parquet", ReadOptions(**options)))
    assert all(isinstance(one, Instruction | Verdict | ImageRecord) for one in found)
    return (
        [one for one in found if isinstance(one, Instruction)],
        [one for one in found if isinstance(one, Verdict)],
    )


def stored(path, found):
    store = Store.open(path, create=True)
    with store.writing("test"):
        store.add_images(one for one in found if isinstance(one, ImageRecord))
        store.add_verdicts([one for one in found if isinstance(one, Verdict)])
        store.add([one for one in found if isinstance(one, Instruction)])
        store.sync()
    return store


def test_a_liked_answer_is_a_plain_record(tmp_path):
    [one], verdicts = read(tmp_path, [kto("Q", "A", True)])
    assert (one.instruction, one.answer, one.rejected, verdicts) == ("Q", "A", None, [])
    assert json.loads(one.meta) == {"label": True}


def test_an_answer_that_was_not_liked_is_kept_and_rejected(tmp_path):
    rows_ = [kto("Q", "Bad.", False), kto("P", "Good.", True)]
    records, [verdict] = read(tmp_path, rows_)
    bad = next(one for one in records if one.answer == "Bad.")
    assert (verdict.record, verdict.rejects) == (bad.id, True)
    assert json.loads(bad.meta) == {"label": False}
    store = stored(tmp_path / "d", list(trl.read(tmp_path / "x.parquet", ReadOptions())))
    assert rows(store, "SELECT answer FROM accepted") == [("Good.",)]
    assert rows(store, "SELECT answer, reasons[1].filter FROM rejected") == [("Bad.", "disliked")]
    [written] = trl.write(store, tmp_path / "out", WriteOptions())
    assert written.records == 1


def test_a_verdict_that_is_there_is_not_written_again(tmp_path):
    _, verdicts = read(tmp_path, [kto(f"Q{n}", "Bad.", False) for n in range(9)])
    store = Store.open(tmp_path / "d", create=True)
    with store.writing("test"):
        for part in (verdicts[:5], verdicts, verdicts):
            again = trl_kto.Verdicts(store)
            for verdict in part:
                again.add(verdict)
            again.write()
            again.write()
        store.sync()
    assert rows(store, "SELECT count(*), count(DISTINCT record) FROM verdicts") == [(9, 9)]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("apart", [0, 1_000])
def test_two_opinions_of_one_prompt_are_one_record(tmp_path, first, apart):
    between = [kto(f"Q{n}", "A", True) for n in range(apart)]
    answers = {True: "Good.", False: "Bad."}
    pair = [kto("Q", answers[label], label) for label in (first, not first)]
    records, verdicts = read(tmp_path, [pair[0], *between, pair[1]])
    assert (len(records), verdicts) == (1 + apart, [])
    one = next(one for one in records if one.instruction == "Q")
    assert (one.answer, one.rejected, one.meta) == ("Good.", "Bad.", None)


def test_opinions_in_the_order_in_which_trl_unpairs_them(tmp_path):
    liked = [kto(f"Q{n}", f"A{n}", True) for n in range(1_000)]
    others = [kto(f"Q{n}", f"B{n}", False) for n in range(1_000)]
    records, verdicts = read(tmp_path, [*liked, *others])
    found = {one.instruction: (one.answer, one.rejected) for one in records}
    assert found == {f"Q{n}": (f"A{n}", f"B{n}") for n in range(1_000)}
    assert verdicts == []


def test_each_answer_is_in_one_pair_at_most(tmp_path):
    rows_ = [kto("Q", "A", True), kto("Q", "A2", True), kto("Q", "B", False), kto("Q", "B2", False), kto("Q", "B3", False)]  # fmt: skip
    records, verdicts = read(tmp_path, rows_)
    assert sorted((one.answer, one.rejected or "") for one in records) == [
        ("A", "B"), ("A2", "B2"), ("B3", ""),
    ]  # fmt: skip
    assert len(verdicts) == 1


def test_both_opinions_of_one_answer_are_no_pair(tmp_path):
    records, verdicts = read(tmp_path, [kto("Q", "A", True, id=1), kto("Q", "A", False, id=1)])
    assert [(one.answer, one.rejected) for one in records] == [("A", None)] * 2
    assert len({one.id for one in records}) == 2
    assert verdicts[0].record == next(one.id for one in records if "false" in one.meta)


def test_one_question_about_two_pictures_is_two_prompts(tmp_path):
    def shown(number, *said):
        return {**kto("Q", *said), "images": [{"bytes": png(number), "path": None}]}

    records, verdicts = read(tmp_path, [shown(1, "A", True), shown(2, "B", False)])
    assert [one.rejected for one in records] == [None, None]
    assert len(verdicts) == 1
    records, verdicts = read(tmp_path, [shown(1, "A", True), shown(1, "B", False)])
    assert [(one.answer, one.rejected, len(one.image_ids)) for one in records] == [("A", "B", 1)]


def test_what_a_row_has_beside_is_kept_of_both(tmp_path):
    rows_ = [kto("Q", "A", True, judge="x"), kto("Q", "B", False, judge="y")]
    [one], _ = read(tmp_path, rows_)
    assert json.loads(one.meta) == {"judge": "x", "of_rejected": {"judge": "y"}}
    [one], _ = read(tmp_path, [{**row, "judge": "x"} for row in rows_])
    assert json.loads(one.meta) == {"judge": "x"}


def test_messages_have_opinions_too_and_all_turns_of_a_bad_one_are_rejected(tmp_path):
    def said(last):
        texts = ["Q", "A", "And?", last]
        roles = ["user", "assistant"] * 2
        messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=True)]
        return {"messages": messages, "images": []}

    rows_ = [{**said("B"), "label": False}, {**said("C"), "label": True}]
    records, verdicts = read(tmp_path, rows_)
    assert [(one.answer, one.rejected) for one in records] == [("A", None), ("C", "B")]
    assert verdicts == []
    records, verdicts = read(tmp_path, rows_[:1])
    assert [one.record for one in verdicts] == [one.id for one in records]


@pytest.mark.parametrize("limit", ["WAITING", "WAITING_LETTERS"])
def test_rows_that_wait_are_bounded(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(trl_kto, limit, 2 if limit == "WAITING" else 40)
    between = [kto(f"Q{n}", "A" * 10, True) for n in range(5)]
    records, verdicts = read(tmp_path, [kto("Q", "B", False), *between, kto("Q", "A", True)])
    assert (len(records), len(verdicts)) == (7, 1)
    assert all(one.rejected is None for one in records)


def test_reading_a_million_letters_of_opinions_again_gives_the_same_records(tmp_path):
    rows_ = [kto(f"Q{n % 700}", f"A{n}" * 20, n % 3 > 0) for n in range(5_000)]
    assert read(tmp_path, rows_) == read(tmp_path, rows_)
    records, verdicts = read(tmp_path, rows_)
    paired = sum(one.rejected is not None for one in records)
    assert len(records) + paired == 5_000
    assert len(verdicts) == sum(n % 3 == 0 for n in range(5_000)) - paired


def test_rows_that_wait_are_given_where_a_tar_file_breaks(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as file:
        for n, label in enumerate((False, True, True)):
            said = json.dumps(kto(f"Q{n}", "A", label)).encode()
            info = tarfile.TarInfo(f"{n}.json")
            info.size = len(said)
            file.addfile(info, io.BytesIO(said))
    path.write_bytes(path.read_bytes()[:3072] + b"\x07" * 512)
    found = []
    with pytest.raises(FormatError, match="broken at byte 3,072"):
        found.extend(webdataset.read(path, ReadOptions()))
    assert [type(one) for one in found] == [Verdict, Instruction, Instruction]
