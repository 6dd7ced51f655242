import pytest

from syphus.forms import FORMS, Pair
from syphus.request import Shape

CONVERSATIONS = FORMS["conversations"]
YOGA = {"topic": "Yoga", "role": "A teacher", "reason": "There is much space."}
PARTY = {"conversation": 1, "topic": "A party", "role": "A student", "reason": "The sofa is long."}
TALK = [
    Pair(question="Where can mats lie?", answer="By the window.", **YOGA),
    Pair(question="How many?", answer="Six: two by three.", **YOGA),
    Pair(question="Who can come?", answer="Ten people.", **PARTY),
]
BODY_1 = "Human: Where can mats lie?\nAssistant: By the window.\nHuman: How many?\nAssistant: Six: two by three."
BODY_2 = "Human: Who can come?\nAssistant: Ten people."
ROUNDS_1 = '[{"human": "Where can mats lie?", "assistant": "By the window."}, {"human": "How many?", "assistant": "Six: two by three."}]'
ROUNDS_2 = '[{"human": "Who can come?", "assistant": "Ten people."}]'


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"Conversation 1: Yoga\nRole: A teacher\nReason: There is much space.\n{BODY_1}\n\nConversation 2: A party\nRole: A student\nReason: The sofa is long.\n{BODY_2}", id="plain"),
        pytest.param("Conversation 1: Yoga\nRole: A teacher\nReason: There is much space.\nRound 1:\nHuman: Where can mats lie?\nAssistant: By the window.\nRound 2:\nHuman: How many?\nAssistant: Six: two by three.\n\nConversation 2: A party\nRole: A student\nReason: The sofa is long.\nRound 1:\nHuman: Who can come?\nAssistant: Ten people.", id="rounds"),
        pytest.param(f"Conversation 1 - Yoga\nHuman role: A teacher\nreason: There is much space.\n{BODY_1}\n\nConversation 2 – A party\nHuman role: A student\nreason: The sofa is long.\n{BODY_2}", id="dashes"),
        pytest.param(f"## **Conversation 1: Yoga**\n**Human's Role:** A teacher\n- **Reason:** There is much space.\n\n{BODY_1}\n\n---\n\n## **Conversation 2: A party**\n\n**User role**: A student\n*Reason*: The sofa is long.\n\n{BODY_2}\n\n---", id="markdown"),
        pytest.param(f"### Conversation 1\n**Topic:** Yoga\n**Role:** A teacher\n**Reason:** There is much space.\n{BODY_1}\n### Conversation 2\n**Activity:** A party\n**Role:** A student\n**Reason:** The sofa is long.\n{BODY_2}", id="topic on its own"),
        pytest.param(f"Topic: Yoga\nRole: A teacher\nReason: There is much space.\n{BODY_1}\n\nTopic: A party\nRole: A student\nReason: The sofa is long.\n{BODY_2}", id="topics only"),
        pytest.param("对话1：Yoga\n角色：A teacher\n原因：There is much space.\n用户：Where can mats lie?\n助手：By the window.\n用户：How many?\n助手：Six: two by three.\n\n对话2：A party\n角色：A student\n原因：The sofa is long.\n用户：Who can come?\n助手：Ten people.", id="chinese"),
        pytest.param(f'{{"conversations": [{{"topic": "Yoga", "role": "A teacher", "reason": "There is much space.", "rounds": {ROUNDS_1}}}, {{"topic": "A party", "role": "A student", "reason": "The sofa is long.", "rounds": {ROUNDS_2}}}]}}', id="json"),
        pytest.param(f'[{{"Human role": "A teacher", "reason": "There is much space.", "Conversation": "Yoga", "rounds": {ROUNDS_1}}}, {{"activity": "A party", "role": "A student", "reason": "The sofa is long.", "turns": {ROUNDS_2}}}]', id="json, other names"),
        pytest.param('[{"topic": "Yoga", "role": "A teacher", "reason": "There is much space.", "messages": [{"role": "user", "content": "Where can mats lie?"}, {"role": "assistant", "content": "By the window."}, {"role": "user", "content": "How many?"}, {"role": "assistant", "content": "Six: two by three."}]}, {"topic": "A party", "role": "A student", "reason": "The sofa is long.", "human_1": "Who can come?", "assistant_1": "Ten people."}]', id="json, messages"),
    ],
)  # fmt: skip
def test_many_ways_to_write_the_same_conversations(text):
    assert CONVERSATIONS.read(text) == TALK


def test_a_long_answer_may_have_lists_and_reasons():
    [pair] = CONVERSATIONS.read(
        "Conversation 1: Tea\nHuman: Why?\nAssistant: Two things:\n1. Seating: sit.\nReason: it is soft.\n2. Tea."
    )
    assert pair.answer == "Two things:\n1. Seating: sit.\nReason: it is soft.\n2. Tea."


def test_rounds_without_a_head_are_one_conversation():
    assert [pair.conversation for pair in CONVERSATIONS.read(f"{BODY_1}\n{BODY_2}")] == [0, 0, 0]


def test_a_conversation_without_rounds_has_no_number():
    found = CONVERSATIONS.read(
        f"Conversation 1: Tea\nRole: A cook\n\nConversation 2: Yoga\n{BODY_2}"
    )
    assert [(pair.conversation, pair.topic, pair.role) for pair in found] == [(0, "Yoga", "")]


def test_lines_have_a_head_and_rounds():
    assert CONVERSATIONS.write(TALK).startswith(
        "Conversation 1: Yoga\nRole: A teacher\nReason: There is much space.\nHuman: Where"
    )


def test_the_schema_counts_conversations_and_rounds():
    conversations = CONVERSATIONS.schema(Shape(4, 9, rounds=3))["properties"]["conversations"]
    assert (conversations["minItems"], conversations["maxItems"]) == (2, 3)
    rounds = conversations["items"]["properties"]["rounds"]
    assert (rounds["minItems"], rounds["maxItems"]) == (3, 3)
