"""The filter: what a benchmark asks is found in records that hold it, and in no others."""

from __future__ import annotations

import json

import pytest

from mimicit.curate import curate, undo
from mimicit.curate.recipe import load_recipe
from mimicit.errors import FormatError, RecipeError
from tests.mimicit.curate.drawn import encoded, one, photographs, stored

LONG = (
    "A train leaves the station at nine in the morning and travels west at sixty miles an hour; "
    "how far has it come by noon if it stops twice for ten minutes?"
)


@pytest.fixture
def ask(store, tmp_path):
    """Store pictures and records, and return {record: reason} of what is in the benchmark."""

    def asked(items, records, pictures=(), **parameters):
        path = tmp_path / "bench.jsonl"
        path.write_text("".join(json.dumps(item) + "\n" for item in items))
        given = {"files": str(path)} | parameters
        lines = [f"{name} = {json.dumps(value)}" for name, value in given.items()]
        recipe = tmp_path / "mine.toml"
        recipe.write_text('[[filter]]\nuse = "in_benchmark"\n' + "\n".join(lines))
        with store.writing("test"):
            store.add_images(pictures)
            store.add(records)
            store.sync()
        curate(store, load_recipe(str(recipe)))
        with store.reading() as connection:
            return dict(connection.execute("SELECT record, reason FROM verdicts").fetchall())

    return asked


def test_a_short_question_of_thousands_of_records_is_no_contamination(ask):
    items = [
        {
            "image": f"COCO_val2014_{n:012d}.jpg",
            "text": "Is there a dog in the image?",
            "label": "yes",
        }
        for n in range(1, 4)
    ]
    records = [
        one(
            f"T_INS_{n}",
            f"LA_IMG_{n:012d}",
            instruction="Is there a dog in the image?",
            answer="Yes",
        )
        for n in range(50, 90)
    ]
    same = one(
        "T_INS_same",
        "LA_IMG_000000000002",
        instruction="<image>\nis there a dog in the image",
        answer="No",
    )
    other = one(
        "T_INS_other",
        "LA_IMG_000000000003",
        instruction="What is on the sofa?",
        answer="It is a cat.",
    )
    found = ask(items, [*records, same, other])
    assert set(found) == {"T_INS_same", "T_INS_other"}
    assert found["T_INS_same"] == "it asks what bench asks about the same picture (line 2)"
    assert found["T_INS_other"] == "it is about a picture of bench (line 3; by its name)"


def test_a_picture_encoded_again_is_known_and_others_are_not(ask, tmp_path, photos):
    images = photographs(photos)
    items = []
    for name in ("coffee.png", "chelsea.png"):
        data = encoded(images[name], quality=90)
        (tmp_path / f"{name}.jpg").write_bytes(data)
        items.append({"image": f"{name}.jpg", "question": "What is it?", "answer": "Something."})
    pictures, records = [], []
    for name, image in images.items():
        half = image.resize((image.width // 2, image.height // 2))
        pictures.append(stored(f"T_IMG_{name}", encoded(half, quality=60)))
        records.append(one(f"T_INS_{name}", f"T_IMG_{name}"))
    found = ask(items, records, pictures)
    assert set(found) == {"T_INS_coffee.png", "T_INS_chelsea.png"}
    assert "of 64 bits differ" in found["T_INS_coffee.png"]


def test_a_long_text_is_found_with_some_words_exchanged_and_inside_of_a_prompt(ask):
    words = LONG.split()
    changed = " ".join(["Suppose", *words[1:-1], "minutes"])
    records = [
        one("T_INS_same", instruction=LONG, answer="170 miles."),
        one(
            "T_INS_changed", instruction=f"Here is a riddle. {changed} Think aloud.", answer="170."
        ),
        one("T_INS_told", instruction="Tell me a riddle.", answer=f"Gladly: {LONG}"),
        one("T_INS_part", instruction=" ".join(words[:12]) + "?", answer="To the coast."),
        one("T_INS_shuffled", instruction=" ".join(sorted(words)), answer="No."),
    ]
    found = ask([{"question": LONG, "answer": "170 miles"}], records)
    assert set(found) == {"T_INS_same", "T_INS_changed", "T_INS_told"}
    assert "it says what is in bench (line 1; 100 % of its words in a row)" in found["T_INS_same"]


def test_a_reference_caption_in_an_answer_is_found(ask):
    caption = (
        "A man in a yellow raincoat pushes a red bicycle across a narrow wooden bridge over a "
        "fast river in the mountains."
    )
    items = [{"question": "Describe the image.", "caption": caption, "image": "a.jpg"}]
    records = [
        one("T_INS_a", "T_IMG_1", instruction="What do you see?", answer=f"I see this. {caption}"),
        one("T_INS_b", "T_IMG_2", instruction="Describe the image.", answer="A cat on a sofa."),
    ]
    assert set(ask(items, records)) == {"T_INS_a"}


def test_a_way_of_asking_of_the_benchmark_is_no_contamination(ask):
    way = "Look closely at the picture above and answer with a single word or a short phrase only, please."
    items = [
        {"image": f"b{n}.jpg", "question": f"What colour is the {n}th car? {way}"}
        for n in range(30)
    ]
    records = [
        one(f"T_INS_{n}", f"T_IMG_{n}", instruction=f"Where is the {n}th bird? {way}")
        for n in range(30)
    ]
    assert ask(items, records) == {}


def test_a_way_of_asking_of_many_records_is_no_contamination(ask):
    way = "Write a detailed description of everything that can be seen in this picture, with all of the colours."
    items = [{"image": "b.jpg", "question": way}]
    records = [one(f"T_INS_{n:02d}", f"T_IMG_{n}", instruction=way) for n in range(20)]
    assert ask(items, records) == {}
    assert len(ask(items, records, common=20)) == 20


def test_a_long_way_of_asking_says_nothing_with_another_thing_in_it(ask):
    """As MME asks: thirteen words, of which two are the question's own."""
    things = [f"{colour} {thing}" for colour in ("red", "blue", "white") for thing in THINGS]
    asked = "Is there a {} in the image? Please answer yes or no."
    items = [{"image": f"b{n}.jpg", "text": asked.format(one)} for n, one in enumerate(things)]
    records = [
        one(f"T_INS_{n}", f"T_IMG_{n}", instruction=asked.format(thing))
        for n, thing in enumerate(things)
    ]
    assert ask(items, records) == {}


THINGS = ("dog", "bus", "clock", "chair", "bottle", "bird")


def test_a_common_question_with_a_common_answer_says_nothing_about_other_pictures(ask):
    items = [
        {"image": "b.jpg", "question": "What colour is the bus?", "answer": "The bus is red."},
        {"image": "c.jpg", "question": "What is it?", "answer": "A very old clock tower."},
    ]
    records = [
        one(
            f"T_INS_{n:02d}",
            f"T_IMG_{n}",
            instruction="What colour is the bus?",
            answer=f"The bus is {'red' if n < 3 else 'blue'}.",
        )
        for n in range(12)
    ]
    rare = one("T_INS_x", "T_IMG_x", instruction="What is it?", answer="A very old clock tower.")
    assert set(ask(items, [*records, rare])) == {"T_INS_x"}


def test_one_text_in_two_benchmarks_about_the_same_pictures_is_no_way_of_asking(ask, tmp_path):
    """As POPE has its questions three times."""
    items = [{"image": f"b{n}.jpg", "question": LONG} for n in range(8)]
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(item) + "\n" for item in items))
    records = [one("T_INS_x", "T_IMG_x", instruction=LONG)]
    found = ask(items, records, files=[str(tmp_path / "bench.jsonl"), str(other)])
    assert set(found) == {"T_INS_x"}


def test_too_many_words_for_memory_are_said(ask, monkeypatch):
    monkeypatch.setattr("mimicit.decontaminate.matching.MOST_WORDS", 20)
    with pytest.raises(FormatError, match="name fewer files"):
        ask([{"question": LONG}], [one("T_INS_x", instruction=LONG)])


def test_question_and_answer_without_a_picture(ask):
    items = [
        {"question": "What is the capital of France?", "answer": "Paris"},
        {"question": "Which of these rivers flows through the city of Vienna?", "answer": "Danube"},
    ]
    records = [
        one("T_INS_same", instruction="what is the capital of france", answer="Paris."),
        one(
            "T_INS_other",
            instruction="What is the capital of France?",
            answer="It is a large city.",
        ),
        one(
            "T_INS_eight",
            instruction="Which of these rivers flows through the city of Vienna?",
            answer="No idea.",
        ),
        one("T_INS_shown", "T_IMG_1", instruction="What is the capital of France?", answer="Paris"),
    ]
    assert set(ask(items, records)) == {"T_INS_same", "T_INS_eight"}


def test_the_answer_decides_where_pictures_differ(ask):
    items = [{"image": "b.jpg", "question": "What is it?", "answer": "A very old clock tower"}]
    records = [
        one("T_INS_same", "T_IMG_1", instruction="What is it?", answer="A very old clock tower."),
        one("T_INS_other", "T_IMG_2", instruction="What is it?", answer="A cat."),
    ]
    assert set(ask(items, records)) == {"T_INS_same"}


def test_letters_of_chinese_are_words(ask):
    asked = "小明有五个苹果，他给了小红两个，又买了三个，请问他现在一共有几个苹果？"
    records = [
        one("T_INS_same", instruction=asked, answer="六个。"),
        one(
            "T_INS_other",
            instruction="小明喜欢吃苹果，也喜欢吃香蕉，请问他最喜欢吃哪一种水果呢？",
            answer="香蕉。",
        ),
    ]
    assert set(ask([{"question": asked, "answer": "六"}], records)) == {"T_INS_same"}


@pytest.mark.parametrize(
    "name", ["image_000012.jpg", "1.jpg", "000000001.jpg", "picture.jpg", "frame_0001.png"]
)
def test_names_that_anybody_gives_are_no_pictures(ask, name):
    record = one("T_INS_1", f"T_IMG_{name.partition('.')[0]}")
    assert ask([{"image": name, "question": "What is it?"}], [record]) == {}


def test_parameters_are_what_they_say(ask, tmp_path):
    items = [{"image": "COCO_val2014_000000000007.jpg", "question": "What is it?"}]
    record = one("T_INS_1", "LA_IMG_000000000007")
    assert ask(items, [record], picture_alone=False) == {}
    assert ask(items, [record], names=False) == {}
    assert set(ask(items, [record])) == {"T_INS_1"}


def test_a_benchmark_that_changed_is_asked_anew_and_undo_brings_the_former_view_back(ask, store):
    records = [one("T_INS_1", instruction=LONG), one("T_INS_2", instruction="Who is it by then?")]
    assert set(ask([{"question": LONG}], records)) == {"T_INS_1"}
    assert ask([{"question": "What else?"}], records) == {}
    undo(store, "mine")
    with store.reading() as connection:
        assert connection.execute("SELECT record FROM verdicts").fetchall() == [("T_INS_1",)]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('files = ["nowhere.json"]', "there is no benchmark 'nowhere.json'"),
        ("files = 3", "cannot be 3"),
        ('files = ["."]\nwords = 1', "'words' cannot be 1; it is from 2 to 100"),
        ('files = ["."]\nleast = 3', "no fewer than `words`"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, line, said):
    path = tmp_path / "mine.toml"
    path.write_text(f'[[filter]]\nuse = "in_benchmark"\n{line}\n')
    with pytest.raises(RecipeError, match=said):
        load_recipe(str(path))
