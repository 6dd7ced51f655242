import pytest

from mimicit.errors import MimicitError
from syphus.translate.languages import NAMES, Language, language_of, languages_of
from syphus.translate.scripts import scripts_in


@pytest.mark.parametrize(
    ("code", "known", "name"),
    [
        ("zh", "zh", "Chinese"),
        (" DE ", "de", "German"),
        ("pt_br", "pt-BR", "Portuguese (Brazil)"),
        ("ZH-hant", "zh-Hant", "Chinese (traditional characters)"),
        ("es-419", "es-419", "Spanish (Latin America)"),
        ("yue", "yue", "yue"),
    ],
)
def test_a_code_is_known_in_any_case(code, known, name):
    assert (language_of(code).code, language_of(code).name) == (known, name)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("jp", r"did you mean ja \(Japanese\)"),
        ("german", r"did you mean de \(German\)"),
        ("Spansh", r"did you mean es \(Spanish\)"),
        ("xq", "did you mean"),
        ("12", "write codes of ISO 639-1"),
    ],
)
def test_an_unknown_code_is_a_sentence_with_what_may_be_meant(code, said):
    with pytest.raises(MimicitError, match=said):
        language_of(code)


def test_a_list_names_each_language_once():
    assert [one.code for one in languages_of("zh, ja,ZH,")] == ["zh", "ja"]
    with pytest.raises(MimicitError, match="no language is named"):
        languages_of(" , ")


def test_every_language_has_scripts_whose_letters_are_known():
    assert len(NAMES) == 183
    for code in NAMES:
        assert Language(code).scripts
    assert Language("sr-Latn").scripts == ("Latin",)
    assert Language("yue").scripts == ()


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("猫が好き", "Han"), ("ねこ", "Kana"), ("고양이", "Hangul"), ("قطة", "Arabic"), ("кот", "Cyrillic"),
        ("γάτα", "Greek"), ("חתול", "Hebrew"), ("बिल्ली", "Devanagari"), ("แมว", "Thai"), ("Größe", "Latin"),
        ("கண்ணாடி", "Tamil"), ("კატა", "Georgian"), ("կատու", "Armenian"), ("ድመት", "Ethiopic"),
    ],
)  # fmt: skip
def test_letters_are_told_by_script(text, script):
    assert script in scripts_in(text)
    assert not scripts_in("12 … ？ <>")
