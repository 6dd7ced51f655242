import json
from importlib import import_module

import pytest

from mimicit.formats import FORMATS, format_named, set_rows
from tests.mimicit.formats.sets_builders import (
    HF_IMAGE,
    array,
    concatenated,
    encoded,
    lines,
    llava_rlhf_row,
    llava_row,
    lrv_row,
    m3it_row,
    picture,
    rlaifv_row,
    rlhfv_row,
    svit_row,
    table,
)

SETS = ("m3it", "llavar", "lrv", "svit", "rlhfv", "rlaifv", "llava_rlhf")
MODULES = {name: import_module(f"mimicit.formats.{name}") for name in SETS}


def without_bytes(row):
    return row | {"image": None}


SAMPLES = {
    "m3it lines": ("m3it", lambda f: lines(f / "train.jsonl", [m3it_row(n) for n in range(3)])),
    "m3it one line": ("m3it", lambda f: lines(f / "train.jsonl", [m3it_row()])),
    "m3it image_str": (
        "m3it",
        lambda f: lines(
            f / "t.jsonl", [{"instruction": "q", "image_str": encoded(), "outputs": "a"}]
        ),
    ),
    "m3it parquet": ("m3it", lambda f: table(f / "a.parquet", [m3it_row(n) for n in range(3)])),
    "llavar": ("llavar", lambda f: array(f / "chat_llavar.json", [llava_row(n) for n in range(3)])),
    "llavar mix": (
        "llavar",
        lambda f: array(f / "mix.json", [llava_row(1, image="llavar/finetune/1.jpg")]),
    ),
    "lrv": ("lrv", lambda f: array(f / "filter_cap.json", [lrv_row(n) for n in range(3)])),
    "lrv objects": ("lrv", lambda f: concatenated(f / "cap.json", [lrv_row(n) for n in range(3)])),
    "lrv lines": ("lrv", lambda f: lines(f / "cap.json", [lrv_row(n) for n in range(3)])),
    "lrv after a bad row": ("lrv", lambda f: array(f / "cap.json", ["?", {}, lrv_row()])),
    "svit": ("svit", lambda f: array(f / "conversation.json", [svit_row(n) for n in range(3)])),
    "rlhfv": (
        "rlhfv",
        lambda f: table(f / "a.parquet", [rlhfv_row(n) for n in range(3)], image=HF_IMAGE),
    ),
    "rlhfv json": (
        "rlhfv",
        lambda f: array(f / "a.json", [without_bytes(rlhfv_row(n)) for n in range(3)]),
    ),
    "rlaifv": (
        "rlaifv",
        lambda f: table(f / "a.parquet", [rlaifv_row(n) for n in range(3)], image=HF_IMAGE),
    ),
    "rlaifv lines": (
        "rlaifv",
        lambda f: lines(f / "a.jsonl", [without_bytes(rlaifv_row(n)) for n in range(3)]),
    ),
    "llava_rlhf": (
        "llava_rlhf",
        lambda f: array(f / "llava_7b_v1_preference.json", [llava_rlhf_row(n) for n in range(3)]),
    ),
    # Of others.
    "llava": (
        "llava",
        lambda f: array(f / "llava_instruct_150k.json", [llava_row(1), llava_row(2)]),
    ),
    "sharegpt": (
        "sharegpt",
        lambda f: array(
            f / "llavar_sharegpt.json",
            [{"conversations": llava_row()["conversations"], "images": ["a.jpg"]}],
        ),
    ),
    "sharegpt pairs": (
        "sharegpt",
        lambda f: array(
            f / "dpo.json",
            [
                {
                    "conversations": [{"from": "human", "value": "q"}],
                    "chosen": {"from": "gpt", "value": "a"},
                    "rejected": {"from": "gpt", "value": "b"},
                    "images": ["a.jpg"],
                }
            ],
        ),
    ),
    "msswift": (
        "msswift",
        lambda f: lines(
            f / "s.jsonl",
            [
                {
                    "messages": [
                        {"role": "user", "content": "<image>q"},
                        {"role": "assistant", "content": "a"},
                    ],
                    "images": ["a.jpg"],
                }
            ],
        ),
    ),
    "openai": (
        "openai",
        lambda f: lines(
            f / "o.jsonl",
            [
                {
                    "messages": [
                        {"role": "user", "content": [{"type": "text", "text": "q"}]},
                        {"role": "assistant", "content": "a"},
                    ]
                }
            ],
        ),
    ),
    "trl": (
        "trl",
        lambda f: table(
            f / "t.parquet",
            [
                {
                    "images": [{"bytes": picture(), "path": None}],
                    "prompt": [{"role": "user", "content": "q"}],
                    "chosen": [{"role": "assistant", "content": "a"}],
                    "rejected": [{"role": "assistant", "content": "b"}],
                }
            ],
        ),
    ),
    "mimicit": (
        "mimicit",
        lambda f: array(
            f / "A_instructions.json",
            {
                "meta": {"version": "1", "time": "2023-01-01", "author": "x"},
                "data": {"A_INS_1": {"instruction": "q", "answer": "a", "image_ids": ["A_IMG_1"]}},
            },
        ),
    ),
    "mimicit pictures": (
        "mimicit",
        lambda f: array(f / "A.json", {"A_IMG_1": encoded() + "A" * 200}),
    ),
    "mimicit table": (
        "mimicit",
        lambda f: table(f / "A.parquet", [{"base64": encoded(), "id": "A_IMG_1"}]),
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_file_is_recognised_by_its_set_and_by_no_other(name, tmp_path):
    """So sets may stand first in the list of formats, in any order, and more general ones after them."""
    of, make = SAMPLES[name]
    path = make(tmp_path)
    found = [one for one, module in MODULES.items() if module.detect(path)]
    assert found == ([of] if of in SETS else [])


@pytest.mark.parametrize("name", SAMPLES)
def test_the_first_format_of_the_list_that_recognises_a_file_is_the_right_one(name, tmp_path):
    of, make = SAMPLES[name]
    if of not in FORMATS:
        pytest.skip(f"{of} is not listed")
    path = make(tmp_path)
    assert next(one for one in FORMATS if format_named(one).detect(path)) == of


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.json", b""),
        ("x.json", b"   \n"),
        ("x.json", b"[]"),
        ("x.json", b"[1, 2]"),
        ("x.json", b"not json"),
        ("x.json", b'{"a": '),
        ("x.json", b"\xff\xfe\x00"),
        ("x.json", b"[" * 5_000),
        ("x.jsonl", b'"text"\n'),
        ("x.txt", b"hello"),
        ("x.parquet", b"PAR1"),
    ],
)
def test_anything_else_is_of_no_set(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    assert not any(module.detect(path) for module in MODULES.values())
    assert not any(module.detect(tmp_path / "absent.json") for module in MODULES.values())


def test_a_large_object_is_not_read_to_its_end_to_be_recognised(tmp_path, monkeypatch):
    monkeypatch.setattr(set_rows, "SAMPLE_BYTES", 1 << 16)
    path = tmp_path / "LA.json"
    path.write_text(json.dumps({f"LA_IMG_{n}": "A" * 1000 for n in range(3_000)}, indent=1))
    taken = []
    whole = set_rows._Start.read

    def counting(self, size=-1):
        data = whole(self, size)
        taken.append(len(data))
        return data

    monkeypatch.setattr(set_rows._Start, "read", counting)
    assert set_rows.sample(path) == []
    assert 0 < sum(taken) <= 1 << 16
