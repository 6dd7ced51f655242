from mimicit.curate.filters import damage, says, shape, text
from tests.mimicit.curate.saying import check, said
from tests.mimicit.curate.sentences import SENTENCES

FINE = [sentence for sentences in SENTENCES.values() for sentence in sentences]
CODED = [
    {"answer": sentence, "language": code}
    for code, sentences in SENTENCES.items()
    for sentence in sentences
]


def test_length_in_words_characters_and_tokens():
    check(text.too_long(words=3), bad=["a b c d"], good=["a b c"])
    check(text.too_long(words=0, characters=10), bad=["abcdefghijk"], good=["abcdefghij"])
    check(
        text.too_long(words=0, tokens=5),
        bad=["A dog runs over the green grass."],
        good=["A dog runs.", "一只猫在沙"],
    )
    assert said(text.too_long(words=0), [{"answer": "x " * 999}]) == [None]


def test_a_refusal_is_told_from_a_picture_in_which_something_cannot_be_seen():
    check(
        says.refusal(),
        bad=[
            "As an AI language model, I cannot describe this.",
            "I'm sorry, but the question is not clear.",
            "I’m sorry, I can't help with that.",
            "I cannot see the image you uploaded.",
            "Well, I can't view images directly.",
            "I am unable to access the attached photo.",
            "Unfortunately, I cannot tell what is there.",
            "There is no image provided here.",
            "Please upload the picture again.",
            "I'm just a large language model.",
            "作为一个AI语言模型，我无法回答。",
            "抱歉，我无法看到图片。",
            "我无法查看您提供的图片。",
            "申し訳ありませんが、お答えできません。",
            "画像を直接見ることはできません。",
            "Als KI-Sprachmodell kann ich das nicht sagen.",
            "Es tut mir leid, aber das geht nicht.",
            "Ich kann das Bild leider nicht sehen.",
            "En tant qu’assistant IA, je ne vois rien.",
            "Je ne peux pas voir l'image.",
            "Désolé, mais je ne sais pas.",
            "Como modelo de lenguaje, no puedo responder.",
            "Lo siento, pero no puedo ver la imagen.",
            "죄송합니다만 답할 수 없습니다.",
            "저는 이미지를 직접 볼 수 없습니다.",
            "لا يمكنني رؤية الصورة.",
            "عذراً، لا أعرف.",
        ],
        good=[
            *FINE,
            "The robot acts as an AI assistant in the shop.",
            "The boy says he is sorry, but his mother laughs.",
            "The cat cannot see the picture on the wall.",
            "I can't see any pictures hanging on the wall.",
            "You cannot help but smile at this.",
            "There are no images on the wall, only a clock.",
            "The poster says: a file is missing.",
            "The sorry look of the dog is funny.",
            "Die KI-Konferenz findet in einer Halle statt.",
            "Das Schild ist leider nicht zu sehen.",
            "L'image montre une femme désolée.",
            "Una mujer dice que lo siente mucho.",
            "机器人可以作为AI助手工作。",
            "男の人が申し訳なさそうに立っている。",
        ],
    )


def test_a_hedge_is_dropped_on_demand():
    unsure = "It is difficult to tell what breed the dog is."
    check(says.refusal(), bad=[], good=[unsure])
    check(says.refusal(hedges=True), bad=[unsure], good=FINE)


def test_boilerplate_is_what_the_writer_was_given_not_what_can_be_read():
    check(
        says.boilerplate(),
        bad=[
            "Based on the caption, a dog is here.",
            "Based on the provided information, it is a beach.",
            "According to the description, he is happy.",
            "The color is not mentioned in the given description.",
            "The provided text does not say.",
            "As described in the caption, it is red.",
            "根据描述，这是一只狗。",
            "根据所提供的信息，他很高兴。",
            "提供された情報によると、犬です。",
            "Laut der Beschreibung ist es ein Hund.",
            "D'après la description, c'est un chien.",
            "Según la descripción, es un perro.",
            "제공된 정보에 따르면 개입니다.",
            "بناءً على الوصف، هذا كلب.",
        ],
        good=[
            *FINE,
            "According to the description on the sign, the tower is old.",
            "According to the clock, it is noon.",
            "Based on the shadows, it is late afternoon.",
            "Based on his clothes, he is a cook.",
            "The information desk is on the left.",
            "The details in the image are sharp.",
            "The text on the shirt says hello.",
            "Judging by the data shown in the chart, sales rose.",
            "Laut dem Schild ist der Laden zu.",
            "Selon le panneau, la route est fermée.",
            "Según el cartel, la tienda está cerrada.",
            "根据招牌，这是一家餐厅。",
            "看板によると、店は休みです。",
        ],
    )


def test_talk_of_annotations():
    check(
        says.annotation_talk(),
        bad=[
            "The caption says it is a dog.",
            "A bounding box surrounds the dog.",
            "The dog is at the coordinates 3 and 4.",
            "The object annotations list two dogs.",
            "At 3.5 seconds the man jumps.",
            "At 00:12 the man jumps.",
            "From 3 to 7 seconds he runs.",
            "狗的边界框在左边。",
            "犬の座標は左です。",
            "Die Bildunterschrift nennt einen Hund.",
            "Les coordonnées du chien sont données.",
            "Las coordenadas del perro están aquí.",
            "개의 좌표는 왼쪽이다.",
        ],
        good=[
            *FINE,
            "The captain stands on the ship.",
            "The dancers coordinate their steps.",
            "Their outfits have coordinated colors.",
            "The clock shows 00:12.",
            "It is 10:15 in the morning.",
            "The score is 3:2.",
            "He wears clothes from the 1940s.",
            "The second man from the left jumps.",
            "A red box stands on the table.",
            "The boxes are bound with rope.",
            "There are 30 seconds left on the timer.",
            "Das Paar trägt koordinierte Kleidung.",
            "Leurs tenues sont coordonnées.",
        ],
    )
    check(
        says.annotation_talk(captions=False, stills=False),
        bad=["The bounding box is red."],
        good=["The caption reads hello.", "At 00:12 the man jumps."],
    )


def test_an_echo_is_told_from_a_choice_that_is_offered():
    pairs = [
        ("What is the man in the red shirt doing?", "What is the man in the red shirt doing? He"),
        ("Where is the small dog?", "Where is the small dog? On a mat."),
        (
            "What can you see in this picture of a street?",
            "You can see in this picture of a street.",
        ),
        ("图片中的男人正在做什么？", "图片中的男人正在做什么"),
        ("Was macht der Mann im roten Hemd?", "Was macht der Mann im roten Hemd."),
    ]
    good = [
        ("Is the man sitting or standing?", "The man is standing."),
        ("What color is the cat?", "The cat is black."),
        ("What is the man in the red shirt doing?", "The man in the red shirt is reading a book."),
        ("Is the dog on the sofa or is the cat on the chair?", "The dog is on the sofa."),
        ("Is there a dog in the image?", "Yes, there is a dog in the image."),
        ("Which is right? A. The dog sleeps on a mat B. The cat runs", "The dog sleeps on a mat"),
        ("What?", "What is there is a dog."),
        ("男人在做什么？", "男人在骑自行车。"),
        ("男の人は何をしていますか？", "男の人は本を読んでいます。"),
        ("Wo ist der Hund?", "Der Hund ist im Garten."),
        ("Où est le chien ?", "Le chien est dans le jardin."),
        ("¿Dónde está el perro?", "El perro está en el jardín."),
        ("개는 어디에 있나요?", "개는 마당에 있습니다."),
    ]
    check(shape.question_echo(), bad=_pairs(pairs), good=_pairs(good))


def _pairs(pairs):
    return [{"instruction": question, "answer": answer} for question, answer in pairs]


def test_repetition():
    check(
        shape.repetition(),
        bad=[
            "very " * 40,
            "The man is on the street. " * 4,
            "A dog and a cat and a dog and a cat and a dog and a cat and a dog and a cat.",
            "这只猫在沙发上睡觉。" * 5,
            "猫がソファで寝ています。" * 5,
            "ha" * 60,
        ],
        good=[
            *FINE,
            "The dog is on the left, the cat is on the right, and the bird is in the middle of the room.",
            "There are two dogs. The first dog is brown. The second dog is black. Both dogs are running in the park near a lake.",
            "男人穿着蓝色衬衫，女人穿着红色裙子，他们站在桥上看河里的鸭子。",
            "A man in a red shirt, a man in a blue shirt and a man in a green shirt are waiting for the bus.",
        ],
    )
    [reason] = said(shape.repetition(), [{"answer": "one two three four five six. " * 9}])
    assert reason.endswith("% of it is repeated")


def test_an_unfinished_answer():
    check(
        shape.unfinished(),
        bad=[
            "A dog, a cat,",
            "The man holds a (",
            "The man runs because",
            "He says: “",
            "The things on the table are:",
            "In the middle of the picture there is a man who is walking with his dog along the old har",
            {"answer": "Der Mann läuft, weil", "language": "de"},
            {"answer": "Un homme et", "language": "fr"},
            {"answer": "Un hombre con los", "language": "es"},
            {"answer": "图片中有一个男人，", "language": "zh"},
            {
                "answer": "图片中有一个男人和一个女人站在桥上看着河里的鸭子然后他们慢慢地走回到家里去吃晚",
                "language": "zh",
            },
            {"answer": "猫がいて、", "language": "ja"},
            {"answer": "رجل يمشي،", "language": "ar"},
        ],
        good=[
            *CODED,
            "Yes",
            "A man riding a wave on top of a surfboard",
            "Nothing to be afraid of",
            "It is 5:30",
            'He says "stop it".',
            "They all look happy and the sun is shining over the whole wide valley with its rivers and hills!",
            "There are many things:\n- a very old dog\n- a cat on a long and narrow bench near the door of the house",
            {"answer": "Sie werden sterben oder leben!", "language": "de"},
            {"answer": "médaille d'or", "language": "fr"},
            {"answer": "一只猫", "language": "zh"},
            {"answer": "소년이 공원에서 개와 함께 놀고 있습니다", "language": "ko"},
        ],
    )


def test_a_choice_that_is_none():
    four = "What is it?\nA. a dog\nB. a cat\nC. a horse\nD. a cow"
    inline = "What is it? (A) dog (B) cat"
    pairs = [(four, "E"), (four, "A very big thing."), (inline, "C."), (four, "It is a bird.")]
    good = [
        (four, "B"),
        (four, "A"),
        (four, "(C) a horse"),
        (four, "The answer is A."),
        (four, "It is a horse."),
        (four, "A: a dog"),
        (inline, "dog"),
        (inline, "(B)"),
        ("它是什么？A. 狗 B. 猫", "答案是A。"),
        ("它是什么？A、狗 B、猫", "猫"),
        ("Who is J. A. B. Smith?", "A painter."),
        ("Is this vitamin A or B?", "It is neither."),
        ("Was ist das? A) Hund B) Katze", "Antwort: A"),
        ("What is it?", "A dog."),
    ]
    check(shape.no_valid_option(), bad=_pairs(pairs), good=_pairs(good))


def test_mixed_scripts():
    check(
        damage.mixed_script(),
        bad=[
            "The сat is on the sofa.",
            "A mаn is here.",
            "The cat 正在睡觉 on the sofa.",
            "Собака на улице.",
            {"answer": "고양이가 ソファ 위에 있습니다.", "language": "ko"},
            {"answer": "猫がソファにいます。", "language": "zh"},
        ],
        good=[
            *CODED,
            "It is 5 μm wide.",
            "The angle Δx is small, and πr² is the area.",
            "The sign says 出口.",
            "A café named ‘Zoë’ in São Paulo.",
            {"instruction": "What is written there?", "answer": "ресторан"},
            {"answer": "她在用iPhone拍照。", "language": "zh"},
            {"answer": "彼はTシャツを着ている。", "language": "ja"},
            {"answer": "Собака играет с USB-кабелем.", "language": "ru"},
        ],
    )


def test_damaged_encoding():
    good = [
        "S&P",
        "Tom & Jerry",
        "It costs 5 €, about 10 °C.",
        "SÃO PAULO",
        "naïve café – “yes”",
        "👩‍🍳 cooks",
    ]
    broken = [text.encode().decode("cp1252") for text in ("café", "it’s", "über", "“so", "ñandú")]
    latin = [
        text.encode().decode("latin-1")
        for text in ("中文文字", "привет", "مرحبا", "日本語", "한국어")
    ]
    check(
        damage.encoding_damage(),
        bad=[*broken, *latin, "caf\ufffd", "Tom &amp; Jerry", "a\x07b", "it\\u2019s"],
        good=[*FINE, *good, "In HTML one writes &amp; for it.", "irmã, mãe e maçã", "ÑANDÚ", "Fußgänger"],
    )  # fmt: skip
