import base64
import json
import re
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mimicit.errors import FormatError
from mimicit.formats import ReadOptions, llava_rlhf, m3it, rlaifv, rlhfv
from tests.mimicit.formats.sets_builders import (
    HF_IMAGE,
    array,
    encoded,
    lines,
    llava_rlhf_row,
    m3it_row,
    picture,
    read,
    rlaifv_row,
    rlhfv_row,
    table,
)

ROWS = {"rlhfv": (rlhfv, rlhfv_row, "RLHFV"), "rlaifv": (rlaifv, rlaifv_row, "RLAIFV")}
both = pytest.mark.parametrize(("module", "row", "short"), ROWS.values(), ids=ROWS)


@both
def test_chosen_is_the_answer_and_rejected_the_worse_one(tmp_path, module, row, short):
    path = table(tmp_path / "data.parquet", [row(n) for n in range(40)], image=HF_IMAGE)
    texts, images, bad = read(module, path)
    assert [(one.instruction, one.answer, one.rejected) for one in texts] == [
        ("What is it?", f"Colour {n}.", "A dog.") for n in range(40)
    ]
    assert [image.image for image in images] == [picture(n) for n in range(40)]
    assert [one.image_ids for one in texts] == [(image.id,) for image in images]
    assert re.fullmatch(rf"{short}_INS_7_[0-9a-f]{{8}}", texts[7].id)
    assert (texts[7].task, texts[7].source) == (module.NAME, "data.parquet: row 8")
    assert {one.conversation for one in texts} == {None}
    assert not bad


@both
def test_where_a_row_is_from_is_kept(tmp_path, module, row, short):
    (one,), _, _ = read(module, table(tmp_path / "a.parquet", [row(3)], image=HF_IMAGE))
    names = ("ds_name", "origin_dataset", "origin_split", "idx", "image_path")
    assert json.loads(one.meta) == {name: row(3)[name] for name in names}


@both
@pytest.mark.parametrize("write", [array, lines], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "shown",
    [
        {"bytes": encoded(3), "path": None},
        f"data:image/png;base64,{encoded(3)}",
        base64.b64encode(picture(3) + bytes(600)).decode(),
    ],
    ids=["struct", "data", "base64"],
)
def test_json_rows_hold_pictures_as_base64(tmp_path, module, row, short, write, shown):
    path = write(tmp_path / "a.json", [row(3, image=shown)])
    assert module.detect(path)
    (one,), (image,), _ = read(module, path)
    assert image.image.startswith(picture(3))
    assert one.image_ids == (image.id,)


@both
@pytest.mark.parametrize("image", [None, {"bytes": None, "path": "elsewhere.png"}])
def test_a_row_without_bytes_names_its_picture(tmp_path, module, row, short, image):
    folder = tmp_path / "pictures" / "coco"
    folder.mkdir(parents=True)
    (folder / "3.png").write_bytes(picture(3))
    path = array(tmp_path / "a.json", [row(3, image=image, image_path="coco/3.png")])
    (one,), (found,), bad = read(module, path, images=tmp_path / "pictures")
    assert one.image_ids == (found.id,) == (f"{short}_IMG_coco_3",)
    assert not bad


@both
def test_a_picture_that_is_shown_twice_is_given_out_once(tmp_path, module, row, short):
    rows = [row(n) | {"image": {"bytes": picture(1), "path": None}} for n in range(5)]
    texts, images, _ = read(module, table(tmp_path / "a.parquet", rows, image=HF_IMAGE))
    assert (len(texts), len(images)) == (5, 1)


@both
def test_one_number_for_two_pairs_is_two_records(tmp_path, module, row, short):
    rows = [row(1, idx="9"), row(2, idx="9"), row(3, idx=None)]
    texts, _, _ = read(module, table(tmp_path / "a.parquet", rows, image=HF_IMAGE, idx=pa.string()))
    assert len({one.id for one in texts}) == 3


@both
def test_rows_with_broken_pictures_are_told(tmp_path, module, row, short):
    broken = {"bytes": picture(0)[:40], "path": None}
    rows = [row(0), row(1, image=broken), row(2, image=None, image_path=None)]
    texts, _, bad = read(module, table(tmp_path / "a.parquet", rows, image=HF_IMAGE))
    assert len(texts) == 1
    assert [one.where for one in bad] == ["a.parquet: row 2", "a.parquet: row 3"]
    assert "decoded" in bad[0].reason or "not a picture" in bad[0].reason
    assert bad[1].reason == "it has no picture"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no 'text'"),
        ("plain words", "no JSON object"),
        ("[1]", "no JSON object"),
        ('{"question": "q", "chosen": "a"}', "'rejected'"),
        ('{"question": "q", "chosen": 3, "rejected": "b"}', "no text but int"),
        ("{" * 3000, "no JSON object"),
    ],
)
def test_rlhfv_texts_that_are_no_pairs_are_told(tmp_path, text, said):
    rows = [rlhfv_row(0), rlhfv_row(1, text=text)]
    texts, images, bad = read(rlhfv, table(tmp_path / "a.parquet", rows, image=HF_IMAGE))
    assert (len(texts), len(images)) == (1, 1)
    assert bad[0].where == "a.parquet: row 2"
    assert said in bad[0].reason


def test_rlhfv_takes_an_object_as_text(tmp_path):
    pair = {"question": "<image>\nq", "chosen": "a", "rejected": "b"}
    path = array(tmp_path / "a.json", [rlhfv_row(image=encoded(0) + "A" * 600, text=pair)])
    assert rlhfv.detect(path)
    path = array(tmp_path / "b.json", [rlhfv_row(image={"bytes": encoded(0)}, text=pair)])
    (one,), _, _ = read(rlhfv, path)
    assert (one.instruction, one.answer, one.rejected) == ("q", "a", "b")


def test_text_that_is_not_utf8_is_one_bad_row(tmp_path):
    rows = [rlaifv_row(n) for n in range(3)]
    questions = pa.array([b"q", b"\xff\xfe", b"q"], pa.binary()).view(pa.string())
    columns = {name: pa.array([row[name] for row in rows]) for name in rows[0]}
    pq.write_table(pa.table(columns | {"question": questions}), tmp_path / "a.parquet")
    texts, _, bad = read(rlaifv, tmp_path / "a.parquet")
    assert len(texts) == 2
    assert [(one.where, one.reason[:9]) for one in bad] == [("a.parquet: row 2", "not UTF-8")]


def test_a_damaged_parquet_file_is_a_sentence(tmp_path):
    rows = [rlaifv_row(n) for n in range(100)]
    whole = table(tmp_path / "a.parquet", rows, image=HF_IMAGE).read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[:200] + bytes(400) + whole[600:])
    with pytest.raises(FormatError, match="broken Parquet"):
        list(rlaifv.read(tmp_path / "a.parquet", ReadOptions()))
    (tmp_path / "b.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match="broken Parquet"):
        list(rlaifv.read(tmp_path / "b.parquet", ReadOptions()))


# LLaVA-RLHF


@pytest.mark.parametrize(
    ("preference", "chosen", "rejected"),
    [(1, "Here 5.", "There."), (2, "There.", "Here 5."), ("2", "There.", "Here 5.")],
)
def test_the_preferred_output_is_the_last_answer(tmp_path, preference, chosen, rejected):
    (tmp_path / "000000000005.png").write_bytes(picture(5))
    path = array(tmp_path / "p.json", [llava_rlhf_row(5, preference=preference)])
    texts, (image,), bad = read(llava_rlhf, path)
    assert [(one.instruction, one.answer, one.rejected) for one in texts] == [
        ("What is it?", "Thing 5.", None),
        ("Where?", chosen, rejected),
    ]
    assert [one.turn for one in texts] == [0, 1]
    assert {one.image_ids for one in texts} == {(image.id,)} == {("LLAVA_RLHF_IMG_000000000005",)}
    assert json.loads(texts[0].meta) == {"hallucination": False}
    assert texts[1].meta is None
    assert not bad


def test_an_answer_that_is_neither_output_is_kept(tmp_path):
    row = llava_rlhf_row(1)
    row["conversations"][3]["value"] = "Elsewhere."
    texts, _, _ = read(llava_rlhf, array(tmp_path / "p.json", [row]))
    assert json.loads(texts[0].meta)["replaced"] == "Elsewhere."
    assert [one.answer for one in texts] == ["Thing 1.", "Here 1."]


def test_a_conversation_may_end_with_its_question(tmp_path):
    row = llava_rlhf_row(1, output_1="Here.")
    row["conversations"] = row["conversations"][:1]
    ((one,), _, _) = read(llava_rlhf, array(tmp_path / "p.json", [row]))
    assert (one.instruction, one.answer, one.rejected) == ("What is it?", "Here.", "There.")
    assert one.conversation is None
    assert json.loads(one.meta) == {"hallucination": False}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"preference": 0}, "neither 1 nor 2"),
        ({"preference": None}, "neither 1 nor 2"),
        ({"preference": [1]}, "neither 1 nor 2"),
        ({"output_1": None}, "'output_1'"),
        ({"output_2": {"from": "llava"}}, "'output_2' has no text"),
        ({"conversations": "text"}, "no list"),
        ({"conversations": []}, "without a question"),
        ({"id": "a\n"}, "pattern"),
    ],
)
def test_llava_rlhf_rows_that_cannot_be_used_are_told(tmp_path, changes, said):
    rows = [llava_rlhf_row(1), llava_rlhf_row(2, **changes)]
    texts, _, bad = read(llava_rlhf, array(tmp_path / "p.json", rows))
    assert len(texts) == 2
    assert bad[-1].where == "p.json: row 2"
    assert said in bad[-1].reason


# Memory


def noise(n):
    return picture(n % 250) + n.to_bytes(4, "big") * 25_000


@pytest.mark.parametrize("kind", ["lines", "array", "parquet"])
def test_pictures_are_held_for_a_few_rows_only(tmp_path, kind):
    """Four times the rows take no more memory."""

    def peak(count):
        if kind == "parquet":
            module, path = rlaifv, tmp_path / f"{count}.parquet"
            table(
                path,
                [rlaifv_row(n, image={"bytes": noise(n)}) for n in range(count)],
                image=HF_IMAGE,
            )
        else:
            module, path = m3it, tmp_path / f"{count}.json"
            shown = (base64.b64encode(noise(n)).decode() for n in range(count))
            rows = [m3it_row(n, image_base64_str=[text]) for n, text in enumerate(shown)]
            (lines if kind == "lines" else array)(path, rows)
            del rows
        tracemalloc.start()
        number = sum(1 for _ in module.read(path, ReadOptions()))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert number == 2 * count
        return top

    assert peak(160) < peak(40) + (1 << 20)
