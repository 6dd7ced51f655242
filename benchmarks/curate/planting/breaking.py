"""Faults in how a text is built: empty, short, long, broken off, repeated, in another language or another encoding."""

from __future__ import annotations

import re

from . import tongues
from .drafts import Draft, Plot
from .words import _mark

EMPTY = ("", " ", "…", "\n\n", "!!!", "-", "…?", "—", " . ", "❓")
SINGLE = ("Red.", "Yes", "No.", "Outside.", "Three", "Running.", "Unknown", "left")
LATIN = ("en", "de", "fr", "es")


def empty(plot: Plot, count: int) -> None:
    for n, draft in enumerate(plot.takes(count)):
        if n % 2:
            draft.answer = EMPTY[n // 2 % len(EMPTY)]
            if "\nA. " in draft.instruction:
                draft.labels.add("no_valid_option")
            draft.may |= {"unfinished", "echo"}
        else:
            draft.instruction = EMPTY[n // 2 % len(EMPTY)]
        draft.may |= {"repeated_question", "exact_duplicate", "too_short", "near_duplicate_picture"}
        _mark(draft, "empty")
    for n, draft in enumerate(plot.takes(count // 4, lambda d: "\n" not in d.instruction)):
        draft.answer = ("7", "5 °C", "猫", "Ω", "3:2", "No")[n % 6]
        draft.may |= {"too_short", "wrong_language", "mixed_script"}
        _mark(draft, "")


def too_short(plot: Plot, count: int) -> None:
    for n, draft in enumerate(plot.takes(count + count // 4, _english)):
        draft.answer = (
            SINGLE[n % len(SINGLE)]
            if n < count
            else ("It's red.", "Two men", "Yes, three", "Not here.")[n % 4]
        )
        draft.may |= {"exact_duplicate"}
        _mark(draft, "too_short" if n < count else "")


def too_long(plot: Plot, count: int) -> None:
    """Make answers of more than 200 words, and some of just below."""
    for n, draft in enumerate(plot.takes(count + count // 4, _english)):
        most = plot.rng.randint(225, 420) if n < count else 190
        sentences = [
            d.answer
            for d in plot.rng.sample(plot.drafts, 60)
            if d.language == "en" and d.is_plain and "\n" not in d.instruction
        ]
        whole = re.split(r"(?<=\.) ", " ".join(sentences))
        while len(" ".join(whole).split()) > most:
            whole.pop()
        draft.answer = " ".join(whole)
        _mark(draft, "too_long" if n < count else "")


def echo(plot: Plot, count: int) -> None:
    changes = (
        lambda t: t,
        str.upper,
        lambda t: t.rstrip("?？؟. "),
        lambda t: f"  {t}  ",
        lambda t: t.replace(" ", "  "),
        lambda t: f"«{t}»",
    )
    for n, draft in enumerate(plot.takes(count, lambda draft: "\n" not in draft.instruction)):
        draft.answer = changes[n % len(changes)](draft.instruction)
        draft.may |= {"question_echo", "unfinished", "wrong_language"}
        _mark(draft, "echo")


def question_echo(plot: Plot, count: int) -> None:
    asks = re.compile(
        r"^(What is|Where is|Why is|Which color does) (.+?) (doing|wearing|that|have)?\b(.*)\?$"
    )
    for n, draft in enumerate(
        plot.takes(
            count,
            lambda d: (
                _english(d)
                and len(d.instruction.split()) >= 7
                and asks.match(d.instruction) is not None
            ),
        )
    ):
        question = draft.instruction
        match n % 4:
            case 0:
                draft.answer = f"{question} {draft.answer}"
            case 1:
                draft.answer = f"{question} The"
                draft.may.add("unfinished")
            case 2:
                draft.answer = f"{question.rstrip('?')} {draft.answer}"
            case _:
                words = question.rstrip("?").split()
                draft.answer = " ".join([*words[2:], words[1]]).capitalize() + "."
        draft.may |= {"repetition", "too_long"}
        _mark(draft, "question_echo")
    for draft in plot.takes(
        count // 4, lambda d: _english(d) and d.instruction.startswith("How many ")
    ):
        rest = draft.instruction.removeprefix("How many ").rstrip("?")
        draft.answer = f"Seven {rest}."
        _mark(draft, "")


def repetition(plot: Plot, count: int) -> None:
    for n, draft in enumerate(
        plot.takes(count, lambda d: 30 < len(d.answer) < 400 and "\n" not in d.instruction)
    ):
        first = re.split(r"(?<=[.。])", draft.answer)[0].strip()
        words = first.rstrip(".").split()
        dense = draft.language in ("zh", "ja")
        match n % 5:
            case 0:
                draft.answer = (first if dense else first + " ") * (6 if not dense else 8)
            case 1:
                draft.answer = (
                    " ".join([*words, *(" and ".join(words[-3:]) + " " for _ in range(12))]) + "."
                    if not dense
                    else first[-9:] * 12
                )
            case 2:
                draft.answer = f"{draft.answer} {draft.answer} {draft.answer}"
            case 3:
                draft.answer = (
                    draft.answer
                    + " "
                    + (" ".join(words[:6] if not dense else [first[:9]]) + ", ") * 15
                    + "."
                )
            case _:
                draft.answer = f"{(words[-1] if not dense else first[:4])} " * 60
                draft.may |= {"wrong_language", "unfinished"}
        draft.answer = draft.answer.strip()
        draft.may |= {"too_long", "unfinished"}
        _mark(draft, "repetition")
    parallel = (
        "A {a} is on the left, a {b} is in the middle, and a {c} is on the right of the picture.",
        "There are three things. The first is a {a}. The second is a {b}. The third is a {c}.",
        "One man carries a {a}, one man carries a {b}, and one man carries a {c}, and all of them laugh.",
    )  # fmt: skip
    things = ("kettle", "kite", "drum", "lantern", "basket", "ladder", "mirror", "clock", "bucket")
    for n, draft in enumerate(plot.takes(count // 4, _english)):
        a, b, c = plot.rng.sample(things, 3)
        draft.answer = parallel[n % 3].format(a=a, b=b, c=c)
        _mark(draft, "")


TIED = {
    "en": ("and", "because", "with the", "or"),
    "de": ("und", "weil"),
    "fr": ("et", "parce que"),
    "es": ("y", "porque"),
    "zh": ("因为", "，"),
    "ja": ("そして", "、"),
    "ko": ("그리고", ","),
    "ar": ("لأن", "،"),
}


def unfinished(plot: Plot, count: int) -> None:
    for n, draft in enumerate(
        plot.takes(
            count,
            lambda d: (
                len(d.answer) > (60 if d.language in ("zh", "ja", "ko") else 130)
                and "\n" not in d.instruction
            ),
        )
    ):
        text, rng = draft.answer, plot.rng
        between = "" if draft.language in ("zh", "ja") else " "
        match n % 5:
            case 0 | 1:
                cut = text[: int(len(text) * rng.uniform(0.75, 0.95))]
                draft.answer = re.sub(r"[\s.。،,、;؟?!，:：다요]+$", "", cut)
            case 2:
                draft.answer = text.rstrip(".。") + ","
            case 3:
                tied = TIED[draft.language][n // 5 % 2]
                draft.answer = text.rstrip(".。") + ("" if tied in "，、,،" else between) + tied
            case _:
                draft.answer = text + " ("
        _mark(draft, "unfinished")
    whole = (
        "A man riding a wave",
        "Near the lake",
        "It is half past 5",
        "See https://www.museum-hall.org/birds",
        "The list:\n- a long and very heavy ladder made of wood\n- a bench",
        "It is a dog 🙂",
        "He says “wait”",
        "Two of them (the old ones)",
    )
    for n, draft in enumerate(plot.takes(count // 4, _english)):
        draft.answer = whole[n % len(whole)]
        draft.may |= {"exact_duplicate"}
        _mark(draft, "")


def no_valid_option(plot: Plot, count: int) -> None:
    bad = (
        "E",
        "F. a bird",
        "I am not sure.",
        "It is something else.",
        "None of these",
        "The answer is G.",
        "Maybe it is a kind of sculpture.",
        "X",
    )
    for n, draft in enumerate(plot.takes(count, lambda d: "\nA. " in d.instruction)):
        draft.answer = bad[n % len(bad)]
        draft.may |= {"too_short", "unfinished", "refusal"}
        _mark(draft, "no_valid_option")
    forms = (
        ("Which one is it? A) a kettle B) a kite C) a drum", "B"), ("Which one is it? (A) a kettle (B) a kite (C) a drum", "(C)"), ("它是什么？A. 水壶 B. 风筝 C. 鼓", "C. 鼓"),
        ("What is it?\nA. a kettle\nB. a kite", "It must be a kite."), ("Is it by J. A. B. Cook?", "Yes, the label says so."), ("Pick one: A: kettle B: kite C: drum", "Correct answer: A"),
        ("Which one?\nA. the left one\nB. the right one", "**B**"), ("Which one?\nA. the left one\nB. the right one", "b"), ("Which one?\nA. the left one\nB. the right one", "Option a"), ("Which one?\nA. the left one\nB. the right one", "The right one, since it has a lid."),
    )  # fmt: skip
    for n, draft in enumerate(plot.takes(count // 3, _english)):
        draft.instruction, draft.answer = forms[n % len(forms)]
        draft.may |= {
            "too_short",
            "repeated_question",
            "exact_duplicate",
            "wrong_language",
            "mixed_script",
            "near_duplicate_picture",
            "near_duplicate",
        }
        _mark(draft, "")


def encoding_damage(plot: Plot, count: int) -> None:
    def mojibake(text: str, wrong: str) -> str:
        return text.encode().decode(wrong, "replace" if wrong == "cp1252" else "strict")

    for n, draft in enumerate(plot.takes(count, lambda d: d.language != "en" or n_ascii(d))):
        text, rng = draft.answer, plot.rng
        if draft.language == "en":
            draft.may.add("unfinished")
            at = rng.randrange(len(text))
            draft.answer = (
                text.replace(" is ", " isn&#39;t ", 1)
                if " is " in text
                else text + " It&rsquo;s so.",
                text[:at] + "\x07" + text[at:],
                text[:at] + "\ufffd" + text[at:],
                text + " It\\u2019s so.",
                mojibake("It’s a “café”. ", "cp1252") + text,
                text.replace(".", ".\x00"[:1] + "\x1b", 1),
                "Salt &amp; pepper. " + text,
                text + " 30 Â°C.",
            )[n % 8]
        else:
            draft.answer = mojibake(text, ("cp1252", "latin-1")[n % 2])
            if draft.answer == text or draft.answer.isascii():
                draft.answer = mojibake(text + " Ça été.", "latin-1")
            draft.may |= {
                "wrong_language",
                "mixed_script",
                "unfinished",
                "repetition",
                "question_echo",
                "too_long",
            }
        _mark(draft, "encoding_damage")
    fine = (
        "S&P 500 is written there.",
        "It is 20 °C and costs 5 €.",
        "Crème brûlée – “delicious”!",
        "In HTML, &amp; stands for an ampersand.",
        "SÃO PAULO is written on it.",
        "👩‍🍳 A cook.",
        "Tom & Jerry; Q&A",
    )
    for n, draft in enumerate(plot.takes(count // 4, _english)):
        draft.answer = f"{fine[n % len(fine)]} {draft.answer}"
        _mark(draft, "")


def n_ascii(draft: Draft) -> bool:
    return draft.answer.isascii() and "\n" not in draft.instruction


_ALIKE = str.maketrans("aceopxAEO", "асеорхАЕО")


def mixed_script(plot: Plot, count: int) -> None:
    phrases = (
        "Собака сидит на улице и смотрит.",
        "这只狗在路边坐着看。",
        "犬がここに座っています。",
        "الكلب يجلس هنا وينظر.",
        "개가 여기에 앉아 있습니다.",
        "Ο σκύλος κάθεται εδώ.",
    )
    for n, draft in enumerate(
        plot.takes(
            count,
            lambda d: (
                d.language in LATIN and 20 < len(d.answer) < 300 and "\n" not in d.instruction
            ),
        )
    ):
        words = draft.answer.split()
        if n % 2:
            at = max(range(len(words)), key=lambda k: len(words[k]))
            changed = words[at].translate(_ALIKE)
            words[at] = (
                words[at][0] + changed[1:] if changed[1:] != words[at][1:] else words[at] + "е"
            )
            draft.answer = " ".join(words)
        else:
            draft.answer = f"{draft.answer} {phrases[n // 2 % len(phrases)]}"
            draft.may.add("wrong_language")
        draft.may.add("unfinished")
        _mark(draft, "mixed_script")
    fine = (
        "The sign says 出口.",
        "It is 5 μm wide and Δx is small.",
        "Zoë and André wait in São Paulo.",
        "The word 寿司 is written on the lantern.",
        "The label reads Столичная.",
    )
    for n, draft in enumerate(plot.takes(count // 4, _english)):
        draft.answer = f"{fine[n % len(fine)]} {draft.answer}"
        _mark(draft, "")


_KANA, _HANGUL, _ARAB, _HAN = "\u3040-\u30ff", "\uac00-\ud7af", "\u0600-\u06ff", "\u3400-\u9fff"
_NOT_IN = {
    **dict.fromkeys(LATIN, _KANA + _HANGUL + _ARAB + _HAN),
    "zh": _KANA + _HANGUL + _ARAB, "ja": _HANGUL + _ARAB, "ko": _KANA + _ARAB, "ar": _KANA + _HANGUL + _HAN,
}  # fmt: skip
"""Language -> the scripts, of those here, that it does not use."""


def wrong_language(plot: Plot, count: int) -> None:
    codes = ("en", *tongues.TONGUES)
    for n, draft in enumerate(
        plot.takes(count, lambda d: "\n" not in d.instruction and len(d.answer) > 40)
    ):
        other = plot.rng.choice([code for code in codes if code != draft.language])
        if n % 2:
            draft.language = other  # what it says it is in
        elif other == "en":
            draft.answer = (
                "It stands close to the old house, and somebody is looking at it from the window."
            )
        else:
            draft.answer = tongues.pair(other, plot.rng)[1]
        if re.search(f"[{_NOT_IN[draft.language]}]", draft.answer):
            draft.labels.add("mixed_script")
        draft.may |= {"unfinished", "exact_duplicate"}
        _mark(draft, "wrong_language")
    for n, draft in enumerate(
        plot.takes(count // 4, lambda d: d.language in LATIN and "\n" not in d.instruction)
    ):
        draft.answer = (
            "Giacomo Puccini.",
            "OK, 5 km.",
            "“Au Bon Pain”",
            "Café Müller",
            "Mercedes-Benz 300 SL",
        )[n % 5]
        draft.may |= {"exact_duplicate"}
        _mark(draft, "")


def _english(draft: Draft) -> bool:
    return draft.language == "en" and "\n" not in draft.instruction
