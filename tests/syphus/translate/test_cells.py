import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syphus.translate.cells import MOST_RECORDS, Cell, Open, Source, group, pack, tokens_of
from syphus.translate.languages import Language, languages_of
from syphus.translate.reading import read_cells

TWO = languages_of("zh,de")
SEVEN = languages_of("zh,ja,es,de,fr,ko,ar")
sources = st.lists(st.integers(0, 4_000), max_size=30).map(
    lambda sizes: [Source(f"{n:03}", "t", "Why?", "x" * size) for n, size in enumerate(sizes)]
)


@given(sources, st.integers(50, 5_000))
def test_chunks_hold_all_records_in_order_within_the_room(given_, room):
    chunks = list(pack(given_, SEVEN, room))
    assert [source for chunk in chunks for source in chunk.sources] == given_
    for chunk in chunks:
        assert 1 <= len(chunk.sources) <= MOST_RECORDS
        assert len(chunk.sources) == 1 or sum(cell.tokens for cell in chunk.cells) <= room


@given(sources, st.integers(50, 5_000), st.randoms(use_true_random=False))
def test_groups_hold_each_cell_once_and_are_whole_tables(given_, room, random):
    cells = [
        Open(Cell(source, language), room)
        for source in given_
        for language in SEVEN
        if random.random() < 0.6
    ]
    groups = list(group(cells))
    assert sorted(one.cell.id for some in groups for one in some) == sorted(
        o.cell.id for o in cells
    )
    for some in groups:
        rows = {one.cell.source for one in some}
        codes = [tuple(o.cell.language.code for o in some if o.cell.source is row) for row in rows]
        assert len(set(codes)) == 1
        assert len(some) == 1 or tokens_of(some) <= room


def test_a_chunk_is_the_same_whatever_is_there():
    bare = [Source("a", "t", "Why?", "So."), Source("b", "t", "Who?", "I.")]
    some = [Source("a", "t", "Why?", "So.", there={"zh": None}), bare[1]]
    [first], [second] = pack(bare, TWO, 500), pack(some, TWO, 500)
    assert first.context_id("job") == second.context_id("job")
    assert first.context_id("job") != first.context_id("another")
    assert first.context_id("job") != next(pack(bare, SEVEN, 5_000)).context_id("job")


def test_records_that_lack_the_same_go_together():
    a, b, c = (Source(name, "t", "Why?", "So.") for name in "abc")
    zh, de = TWO
    lack = [(a, zh), (b, zh), (b, de), (c, zh)]
    groups = list(group([Open(Cell(source, language), 500) for source, language in lack]))
    assert [[one.cell.id for one in some] for some in groups] == [
        ["a_zh", "c_zh"],
        ["b_zh", "b_de"],
    ]
    alone = list(group([Open(Cell(source, zh), 500, alone=True) for source in (a, b)]))
    assert [len(some) for some in alone] == [1, 1]


FLAT = [
    {"number": n, "language": code, "question": f"F{n}{code}?", "answer": f"A{n}{code}."}
    for n in (1, 2)
    for code in ("zh", "de")
]
ALL = [(one["number"], one["language"], one["question"], one["answer"]) for one in FLAT]


def read(text, count=2, languages=TWO):
    found = read_cells(text, count=count, languages=languages)
    return [(one.number, one.language.code, one.question, one.answer) for one in found]


def nested(question="question", answer="answer", name=str, language=str):
    return {
        name(n): {
            language(code): {question: f"F{n}{code}?", answer: f"A{n}{code}."}
            for code in ("zh", "de")
        }
        for n in (1, 2)
    }


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"translations": FLAT}, id="as wanted"),
        pytest.param(FLAT, id="bare list"),
        pytest.param([{**one, "number": str(one["number"])} for one in FLAT], id="numbers as text"),
        pytest.param([{**one, "language": {"zh": "Chinese", "de": "German"}[one["language"]]} for one in FLAT], id="names"),
        pytest.param([{**one, "language": {"zh": "zh-CN", "de": "DE"}[one["language"]]} for one in FLAT], id="regions"),
        pytest.param(nested(), id="by number and language"),
        pytest.param(nested("q", "a"), id="q and a"),
        pytest.param(nested("a", "b"), id="a and b"),
        pytest.param(nested(name="Record {}".format), id="named records"),
        pytest.param(nested(language={"zh": "Chinese", "de": "German"}.get), id="named languages"),
        pytest.param([{"number": n, "translations": [o for o in FLAT if o["number"] == n]} for n in (1, 2)], id="lists in lists"),
        pytest.param([{"number": n, **nested()[str(n)]} for n in (1, 2)], id="languages beside the number"),
        pytest.param(
            [{"number": n, "a": {c: f"F{n}{c}?" for c in ("zh", "de")}, "b": {c: f"A{n}{c}." for c in ("zh", "de")}} for n in (1, 2)],
            id="languages inside",
        ),
    ],
)  # fmt: skip
def test_every_shape_is_read(value):
    assert read(json.dumps(value)) == ALL


@pytest.mark.parametrize(
    "text",
    [
        "```json\n{}\n```",
        "Here are the translations:\n{}\nI hope they help!",
        "<think>\n[1, 2, {{'number': 1}}]\n</think>\n{}",
    ],
)
def test_what_stands_around_is_left_out(text):
    assert read(text.replace("{{", "{").replace("}}", "}").replace("{}", json.dumps(FLAT))) == ALL


def test_python_and_trailing_commas_are_read():
    assert read(str(FLAT)) == ALL
    assert read(json.dumps(FLAT).replace("}", ",}").replace("]", ",]")) == ALL


def test_of_a_reply_that_was_cut_off_what_is_whole_is_read():
    text = json.dumps({"translations": FLAT})
    for end in range(len(text)):
        found = read(text[:end])
        assert found == ALL[: len(found)]
        assert len(found) == text[:end].count("}")
    nested_ = json.dumps(nested())
    for end in range(len(nested_)):
        assert read(nested_[:end]) == ALL[: len(read(nested_[:end]))]


def test_what_was_not_asked_for_is_left_out():
    odd = [
        {**FLAT[0], "number": 3},
        {**FLAT[0], "number": 0},
        {**FLAT[0], "language": "fr"},
        {"question": "?"},
    ]
    assert read(json.dumps(odd)) == []
    assert read("no JSON at all") == []


def test_where_only_one_is_meant_it_need_not_be_said():
    one = json.dumps({"question": "为什么？", "answer": "因为。"})
    assert read(one, 1, [Language("zh")]) == [(1, "zh", "为什么？", "因为。")]
    assert read(one, 2, [Language("zh")]) == []
    assert read(one, 1, TWO) == []


def test_norwegian_is_no_number():
    norwegian = languages_of("no,de")
    value = {"1": {"no": {"question": "Hvorfor?", "answer": "Derfor."}}}
    assert read(json.dumps(value), 1, norwegian) == [(1, "no", "Hvorfor?", "Derfor.")]


def test_marks_of_direction_stay():
    text = "\u200fلماذا؟\u200f"
    [(*_, question, answer)] = read(
        json.dumps([{"number": 1, "language": "ar", "question": f" {text}\n", "answer": text}]),
        1,
        SEVEN,
    )
    assert question == answer == text


@given(st.text(max_size=300) | st.text(alphabet='{}[]":,\\ 12zhdequstioanw', max_size=300))
def test_no_reply_breaks_the_reader(text):
    read(text)
