import base64
import json
from importlib import import_module

import pytest

from mimicit.formats import WriteOptions, datajuicer, openai
from tests.mimicit.formats import test_llava, test_msswift, test_sharegpt
from tests.mimicit.formats.chat_builders import (
    array,
    comes_back,
    content,
    data_url,
    image,
    imported,
    lines,
    parted,
    pictures,
    png,
    reason,
    stored,
)
from tests.mimicit.formats.test_exporting import record


def text(said):
    return {"type": "text", "text": said}


def picture(address, **fields):
    return {"type": "image_url", "image_url": {"url": address, **fields}}


def user(*parts):
    return {"role": "user", "content": parts[0] if isinstance(parts[0], str) else list(parts)}


def assistant(said, **fields):
    return {"role": "assistant", "content": said, **fields}


def rows():
    first, second = picture(data_url(1)), picture(data_url(2), detail="low")
    return [
        {"messages": [{"role": "system", "content": "Be brief."}, user(first, text("Who?")), assistant("He.")]},
        {"messages": [user(text("Who?"), first), assistant("He."), user("Where?"), assistant("There.", weight=0)]},
        {"messages": [user(first, second, text("Which?")), assistant("This.")]},
        {"messages": [user(text("Is "), first, text(" like "), second, text("?")), assistant("Yes.")]},
        {"messages": [user("Only\ntext?"), assistant([text("Only"), text("text.")])]},
        {"messages": [user(first), assistant("A picture.")]},
        {"messages": [user("Hello"), assistant("Hi.")], "metadata": {"a": 1}},
        {"input": {"messages": [user(first, text("Good?"))]}, "preferred_output": [assistant("Yes.")],
         "non_preferred_output": [assistant("No.")]},
    ]  # fmt: skip


def test_what_is_imported_exported_and_imported_is_the_same(tmp_path):
    store = imported(openai, lines(tmp_path / "all.jsonl", rows()[:6]), tmp_path / "plain")
    assert len(content(store)[0]) == 7
    out = comes_back(openai, lines(tmp_path / "all.jsonl", [*rows()[:6], rows()[7]]), tmp_path)
    assert sorted(path.name for path in out.iterdir()) == [
        "train.jsonl",
        "train_preference.jsonl",
    ]


def test_what_openai_does_not_know_is_kept_but_not_written(tmp_path):
    store = imported(openai, lines(tmp_path / "all.jsonl", [rows()[6]]), tmp_path / "ds")
    openai.write(store, tmp_path / "out", WriteOptions())
    written = json.loads((tmp_path / "out" / "train.jsonl").read_text())
    assert written.keys() == {"messages"}
    (before,), (after,) = content(store)[0], content(imported(openai, tmp_path / "out", tmp_path / "b"))[0]  # fmt: skip
    assert before[:-1] == after[:-1]
    assert before[-1] == '{"metadata": {"a": 1}}'


def test_the_pictures_are_in_the_rows_as_they_were_given(tmp_path):
    store = stored([record("T_INS_1", "T_IMG_1")], [image("T_IMG_1", 3)], tmp_path / "ds")
    openai.write(store, tmp_path / "out", WriteOptions())
    (row,) = map(json.loads, (tmp_path / "out" / "train.jsonl").read_text().splitlines())
    shown, asked = row["messages"][0]["content"]
    head, _, data = shown["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == png(3)
    assert asked == {"type": "text", "text": "What is T_INS_1?"}
    assert row["messages"][1] == {"role": "assistant", "content": "A thing."}


def test_one_picture_has_one_id_wherever_it_is(tmp_path):
    pictures(tmp_path, "a.png", "host.org/b.png")
    (tmp_path / "host.org" / "b.png").write_bytes(png(0))
    path = lines(
        tmp_path / "x.jsonl",
        [{"messages": [user(picture(where), text(f"{n}?")), assistant("a")]}
         for n, where in enumerate((data_url(0), "a.png", "https://host.org/b.png", "http://x.org/y/a.png?z=1"))],
    )  # fmt: skip
    records, images, bad = parted(openai, path)
    assert bad == []
    assert len(images) == 1
    assert {one.image_ids for one in records} == {(images[0].id,)}


def test_a_picture_of_the_web_is_not_downloaded(tmp_path):
    rows = [{"messages": [user(picture("https://host.org/b.png"), text(q)), assistant("a")]} for q in "xy"]  # fmt: skip
    records, images, (bad,) = parted(openai, lines(tmp_path / "x.jsonl", rows))
    assert images == []
    assert {one.image_ids for one in records} == {("OPENAI_IMG_host.org_b",)}
    assert (bad.where, "is not downloaded" in bad.reason) == ("x.jsonl: line 1", True)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image", "base64": data_url(1).partition(",")[2]},
        {"type": "image", "url": data_url(1)},
        {"type": "image", "path": "1.png"},
        {"type": "image_url", "image_url": "1.png"},
        {"type": "image_url", "value": "1.png"},
        {"type": "input_image", "image_url": data_url(1)},
    ],
)
def test_other_ways_to_name_a_picture(tmp_path, part):
    (tmp_path / "1.png").write_bytes(png(1))
    row = {"messages": [user(part, {"type": "text", "value": "q"}), assistant("a")]}
    (one,), (shown,), bad = parted(openai, lines(tmp_path / "x.jsonl", [row]))
    assert bad == []
    assert one.image_ids == (shown.id,)
    assert one.instruction == "q"
    assert shown.image == png(1)


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"messages": [user("q")]}, "the last question has no answer"),
        ({"messages": [user("q"), user("q"), assistant("a")]}, "two questions in a row"),
        ({"messages": [user("<image>q"), assistant("a")]}, "1 placeholders <image> and 0 pictures"),
        ({"messages": [user({"type": "sound"}), assistant("a")]}, "unknown type 'sound'"),
        ({"messages": [user({"type": "text"}), assistant("a")]}, "has no text"),
        ({"messages": [user({"type": "image_url"}), assistant("a")]}, "no address"),
        ({"messages": [user({"type": "image_url", "image_url": {"url": 3}}), assistant("a")]}, "no address"),
        ({"messages": [user("q"), {"role": "assistant", "content": None, "tool_calls": [{}]}]}, "calls tools"),
        ({"messages": [user("q"), {"role": "assistant", "content": None}]}, "neither text nor parts"),
        ({"messages": [user("q"), assistant("a"), {"role": "ghost", "content": "b"}]}, "'ghost' is unknown"),
        ({"messages": {"role": "user"}}, "no list of messages"),
        ({"input": [], "preferred_output": [], "non_preferred_output": []}, "`input` is no object"),
        ({"input": {"messages": [user("q")]}, "preferred_output": [], "non_preferred_output": []}, "single"),
    ],
)  # fmt: skip
def test_a_broken_row_is_told(tmp_path, broken, why):
    assert why in reason(openai, lines(tmp_path / "x.jsonl", [broken]))


def test_data_juicer_has_answers_that_nobody_asked_for(tmp_path):
    pictures(tmp_path, "data/1.png")
    rows = [
        {"images": ["../../data/1.png"], "text": "<__dj__image> A bus.<|__dj__eoc|>"},
        {"videos": ["a.mp4"], "text": "<__dj__video> A cat."},
        {"images": [], "text": "x"},
    ]
    path = lines(tmp_path / "x.jsonl", rows)
    assert datajuicer.detect(path)
    records, (shown,), bad = parted(datajuicer, path, images=tmp_path / "data")
    assert bad == []
    assert [(one.instruction, one.answer) for one in records] == [
        ("", "A bus."),
        ("", "<video> A cat."),
        ("", "x"),
    ]
    assert records[0].image_ids == (shown.id,)


# Who reads what

NAMES = ("llava", "sharegpt", "msswift", "openai", "datajuicer")
SAMPLES = {
    "llava": ("llava", array, test_llava.row("<image>\nq", "a", id="1", image="1.png")),
    "llava lines": ("llava", lines, test_llava.row("<image>\nq", "a", id="1", image="1.png")),
    "llava text": ("llava", array, test_llava.row("q", "a", id="1")),
    "llava without id": ("llava", array, test_llava.row("<image>q", "a", image=["1.png"])),
    "llava video": ("llava", array, test_llava.row("<video>q", "a", video="1.mp4")),
    "sharegpt": ("sharegpt", array, {"conversations": test_sharegpt.said("<image>q", "a"), "images": ["1"]}),
    "sharegpt text": ("sharegpt", array, {"conversations": test_sharegpt.said("q", "a")}),
    "sharegpt tools": ("sharegpt", array, {"id": "1", "conversations": test_sharegpt.said("q", "a"), "tools": "[]"}),
    "sharegpt messages": ("sharegpt", array, {"messages": test_sharegpt.messages("<image>q", "a"), "images": ["1"]}),
    "sharegpt preference": ("sharegpt", array, {"conversations": test_sharegpt.said("q"), "chosen": "a", "rejected": "b"}),
    "msswift": ("msswift", lines, {"messages": test_msswift.messages("<image>q", "a"), "images": ["1"]}),
    "msswift text": ("msswift", lines, {"messages": test_msswift.messages("q", "a"), "images": []}),
    "msswift preference": ("msswift", array, {"messages": test_msswift.messages("q", "a"), "rejected_response": "b"}),
    "openai": ("openai", lines, {"messages": [user(picture("a.png"), text("q")), assistant("a")]}),
    "openai text": ("openai", lines, {"messages": [user("q"), assistant("a")]}),
    "openai array": ("openai", array, {"messages": [user(picture("a.png"), text("q")), assistant("a")]}),
    "openai preference": ("openai", lines, rows()[-1]),
    "datajuicer": ("datajuicer", lines, {"text": "<__dj__image> A bus.", "images": ["1"]}),
    "trl": (None, lines, {"messages": [user({"type": "image"}, text("q")), assistant("a")], "images": ["1"]}),
    "trl preference": (None, lines, {"prompt": [user("q")], "chosen": [assistant("a")], "rejected": [assistant("b")]}),
    "llava-rlhf": (None, array, test_llava.row("q", "a", id="1", image="1", output_1={}, output_2={}, preference=1)),
    "alpaca": (None, array, {"instruction": "q", "input": "", "output": "a"}),
    "text": (None, lines, {"text": "A bus."}),
    "number": (None, array, 3),
}  # fmt: skip


@pytest.mark.parametrize("case", SAMPLES)
def test_every_file_is_recognised_by_one_format(tmp_path, case):
    whose, write, row = SAMPLES[case]
    path = write(tmp_path / ("x.jsonl" if write is lines else "x.json"), [row])
    modules = {name: import_module(f"mimicit.formats.{name}") for name in NAMES}
    assert [name for name in NAMES if modules[name].detect(path)] == [whose] * (whose is not None)


@pytest.mark.parametrize("name", NAMES[:4])
def test_what_a_format_writes_is_recognised_by_it_alone(tmp_path, name):
    """Also where there is nothing in it but text."""
    modules = {name: import_module(f"mimicit.formats.{name}") for name in NAMES}
    kinds = {
        "pictures": [record("T_INS_1", "T_IMG_1")],
        "text": [record("T_INS_1")],
        "preferences": [record("T_INS_1", "T_IMG_1", rejected="No.")],
    }
    for kind, records in kinds.items():
        store = stored(records, [image("T_IMG_1")], tmp_path / kind)
        out = tmp_path / f"{kind}-out"
        written = modules[name].write(store, out, WriteOptions())
        for path in [one.path for one in written if one.records and one.path.is_file()]:
            assert [other for other in NAMES if modules[other].detect(path)] == [name], (kind, path)


def test_files_that_are_no_json_are_nobodys(tmp_path):
    for name, data in {"a.json": b"", "b.jsonl": b"\x00\xff", "c.txt": b"[]", "d.json": b"{}"}.items():  # fmt: skip
        (tmp_path / name).write_bytes(data)
        for module in NAMES:
            assert not import_module(f"mimicit.formats.{module}").detect(tmp_path / name)
    assert not openai.detect(tmp_path)
    assert not openai.detect(tmp_path / "missing.json")
