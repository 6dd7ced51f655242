"""What the table of planted faults and real texts showed filters to miss, or to drop wrongly."""

import random

import pytest
from PIL import Image

from mimicit.curate import curate
from mimicit.curate.filters import damage, language, says, shape, text
from mimicit.curate.recipe import load_recipe
from tests.mimicit.curate.drawn import encoded, one, stored
from tests.mimicit.curate.saying import check, said

CHOICES = "What is it?\nA. a dog\nB. a cat\nC. a horse"


def pairs(*texts):
    return [{"instruction": question, "answer": answer} for question, answer in texts]


def test_a_full_sentence_that_takes_up_its_question_is_no_echo():
    check(
        shape.question_echo(),
        bad=pairs(
            ("What does the old man in the park hold?", "The old man in the park hold what."),
            ("Welche Farbe hat das Auto auf der Brücke?", "Das Auto auf der Brücke hat Farbe."),
            ("Describe the picture of the long street.", "The picture of the long street."),
        ),
        good=pairs(
            ("How many ducks swim in front of the boy?", "Three ducks swim in front of the boy."),
            ("What lies beside the old violin?", "A sheet of music lies beside the old violin."),
            (
                "Which car is parked next to the big white house on the left?",
                "The red car is parked next to the big white house on the left.",
            ),
            (
                "Is the man in the red shirt sitting on the bench in the park?",
                "The man in the red shirt is sitting on the bench in the park.",
            ),
            (
                "Sitzt der Mann im roten Hemd auf der Bank im Park?",
                "Der Mann im roten Hemd sitzt auf der Bank im Park.",
            ),
        ),
    )


def test_the_letter_of_an_option_is_long_enough():
    check(
        text.too_short(),
        bad=[*pairs(("What is it?", "B."), (CHOICES, "Cat")), "Red."],
        good=pairs((CHOICES, "B."), (CHOICES, "(c)"), (CHOICES, "Option A")),
    )


def test_letters_of_scripts_without_spaces_are_counted():
    zh = {"language": "zh"}
    check(
        text.too_short(words=10),
        bad=[{"answer": "一只狗在Nike店里。", **zh}, {"answer": "一只狗。", **zh}],
        good=[{"answer": "一只穿着Nike外套的小狗坐在商店门口等它的主人。", **zh}],
    )
    check(
        text.too_long(words=10),
        bad=[{"answer": "一只狗坐在商店门口等它的主人回家去吃晚饭。" * 2, **zh}],
        good=[
            {"answer": "一只狗坐在商店门口等它的主人。", **zh},
            "one two three four five six seven",
        ],
    )
    check(text.too_short(words=3), bad=[], good=["이것은 무엇입니까?"])


def test_a_long_text_is_counted_only_where_it_may_be_too_long_and_the_limit_is_exact():
    check(
        text.too_long(words=4), bad=["a b c d e"], good=["a b c d", "aaaaaaaaaaa bbbbbbbbb ccccccc"]
    )
    check(text.too_short(words=2), bad=["Unbelievable"], good=["a b", "word " * 60])


def test_an_odd_number_of_numbers_is_no_place():
    check(
        text.coordinates(),
        bad=["It is at (3, 4).", "See [0.1, 0.2, 0.3, 0.4].", "[1,2,3,4,5,6] is its outline."],
        good=["The numbers (1, 2, 3) are gold.", "They wear [7, 9, 10, 11, 20].", "(1951)"],
    )


def test_an_echo_is_found_whatever_stands_before_its_first_letter():
    check(
        text.echo(),
        bad=pairs(("What is it?", "  «what is IT»"), ("…7 up?", "7 UP")),
        good=pairs(("What is it?", "What is it? A dog."), ("?", "A dog.")),
    )


def test_more_refusals_are_told_from_what_can_be_read():
    check(
        says.refusal(),
        bad=[
            "I cannot fulfill this request.",
            "I do not have access to the image.",
            "I'm not able to process images at this time.",
            "Sorry, but I won't be able to help with that.",
            "I don't have the capability to view pictures.",
            "Please upload the picture.",
            "Could you please share the picture again?",
            "Leider kann ich das Bild nicht öffnen.",
            "Ich bin ein Sprachmodell und kann keine Fotos sehen.",
            "Je suis une intelligence artificielle et je ne vois pas les images.",
            "Soy una inteligencia artificial y no puedo ver imágenes.",
            "我是一个AI助手，看不到图片。",
            "残念ながら、画像を確認できません。",
            "이미지를 확인할 수 없습니다.",
            "أنا نموذج لغوي ولا أرى الصور.",
            "Es ist Nachmittag. Tut mir leid, ich kann dabei nicht helfen.",
            "光线很柔和。对不起，我不能回答这个问题。",
        ],
        good=[
            'The man shouts: "I\'m sorry, but I cannot wait."',
            "A notice asks visitors to please provide a photo for their pass.",
            "The old man is unable to open the gate.",
            "He is sorry for the dog.",
            "Er kann das Bild nicht sehen, weil ein Baum davor steht.",
            "Kann man hier keine Räder mieten?",
            "Elle est une intelligence rare.",
            "她看不到墙上的照片。",
            "彼は写真を確認できました。",
            "그는 벽에 걸린 사진을 볼 수 없습니다.",
            "الرجل لا يستطيع رؤية الصورة.",
        ],
    )


def test_more_talk_of_what_was_given():
    check(
        says.boilerplate(),
        bad=[
            "In der Beschreibung wird das nicht erwähnt.",
            "La description ne précise pas la couleur.",
            "La descripción no menciona el color.",
            "描述中没有提到颜色。",
            "설명에 따르면 여름입니다.",
            "لا يذكر الوصف لون الكلب.",
            "Going by the caption, it is summer.",
        ],
        good=[
            "The describing words are painted on the wall.",
            "Nach den Angaben auf dem Schild ist der Laden zu.",
            "표지판의 설명에 따르면 이 탑은 오래되었습니다.",
        ],
    )
    check(
        says.annotation_talk(),
        bad=[
            "El cuadro delimitador está a la izquierda.",
            "À la seconde 4, il se lève.",
            "Around second 12 she turns away.",
            "Les annotations indiquent deux chiens.",
            "标注显示有两只狗。",
            "التعليق التوضيحي يذكر كلبا.",
            "At 00:12 the door opens.",
        ],
        good=[
            "The bus leaves at 07:45, according to the timetable.",
            "The shop opens at 09:30.",
            "While the news is being telecast, there are captions on the bottom.",
            {"instruction": "Suggest a caption for this picture.", "answer": "Catch of the day"},
            "Un cuadro grande está en la pared.",
            "Around the second tree stand two boys.",
        ],
    )


def test_an_option_may_be_named_in_small_letters():
    check(
        shape.no_valid_option(),
        bad=pairs((CHOICES, "e"), (CHOICES, "a bee")),
        good=pairs((CHOICES, "b"), (CHOICES, "Option a"), (CHOICES, "(c)")),
    )


def test_a_sentence_in_a_strange_script_is_too_many_in_a_long_text():
    long = "The man walks along the old harbor, and his dog runs ahead of him to the boats. " * 4
    check(
        damage.mixed_script(),
        bad=[
            f"A skater is writing a postcard. {long}犬がここに座っています。",
            {"answer": f"Dort steht ein Mann. {long}犬がここに座っています。", "language": "de"},
            f"개가 여기에 앉아 있습니다. {long}",
        ],
        good=[f"{long}It is Mount Fuji (富士山).", f"{long}He eats 寿司 there.", long],
    )


def test_repetition_in_other_scripts_is_counted_as_before():
    check(
        shape.repetition(),
        bad=[
            {"answer": "القطة على الأريكة في الغرفة. " * 4, "language": "ar"},
            {"answer": "소년이 공원에서 놀고 있습니다. " * 4, "language": "ko"},
        ],
        good=[
            {"answer": "القطة على الأريكة، والكلب على السجادة، والطائر فوق الخزانة القديمة.", "language": "ar"},
            {"answer": "왼쪽에는 고양이가 있고 오른쪽에는 개가 있으며 가운데에는 새가 있습니다.", "language": "ko"},
        ],
    )  # fmt: skip


def test_where_fasttext_contradicts_a_record_lingua_may_take_its_side():
    pytest.importorskip("lingua")
    texts = [
        "pour pine nuts into hand",
        "pour thyme from plate to dough",
        "Um homem de camisa vermelha caminha com o seu cachorro pela praia.",
        "It is below the empty wheelbarrow, on a crowded square.",
    ]
    heard = language.identify(texts, ["en"] * 4)
    assert [code for code, _ in heard] == ["en", "en", "pt", "en"]
    assert heard[2][1] >= 0.9
    # What is not what the record says must be sure enough for the filter.
    [(code, sure)] = language.identify(texts[3:], ["ko"])
    assert (code, sure >= 0.9) == ("en", True)


def test_a_noisy_blank_picture_is_blank(store):
    rng = random.Random(1)
    plain = Image.new("L", (320, 240), 120)
    noisy = plain.point(lambda v: v).copy()
    noisy.putdata([max(0, min(255, round(rng.gauss(120, 3)))) for _ in range(320 * 240)])
    wall = Image.new("L", (320, 240), 120)
    wall.paste(200, (120, 80, 200, 160))
    fine = Image.new("L", (320, 240))
    fine.putdata([90 + 60 * ((x + y) % 2) for y in range(240) for x in range(320)])
    pictures = {"plain": plain, "noisy": noisy, "wall": wall, "fine": fine}
    with store.writing("test"):
        store.add_images([stored(name, encoded(image, "PNG")) for name, image in pictures.items()])
        store.add([one(f"R_{name}", name) for name in pictures])
        store.sync()
    path = store.path.parent / "blank.toml"
    path.write_text('name = "blank"\n[[filter]]\nuse = "blank"\n')
    curate(store, load_recipe(str(path)))
    with store.reading() as connection:
        found = connection.execute("SELECT record FROM verdicts ORDER BY record").fetchall()
    assert [record for (record,) in found] == ["R_noisy", "R_plain"]


def test_what_a_filter_says_of_scores_is_as_before():
    [reason] = said(
        shape.repetition(), [{"answer": "猫がソファで寝ています。" * 5, "language": "ja"}]
    )
    assert reason.endswith("% of it is repeated")
