"""Faults that show only beside something else: annotations, a judge's verdicts, a translation's source, a benchmark, a record in other words."""

from __future__ import annotations

import json
from collections.abc import Sequence

from .drafts import Draft, Plot
from .looks import _pairs, composed, encoded
from .words import _mark

BENCHMARK = "bench.jsonl"
PARAMETERS: dict[str, dict[str, object]] = {
    "in_benchmark": {"files": [f"{{folder}}/{BENCHMARK}"]},
    # A planted fault is one thing among two or three that are there.
    "unsupported_object": {"share": 0},
}

# What people annotated

THINGS = ("dog", "cat", "horse", "cow", "sheep", "bear", "bird")
PLACES = ("sofa", "bench", "bed", "car", "bus", "boat", "chair")
COUNTED = ("cup", "bottle", "book", "umbrella", "apple", "banana", "clock")
COLOURS = ("red", "blue", "green", "yellow", "white", "black")
NUMBERS = ("two", "three", "four", "five", "six")


def unsupported_object(plot: Plot, count: int) -> None:
    bad = (
        "A {x} stands beside the {place}.", "The {thing} looks at a {x}.", "There is a {thing} on the {place}, and behind it a {x}.", "Next to the {number} {counted}s lies a {x}.",
    )  # fmt: skip
    others = ("zebra", "piano", "train", "guitar", "kite", "laptop", "giraffe")
    _tell(plot, count, "unsupported_object", bad, {"x": others})


def contradicted_count(plot: Plot, count: int) -> None:
    bad = (
        "There are {more} {counted}s.",
        "I see {more} {counted}s and a {thing}.",
        "{More} {counted}s are on the table.",
        "The {thing} is near {more} {counted}s.",
    )
    _tell(plot, count, "contradicted_count", bad)


def wrong_colour(plot: Plot, count: int) -> None:
    bad = (
        "The {place} is {other}.",
        "A {thing} is on the {other} {place}.",
        "It is on a {other} {place}.",
        "There is a {other} {place} here.",
    )
    _tell(plot, count, "wrong_colour", bad)


def wrong_side(plot: Plot, count: int) -> None:
    bad = (
        "The {thing} is on the {wrong} side of the picture.", "On the {wrong}, there is a {thing}.", "The {thing} is on the {wrong}.", "The {thing} can be seen at the {wrong} of the picture.",
    )  # fmt: skip
    _tell(plot, count, "wrong_side", bad)


RIGHT = (
    "The {thing} is on the {place}.", "There are {number} {counted}s on the table.", "The {place} is {colour}.", "On the {side}, there is a {thing}.", "A {thing} is on the {colour} {place}.",
    "The {thing} on the {side} is quiet.",
)  # fmt: skip


def _tell(
    plot: Plot,
    count: int,
    filter_: str,
    bad: Sequence[str],
    more: dict[str, Sequence[str]] | None = None,
) -> None:
    """Let records speak of pictures that were annotated: wrongly, and rightly for half as many."""
    rng = plot.rng
    for n, draft in enumerate(plot.takes(count + count // 2, _english)):
        k = rng.randrange(len(NUMBERS))
        colour, other = rng.sample(COLOURS, 2)
        side, wrong = rng.sample(("left", "right"), 2)
        told = {
            "thing": rng.choice(THINGS), "place": rng.choice(PLACES), "counted": rng.choice(COUNTED), "colour": colour, "other": other, "side": side, "wrong": wrong,
            "number": NUMBERS[k], "more": NUMBERS[(k + 1 + rng.randrange(4)) % 5],
        }  # fmt: skip
        told |= {name: rng.choice(values) for name, values in (more or {}).items()}
        told["More"] = told["more"].capitalize()
        picture = f"P_IMG_told_{filter_}_{n:05d}"
        plot.pictures[picture] = encoded(composed(rng))
        _annotate(plot, picture, told, k + 2)
        draft.instruction = (
            "What is to be seen?",
            "What do you see in the picture?",
            "Describe the picture.",
        )[n % 3]
        draft.answer, draft.image_ids = (
            (bad[n % len(bad)] if n < count else RIGHT[n % len(RIGHT)]).format(**told),
            (picture,),
        )
        _mark(draft, filter_ if n < count else "")


def _annotate(plot: Plot, picture: str, told: dict[str, str], number: int) -> None:
    captions = (
        "A {thing} is on a {colour} {place}.".format(**told),
        "There are {number} {counted}s on a table near the {thing}.".format(**told),
    )
    left = 0.05 if told["side"] == "left" else 0.7
    things: list[tuple[str, tuple[float, ...] | None]] = [
        (told["thing"], (left, 0.3, left + 0.22, 0.6)),
        (told["place"], (max(0.0, left - 0.05), 0.5, left + 0.28, 0.95)),
        ("dining table", (0.35, 0.6, 0.65, 0.95)),
    ]
    things += [
        (told["counted"], (0.36 + 0.045 * m, 0.55, 0.395 + 0.045 * m, 0.62)) for m in range(number)
    ]
    plot.annotations.append(((picture,), captions, tuple(things)))


# What judges said


def judge_score(plot: Plot, count: int) -> None:
    """Let one or two judges give too little, or enough."""
    for n, draft in enumerate(plot.takes(2 * count)):
        low = n < count
        scores = (
            (plot.rng.choice((1.5, 2.0, 2.75)),) if low else (plot.rng.choice((3.0, 3.5, 5.0)),)
        )
        if n % 3 == 0:
            scores = (
                (scores[0] + 0.5, scores[0] - 0.6)
                if low
                else (scores[0], min(5.0, scores[0] + 0.5))
            )
        plot.judged += [
            (draft.id, judge, score) for judge, score in zip(("one", "two"), scores, strict=False)
        ]
        _mark(draft, "judge_score" if low else "")


def judges_disagree(plot: Plot, count: int) -> None:
    for n, draft in enumerate(plot.takes(count + count // 2)):
        apart = n < count
        scores = (
            plot.rng.choice(((5.0, 3.0), (3.0, 5.0), (4.75, 3.0)))
            if apart
            else plot.rng.choice(((4.0, 3.5), (3.0, 4.5), (5.0, 5.0)))
        )
        plot.judged += [
            (draft.id, judge, score) for judge, score in zip(("one", "two"), scores, strict=True)
        ]
        _mark(draft, "judges_disagree" if apart else "")


# Translations

SAID = {
    "en": ("Yes, {n} birds sit on the roof, and the gate below them is wide open today.", "There are {n} lemons in the bowl beside the window and one knife on the table.", "No, the bridge is {n} meters long and was painted only a short time ago."),
    "de": ("Ja, {n} Vögel sitzen auf dem Dach, und das Tor darunter ist heute weit offen.", "In der Schale neben dem Fenster sind {n} Zitronen und auf dem Tisch ein Messer.", "Nein, die Brücke ist {n} Meter lang und wurde erst vor kurzem gestrichen."),
    "fr": ("Oui, {n} oiseaux sont assis sur le toit, et la porte en dessous est grande ouverte aujourd'hui.", "Il y a {n} citrons dans le bol près de la fenêtre et un couteau sur la table.", "Non, le pont mesure {n} mètres de long et a été peint il y a peu de temps."),
    "es": ("Sí, {n} pájaros están sentados en el tejado, y la puerta de abajo está hoy muy abierta.", "Hay {n} limones en el cuenco junto a la ventana y un cuchillo en la mesa.", "No, el puente mide {n} metros de largo y fue pintado hace poco tiempo."),
    "zh": ("是的，有{n}只鸟停在屋顶上，下面的大门今天敞开着。", "窗边的碗里有{n}个柠檬，桌子上有一把刀。", "不，这座桥长{n}米，不久前才刷过漆。"),
    "ja": ("はい、屋根の上に鳥が{n}羽とまっていて、下の門は今日大きく開いています。", "窓のそばのボウルにレモンが{n}個あり、テーブルにナイフが1本あります。", "いいえ、橋の長さは{n}メートルで、つい最近塗られました。"),
    "ko": ("네, 지붕 위에 새 {n}마리가 앉아 있고 아래 문은 오늘 활짝 열려 있습니다.", "창가의 그릇에 레몬 {n}개가 있고 탁자 위에 칼 하나가 있습니다.", "아니요, 다리의 길이는 {n}미터이고 얼마 전에 칠해졌습니다."),
    "ar": ("نعم، يجلس {n} طيور على السطح، والبوابة تحتها مفتوحة اليوم على مصراعيها.", "هناك {n} ليمونات في الوعاء بجانب النافذة وسكين واحدة على الطاولة.", "لا، طول الجسر {n} أمتار وقد تم طلاؤه منذ وقت قصير."),
}  # fmt: skip
ASKED = {
    "en": "Is that so?",
    "de": "Ist das so?",
    "fr": "Est-ce le cas ?",
    "es": "¿Es así?",
    "zh": "是这样吗？",
    "ja": "そうですか？",
    "ko": "그런가요?",
    "ar": "هل هذا صحيح؟",
}


def translations_differ(plot: Plot, count: int) -> None:
    """Plant translations with another number, another answer, the source's own words, or far too much; and right ones."""
    sources = list(plot.takes(count + count // 2, _english))
    plot.rewind()
    targets = list(plot.takes(count + count // 2, lambda d: d.language != "en"))
    for n, (source, target) in enumerate(zip(sources, targets, strict=True)):
        which, number, code = n % 3, plot.rng.randint(3, 9), target.language
        asked, said = SAID["en"][which], SAID[code][which].format(n=number)
        source.instruction, source.answer, source.kind = (
            ASKED["en"],
            asked.format(n=number),
            "source",
        )
        target.instruction, target.answer, target.image_ids, target.translation_of = (
            ASKED[code],
            said,
            source.image_ids,
            source.id,
        )
        for draft in (source, target):
            draft.may |= {"question_echo"}
        if n < count:
            match n // 3 % 4:
                case 0:
                    target.answer = SAID[code][which].format(n=number + plot.rng.randint(1, 9))
                case 1:
                    target.answer = source.answer
                    target.labels.add("wrong_language")
                case 2:
                    target.answer = (said + ("" if code in ("zh", "ja") else " ")) * 5
                    target.may |= {"repetition"}
                case _ if which == 1:
                    target.answer = SAID[code][1].format(n=number + 10)
                case _:
                    other = SAID[code][2 - which].format(n=number)
                    mark = "，、,،"
                    head = min(other.index(one) for one in mark if one in other)
                    target.answer = (
                        other[:head] + said[min(said.index(one) for one in mark if one in said) :]
                    )
        _mark(target, "translations_differ" if n < count else "")


# A benchmark


def in_benchmark(plot: Plot, count: int) -> None:
    """Let records ask what a benchmark asks: its long question word for word, in capitals, or with a word more."""
    rng = plot.rng
    rows, changes = (
        [],
        (
            lambda t: t,
            str.upper,
            lambda t: f"Please tell me: {t}",
            lambda t: t.rstrip("?") + ", and why?",
        ),
    )
    subjects = (
        "the ferry",
        "a tower",
        "this engine",
        "her letter",
        "the orchard",
        "our village",
        "that statue",
        "the archive",
    )
    for n, draft in enumerate(plot.takes(count, _english)):
        a, b, c = rng.sample(subjects, 3)
        question = f"Considering {a} number {n * 7 + 11} shown beside {b}, which of the {rng.randint(3, 99)} given reasons explains best why {c} was moved in {1800 + n % 200}?"
        rows.append({"question": question, "answer": "The second one.", "id": n})
        draft.instruction = changes[n % len(changes)](question)
        draft.kind = "in_benchmark"
        draft.labels.add("in_benchmark")
    rows += [
        {"question": f"Is there a {thing} in the image?", "answer": "yes", "id": count + k}
        for k, thing in enumerate(THINGS)
    ]
    for n, draft in enumerate(plot.takes(count // 4, _english)):  # short, and asked of everything
        draft.instruction, draft.answer = (
            f"Is there a {THINGS[n % len(THINGS)]} in the image?",
            "Yes, it stands on the left.",
        )
        draft.may |= {"repeated_question"}
        _mark(draft, "")
    plot.sides[BENCHMARK] = "".join(json.dumps(row) + "\n" for row in rows)


# Other words

MEANT = (
    (("What is the {p} doing?", "The {p} is reading a newspaper."), ("What does the {p} do?", "The {p} reads a newspaper.")),
    (("Where is the {t}?", "The {t} is next to the window."), ("Where can the {t} be found?", "The {t} stands beside the window.")),
    (("Why is the {p} smiling?", "The {p} is happy because the sun is shining."), ("What makes the {p} smile?", "The {p} is glad since the sun shines.")),
    (("What color is the {t}?", "The {t} is dark green."), ("Which color does the {t} have?", "The {t} has a dark green color.")),
)  # fmt: skip
UNLIKE = (
    (("Where is the {t}?", "The {t} is on the left of the window."), ("Where can the {t} be found?", "The {t} is on the right of the window.")),
    (("How many {t}s are there?", "There are three {t}s on the table."), ("How many {t}s do you see?", "There are five {t}s on the table.")),
)  # fmt: skip


def semantic_duplicate(plot: Plot, count: int) -> None:
    people, things = (
        ("old fisherman", "young nurse", "tall waiter", "postman", "girl in a raincoat"),
        ("kettle", "violin", "ladder", "lantern", "basket"),
    )
    for pairs, planted in ((MEANT, count), (UNLIKE, count // 4)):
        for n, (one, other) in enumerate(_pairs(plot, planted)):
            words = {"p": plot.rng.choice(people), "t": plot.rng.choice(things)}
            picture = f"P_IMG_meant_{planted}_{n:05d}"
            plot.pictures[picture] = encoded(composed(plot.rng))
            for draft, (question, answer) in zip((one, other), pairs[n % len(pairs)], strict=True):
                draft.instruction, draft.answer, draft.image_ids = (
                    question.format(**words),
                    answer.format(**words),
                    (picture,),
                )
                draft.kind = "semantic_duplicate" if pairs is MEANT else "hard"
            if pairs is MEANT:
                shorter = one if _size(one) < _size(other) else other
                shorter.labels.add("semantic_duplicate")
                for draft in (one, other):
                    draft.may.add("near_duplicate")


def _size(draft: Draft) -> int:
    return len(draft.instruction) + len(draft.answer)


def _english(draft: Draft) -> bool:
    return draft.language == "en" and "\n" not in draft.instruction
