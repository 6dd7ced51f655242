import pytest

from syphus.forms import FORMS, Pair
from syphus.request import Shape

PAIRS = FORMS["pairs"]
CAT = Pair(question="What is it?", answer="A cat.")
SOFA = Pair(question="Where?", answer="On a sofa: the red one.")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Question: What is it?\nAnswer: A cat.\n\nQuestion: Where?\nAnswer: On a sofa: the red one.", id="plain"),
        pytest.param("1) Question: What is it?\n   Answer: A cat.\n(2) Question: Where?\n   Answer: On a sofa: the red one.", id="numbers before"),
        pytest.param("Question 1: What is it?\nAnswer 1: A cat.\nQuestion #2: Where?\nAnswer #2: On a sofa: the red one.", id="numbers after"),
        pytest.param("Question (1): What is it?\nAnswer (1): A cat.\nQuestion no. 2: Where?\nAnswer no. 2: On a sofa: the red one.", id="numbers in brackets"),
        pytest.param("Question 1. What is it?\nAnswer 1. A cat.\nQ2) Where?\nA2) On a sofa: the red one.", id="number for a colon"),
        pytest.param("Question 1 - What is it?\nAnswer 1 - A cat.\nQuestion 2 – Where?\nAnswer 2 – On a sofa: the red one.", id="dash for a colon"),
        pytest.param("**1. Question:** What is it?\n**Answer:** A cat.\n\n**2. Question:** Where?\n**Answer:** On a sofa: the red one.", id="bold label"),
        pytest.param("**Question**: What is it?\n__Answer__: A cat.\n*Question* 2: Where?\n*Answer* 2: On a sofa: the red one.", id="bold word"),
        pytest.param("**Question: What is it?**\nAnswer: A cat.\n\n**Question: Where?**\nAnswer: On a sofa: the red one.", id="bold line"),
        pytest.param("**Question:** **What is it?**\n**Answer:** *A cat.*\n**Question:** **Where?**\n**Answer:** **On a sofa: the red one.**", id="bold texts"),
        pytest.param("## Question 1: What is it?\n### Answer: A cat.\n---\n## Question 2: Where?\n### Answer: On a sofa: the red one.\n---", id="headings and rules"),
        pytest.param("### Question 1\nWhat is it?\n### Answer\nA cat.\n### Question 2\nWhere?\n### Answer\nOn a sofa: the red one.", id="heading, then text"),
        pytest.param("Question 1\nWhat is it?\nAnswer 1\nA cat.\n\nQuestion 2\nWhere?\nAnswer 2\nOn a sofa: the red one.", id="label without a colon"),
        pytest.param("Question\n\nWhat is it?\n\nAnswer\n\nA cat.\n\nQuestion\n\nWhere?\n\nAnswer\n\nOn a sofa: the red one.", id="word alone"),
        pytest.param("Question:\nWhat is it?\nAnswer:\nA cat.\nQuestion:\nWhere?\nAnswer:\nOn a sofa: the red one.", id="text on the next line"),
        pytest.param("- Question: What is it?\n  - Answer: A cat.\n• Question: Where?\n  * Answer: On a sofa: the red one.", id="bullets"),
        pytest.param("> Question: What is it?\n> Answer:\n> A cat.\n>\n> Question: Where?\n> Answer: On a sofa: the red one.", id="block quote"),
        pytest.param("Q: What is it?\nA: A cat.\nQ2: Where?\nA2: On a sofa: the red one.", id="letters"),
        pytest.param("Q. What is it?\nA. A cat.\n\nQ. Where?\nA. On a sofa: the red one.", id="letters with a dot"),
        pytest.param("User: What is it?\nAssistant: A cat.\nUser: Where?\nAssistant: On a sofa: the red one.", id="user and assistant"),
        pytest.param("Human: What is it?\nAI: A cat.\nHuman: Where?\nAssistant: On a sofa: the red one.", id="human and assistant"),
        pytest.param("[Question] What is it?\n[Answer] A cat.\n[Question]: Where?\n[Answer]: On a sofa: the red one.", id="label in brackets"),
        pytest.param("### Pair 1\nQuestion: What is it?\nAnswer: A cat.\n\n### Pair 2\nQuestion: Where?\nAnswer: On a sofa: the red one.", id="numbered pairs"),
        pytest.param("1.\nQuestion: What is it?\nAnswer: A cat.\n2.\nQuestion: Where?\nAnswer: On a sofa: the red one.", id="number alone"),
        pytest.param("Question: What is it? Answer: A cat.\nQuestion: Where? Answer: On a sofa: the red one.", id="on one line"),
        pytest.param("Q: What is it? A: A cat. Q: Where? A: On a sofa: the red one.", id="all on one line"),
        pytest.param("Question 1 (easy): What is it?\nAnswer: A cat.\nQuestion 2 (hard): Where?\nAnswer: On a sofa: the red one.", id="remark"),
        pytest.param('Question: "What is it?"\nAnswer: “A cat.”\nQuestion: «Where?»\nAnswer: \'On a sofa: the red one.\'', id="quotes"),
        pytest.param("```\nQuestion: What is it?\nAnswer: A cat.\n```\n\n```\nQuestion: Where?\nAnswer: On a sofa: the red one.\n```", id="a fence for each"),
        pytest.param("<think>\nQuestion: Hm?\nAnswer: No.\n</think>\n\nQuestion: What is it?\nAnswer: A cat.\nQuestion: Where?\nAnswer: On a sofa: the red one.", id="thoughts"),
        pytest.param("Question: Hm?\nAnswer: No.\n</think>\nQuestion: What is it?\nAnswer: A cat.\nQuestion: Where?\nAnswer: On a sofa: the red one.", id="thoughts begun in the prompt"),
        pytest.param("Question：What is it?\nAnswer：A cat.\nQuestion２：Where?\nAnswer２：On a sofa: the red one.", id="full width"),
        pytest.param("\ufeffQuestion : What is it?\r\nAnswer : A cat.\r\nQuestion : Where?\r\nAnswer : On a sofa: the red one.\r\n", id="windows"),
        pytest.param("**问题1：** What is it?\n**答案1：** A cat.\n问题 2：Where?\n答案 2：On a sofa: the red one.", id="chinese"),
        pytest.param("问：What is it?\n答：A cat.\n【问题】Where?\n【答案】On a sofa: the red one.", id="chinese, short"),
        pytest.param("一、问题：What is it?\n答案：A cat.\n二、问题：Where?答案：On a sofa: the red one.", id="chinese, on one line"),
        pytest.param("問題一：What is it?\n回答一：A cat.\n提問：Where?\n解答：On a sofa: the red one.", id="chinese, traditional"),
        pytest.param("用户：What is it?\n助手：A cat.\n用户：Where?\n助手：On a sofa: the red one.", id="chinese, roles"),
        pytest.param("質問：What is it?\n回答：A cat.\n質問２：Where?\n答え２：On a sofa: the red one.", id="japanese"),
        pytest.param("질문 1: What is it?\n답변 1: A cat.\n질문: Where?\n답: On a sofa: the red one.", id="korean"),
        pytest.param("سؤال: What is it?\nجواب: A cat.\nالسؤال ٢: Where?\nالإجابة ٢: On a sofa: the red one.", id="arabic"),
        pytest.param("\u200f١. السؤال: What is it?\n\u200fالجواب: A cat.\n\u200f٢) السؤال: Where?\n\u200fالجواب: On a sofa: the red one.", id="arabic, marks of direction"),
        pytest.param("س: What is it?\nج: A cat.\nس: Where?\nج: On a sofa: the red one.", id="arabic, letters"),
        pytest.param("Pregunta 1: What is it?\nRespuesta 1: A cat.\nPREGUNTA: Where?\nRESPUESTA: On a sofa: the red one.", id="spanish"),
        pytest.param("Question : What is it?\nRéponse : A cat.\nQuestion : Where?\nRéponse : On a sofa: the red one.", id="french"),
        pytest.param("Frage: What is it?\nAntwort: A cat.\nFrage 2: Where?\nAntwort 2: On a sofa: the red one.", id="german"),
        pytest.param("P: What is it?\nR: A cat.\nP: Where?\nR: On a sofa: the red one.", id="spanish, letters"),
        pytest.param('[{"question": "What is it?", "answer": "A cat."}, {"Question": "Where?", "Answer": "On a sofa: the red one."}]', id="json"),
        pytest.param('Here are [2] pairs:\n{"q": "What is it?", "a": "A cat."}\n{"q": "Where?", "a": "On a sofa: the red one."}', id="json lines"),
        pytest.param('{"question_1": "What is it?", "answer_1": "A cat.", "question_2": "Where?", "answer_2": "On a sofa: the red one."}', id="json, one object"),
        pytest.param('[{"answer": "A cat.", "question": "What is it?"}, {"answer": "On a sofa: the red one.", "question": "Where?"}]', id="json, answer first"),
        pytest.param('[{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A cat."}, {"from": "human", "value": "Where?"}, {"from": "assistant", "value": "On a sofa: the red one."}]', id="json, messages"),
        pytest.param('[{"question": "What is it?"}, {"answer": "A cat."}, {"question": "Where?"}, {"answer": "On a sofa: the red one."}]', id="json, turns"),
        pytest.param('{"问题": "What is it?", "答案": "A cat."}\n{"pregunta": "Where?", "respuesta": "On a sofa: the red one."}', id="json, languages"),
        pytest.param('Question and answers: [{"question": "**What is it?**", "answer": "A cat."}, {"question": "Where?", "answer": "\\"On a sofa: the red one.\\""}]', id="json, wrapped texts"),
        pytest.param('<think>{"question": "Hm?", "answer": "No."}</think>{"pairs": [{"question": "What is it?", "answer": "A cat."}, {"question": "Where?", "answer": "On a sofa: the red one."}]}', id="json after thoughts"),
    ],
)  # fmt: skip
def test_many_ways_to_write_the_same_pairs(text):
    assert PAIRS.read(text) == [CAT, SOFA]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        pytest.param("First.\nSecond.\n\n- Third: this.", "First.\nSecond.\n\n- Third: this.", id="lines"),
        pytest.param("Do this:\n1. Sit.\n2. Wait.", "Do this:\n1. Sit.\n2. Wait.", id="a list"),
        pytest.param("Run it:\n```python\nprint(1)\n```\nDone.", "Run it:\n```python\nprint(1)\n```\nDone.", id="code"),
        pytest.param("A cat.\n```", "A cat.", id="the end of a fence"),
        pytest.param('"Yes", she said, "no"', '"Yes", she said, "no"', id="two quotations"),
        pytest.param("**Two** things and **three**", "**Two** things and **three**", id="emphasis inside"),
        pytest.param("**Two** things", "**Two** things", id="emphasis at the begin"),
        pytest.param('It says "stop".', 'It says "stop".', id="a quotation inside"),
        pytest.param("'It's the dog's.'", "It's the dog's.", id="apostrophes"),
        pytest.param('**"Yes."**', "Yes.", id="quotes in emphasis"),
        pytest.param("See {\"question\": \"a\", \"answer\": \"b\"}", "See {\"question\": \"a\", \"answer\": \"b\"}", id="json inside"),
        pytest.param("An apple: a day", "An apple: a day", id="words that begin like labels"),
        pytest.param("Look\nQuestions of taste\nA big one", "Look\nQuestions of taste\nA big one", id="lines that begin like labels"),
        pytest.param("42", "42", id="number"),
        pytest.param("\n42.", "42.", id="number on the next line"),
        pytest.param("A\x00 c\x1bat.", "A cat.", id="control characters"),
    ],
)  # fmt: skip
def test_an_answer_keeps_what_is_its_own(said, answer):
    [pair] = PAIRS.read(f"Question: Why?\nAnswer: {said}")
    assert pair.answer == answer


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("Sorry, I cannot help with that.", id="prose"),
        pytest.param("Question: What?", id="no answer"),
        pytest.param("Answer: A cat.", id="no question"),
        pytest.param("Question: ???\nAnswer: A cat.", id="no letter in the question"),
        pytest.param("Question: What?\nAnswer: …👍", id="no letter in the answer"),
        pytest.param("<think>\nQuestion: What?\nAnswer: A cat.", id="thoughts without an end"),
        pytest.param('{"question": "What?", "answer": "A c', id="cut in a string"),
        pytest.param('{"question": "What?", "answer": "A cat."', id="object without an end"),
        pytest.param('{"question": "?", "answer": "A cat."}', id="json, no letter"),
        pytest.param('{"question": 1, "answer": ["A cat."]}', id="json, no texts"),
    ],
)  # fmt: skip
def test_what_is_no_pair(text):
    assert PAIRS.read(text) == []


def test_a_question_without_an_answer_gives_way_to_the_next_one():
    assert PAIRS.read("Question: Hm?\nQuestion: What is it?\nAnswer: A cat.\nAnswer: No.") == [CAT]


def test_a_number_may_be_an_answer_in_json():
    assert PAIRS.read('{"question": "How many?", "answer": 3}')[0].answer == "3"


def test_the_prompt_and_the_grammar_are_those_that_requests_are_kept_by():
    assert PAIRS.describe(Shape()) == (
        "Write each pair as two lines, with an empty line between pairs:\n\nQuestion: ...?\nAnswer: ..."
    )
    assert PAIRS.grammar(Shape(2, 5), end="\n\n###") == "\n".join(
        (
            r'root ::= pair ("\n\n" pair){1,4} "\n\n###"',
            r'pair ::= "Question: " question "\nAnswer: " answer',
            r'question ::= [^ \n?:#*] [^\n?:#*]{9,120} "?"',
            r"answer ::= [^ \n.!?:#*] [^\n.!?:#*]{9,240} [.!]",
        )
    )
