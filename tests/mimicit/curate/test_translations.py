"""Translations as they are written, and with one thing wrong in each."""

import time
from itertools import permutations

import pytest

from mimicit.curate import curate
from mimicit.curate.filters.translations import (
    CHECKS,
    marks_differ,
    numbers_differ,
    option_differs,
    polarity_differs,
)
from mimicit.curate.numerals import numbers
from mimicit.curate.recipe import load_recipe
from mimicit.errors import RecipeError
from tests.builders import record

# Each is one question and answer in eight languages.
PAIRS = [
    {
        "en": ("How many dogs are on the beach?", "There are 3 dogs on the beach, and two of them are playing with a ball."),
        "zh": ("海滩上有几只狗？", "海滩上有三只狗，其中两只在玩球。"),
        "ja": ("浜辺には犬が何匹いますか？", "浜辺には犬が3匹いて、そのうち2匹はボールで遊んでいます。"),
        "de": ("Wie viele Hunde sind am Strand?", "Am Strand sind drei Hunde, und zwei von ihnen spielen mit einem Ball."),
        "fr": ("Combien de chiens y a-t-il sur la plage ?", "Il y a trois chiens sur la plage, et deux d'entre eux jouent avec un ballon."),
        "es": ("¿Cuántos perros hay en la playa?", "Hay 3 perros en la playa y dos de ellos juegan con una pelota."),
        "ko": ("해변에 개가 몇 마리 있나요?", "해변에 개가 세 마리 있고, 그중 두 마리는 공을 가지고 놀고 있습니다."),
        "ar": ("كم عدد الكلاب على الشاطئ؟", "هناك ٣ كلاب على الشاطئ، واثنان منها يلعبان بالكرة."),
    },
    {
        "en": ("Is the woman wearing a hat?", "Yes, she is wearing a wide straw hat with a blue ribbon."),
        "zh": ("这位女士戴着帽子吗？", "是的，她戴着一顶系着蓝色丝带的宽檐草帽。"),
        "ja": ("女性は帽子をかぶっていますか？", "はい、青いリボンの付いたつばの広い麦わら帽子をかぶっています。"),
        "de": ("Trägt die Frau einen Hut?", "Ja, sie trägt einen breiten Strohhut mit blauem Band."),
        "fr": ("La femme porte-t-elle un chapeau ?", "Oui, elle porte un large chapeau de paille orné d'un ruban bleu."),
        "es": ("¿Lleva la mujer un sombrero?", "Sí, lleva un ancho sombrero de paja con una cinta azul."),
        "ko": ("여자가 모자를 쓰고 있나요?", "네, 파란 리본이 달린 챙 넓은 밀짚모자를 쓰고 있습니다."),
        "ar": ("هل ترتدي المرأة قبعة؟", "نعم، ترتدي قبعة قش عريضة بشريط أزرق."),
    },
    {
        "en": ("What time does the clock show?", "The clock shows half past four; the shop closes at 6 PM."),
        "zh": ("时钟显示几点？", "时钟显示四点半，商店下午6点关门。"),
        "ja": ("時計は何時を示していますか？", "時計は4時半を示していて、店は18時に閉まります。"),
        "de": ("Wie spät zeigt die Uhr?", "Die Uhr zeigt 4:30; der Laden schließt um 18 Uhr."),
        "fr": ("Quelle heure indique l'horloge ?", "L'horloge indique quatre heures et demie ; le magasin ferme à 18 h."),
        "es": ("¿Qué hora marca el reloj?", "El reloj marca las cuatro y media; la tienda cierra a las 6 de la tarde."),
        "ko": ("시계는 몇 시를 가리키나요?", "시계는 네 시 반을 가리키고, 가게는 오후 6시에 문을 닫습니다."),
        "ar": ("ما الوقت الذي تشير إليه الساعة؟", "تشير الساعة إلى الرابعة والنصف، ويغلق المتجر في الساعة ٦ مساءً."),
    },
    {
        "en": ("Which animal is it?\nA. A cat\nB. A dog\nC. A horse", "B. A dog"),
        "zh": ("这是什么动物？\nA. 猫\nB. 狗\nC. 马", "答案是B。"),
        "ja": ("これは何の動物ですか？\nA. 猫\nB. 犬\nC. 馬", "Ｂ．犬"),
        "de": ("Welches Tier ist es?\nA. Eine Katze\nB. Ein Hund\nC. Ein Pferd", "B) Ein Hund"),
        "fr": ("De quel animal s'agit-il ?\nA. Un chat\nB. Un chien\nC. Un cheval", "La réponse est B."),
        "es": ("¿Qué animal es?\nA. Un gato\nB. Un perro\nC. Un caballo", "(B) Un perro"),
        "ko": ("어떤 동물인가요?\nA. 고양이\nB. 개\nC. 말", "정답은 B입니다."),
        "ar": ("ما هذا الحيوان؟\nA. قطة\nB. كلب\nC. حصان", "B. كلب"),
    },
    {
        "en": ("<image> What is written on the sign?", "The sign says \"Main Street 1,250 m\", and below it \"Est. 1987\"."),
        "zh": ("<image> 牌子上写着什么？", "牌子上写着“Main Street 1250米”，下面写着“Est. 1987”。"),
        "ja": ("<image> 看板には何と書かれていますか？", "看板には「Main Street 1,250 m」、その下に「Est. 1987」と書かれています。"),
        "de": ("<image> Was steht auf dem Schild?", "Auf dem Schild steht „Main Street 1.250 m“ und darunter „Est. 1987“."),
        "fr": ("<image> Qu'est-il écrit sur le panneau ?", "Le panneau indique « Main Street 1\u202f250 m » et, en dessous, « Est. 1987 »."),
        "es": ("<image> ¿Qué pone en el cartel?", "En el cartel pone «Main Street 1.250 m» y debajo «Est. 1987»."),
        "ko": ("<image> 표지판에 뭐라고 쓰여 있나요?", "표지판에는 'Main Street 1,250m'라고 쓰여 있고 그 아래에 'Est. 1987'이라고 쓰여 있습니다."),
        "ar": ("<image> ماذا كُتب على اللافتة؟", "كُتب على اللافتة \"Main Street ١٬٢٥٠ م\" وتحتها \"Est. ١٩٨٧\"."),
    },
    {
        "en": ("Are the two men in the picture brothers?", "No, nothing in the picture suggests that. They only share a table for four."),
        "zh": ("图中的两个男人是兄弟吗？", "不是，图中没有任何迹象表明这一点。他们只是共用一张四人桌。"),
        "ja": ("写真の二人の男性は兄弟ですか？", "いいえ、そう思わせるものは写真にはありません。四人掛けのテーブルを一緒に使っているだけです。"),
        "de": ("Sind die beiden Männer auf dem Bild Brüder?", "Nein, nichts auf dem Bild deutet darauf hin. Sie teilen sich nur einen Vierertisch."),
        "fr": ("Les deux hommes sur la photo sont-ils frères ?", "Non, rien sur la photo ne le laisse penser. Ils partagent seulement une table pour quatre."),
        "es": ("¿Son hermanos los dos hombres de la foto?", "No, nada en la foto lo sugiere. Solo comparten una mesa para cuatro."),
        "ko": ("사진 속 두 남자는 형제인가요?", "아니요, 사진에는 그렇게 볼 만한 것이 없습니다. 그저 4인용 테이블을 함께 쓰고 있을 뿐입니다."),
        "ar": ("هل الرجلان في الصورة أخوان؟", "لا، لا شيء في الصورة يدل على ذلك. إنهما يتشاركان طاولة لأربعة أشخاص فقط."),
    },
    {
        "en": ("When was the bridge built?", "It was opened on March 5, 1932, and about 200 people worked on it for eight years."),
        "zh": ("这座桥是什么时候建的？", "它于1932年3月5日通车，大约有200人为此工作了八年。"),
        "ja": ("その橋はいつ建てられましたか？", "1932年3月5日に開通し、約200人が8年間その建設に携わりました。"),
        "de": ("Wann wurde die Brücke gebaut?", "Sie wurde am 5. März 1932 eröffnet, und rund 200 Menschen arbeiteten acht Jahre lang daran."),
        "fr": ("Quand le pont a-t-il été construit ?", "Il a été inauguré le 5 mars 1932, et environ 200 personnes y ont travaillé pendant huit ans."),
        "es": ("¿Cuándo se construyó el puente?", "Se inauguró el 5 de marzo de 1932 y unas 200 personas trabajaron en él durante ocho años."),
        "ko": ("그 다리는 언제 지어졌나요?", "1932년 3월 5일에 개통되었으며, 약 200명이 8년 동안 작업했습니다."),
        "ar": ("متى بُني الجسر؟", "افتُتح في ٥ مارس ١٩٣٢، وعمل عليه نحو ٢٠٠ شخص لمدة ثماني سنوات."),
    },
    {
        "en": ("What is on the table?", "A dozen eggs, a pair of scissors, and twenty-five candles for the second birthday cake."),
        "zh": ("桌子上有什么？", "桌上有十二个鸡蛋、一把剪刀，还有第二个生日蛋糕用的25根蜡烛。"),
        "ja": ("テーブルの上には何がありますか？", "卵が12個、はさみ、そして2つ目の誕生日ケーキ用のろうそくが25本あります。"),
        "de": ("Was liegt auf dem Tisch?", "Ein Dutzend Eier, eine Schere und fünfundzwanzig Kerzen für die zweite Geburtstagstorte."),
        "fr": ("Qu'y a-t-il sur la table ?", "Une douzaine d'œufs, une paire de ciseaux et vingt-cinq bougies pour le deuxième gâteau d'anniversaire."),
        "es": ("¿Qué hay sobre la mesa?", "Una docena de huevos, unas tijeras y veinticinco velas para la segunda tarta de cumpleaños."),
        "ko": ("테이블 위에 무엇이 있나요?", "달걀 열두 개, 가위, 그리고 두 번째 생일 케이크에 꽂을 초 25개가 있습니다."),
        "ar": ("ماذا يوجد على الطاولة؟", "اثنتا عشرة بيضة ومقص و٢٥ شمعة لكعكة عيد الميلاد الثانية."),
    },
    {
        "en": ("Who painted this?", "Leonardo da Vinci"),
        "zh": ("这是谁画的？", "列奥纳多·达·芬奇"),
        "ja": ("これは誰が描きましたか？", "レオナルド・ダ・ヴィンチ"),
        "de": ("Wer hat das gemalt?", "Leonardo da Vinci"),
        "fr": ("Qui a peint cela ?", "Léonard de Vinci"),
        "es": ("¿Quién pintó esto?", "Leonardo da Vinci"),
        "ko": ("이것은 누가 그렸나요?", "레오나르도 다빈치"),
        "ar": ("من رسم هذا؟", "ليوناردو دا فينشي"),
    },
    {
        "en": ("Isn't the street empty?", "Yes, there is nobody in the street."),
        "zh": ("街上不是空的吗？", "是的，街上没有人。"),
        "ja": ("通りには誰もいないのではありませんか？", "はい、通りには誰もいません。"),
        "de": ("Ist die Straße nicht leer?", "Doch, auf der Straße ist niemand."),
        "fr": ("La rue n'est-elle pas vide ?", "Si, il n'y a personne dans la rue."),
        "es": ("¿No está vacía la calle?", "Sí, no hay nadie en la calle."),
        "ko": ("거리가 비어 있지 않나요?", "네, 거리에 아무도 없습니다."),
        "ar": ("أليس الشارع فارغًا؟", "بلى، لا يوجد أحد في الشارع."),
    },
    {
        "en": ("What happens in the pictures?", "In the first picture a crowd waits at the crossroads. In the third one, about 10,000 lanterns light up the square, and "
               "people from all around stand shoulder to shoulder in their colourful clothes, some of them holding children so that they can see."),
        "zh": ("图片中发生了什么？", "第一张图片中，人群在十字路口等候。第三张图片中，大约1万盏灯笼照亮了广场，四周的人们穿着五颜六色的衣服肩并肩站着，有些人抱着孩子好让他们看见。"),
        "ja": ("写真では何が起きていますか？", "1枚目の写真では、人々が十字路で待っています。3枚目では約1万個のランタンが広場を照らし、四方から集まった人々が色とりどりの服を着て肩を並べ、子どもに見せようと抱き上げている人もいます。"),
        "de": ("Was geschieht auf den Bildern?", "Auf dem ersten Bild wartet eine Menschenmenge an der Kreuzung. Auf dem dritten erhellen rund 10.000 Laternen den Platz, und von "
               "überall her stehen Menschen in bunten Kleidern Schulter an Schulter; manche halten Kinder hoch, damit sie etwas sehen."),
        "fr": ("Que se passe-t-il sur les images ?", "Sur la première image, une foule attend au carrefour. Sur la troisième, environ 10 000 lanternes éclairent la place, et des gens "
               "venus de partout se tiennent épaule contre épaule dans leurs habits colorés, certains portant des enfants pour qu'ils voient."),
        "es": ("¿Qué ocurre en las imágenes?", "En la primera imagen una multitud espera en el cruce. En la tercera, unos 10.000 faroles iluminan la plaza y gente de todas "
               "partes, con ropa de colores, está hombro con hombro; algunos llevan en brazos a niños para que vean."),
        "ko": ("사진 속에서 무슨 일이 일어나고 있나요?", "첫 번째 사진에서는 사람들이 교차로에서 기다리고 있습니다. 세 번째 사진에서는 약 1만 개의 등불이 광장을 밝히고, 사방에서 온 사람들이 알록달록한 옷을 입고 어깨를 맞대고 서 있으며, 아이가 볼 수 있도록 안고 있는 사람도 있습니다."),
        "ar": ("ماذا يحدث في الصور؟", "في الصورة الأولى ينتظر حشد عند مفترق الطرق. وفي الثالثة يضيء نحو ١٠٬٠٠٠ فانوس الساحة، ويقف أناس من كل مكان كتفًا إلى كتف بملابسهم الملونة، ويحمل بعضهم أطفالًا كي يروا."),
    },
]  # fmt: skip

LANGUAGES = ("en", "zh", "ja", "de", "fr", "es", "ko", "ar")

# (source language, source, language, translation, what is wrong, the field that is)
PLANTED = {
    "3 dogs are 5": ("en", "There are 3 dogs on the beach.", "zh", "海滩上有五只狗。", "numbers"),
    "digits": ("en", "The bus has the number 42.", "de", "Der Bus hat die Nummer 24.", "numbers"),
    "a number is gone": ("en", "A sign says 70 km/h.", "fr", "Un panneau indique la limite de vitesse.", "numbers"),
    "a number is new": ("fr", "Des moutons broutent.", "es", "Hay 15 ovejas pastando.", "numbers"),
    "arabic digits": ("en", "It costs 45 dollars.", "ar", "يكلف ٥٤ دولارًا.", "numbers"),
    "words": ("de", "Sieben Kinder spielen im Garten.", "fr", "Huit enfants jouent dans le jardin.", "numbers"),
    "words and kanji": ("en", "Four people are sitting on the bench.", "ja", "ベンチに三人座っています。", "numbers"),
    "korean words": ("en", "Five cats sit on the wall.", "ko", "고양이 여섯 마리가 담 위에 앉아 있습니다.", "numbers"),
    "arabic words": ("es", "Hay siete barcos en el puerto.", "ar", "هناك تسعة قوارب في الميناء.", "numbers"),
    "a large kanji": ("en", "25 candles are burning.", "zh", "有三十五根蜡烛在燃烧。", "numbers"),
    "a year": ("ja", "1987年に建てられました。", "en", "It was built in 1978.", "numbers"),
    "yes is no": ("en", "Yes, she is wearing one.", "ja", "いいえ、かぶっていません。", "polarity"),
    "no is yes": ("de", "Nein, er sitzt.", "zh", "是的，他站着。", "polarity"),
    "oui is no": ("fr", "Oui, il pleut.", "es", "No, no llueve.", "polarity"),
    "ne is la": ("ko", "네, 보입니다.", "ar", "لا، لا يُرى.", "polarity"),
    "yes alone": ("en", "Yes", "ko", "아니요", "polarity"),
    "another option": ("en", "B. A dog", "ja", "C. 馬", "option"),
    "an option in words": ("en", "The answer is A.", "zh", "答案是D。", "option"),
    "an arabic option": ("en", "(C) red", "ar", "ب. أحمر", "option"),
    "cut short": ("en", "A man in a red shirt is walking along the beach with his dog while the sun goes down behind the hills.", "de", "Ein Mann.", "length"),
    "far too long": ("en", "A man walks along the beach.", "zh", "一个穿红衬衫的男人正带着他的狗在海滩上散步，太阳在山后落下，远处有几艘船停泊在港口里，孩子们在沙滩上堆沙堡，海鸥在天空中飞翔，整个画面显得宁静而美好。", "length"),
    "untranslated": ("en", "A man is standing in front of the door.", "fr", "A man is standing in front of the door.", "untranslated"),
    "only case differs": ("es", "Un hombre camina por la playa.", "ar", "un hombre camina por la playa", "untranslated"),
    "a mark is gone": ("en", "Look at <image> and <image>.", "fr", "Regardez <image>.", "marks"),
    "a placeholder is gone": ("en", "Dear {name}, it is a dog.", "zh", "亲爱的，这是一只狗。", "marks"),
}  # fmt: skip


@pytest.fixture
def asked(store, tmp_path):
    """Translate, curate, and return the reasons."""

    def ask(rows, parameters=""):
        with store.writing("test"):
            store.add([record(n, **row) for n, row in enumerate(rows)])
            store.sync()
        path = tmp_path / "mine.toml"
        path.write_text(f"[[filter]]\nuse = 'translations_differ'\n{parameters}")
        curate(store, load_recipe(str(path)))
        with store.reading() as connection:
            return dict(connection.execute("SELECT record, reason FROM verdicts").fetchall())

    return ask


def test_good_translations_stay_in_every_direction(asked):
    rows = []
    for n, pair in enumerate(PAIRS):
        for code in LANGUAGES:
            for other in LANGUAGES:
                row = {"id": f"P{n}_{code}_{other}", "language": other}
                row |= {"instruction": pair[other][0], "answer": pair[other][1]}
                if code != other:
                    row["translation_of"] = f"P{n}_{code}_{code}"
                rows.append(row)
    assert len(rows) == 64 * len(PAIRS)
    assert asked(rows) == {}


def planted():
    for n, (code, source, other, target, kind) in enumerate(PLANTED.values()):
        options = "A. {0}\nB. {0}{0}" if kind == "option" else "{0}"
        question = options.format("y")
        yield {
            "id": f"S{n:02d}",
            "language": code,
            "instruction": options.format("x"),
            "answer": source,
        }
        yield {
            "id": f"T{n:02d}", "language": other, "instruction": question, "answer": target,
            "translation_of": f"S{n:02d}",
        }  # fmt: skip


def test_what_was_planted_is_found_and_named(asked):
    said = asked(list(planted()))
    kinds = {f"T{n:02d}": kind for n, (*_, kind) in enumerate(PLANTED.values())}
    assert {id_: reason.partition(":")[0] for id_, reason in said.items()} == kinds
    assert said["T00"] == "numbers: the answer has 3 in the source, 5 here"


@pytest.mark.parametrize("kind", CHECKS)
def test_each_check_can_be_asked_alone(asked, kind):
    said = asked(list(planted()), f"checks = ['{kind}']\nfield = 'answer'")
    wanted = {f"T{n:02d}" for n, (*_, what) in enumerate(PLANTED.values()) if what == kind}
    assert wanted <= set(said)
    assert {reason.partition(":")[0] for reason in said.values()} == {kind}


def test_sources_and_translations_of_nothing_stay(asked):
    rows = [
        {"id": "A", "answer": "There are 3 dogs."},
        {"id": "B", "language": "zh", "answer": "有五只狗。", "translation_of": "gone"},
        {"id": "C", "answer": "There are 5 dogs.", "translation_of": "A"},  # of one language: a paraphrase
    ]  # fmt: skip
    assert asked(rows) == {}


def test_parameters_are_checked(asked):
    with pytest.raises(RecipeError, match="'spelling'; there are numbers"):
        asked([], "checks = ['spelling']")
    with pytest.raises(RecipeError, match="'proportion'"):
        asked([], "proportion = 1.0")


def test_languages_that_are_not_known_are_compared_by_what_is(asked):
    rows = [
        {"id": "A", "answer": "There are 30 dogs on the beach."},
        {"id": "B", "language": "nl", "answer": "Er zijn 30 honden op het strand.", "translation_of": "A"},
        {"id": "C", "language": "pt", "answer": "Há 13 cães na praia.", "translation_of": "A"},
    ]  # fmt: skip
    assert set(asked(rows)) == {"C"}


@pytest.mark.parametrize(
    ("language", "text", "digits", "words"),
    [
        ("en", "1,250 m, 3.5 kg and 12", {1250, 3.5, 12}, set()),
        ("de", "1.250 m und 3,5 kg", {1250, 3.5}, set()),
        ("ar", "١٢ و٣٫٥", {12, 3.5}, set()),
        ("zh", "二十五个人、两只狗和二〇二四年", set(), {25, 2, 2024}),
        ("zh", "十字路口四周的三明治", set(), set()),
        ("ja", "十二人と三匹", set(), {12, 3}),
        ("fr", "vingt-deux et trois", set(), set()),
        ("es", "siete gatos", set(), {7}),
        ("ko", "고양이 다섯 마리", set(), {5}),
        ("en", "one man, 1 dog, 0 cats", set(), set()),
        ("ja", "3月5日", {5}, set()),
        ("en", "²³ ½ Ⅳ", set(), set()),
    ],
)
def test_numbers_are_read(language, text, digits, words):
    found = numbers(text, language)
    assert (set(found.digits), set(found.words)) == (digits, words)


@pytest.mark.parametrize(
    ("source", "target", "languages"),
    [
        ("in the 1950s", "dans les années 50", ("en", "fr")),
        ("the 19th century", "le XIXe siècle", ("en", "fr")),
        ("2 million people", "200万人", ("en", "zh")),
        ("50%", "50 %", ("en", "de")),
        ("a three-legged dog", "ein dreibeiniger Hund", ("en", "de")),
        ("twice, then a third time", "2 fois, puis une 3e fois", ("en", "fr")),
        ("nine new cars", "neuf voitures neuves", ("en", "fr")),
        ("3:30 PM", "15:30", ("en", "de")),
        ("two dogs", "كلبان", ("en", "ar")),
        ("two cats", "beide Katzen", ("en", "de")),
        ("thirteen boats", "ثلاثة عشر قاربًا", ("en", "ar")),
        ("13 boats", "ثلاثة عشر قاربًا", ("en", "ar")),
        ("11 boats", "أحد عشر قاربًا", ("en", "ar")),
        ("26 apples", "vingt-six pommes", ("en", "fr")),
        ("80 cows", "quatre-vingts vaches", ("en", "fr")),
        ("the 5 oceans", "5大洋", ("en", "zh")),
        ("a square with four sides", "四角形", ("en", "ja")),
    ],
)
def test_numbers_that_are_the_same(source, target, languages):
    assert numbers_differ(source, target, languages) is None
    assert numbers_differ(target, source, languages[::-1]) is None


def test_words_that_look_like_yes_or_no():
    nothing = [
        ("en", "No one is there."), ("en", "None"), ("es", "No hay nadie."), ("zh", "不同的人在走路。"), ("zh", "有两只狗。"),
        ("ja", "いいね"), ("ar", "لا يوجد أحد."), ("de", "Jahrmarkt"), ("fr", "Ouistiti"), ("ko", "네 명"),
    ]  # fmt: skip
    for (code, text), (other, more) in permutations(nothing, 2):
        assert polarity_differs(text, more, (code, other)) is None
    for code, text in nothing:
        if (code, text) != ("ko", "네 명"):
            assert polarity_differs("Yes.", text, ("en", code)) is None
            assert polarity_differs("No.", text, ("en", code)) is None


def test_letters_that_are_no_options():
    both = ("en", "de")
    assert option_differs("A man is here.", "B. Ein Hund", both) is None
    assert option_differs("A dog", "Ein Hund", both) is None
    assert option_differs("b", "C", both) == "option B in the source, C here"


def test_marks_are_counted():
    both = ("en", "fr")
    assert marks_differ("<image>\nWhat? <video_1>", "<image>Quoi ? < video_1 >", both) is None
    assert marks_differ("x < 3 and y > 2", "x < 3 et y > 2", both) is None
    assert marks_differ("a <b>bold</b>", "un <b>gras</b>", both) is None
    assert marks_differ("<image>", "<Bild>", both) == "<image> 1 times in the source, 0 times here"


def test_a_text_of_numerals_alone_is_read_once():
    """From each place on, it would take four seconds and more."""
    begun = time.process_time()
    numbers("二" * 40_000, "zh")
    assert time.process_time() - begun < 1
