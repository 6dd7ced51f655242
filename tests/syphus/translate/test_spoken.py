import sys

import pytest

from mimicit.errors import MissingExtraError
from syphus.translate import spoken
from syphus.translate.languages import ENGLISH, Language
from syphus.translate.spoken import Ear
from tests.syphus.translate.corpus import ANSWERS, LANGUAGES, QUESTIONS

MORE = ("ru", "uk", "fa", "ur", "pt", "it", "nl", "hi", "th", "el", "he", "yue", "sr", "pt-BR")
SAID = ("What is the man in the picture doing?", "He is riding his bicycle along the river.")


@pytest.fixture(scope="module")
def ear():
    return Ear(ENGLISH, [Language(code) for code in (*LANGUAGES, *MORE)])


def test_every_good_translation_is_recognized(ear):
    for question, asked in QUESTIONS.items():
        for answer, told in ANSWERS.items():
            for code in LANGUAGES:
                texts = (asked[code], told[code])
                assert ear.problem((question, answer), texts, Language(code)) is None


def test_every_other_language_is_heard(ear):
    """Each language's translation, given as any other's."""
    [question, asked], [answer, told] = list(QUESTIONS.items())[3], list(ANSWERS.items())[1]
    said = {"en": (question, answer)} | {code: (asked[code], told[code]) for code in LANGUAGES}
    for code, texts in said.items():
        for wanted in LANGUAGES:
            if wanted != code:
                assert ear.problem((question, answer), texts, Language(wanted)), (code, wanted)


@pytest.mark.parametrize(
    ("texts", "language", "said"),
    [
        (SAID, "de", "it is in English, not in German"),
        (SAID, "yue", "it is in English, not in yue"),
        (("Was macht der Mann auf dem Bild?", SAID[1]), "de", "English"),
        (("画面中的男人在做什么？", SAID[1]), "zh", "it is in Latin letters"),
        (("画面中的男人在做什么？", "他正沿着河边骑自行车。"), "ja", "it has no kana"),
        (("写真の男性は何をしていますか？", "川沿いを自転車で走っています。"), "zh", "Kana"),
        (("Что делает мужчина на картинке?", "Он едет на велосипеде вдоль реки."), "uk", "Russian"),
        (("مرد در تصویر چه کار می‌کند؟", "او در کنار رودخانه دوچرخه‌سواری می‌کند."), "ar", "Persian"),
        (("O que o homem está fazendo na foto?", "Ele está andando de bicicleta ao longo do rio."), "es", "Portuguese"),
    ],
)  # fmt: skip
def test_a_wrong_language_is_named(ear, texts, language, said):
    assert said in ear.problem(SAID, texts, Language(language))


@pytest.mark.parametrize(
    ("texts", "language"),
    [
        (("Что делает мужчина на картинке?", "Он едет на велосипеде вдоль реки."), "ru"),
        (("Що робить чоловік на малюнку?", "Він їде на велосипеді вздовж річки."), "uk"),
        (("مرد در تصویر چه کار می‌کند؟", "او در کنار رودخانه دوچرخه‌سواری می‌کند."), "fa"),
        (("O que o homem está fazendo na foto?", "Ele está andando de bicicleta ao longo do rio."), "pt-BR"),
        (("Wat doet de man op de foto?", "Hij fietst langs de rivier."), "nl"),
        (("तस्वीर में आदमी क्या कर रहा है?", "वह नदी के किनारे साइकिल चला रहा है।"), "hi"),
        (("Τι κάνει ο άντρας στην εικόνα;", "Κάνει ποδήλατο δίπλα στο ποτάμι."), "el"),
        (("Šta radi čovek na slici?", "Vozi bicikl pored reke."), "sr"),
        (("Шта ради човек на слици?", "Вози бицикл поред реке."), "sr"),
        (("相入面個男人做緊咩？", "佢喺河邊踩緊單車。"), "yue"),
        (("Nein", "Ja"), "de"),
    ],
)  # fmt: skip
def test_the_right_language_is_accepted(ear, texts, language):
    assert ear.problem(SAID, texts, Language(language)) is None


def test_names_numbers_and_short_texts_say_nothing(ear):
    assert (
        ear.problem(("Golden Gate Bridge", "1937"), ("Golden Gate Bridge", "1937"), Language("zh"))
        is None
    )
    assert (
        ear.problem(("Which phone?", "An iPhone 15"), ("哪款手机？", "iPhone 15"), Language("zh"))
        is None
    )
    kept = ("Which one?", "Kestrel Pro"), ("哪一个？", "Kestrel Pro")
    assert ear.problem(*kept, Language("zh"), ["Kestrel Pro"]) is None


def test_languages_with_a_script_of_their_own_need_no_package(monkeypatch):
    spoken._model.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid", None)
    assert Ear(ENGLISH, [Language("zh"), Language("ko")]).problem(SAID, SAID, Language("zh"))
    with pytest.raises(MissingExtraError, match=r"mimicit\[translate\]"):
        Ear(ENGLISH, [Language("zh"), Language("de")])
