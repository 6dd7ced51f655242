import pytest
from hypothesis import given
from hypothesis import strategies as st

from syphus.translate.languages import ENGLISH, Language
from syphus.translate.numbers import numbers_kept

ARABIC = str.maketrans("0123456789,.", "٠١٢٣٤٥٦٧٨٩٬٫")
FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")
DEVANAGARI = str.maketrans("0123456789", "०१२३४५६७८९")


def wrong(source, text, language, origin=ENGLISH):
    return numbers_kept(source, text, language=Language(language), origin=origin)


@pytest.mark.parametrize(
    ("source", "text", "language"),
    [
        ("1,250.50 euros", "1.250,50 Euro", "de"),
        ("1,250 euros", "1 250 euros", "fr"),
        ("1,250 euros", "1\u202f250 euros", "fr"),
        ("1250 euros", "1’250 Franken", "de"),
        ("1,250 euros", "1250", "zh"),
        ("1,250 euros", "١٬٢٥٠", "ar"),
        ("1,250 euros", "١٢٥٠", "ar"),
        ("250000 people", "2,50,000 लोग", "hi"),
        ("120,000 people", "12万人", "zh"),
        ("1.5 million people", "150만 명", "ko"),
        ("2 dogs", "两只狗", "zh"),
        ("23 dogs", "二十三只狗", "zh"),
        ("2 dogs", "개 두 마리", "ko"),
        ("20 dogs", "개 스무 마리", "ko"),
        ("3 dogs", "みっつ", "ja"),
        ("2 dogs", "２匹の犬", "ja"),
        ("a dog", "1匹の犬", "ja"),
        ("two dogs in December", "12月有2只狗", "zh"),
        ("at 3:30 pm", "à 15 h 30", "fr"),
        ("in the 19th century", "au XIXe siècle", "fr"),
        ("the 1950s", "die 1950er", "de"),
        ("12 m² and ½", "12 m² und ½", "de"),
        ("in 2020 300 people", "300 personnes en 2020", "fr"),
        ("1, 2, 3", "1、2、3", "zh"),
    ],
)
def test_a_number_may_be_written_as_it_is_there(source, text, language):
    assert wrong(source, text, language) is None


@pytest.mark.parametrize(
    ("source", "text", "language", "said"),
    [
        ("2 dogs", "zwei Hunde", "de", "the number 2 is missing"),
        ("42 dogs", "几只狗", "zh", "the number 42 is missing"),
        ("5 and 5", "5 und", "de", "the number 5 is missing"),
        ("120,000 people", "12人", "zh", "the number 120000 is missing"),
        ("some dogs", "7 Hunde", "de", "the number 7 is not in the record"),
    ],
)
def test_a_number_that_is_lost_or_invented_is_named(source, text, language, said):
    assert wrong(source, text, language) == said


def test_numbers_that_another_language_says_in_words_are_not_counted():
    assert wrong("dos perros", "2 dogs", "en", origin=Language("es")) is None


@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=4),
    st.sampled_from([ARABIC, FULL_WIDTH, DEVANAGARI, {}]),
    st.sampled_from([",", ".", "’", "\u202f", ""]),
    st.randoms(use_true_random=False),
)
def test_digits_separators_and_order_do_not_matter(numbers, digits, separator, random):
    source = " and ".join(f"{n:,}" for n in numbers)
    random.shuffle(numbers)
    text = " und ".join(f"{n:,}".replace(",", separator) for n in numbers).translate(digits)
    assert wrong(source, text, "de") is None


@given(st.lists(st.integers(100, 10**9), min_size=1, max_size=4))
def test_each_number_counts(numbers):
    source = " and ".join(f"{n:,}" for n in numbers)
    assert wrong(source, " und ".join(f"{n:,}" for n in numbers[1:]), "de")


@given(st.text(alphabet="0123456789.,' 万百pmth١٢½²③", max_size=60))
def test_any_digits_can_be_read(text):
    for language in ("zh", "ko", "de"):
        assert wrong(text, text, language) is None
