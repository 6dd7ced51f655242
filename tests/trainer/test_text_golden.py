"""The published data path's own answers: how text is cleaned, written down, drawn, tokenised, labelled and put side by side."""

import json
from functools import cache

import pytest

pytest.importorskip("torch")

from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoTokenizer

from tests.trainer import golden
from tests.trainer.labels import answer_labels
from trainer.models.loss import IGNORED
from trainer.models.pictures import evenly
from trainer.prompt_formats import (
    FORMATS,
    clean_answer,
    clean_question,
    conversation,
    resampled,
    task_description,
)
from trainer.published_labels import (
    pad_right,
    published_labels,
    without_tokens,
)


@cache
def read(folder, name):
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def cases(name, *path):
    """Return each case below a path of keys in a file, of every folder, as a named parameter."""
    found = []
    for folder in golden.folders("text", f"{name}.json"):
        held = read(folder, name)
        for key in path:
            held = held.get(key, {})
        found += [
            pytest.param(folder, case, id="-".join([folder.name, *path, str(nth)]))
            for nth, case in enumerate(held)
        ]
    return found


def by_option(name, *keys):
    return [
        pytest.param(folder, case, id="-".join([folder.name, *(str(case[key]) for key in keys)]))
        for folder in golden.folders("text", f"{name}.json", "dataset.json", "tokenizer_neox")
        for case in read(folder, name)
    ]


@pytest.mark.parametrize(("folder", "case"), cases("formatting", "pre_question"))
def test_questions_are_cleaned_as_published(folder, case):
    assert clean_question(case["input"], keep_symbols=case["keep_symbols"]) == case["output"]


@pytest.mark.parametrize(("folder", "case"), cases("formatting", "pre_answer"))
def test_answers_are_cleaned_as_published(folder, case):
    assert clean_answer(case["input"], keep_symbols=case["keep_symbols"]) == case["output"]


@pytest.mark.parametrize(("folder", "case"), cases("formatting", "formatting"))
def test_turns_are_written_as_published(folder, case):
    written = FORMATS[case["format"]].write(
        case["instruction"],
        case["answer"],
        has_slot=case["insert_image"],
        shows=not case["is_text_only"],
    )

    assert written == case["output"]


@pytest.mark.parametrize(("folder", "case"), cases("resample", "resample_data"))
def test_the_same_records_are_drawn_as_published(folder, case):
    assert resampled(case["data"], case["N"]) == case["output"]


@pytest.mark.parametrize(("folder", "case"), cases("resample", "resample_frames"))
def test_the_same_frames_are_shown_as_published(folder, case):
    assert evenly(case["n"], case["resample_frames"]) == case["output_indices"]


@pytest.mark.parametrize(
    ("folder", "case"),
    by_option("process_general", "group", "format", "keep_symbols", "in_context_source"),
)
def test_conversations_are_written_and_tokenised_as_published(folder, case):
    data = read(folder, "dataset")
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer_neox")
    descriptions = set()
    for row in case["rows"]:
        record = data["data"][row["id"]]
        examples = {
            "train_config": data["train_config"][row["id"]],
            "rel_ins": record["rel_ins_ids"],
            "none": [],
        }[case["in_context_source"]]
        asked = [data["data"][name] for name in [*examples, row["id"]]]
        expected = row["full_text"]
        description = None
        if case["with_task_description"]:
            description = expected.split("\n", 1)[0]
            descriptions.add(description)

        text = conversation(
            [(turn["instruction"], turn["answer"]) for turn in asked],
            case["format"],
            group=case["group"],
            keep_symbols=case["keep_symbols"],
            description=description,
        )

        assert text == expected
        ids = tokenizer(text, add_special_tokens=False)["input_ids"][: case["max_seq_len"]]
        ids = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
        assert len(ids) == row["mask_sum"]
        assert ids == row.get("ids", ids)
    # One seed for each record: the same description for all.
    assert len(descriptions) == case["with_task_description"]


@pytest.mark.parametrize(
    "folder",
    golden.folders("text", "collate.safetensors", "labels.json", "process_general.json"),
    ids=golden.label,
)
def test_rows_are_put_side_by_side_as_published(folder):
    tensors = load_file(folder / "collate.safetensors")
    pad = read(folder, "labels")["token_ids"]["pad"]
    groups = {name.split(".")[0] for name in tensors if name.endswith(".collate.rows")}
    assert groups
    for group in groups:
        [rows] = [
            case["rows"]
            for case in read(folder, "process_general")
            if (case["group"], case["format"], case["in_context_source"], case["keep_symbols"])
            == (group, "simple", "train_config", True)
        ]
        taken = [rows[nth]["ids"] for nth in tensors[f"{group}.collate.rows"].tolist()]

        assert pad_right(taken, pad) == tensors[f"{group}.collate.input_ids"].tolist()
        assert (
            pad_right([[1] * len(ids) for ids in taken], 0)
            == tensors[f"{group}.collate.attention_masks"].tolist()
        )


def labelled(folder, case):
    ids = read(folder, "labels")["token_ids"]
    fake = case.get("fake_token_image_token_id") if case.get("fake_token_image_exists") else None
    return [
        published_labels(
            row, answer=ids["answer"], end=ids["endofchunk"], eos=ids["eos"], fake=fake
        )
        for row in case["input_ids"]
    ]


@pytest.mark.parametrize(("folder", "case"), cases("labels", "masking"))
def test_the_same_tokens_are_taught_as_published(folder, case):
    assert labelled(folder, case) == case["labels"]


@pytest.mark.parametrize(("folder", "case"), cases("labels", "masking"))
@pytest.mark.parametrize(
    ("removed", "names"),
    [("answer", ["answer"]), ("endofchunk", ["endofchunk"]), ("both", ["answer", "endofchunk"])],
)
def test_tokens_are_taken_out_as_published(folder, case, removed, names):
    ids = read(folder, "labels")["token_ids"]

    taken = without_tokens(
        case["input_ids"],
        case["labels"],
        case["attention_mask"],
        tokens={ids[name] for name in names},
        pad=ids["pad"],
    )

    expected = case[f"remove_{removed}"]
    assert taken == (expected["input_ids"], expected["labels"], expected["attention_mask"])


# Ours, and where it differs

ANSWER, END, EOS = 1, 2, 0
_ = IGNORED


@pytest.mark.parametrize(
    ("ids", "published", "ours"),
    [
        pytest.param(
            [5, 1, 7, 2, EOS], [_, _, 7, 2, EOS], [_, _, 7, 2, _], id="the end of the text"
        ),
        pytest.param(
            [5, 1, 7, 8, EOS], [_, _, _, _, EOS], [_, _, 7, 8, EOS], id="an answer cut short"
        ),
        pytest.param(
            [5, 1, 7, 1, 8, 2, 6, 2],
            [_, _, 7, 1, 8, 2, 6, 2],
            [_, _, 7, _, 8, 2, _, _],
            id="two marks before an end",
        ),
        pytest.param(
            [5, 2, 1, 7, 2, 6, 1, 8, 2],
            [_, _, _, 7, 2, _, _, 8, 2],
            [_, _, _, 7, 2, _, _, 8, 2],
            id="a stray end before: no difference",
        ),
        pytest.param(
            [5, 1, 7, 2, EOS, EOS, EOS],
            [_, _, 7, 2, EOS, EOS, EOS],
            [_, _, 7, 2, _, _, _],
            id="padding with the end of the text",
        ),
        pytest.param([1, 7, 2], [_, 7, 2], [_, 7, 2], id="the mark first: no difference"),
    ],
)
def test_ours_differs_from_the_published_rule_where_it_is_named(ids, published, ours):
    assert published_labels(ids, answer=ANSWER, end=END, eos=EOS) == published
    assert answer_labels(ids, answer=ANSWER, end=END) == ours


words = st.lists(st.integers(min_value=3, max_value=9), max_size=5)


@given(st.lists(st.tuples(words, words), min_size=1, max_size=5))
def test_on_whole_answers_only_the_end_of_the_text_differs(turns):
    ids = [EOS]
    for question, answer in turns:
        ids += [*question, ANSWER, *answer, END]
    ids.append(EOS)

    published = published_labels(ids, answer=ANSWER, end=END, eos=EOS)

    assert published[-1] == EOS
    assert [*published[:-1], _] == answer_labels(ids, answer=ANSWER, end=END)


def test_braces_in_a_record_stay_what_they_are():
    text = conversation([("What is {answer}?", "A {0}.")], "simple")

    assert text == "<image>User:What is {answer}? GPT:<answer>A {0}.<|endofchunk|>"


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="no prompt format 'chatml'"):
        conversation([("a", "b")], "chatml")


def test_records_get_descriptions_of_their_own_and_the_same_again():
    def chosen(epoch):
        return [task_description("abc", seed=3, epoch=epoch, record=nth) for nth in range(40)]

    assert set(chosen(0)) == {"a", "b", "c"}
    assert chosen(0) == chosen(0)
    assert chosen(0) != chosen(1)
