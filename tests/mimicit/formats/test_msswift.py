import json

import pytest

from mimicit.formats import WriteOptions, msswift
from tests.mimicit.formats.chat_builders import (
    comes_back,
    content,
    data_url,
    image,
    imported,
    lines,
    parted,
    pictures,
    reason,
    stored,
)
from tests.mimicit.formats.test_exporting import record


def messages(*texts, system=None):
    said = [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]
    return [{"role": "system", "content": system}, *said] if system else said


@pytest.fixture
def rows(tmp_path):
    pictures(tmp_path, "1.png", "2.png", "host.org/a/3.png")
    return [
        {"messages": messages("<image>Who?", "He.", "And <image> here?", "She."), "images": ["1.png", "2.png"]},
        {"messages": messages("Where?", "Here.", system="Be brief."), "images": ["1.png"]},
        {"messages": messages("<image>Good?", "Yes."), "images": ["2.png"], "rejected_response": "No."},
        {"messages": messages("Ja?", "Ja.", "Nein?", "Nein."), "images": [], "rejected_response": "Doch.",
         "label": True, "channel": "de"},
        {"messages": [{"role": "assistant", "content": "<image>A bus."}], "images": ["1.png"]},
        {"messages": [{"role": "assistant", "content": "Only text."}], "images": []},
        {"messages": messages("<image>Inline?", "Yes."), "images": [data_url(5)]},
        {"messages": messages("<image>Web?", "Yes."), "images": ["https://host.org/a/3.png"]},
        {"messages": messages("<image>Find <ref-object>", "<bbox>"), "images": ["1.png"],
         "objects": {"ref": ["a cat"], "bbox": [[1, 2, 3, 4]]}},
        {"messages": [{"role": "user", "content": "Weigh"}, {"role": "assistant", "content": "me", "loss": False},
                      {"role": "user", "content": "and"}, {"role": "assistant", "content": "this", "loss": True}],
         "images": []},
        {"messages": [{"role": "user", "content": "Weather?"}, {"role": "tool_call", "content": "{}"},
                      {"role": "tool_response", "content": "rain"}, {"role": "assistant", "content": "Rain."}],
         "images": [], "tools": [{"name": "weather"}]},
    ]  # fmt: skip


def test_what_is_imported_exported_and_imported_is_the_same(rows, tmp_path):
    out = comes_back(msswift, lines(tmp_path / "all.jsonl", rows), tmp_path)
    written = [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()]
    assert len(written) == len(rows)
    bare = [{key: value for key, value in one.items() if key not in ("id", "images")} for one in written]  # fmt: skip
    for one in rows:
        if "Where?" not in str(one):  # whose placeholder is put in
            assert {key: value for key, value in one.items() if key != "images"} in bare
    for one in written:
        text = "".join(said["content"] for said in one["messages"])
        assert text.count("<image>") == len(one["images"])
        assert all((out / name).is_file() for name in one["images"])


def test_records_from_elsewhere_come_back(tmp_path):
    store = stored(
        [record("T_INS_1", "T_IMG_1", rejected="No."), record("T_INS_2", task="other")],
        [image("T_IMG_1")],
        tmp_path / "ds",
    )
    msswift.write(store, tmp_path / "out", WriteOptions())
    assert content(imported(msswift, tmp_path / "out", tmp_path / "back")) == content(store)


@pytest.mark.parametrize(
    "picture", [{"bytes": data_url(3).partition(",")[2], "path": None}, {"path": "1.png"}, "1.png"]
)
def test_a_picture_may_be_an_object(tmp_path, picture):
    pictures(tmp_path, "1.png")
    row = {"messages": messages("<image>q", "a"), "images": picture}
    (one,), (shown,), bad = parted(msswift, lines(tmp_path / "x.jsonl", [row]))
    assert bad == []
    assert one.image_ids == (shown.id,)


def test_rejected_messages_may_differ_in_the_last_answer(tmp_path):
    row = {"messages": messages("q", "a"), "rejected_messages": messages("q", "b")}
    (one,), *_ = parted(msswift, lines(tmp_path / "x.jsonl", [row]))
    assert (one.answer, one.rejected) == ("a", "b")


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"messages": messages("q")}, "the last question has no answer"),
        ({"messages": messages("", "a")}, "a question is empty"),
        ({"messages": messages("q", "<image>"), "images": ["1.png"] * 2}, "1 placeholders"),
        ({"messages": messages("q", "a"), "rejected_messages": messages("x", "b")}, "differ before"),
        ({"messages": messages("q", "a"), "rejected_messages": []}, "differ before"),
        ({"messages": messages("q", "a"), "rejected_response": 3}, "`rejected_response` is no text"),
        ({"messages": messages("q", "a"), "rejected_response": []}, "`rejected_response` is no text"),
        ({"messages": [*messages("q", "a"), {"role": "system", "content": "s"}]}, "only first"),
        ({"messages": messages("<image>q", "a"), "images": ["data:image/png;base64,!"]}, "base64"),
        ({"messages": messages("<image>q", "a"), "images": ["data:image/png;base64,AAAA"]}, "picture"),
        ({"messages": messages("<image>q", "a"), "images": [{"bytes": None}]}, "neither a path"),
        ({"messages": messages("q", "a"), "images": ["http://[x"]}, "cannot be a picture's name"),
    ],
)  # fmt: skip
def test_a_broken_row_is_told(tmp_path, broken, why):
    assert why in reason(msswift, lines(tmp_path / "x.jsonl", [broken]))
