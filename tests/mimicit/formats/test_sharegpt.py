import json

import pytest

from mimicit.errors import FormatError
from mimicit.formats import WriteOptions, sharegpt
from tests.mimicit.formats.chat_builders import (
    array,
    comes_back,
    content,
    image,
    imported,
    parted,
    pictures,
    reason,
    stored,
)
from tests.mimicit.formats.test_exporting import record


def said(*texts, roles=("human", "gpt"), keys=("from", "value")):
    return [{keys[0]: roles[n % 2], keys[1]: text} for n, text in enumerate(texts)]


def messages(*texts):
    return said(*texts, roles=("user", "assistant"), keys=("role", "content"))


@pytest.fixture
def rows(tmp_path):
    pictures(tmp_path, "p/1.png", "p/2.png")
    return [
        {"messages": messages("<image>Who?", "He.", "Where?<image>", "There."), "images": ["p/1.png"] * 2},
        {"conversations": said("<image><image>Which?", "It."), "images": ["p/1.png", "p/2.png"]},
        {"conversations": said("Hello", "Hi."), "images": [], "system": "Be kind."},
        {"conversations": [{"from": "system", "value": "Be."}, *said("Hello", "Hi.")]},
        {"conversations": said("<video><audio>What?", "A cat."), "videos": ["a.mp4"], "audios": ["a.mp3"]},
        {"conversations": said("<image>Good?"), "images": ["p/1.png"],
         "chosen": {"from": "gpt", "value": "Yes."}, "rejected": {"from": "gpt", "value": "No."}},
        {"conversations": said("Good?", "It is.", "Sure?"), "images": [], "system": "Be sure.",
         "chosen": {"from": "gpt", "value": "Yes."}, "rejected": {"from": "gpt", "value": "No."}},
        {"conversations": [{"from": "human", "value": "Weather?"},
                           {"from": "function_call", "value": '{"name": "weather"}'},
                           {"from": "observation", "value": "rain"}, {"from": "gpt", "value": "It rains."}],
         "tools": '[{"name": "weather"}]'},
        {"conversations": said("Liked?", "No."), "kto_tag": False, "id": "given"},
    ]  # fmt: skip


def test_what_is_imported_exported_and_imported_is_the_same(rows, tmp_path):
    out = comes_back(sharegpt, array(tmp_path / "all.json", rows), tmp_path)
    there = sorted(path.name for path in out.iterdir())
    assert there == ["dataset_info.json", "images", "train.json", "train_preference.json"]


def test_the_export_says_to_llama_factory_what_is_in_its_files(rows, tmp_path):
    store = imported(sharegpt, array(tmp_path / "all.json", rows), tmp_path / "ds")
    out = tmp_path / "out"
    sharegpt.write(store, out, WriteOptions())
    info = json.loads((out / "dataset_info.json").read_text())
    assert info["train"] == {
        "file_name": "train.json",
        "formatting": "sharegpt",
        "columns": {
            "messages": "conversations",
            "images": "images",
            "videos": "videos",
            "audios": "audios",
            "system": "system",
            "tools": "tools",
        },
        "tags": {
            "role_tag": "from",
            "content_tag": "value",
            "user_tag": "human",
            "assistant_tag": "gpt",
        },
    }
    liked = info["train_preference"]
    assert liked["ranking"] is True
    assert {"chosen", "rejected", "system", "images"} <= liked["columns"].keys()
    assert "videos" not in liked["columns"]
    for entry in info.values():
        for row in json.loads((out / entry["file_name"]).read_text()):
            assert _as_llama_factory_wants(row, entry, out)


def _as_llama_factory_wants(row, entry, folder):
    """Questions at even places, as many placeholders as pictures, an answer at the end or two to choose from."""
    said = row["conversations"]
    ranking = entry.get("ranking", False)
    assert len(said) % 2 == ranking
    for number, one in enumerate(said):
        assert one["from"] in (("gpt", "function_call") if number % 2 else ("human", "observation"))
    if ranking:
        assert {row["chosen"]["from"], row["rejected"]["from"]} == {"gpt"}
    whole = "".join(one["value"] for one in said)
    assert whole.count("<image>") == len(row["images"])
    return all((folder / name).is_file() for name in row["images"])


def test_entries_of_others_stay_in_dataset_info(rows, tmp_path):
    store = imported(sharegpt, array(tmp_path / "all.json", rows), tmp_path / "ds")
    out = tmp_path / "out"
    out.mkdir()
    array(out / "dataset_info.json", {"theirs": {"file_name": "a.json"}, "train": {}})
    sharegpt.write(store, out, WriteOptions())
    info = json.loads((out / "dataset_info.json").read_text())
    assert info["theirs"] == {"file_name": "a.json"}
    assert info["train"]["file_name"] == "train.json"
    (out / "dataset_info.json").write_text("broken")
    with pytest.raises(FormatError, match="is no JSON object"):
        sharegpt.write(store, out, WriteOptions())


def test_dataset_info_says_how_columns_and_roles_are_called(tmp_path):
    pictures(tmp_path, "1.png")
    info = {
        "mine": {
            "file_name": "odd.json",
            "formatting": "sharegpt",
            "columns": {"messages": "talk", "images": "shown", "system": "rule"},
            "tags": {"role_tag": "who", "content_tag": "what", "user_tag": "Q", "assistant_tag": "A"},
        }
    }  # fmt: skip
    array(tmp_path / "dataset_info.json", info)
    talk = said("<image>Who?", "He.", roles="QA", keys=("who", "what"))
    path = array(tmp_path / "odd.json", [{"talk": talk, "shown": ["1.png"], "rule": "Be."}])
    assert sharegpt.detect(path)
    (one,), _, bad = parted(sharegpt, path)
    assert bad == []
    assert (one.instruction, one.answer, one.meta) == ("Who?", "He.", '{"system": "Be."}')
    assert one.image_ids == ("SHAREGPT_IMG_1",)


def test_dataset_info_is_recognised_and_has_no_records(tmp_path):
    path = array(tmp_path / "dataset_info.json", {"a": {"file_name": "a.json"}})
    assert sharegpt.detect(path)
    assert parted(sharegpt, path) == ([], [], [])
    assert not sharegpt.detect(array(path, {"features": {}, "splits": {}}))


def test_an_id_follows_from_the_content_alone(rows, tmp_path):
    (tmp_path / "b").mkdir()
    first = parted(sharegpt, array(tmp_path / "a.json", rows[:-1]))[0]
    second = parted(sharegpt, array(tmp_path / "b" / "c.json", rows[-2::-1]), images=tmp_path)[0]
    assert {one.id for one in first} == {one.id for one in second}
    assert len({one.id for one in first}) == len(first)


def test_answers_that_were_liked_less_before_the_last_turn_are_kept(tmp_path):
    turns = [
        record(f"T_INS_c_{n:02d}", conversation="T_INS_c", turn=n, rejected=no)
        for n, no in enumerate(["No.", None, "Never."])
    ]
    store = stored(turns, [image("T_IMG_1")], tmp_path / "ds")
    sharegpt.write(store, tmp_path / "out", WriteOptions())
    assert content(imported(sharegpt, tmp_path / "out", tmp_path / "back"))[0] == content(store)[0]


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"conversations": said("a?")}, "the last question has no answer"),
        (
            {"conversations": said("a?", "b"), "chosen": "x", "rejected": "y"},
            "two answers in a row",
        ),
        ({"conversations": said("a?"), "chosen": 3, "rejected": "y"}, "`chosen` is no message"),
        ({"conversations": said("a?"), "chosen": "x", "rejected": {"from": "gpt"}}, "`rejected`"),
        ({"messages": messages("<image>a?", "b"), "images": []}, "1 placeholders"),
        ({"messages": messages("a?", "b"), "images": ["1.png"]}, "1 pictures"),
        ({"messages": messages("<audio>a?", "b"), "audios": ["1", "2"]}, "<audio> for 2 files"),
        ({"messages": said("a?", "b", keys=("role", "content"), roles=("user", "cat"))}, "'cat'"),
        ({"text": "x"}, "`messages` is no list"),
    ],
)
def test_a_broken_row_is_told(tmp_path, broken, why):
    assert why in reason(sharegpt, array(tmp_path / "x.json", [broken]))
