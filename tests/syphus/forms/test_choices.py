import json

import pytest

from syphus.forms import FORMS, Pair
from syphus.request import Shape

CHOICES = FORMS["choices"]
CAT = Pair(question="What is it?", answer="A cat", options=("A dog", "A cat", "A fish"))
PLACE = Pair(question="Where is it?", answer="On a sofa", options=("In a box", "On a sofa"))
CAT_LINES = "Question: What is it?\nOption 1: A dog\nOption 2: A cat\nOption 3: A fish\nAnswer: "


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(CAT_LINES + "2\n\nQuestion: Where is it?\nOption 1: In a box\nOption 2: On a sofa\nAnswer: 2", id="plain"),
        pytest.param("Question: What is it?\nOptions 1: A dog\nOptions 2: A cat\nOptions 3: A fish\nanswer: 2\nQuestion: Where is it?\nOptions 1: In a box\nOptions 2: On a sofa\nAnswer: 2", id="options"),
        pytest.param("Question 1: What is it?\nA) A dog\nB) A cat\nC) A fish\nAnswer: B\n\nQuestion 2: Where is it?\nA) In a box\nB) On a sofa\nAnswer: B", id="letters"),
        pytest.param("Question 1: What is it?\n(a) A dog\n(b) A cat\n(c) A fish\nAnswer: (b)\n\nQuestion 2: Where is it?\n(a) In a box\n(b) On a sofa\nAnswer: b.", id="letters in brackets"),
        pytest.param("**Question 1:** What is it?\n- **A.** A dog\n- **B.** A cat\n- **C.** A fish\n\n**Answer:** B. A cat\n\n**Question 2:** Where is it?\n- **A.** In a box\n- **B.** On a sofa\n\n**Correct Answer:** **B**", id="markdown"),
        pytest.param("1. What is it?\n   A) A dog\n   B) A cat\n   C) A fish\n   Answer: B) A cat\n2. Where is it?\n   A) In a box\n   B) On a sofa\n   Answer: B", id="numbered questions"),
        pytest.param("**1. What is it?**\nA) A dog\nB) A cat\nC) A fish\nAnswer: B\n**2. Where is it?**\nA) In a box\nB) On a sofa\nAnswer: B", id="bold questions"),
        pytest.param("Question: What is it?\n1. A dog\n2. A cat\n3. A fish\nAnswer: 2\n\nQuestion: Where is it?\n1) In a box\n2) On a sofa\nAnswer: 2) On a sofa", id="numbers"),
        pytest.param("Q: What is it?\nA: A dog\nB: A cat\nC: A fish\nA: B\nQ: Where is it?\nA. In a box\nB. On a sofa\nA: B", id="letters with colons"),
        pytest.param("Question: What is it?\nOption A: A dog\nOption B: A cat\nOption C: A fish\nAnswer: Option B\nQuestion: Where is it?\nChoice 1: In a box\nChoice 2: On a sofa\nAnswer: Option 2 - On a sofa", id="option in the answer"),
        pytest.param("Question: What is it?\nOption A: A dog\nOption B: A cat\nOption C: A fish\nAnswer: 2\nQuestion: Where is it?\nOption 1: In a box\nOption 2: On a sofa\nAnswer: b", id="numbers for letters"),
        pytest.param(CAT_LINES + "a cat.\nQuestion: Where is it?\nOption 1: In a box\nOption 2: On a sofa\nAnswer: “On a sofa”", id="text as answer"),
        pytest.param(CAT_LINES + "2 (A cat)\nExplanation: It purrs.\n\nQuestion: Where is it?\nOption 1: In a box\nOption 2: On a sofa\nAnswer:\n2\nIt lies there.", id="explanations"),
        pytest.param("问题1：What is it?\n选项A：A dog\n选项B：A cat\n选项C：A fish\n正确答案：B\n问题2：Where is it?\n①In a box\n②On a sofa\n答案：②", id="chinese"),
        pytest.param("السؤال: What is it?\nالخيار ١: A dog\nالخيار ٢: A cat\nالخيار ٣: A fish\nالإجابة: ٢\nPregunta: Where is it?\nOpción 1: In a box\nOpción 2: On a sofa\nRespuesta: 2", id="arabic, spanish"),
        pytest.param('[{"question": "What is it?", "options": ["A dog", "A cat", "A fish"], "answer": 2}, {"question": "Where is it?", "options": ["In a box", "On a sofa"], "answer": "On a sofa"}]', id="json"),
        pytest.param('[{"Question": "What is it?", "Options 1": "A dog", "Options 2": "A cat", "Options 3": "A fish", "Answer": "2"}, {"Question": "Where is it?", "A": "In a box", "B": "On a sofa", "answer": "B"}]', id="json, a key each"),
        pytest.param('[{"answer": "B", "options": {"A": "A dog", "B": "A cat", "C": "A fish"}, "question": "What is it?"}, {"question": "Where is it?", "choices": {"option_1": "In a box", "option_2": "On a sofa"}, "correct_answer": "B"}]', id="json, an object of options"),
        pytest.param('[{"question": "What is it?", "options": ["A) A dog", "B) A cat", "C) A fish"], "answer": "B"}, {"question": "Where is it?", "options": ["1. In a box", "2. On a sofa"], "answer": "2. On a sofa"}]', id="json, marks in options"),
    ],
)  # fmt: skip
def test_many_ways_to_write_the_same_choices(text):
    assert CHOICES.read(text) == [CAT, PLACE]


@pytest.mark.parametrize(
    "answer", ["0", "4", "D", "A bird", "1. A cat", "", "2 or 3", "none of them", "٤"]
)
def test_an_answer_that_names_no_option_makes_no_pair(answer):
    assert CHOICES.read(CAT_LINES + answer) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Question: What?\nOption 1: A cat\nOption 2: a cat.\nAnswer: 1", id="repeated options"),
        pytest.param("Question: What?\nOption 1: A cat\nAnswer: 1", id="one option"),
        pytest.param("Question: What?\nOption 1: A cat\nOption 2: …\nAnswer: 1", id="an empty option"),
        pytest.param("Question: ?\nOption 1: A cat\nOption 2: A dog\nAnswer: 1", id="an empty question"),
        pytest.param("Question: What?\nA) A cat\nC) A dog\nAnswer: A", id="options out of order"),
        pytest.param('{"question": "What?", "answer": 1, "options": ["A cat", "A dog"', id="an object without an end"),
        pytest.param('{"question": "What?", "answer": 1, "options": [1, null, {}]}', id="options that are no texts"),
    ],
)  # fmt: skip
def test_what_is_no_choice(text):
    assert CHOICES.read(text) == []


def test_a_number_is_taken_for_a_number_where_options_are_numbers():
    [pair] = CHOICES.read("Question: How many?\nOption 1: 3\nOption 2: 1\nAnswer: 1")
    assert pair.answer == "3"


def test_the_numbers_that_a_reply_gives_count():
    [pair] = CHOICES.read("Question: What?\nOption 2: A cat\nOption 3: A dog\nAnswer: 3")
    assert pair.answer == "A dog"


def test_lines_have_numbered_options():
    assert CHOICES.write([CAT]) == CAT_LINES + "2"
    assert json.dumps(CHOICES.value([CAT])) == (
        '{"questions": [{"question": "What is it?", "options": ["A dog", "A cat", "A fish"], "answer": 2}]}'
    )


def test_what_is_wanted_names_as_many_options_as_the_shape():
    assert "Option 3: ..." in CHOICES.describe(Shape(options=3))
    assert "Option 4" not in CHOICES.describe(Shape(options=3))
    options = CHOICES.schema(Shape(options=3))["properties"]["questions"]["items"]["properties"][
        "options"
    ]
    assert (options["minItems"], options["maxItems"]) == (3, 3)
