import json

import pytest

from mimicit.curate.filters import safety
from tests.mimicit.curate.saying import check, said
from tests.mimicit.curate.sentences import SENTENCES

FINE = [sentence for sentences in SENTENCES.values() for sentence in sentences]


def test_abuse_and_words_that_only_look_like_it():
    check(
        safety.toxic(),
        bad=[
            "What the FUCK is this?",
            "You are an asshole.",
            "Du Arschloch!",
            "Quel connard",
            "gilipollas",
            "你这个傻逼",
            "씨발 뭐야",
            "kill yourself",
        ],
        good=[
            *FINE,
            "A cock crows in Scunthorpe.",
            "The bitch feeds her puppies.",
            "A donkey, also called an ass.",
            "Blue tits and a pussy willow.",
            "A Maine Coon on a dyke.",
            "Shiitake mushrooms in a bowl.",
            "A field of rape in bloom.",
            "Le train a du retard.",
            "The assassin passes the class.",
            "서울의 시발역입니다.",
            "Ein Fuchs im Schnee.",
            "El cabrón es un macho de la cabra.",
        ],
    )


def test_the_words_may_be_others():
    check(safety.toxic(words=["cock (rude)", "坏"]), bad=["A Cock (rude)", "很坏的"], good=["fuck"])
    assert said(safety.toxic(), [{"answer": "Oh, shit!"}]) == ["it is abusive: shit"]


def test_abuse_as_a_library_hears_it():
    pa = pytest.importorskip("pyarrow")
    pytest.importorskip("profanity_check")
    rows = [
        {"instruction": "What is it?", "answer": "Go fuck yourself, you stupid idiot."},
        {"instruction": "What is it?", "answer": "A dog sleeps on the sofa."},
    ]
    known = safety.PROFANITY.compute(pa.RecordBatch.from_pylist(rows))
    whole = [
        row | {f"profanity_{name}": values[n] for name, values in known.items()}
        for n, row in enumerate(rows)
    ]
    first, second = said(
        safety.toxic_by_model(), whole, ", profanity_asked FLOAT, profanity_said FLOAT"
    )
    assert first.startswith("it is abusive")
    assert second is None


def test_personal_data_and_numbers_that_are_none():
    check(
        safety.personal_data(),
        bad=[
            "Write to jane.doe@mail-service.co.uk today.",
            "Call +49 30 901820 now.",
            "Phone: (415) 555-2671.",
            "His number is 415-867-5309.",
            "Tel. 030 9018200",
            "手机：13812345678",
            "電話 03-1234-5678",
            "010-1234-5678",
            "Appelez le 06 12 34 56 78.",
            "IBAN DE89 3704 0044 0532 0130 00",
            "GB29 NWBK 6016 1331 9268 19",
            "The card 4111 1111 1111 1111 is hers.",
            "Card 378282246310005",
            "It came from 8.8.8.8.",
            "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
        ],
        good=[
            *FINE,
            "On 2020-03-04 at 12:30:15.",
            "From 1830-1902, or 12/03/2021.",
            "There are 1,234,567,890 grains of sand.",
            "The city has 8 500 000 people.",
            "The dog is at [0.123456, 0.456789, 0.812345, 0.912345].",
            "At 52.520008, 13.404954 on the map.",
            "The card 4111 1111 1111 1112 is not one.",
            "IBAN DE89 3704 0044 0532 0130 01 is wrong.",
            "The sum is 3.141592653589793.",
            "The router is at 192.168.0.1.",
            "It runs version 10.4.2.1.",
            "Write to someone@example.com.",
            "Meet @anna at 5.",
            "A phone from 1998 lies on a table, 3 calls missed.",
            "The ISBN is 978-3-16-148410-0.",
            "The years 1914, 1918, 1939 and 1945.",
            "The photograph IMG_20200304_123015 is sharp.",
        ],
    )


def test_only_the_kinds_that_are_asked_for():
    mail = "a@b-mail.org"
    check(safety.personal_data(kinds=["phone"]), bad=[], good=[mail])
    check(safety.personal_data(kinds=["email"]), bad=[mail], good=["Call +49 30 901820 now."])
    with pytest.raises(ValueError, match="fax"):
        safety.personal_data(kinds=["fax"])


def rows(*pairs):
    return [
        {"answer": "x", "source": source, "meta": json.dumps(meta) if meta else None}
        for source, meta in pairs
    ]


def test_sources_and_licences():
    cc, nc = {"licence": "CC-BY-4.0"}, {"license": "cc-by-nc-4.0"}
    check(
        safety.source_rule(deny_sources=["bad.json", "web/*"], deny_licences=["cc-by-nc*"]),
        bad=rows(("bad.json#4", None), ("web/a.json#1", cc), ("x.json", nc), ("BAD.json", None)),
        good=rows(("good.json#1", cc), (None, None), ("bad.jsonl#4", None)),
    )
    check(
        safety.source_rule(allow_licences=["cc-by-4.0"]),
        bad=rows(("a", nc), ("a", None)),
        good=rows(("a", cc)),
    )
    assert said(safety.source_rule(allow_licences=["x"]), [{"meta": "{broken"}]) == [
        "it names no licence"
    ]
    assert said(safety.source_rule(allow_sources=["it's.json"]), rows(("it's.json#1", None))) == [
        None
    ]
    with pytest.raises(ValueError, match="needs a list"):
        safety.source_rule()
