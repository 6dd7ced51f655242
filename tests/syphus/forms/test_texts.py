import pytest

from syphus.forms import FORMS, Pair
from syphus.request import Shape

TEXTS = FORMS["texts"]
TWO = [Pair(question="", answer=text) for text in ("A white cat.", "A cat: it is white.")]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("1. A white cat.\n2. A cat: it is white.", id="numbers"),
        pytest.param("Sure! Here are two paraphrases:\n\n1) A white cat.\n\n2) A cat: it is white.", id="after prose"),
        pytest.param("**1.** A white cat.\n**2.** **A cat: it is white.**", id="markdown"),
        pytest.param("１．A white cat.\n２．A cat: it is white.", id="full width"),
        pytest.param("一、A white cat.\n二、A cat: it is white.", id="chinese numbers"),
        pytest.param("①A white cat.\n②A cat: it is white.", id="circled"),
        pytest.param("(١) A white cat.\n(٢) A cat: it is white.", id="arabic"),
        pytest.param("Translation: A white cat.\nParaphrase 2: A cat: it is white.", id="labels"),
        pytest.param("CH2Eng Translation: A white cat.\nExpansion_with_Eng_1: A cat: it is white.", id="longer labels"),
        pytest.param("**English translation:**\nA white cat.\n\n**Paraphrases:**\n1. A cat: it is white.", id="labels and numbers"),
        pytest.param("翻译：A white cat.\n改写1：A cat: it is white.", id="chinese labels"),
        pytest.param("- A white cat.\n- A cat: it is white.", id="bullets"),
        pytest.param('1. "A white cat."\n2. “A cat: it is white.”', id="quotes"),
        pytest.param("```\n1. A white cat.\n2. A cat: it is white.\n```", id="fence"),
        pytest.param('["A white cat.", "A cat: it is white."]', id="json"),
        pytest.param('```json\n{"texts": ["A white cat.", "A cat: it is white.",],}\n```', id="json in a fence"),
        pytest.param('[{"CH2Eng Translation": "A white cat.", "Expansion_with_Eng_1": "A cat: it is white.", "score": 3}]', id="json objects"),
        pytest.param('{"texts": [{"id": 1, "text": "A white cat."}, {"id": 2, "text": "A cat: it is white."', id="json without an end"),
    ],
)  # fmt: skip
def test_many_ways_to_write_the_same_texts(text):
    assert TEXTS.read(text) == TWO


@pytest.mark.parametrize("text", ["", "Sorry.", "1.", "1. …\n2. !", "[]", '["A white c', "[1, 2]"])
def test_what_is_no_text(text):
    assert TEXTS.read(text) == []


def test_a_text_goes_on_over_lines():
    assert [pair.answer for pair in TEXTS.read("1. A white\ncat.\n2. Two.")] == [
        "A white\ncat.",
        "Two.",
    ]


def test_the_grammar_numbers_the_lines():
    assert TEXTS.grammar(Shape(1, 3), end="\n\n###").startswith(
        'root ::= "1. " text ("\\n2. " text ("\\n3. " text)?)? "\\n\\n###"\n'
    )
