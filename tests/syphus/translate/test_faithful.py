import pytest
from hypothesis import given
from hypothesis import strategies as st

from syphus.translate.faithful import is_name, names_in, plain, unfaithful
from syphus.translate.languages import ENGLISH, language_of
from tests.syphus.translate.corpus import ANSWERS, QUESTIONS


def wrong(source, text, language, *, keep=(), origin=ENGLISH):
    return unfaithful(source, text, language=language_of(language), origin=origin, keep=keep)


@pytest.mark.parametrize("source", [*QUESTIONS, *ANSWERS])
def test_good_translations_are_accepted(source):
    for language, text in (QUESTIONS | ANSWERS)[source].items():
        assert wrong(source, text, language) is None


@pytest.mark.parametrize(
    ("source", "text", "language", "said"),
    [
        pytest.param("A cat.", "", "zh", "it is empty", id="nothing"),
        pytest.param("A cat.", " \u200f。", "zh", "it is empty", id="no letter"),
        pytest.param("A cat.", "一只\ufffd猫", "zh", "broken characters", id="broken character"),
        pytest.param("Look at <image>.", "看这张图。", "zh", "<image> must be in it once", id="placeholder lost"),
        pytest.param("Look at <image>.", "看<圖片>。", "zh", "<image> must be", id="placeholder translated"),
        pytest.param("<image> and <image>", "<image> und", "de", "2 times", id="one of two lost"),
        pytest.param("Hello {name}!", "Hallo {Name}!", "de", "{name} must be", id="variable translated"),
        pytest.param("Use {{x}}.", "Nimm {x}.", "de", "{{x}} must be", id="braces lost"),
        pytest.param("It is %s.", "Es ist s.", "de", "%s must be", id="percent lost"),
        pytest.param("See https://a.org/b.", "Siehe https://a.org/c.", "de", "https://a.org/b must", id="address changed"),
        pytest.param("Ask a.b@c.org.", "Frag a.b@c.de.", "de", "a.b@c.org must", id="mail changed"),
        pytest.param("A cat.", "Eine Katze <image>.", "de", "<image> is not in the record", id="placeholder invented"),
        pytest.param("One.\nTwo.", "一。二。", "zh", "it must have 2 lines, not 1", id="lines joined"),
        pytest.param("One. Two.", "Eins.\nZwei.", "de", "it must have 1 line, not 2", id="line split"),
        pytest.param("An iPhone.", "苹果手机。", "zh", "'iPhone' must stay", id="camel case"),
        pytest.param("It is COVID-19.", "这是新冠19。", "zh", "'COVID-19' must stay", id="code"),
        pytest.param("The A380 lands.", "Der A 380 landet.", "de", "'A380' must stay", id="code split"),
        pytest.param("NASA built it.", "La nasa l’a construit.", "fr", "'NASA' must stay", id="acronym"),
        pytest.param("A dog runs.", "a dog runs!", "fr", "it is not translated", id="copied"),
        pytest.param("Yes.", "Yes", "zh", "it is not translated", id="a copied word"),
        pytest.param("It costs 42 euros.", "Es kostet 43 Euro.", "de", "the number 42 is missing", id="number changed"),
        pytest.param("It is old.", "Es ist 80 Jahre alt.", "de", "the number 80 is not in the record", id="number invented"),
    ],
)  # fmt: skip
def test_what_is_lost_or_changed_is_said(source, text, language, said):
    assert said in wrong(source, text, language)


@pytest.mark.parametrize(
    ("source", "text", "language"),
    [
        pytest.param("See https://a.org/b.", "请看https://a.org/b。", "zh", id="address before a full stop"),
        pytest.param("Ask a.b@c.org.", "a.b@c.orgへ聞いて。", "ja", id="mail without spaces"),
        pytest.param("Hi {name}, %s", "你好{name}，%s", "zh", id="variables"),
        pytest.param("SUVs stand there.", "Da stehen SUV.", "de", id="plural of a short form"),
        pytest.param("A COVID-19 test.", "ＣＯＶＩＤ－19の検査。", "ja", id="full width"),
        pytest.param("A COVID-19 test.", "فحص COVID\u200e-19.", "ar", id="mark of direction inside"),
        pytest.param("Watching TV in the USA", "在美国看电视", "zh", id="short forms with a name of their own"),
        pytest.param("It is NOT a dog", "Das ist KEIN Hund", "de", id="stress"),
        pytest.param("THE CAT SLEEPS ON THE NEW SOFA", "LE CHAT DORT SUR LE NOUVEAU CANAPÉ", "fr", id="shouted"),
        pytest.param("NO PARKING here", "Parken verboten", "de", id="a sign"),
        pytest.param('It says "CLOSED".', "Da steht „Geschlossen“.", "de", id="quoted"),
        pytest.param("Golden Gate Bridge.", "Golden Gate Bridge", "fr", id="a name may be the same"),
        pytest.param("Orange.", "Orange.", "fr", id="a word may be the same"),
        pytest.param("", "anything", "zh", id="nothing to translate"),
        pytest.param("Line one.\r\nTwo.", "一。\n二。", "zh", id="line ends of Windows"),
    ],
)  # fmt: skip
def test_what_may_differ_may(source, text, language):
    assert wrong(source, text, language) is None


def test_terms_to_keep_are_kept():
    assert "'golden hour' must stay" in wrong(
        "In the golden hour.", "Zur goldenen Stunde.", "de", keep=["golden hour"]
    )
    assert wrong("In the golden hour.", "Zur golden hour.", "de", keep=["golden hour"]) is None
    assert wrong("A category.", "Eine Kategorie.", "de", keep=["cat"]) is None


def test_names_and_codes_are_found():
    text = (
        "NASA's COVID-19 iPhones, the A380 and B-52s on YouTube; T-shirts at 5PM in the Mid-1990s, a 20-year-old "
        "McDonald's, H2O in 3D, U.S. AT&T, Louis XIV, 1st, 10km"
    )
    assert names_in(text) == [
        "NASA", "COVID-19", "iPhones", "A380", "B-52s", "YouTube", "H2O", "3D", "AT&T",
    ]  # fmt: skip
    assert plain("NASA has <image> and “No Exit”.").split() == ["has", "and", "."]
    assert is_name("Golden Gate Bridge")
    assert not is_name("A Golden Retriever")
    assert not is_name("Yes")


@given(st.text(max_size=80), st.text(max_size=80), st.sampled_from(["zh", "de", "ar"]))
def test_no_text_breaks_the_checks(source, text, language):
    wrong(source, text, language)


@given(st.text(alphabet="ab CD12.,%{}<>/@\n", max_size=60))
def test_of_placeholders_numbers_and_lines_a_copy_loses_nothing(source):
    assert wrong(source, source, "zh") in (None, "it is not translated", "it is empty")
