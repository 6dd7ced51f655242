"""Grounding against what people annotated: objects, numbers, places and colours, human preferences, and its speed.

The data are not in this repository; each is left out where its path is not given:

    --amber DIR     AMBER's annotations.json and relation.json: objects of 1,004 pictures, and those that models make up there
    --coco FILE     COCO captions with boxes, a JSON object a line: id, captions, instances of category and bbox (0 to 1)
    --iiw FILE      IIW-400's data.jsonl: objects, two descriptions, and which of them people found to hallucinate less

Rules were made looking at one half of each set (every second picture); the figures are of the other half, `--tune` shows the first.

    python benchmarks/curate/grounding.py --amber DIR --coco FILE --iiw FILE
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from common import save  # noqa: E402

Row = dict[str, object]
FRAMES = (
    "There is a {} in the picture.", "A {} can be seen.", "You can see a {} here.", "The image shows a {}.",
    "A {} is also visible in the background.", "In the scene, a {} stands out.",
)  # fmt: skip
CHOICES = ((1, 0.34), (1, 0), (2, 0))
"""Parameters of `unsupported_object`, its defaults first."""
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("amber", "coco", "iiw"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--tune", action="store_true", help="the half on which rules were made")
    parser.add_argument("--show", action="store_true", help="print what is wrong")
    options = parser.parse_args()
    rows: list[Row] = []
    show = print if options.show else lambda *_: None
    if options.amber:
        rows += amber(options.amber, options.tune, show)
    if options.coco:
        rows += coco(half(lines(options.coco), options.tune), show)
    if options.iiw:
        rows += iiw(half(lines(options.iiw), options.tune), show)
    rows += speed(options.coco)
    if not options.tune:
        save("curate_grounding", rows)
    else:
        for row in rows:
            print(row)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def half(items: list[Any], tune: bool) -> list[Any]:
    return items[0::2] if tune else items[1::2]


def row(what: str, **figures: object) -> Row:
    """Return a row of the table: all have the same columns."""
    columns = ("n", "precision", "recall", "f1", "note")
    return {"what": what} | {name: figures.get(name, "") for name in columns}


def scored(what: str, right: list[bool], flagged: list[bool], note: str = "") -> Row:
    """Return precision and recall of flagging what is not right."""
    hits = sum(f and not r for r, f in zip(right, flagged, strict=True))
    precision = hits / max(1, sum(flagged))
    recall = hits / max(1, sum(not r for r in right))
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    good = sum(right)
    false = sum(f and r for r, f in zip(right, flagged, strict=True))
    note = f"{false} of {good} that are right flagged" + (f"; {note}" if note else "")
    return row(
        what,
        n=len(right),
        precision=round(precision, 3),
        recall=round(recall, 3),
        f1=round(f1, 3),
        note=note,
    )


# AMBER


def amber(folder: Path, tune: bool, show: Any) -> list[Row]:
    """One sentence for each object that is there or is made up; annotations are the list of those that are there."""
    from mimicit.curate.grounding.judging import judge
    from mimicit.curate.grounding.knowing import known
    from mimicit.curate.grounding.lexicon import lexicon

    items = json.loads((folder / "annotations.json").read_text())
    items = half([item for item in items if item["type"] == "generative"], tune)
    others = json.loads((folder / "relation.json").read_text())
    words, chance = lexicon(), random.Random(0)
    parts: dict[str, tuple[list[bool], list[bool]]] = {
        name: ([], [])
        for name in ("same words", "other words", "a third of the truth not annotated")
    }

    def ask(name: str, things: Any, thing: str, right: bool) -> None:
        said = chance.choice(FRAMES).format(thing)
        flagged = bool(judge(said, things, words).unsupported)
        parts[name][0].append(right)
        parts[name][1].append(flagged)
        if flagged == right and name != "a third of the truth not annotated":
            show(
                "amber",
                name,
                thing,
                "right" if right else "made up",
                [n.words[0].name for n in things.named],
            )

    for item in items:
        truth = list(dict.fromkeys(item["truth"]))
        made_up = [thing for thing in dict.fromkeys(item["hallu"]) if thing not in truth]
        whole = known(words, [], [(name, None) for name in truth])
        some = known(words, [], [(name, None) for name in truth if chance.random() > 1 / 3])
        for thing in truth:
            ask("same words", whole, thing, True)
            ask("a third of the truth not annotated", some, thing, True)
            if others.get(thing):
                ask("other words", whole, chance.choice(others[thing]), True)
        for thing in made_up:
            for name in parts:
                ask(
                    name,
                    whole if name != "a third of the truth not annotated" else some,
                    thing,
                    False,
                )
    return [scored(f"AMBER objects, {name}", *found) for name, found in parts.items()]


# COCO


def coco(items: list[dict[str, Any]], show: Any) -> list[Row]:
    return [
        *captions(items, show),
        numbers(items, show),
        places(items, show),
        relations(items, show),
        colours(items, show),
    ]


def told(item: dict[str, Any], without: int | None = None) -> Any:
    from mimicit.curate.grounding.knowing import known
    from mimicit.curate.grounding.lexicon import lexicon

    kept = [c for n, c in enumerate(item["captions"]) if n != without]
    return known(lexicon(), kept, [(o["category"], tuple(o["bbox"])) for o in item["instances"]])


def judged(text: str, things: Any) -> Any:
    from mimicit.curate.grounding.judging import judge
    from mimicit.curate.grounding.lexicon import lexicon

    return judge(text, things, lexicon())


def captions(items: list[dict[str, Any]], show: Any) -> list[Row]:
    """A picture's own captions, each without itself among the annotations, and those of other pictures that name a category of COCO
    which neither box nor word of this picture names."""
    categories = {o["category"] for item in items for o in item["instances"]}
    right: list[bool] = []
    missed: list[tuple[int, int]] = []  # unsupported, of all things
    colour_alarms = count_alarms = side_alarms = 0
    chance = random.Random(1)
    for place, item in enumerate(items):
        if not item["instances"]:
            continue
        for n, caption in enumerate(item["captions"]):
            found = judged(caption, told(item, n))
            right.append(True)
            missed.append((len(found.unsupported), found.things))
            colour_alarms, count_alarms, side_alarms = (
                colour_alarms + bool(found.colours),
                count_alarms + bool(found.counts),
                side_alarms + bool(found.sides),
            )
            if found.unsupported or found.colours or found.counts or found.sides:
                show(
                    "own",
                    found.unsupported,
                    found.counts,
                    found.colours,
                    found.sides,
                    "|",
                    caption,
                    "|",
                    [c for k, c in enumerate(item["captions"]) if k != n],
                    [o["category"] for o in item["instances"]],
                )
        has = " ".join([*item["captions"], *(o["category"] for o in item["instances"])]).lower()
        things = told(item)
        for _ in range(5):
            other = chance.choice([i for k, i in enumerate(items) if k != place])
            caption = chance.choice(other["captions"])
            absent = [
                name
                for name in categories
                if re.search(rf"\b{re.escape(name)}(?:e?s)?\b", caption.lower())
                and name.split()[-1] not in has
            ]
            if absent and absent != ["person"]:
                found = judged(caption, things)
                right.append(False)
                missed.append((len(found.unsupported), found.things))
                if not found.unsupported:
                    show("foreign, missed", absent, caption, "|", has)
    size = sum(right)
    own = [counts for is_right, counts in zip(right, missed, strict=True) if is_right]
    words = f"of words in own captions {sum(u for u, _ in own)} of {sum(t for _, t in own)} flagged"
    return [
        *(
            scored(
                f"COCO captions, own against those of other pictures, least = {least}, share = {share:g}",
                right,
                [bool(u) and u >= max(least, share * things) for u, things in missed],
                words if (least, share) == CHOICES[0] else "",
            )
            for least, share in CHOICES
        ),
        row("COCO own captions: wrong number said", n=size, note=f"{count_alarms} flagged"),
        row("COCO own captions: wrong colour said", n=size, note=f"{colour_alarms} flagged"),
        row("COCO own captions: wrong place said", n=size, note=f"{side_alarms} flagged"),
    ]


def named(item: dict[str, Any]) -> dict[str, list[tuple[float, ...]]]:
    found: dict[str, list[tuple[float, ...]]] = {}
    for one in item["instances"]:
        found.setdefault(one["category"], []).append(tuple(one["bbox"]))
    return found


def plural(name: str) -> str:
    fixed = {
        "person": "people",
        "sheep": "sheep",
        "knife": "knives",
        "mouse": "mice",
        "skis": "skis",
        "scissors": "scissors",
    }
    if name in fixed:
        return fixed[name]
    return name + ("es" if name.endswith(("s", "ch", "sh", "x")) else "s")


def numbers(items: list[dict[str, Any]], show: Any) -> Row:
    """The number of boxes of two to eight, and two more, or half of it."""
    right, flagged = [], []
    for item in items:
        for name, boxes in named(item).items():
            if not 2 <= len(boxes) <= 8 or name in ("skis", "scissors"):
                continue
            things = told(item)
            said = (len(boxes), True), (len(boxes) + 2, False), (len(boxes) + 1, False)
            for number, is_right in said:
                text = f"There are {NUMBERS[number]} {plural(name)} in the picture."
                found = judged(text, things).counts
                right.append(is_right)
                flagged.append(bool(found))
                if bool(found) == is_right:
                    show("number", text, len(boxes), item["captions"])
    return scored("COCO boxes: numbers, right and too high", right, flagged)


def places(items: list[dict[str, Any]], show: Any) -> Row:
    """The side of the picture on which a single thing's middle is, by a tenth of the width or more, and the other one."""
    right, flagged = [], []
    for item in items:
        for name, boxes in named(item).items():
            if len(boxes) != 1:
                continue
            [(left, top, r, bottom)] = boxes
            for at, words in (
                ((left + r) / 2, ("left", "right")),
                ((top + bottom) / 2, ("top", "bottom")),
            ):
                if abs(at - 0.5) < 0.15:
                    continue
                for way in words:
                    is_right = (at < 0.5) == (way == words[0])
                    text = (
                        f"There is a {name} on the {way} side of the picture."
                        if way in ("left", "right")
                        else f"A {name} can be seen at the {way} of the image."
                    )
                    found = judged(text, told(item)).sides
                    right.append(is_right)
                    flagged.append(bool(found))
                    if bool(found) == is_right:
                        show("place", text, boxes, found)
    return scored("COCO boxes: sides of the picture, right and swapped", right, flagged)


def relations(items: list[dict[str, Any]], show: Any) -> Row:
    """Pairs of single things whose middles are a tenth apart or more, as they are and swapped."""
    right, flagged = [], []
    for item in items:
        single = [(name, boxes[0]) for name, boxes in named(item).items() if len(boxes) == 1]
        for n, (a, x) in enumerate(single):
            for b, y in single[n + 1 :]:
                for axis, phrases in (
                    (0, ("to the left of", "to the right of")),
                    (1, ("above", "below")),
                ):
                    apart = (x[axis] + x[axis + 2]) / 2 - (y[axis] + y[axis + 2]) / 2
                    if abs(apart) < 0.1:
                        continue
                    for phrase in phrases:
                        is_right = (apart < 0) == (phrase == phrases[0])
                        text = f"The {a} is {phrase} the {b}."
                        found = judged(text, told(item)).sides
                        right.append(is_right)
                        flagged.append(bool(found))
                        if bool(found) == is_right:
                            show("relation", text, x, y, found)
    return scored("COCO boxes: left, right, above, below of, right and swapped", right, flagged)


def colours(items: list[dict[str, Any]], show: Any) -> Row:
    """A caption's colour as it is, and another one in its place, against the other captions where they say a colour of that thing."""
    far = {"red": "green", "green": "red", "blue": "orange", "yellow": "purple", "orange": "blue", "brown": "green", "black": "yellow", "white": "red", "grey": "red", "gray": "red", "pink": "green", "purple": "yellow", "tan": "blue", "silver": "red"}  # fmt: skip
    right, flagged = [], []
    for item in items:
        things = told(item)
        for caption in item["captions"]:
            for found in re.finditer(rf"\b({'|'.join(far)}) (\w+)", caption.lower()):
                text = f"There is a {found[1]} {found[2]}."
                wrong = f"There is a {far[found[1]]} {found[2]}."
                # Only of things of which a colour is known at all: the truth is that caption itself.
                if not judged(wrong.replace("is a", "is a"), things).things:
                    continue
                for said, is_right in ((text, True), (wrong, False)):
                    said_wrong = bool(judged(said, things).colours)
                    right.append(is_right)
                    flagged.append(said_wrong)
                    if said_wrong == is_right:
                        show("colour", said, item["captions"])
    return scored("COCO captions: colours, right and swapped", right, flagged)


# IIW-400


def iiw(items: list[dict[str, Any]], show: Any) -> list[Row]:
    """Does the description that people found to hallucinate less have the higher score?"""
    from scipy.stats import binomtest, spearmanr

    from mimicit.curate.grounding.judging import judge
    from mimicit.curate.grounding.knowing import known
    from mimicit.curate.grounding.lexicon import lexicon

    words = lexicon()
    degrees = {"IIW-Human is substantially better": 2, "IIW-Human is marginally better": 1, "Neutral": 0, "IIW-P5B is marginally better": -1, "IIW-P5B is substantially better": -2}  # fmt: skip
    pairs: list[tuple[int, float]] = []
    for item in items:
        said = (item.get("iiw-human-sxs-iiw-p5b") or {}).get("metrics/Hallucination")
        if said is None:
            continue
        captions = [f"{one['label']}. {one['description']}" for one in item["objects"]]
        objects = [(one["label"], _box(one["normalized_coords"])) for one in item["objects"]]
        things = known(words, captions, objects)
        human, machine = (judge(item[name], things, words) for name in ("IIW", "IIW-P5B"))
        pairs.append((degrees[said], _score(human) - _score(machine)))
        show("iiw", said, round(_score(human), 2), round(_score(machine), 2), human, machine)
    decided = [(degree, gap) for degree, gap in pairs if degree and gap]
    agree = sum((degree > 0) == (gap > 0) for degree, gap in decided)
    for_human = sum(degree > 0 for degree, _ in decided)
    rank = spearmanr([d for d, _ in pairs], [g for _, g in pairs])
    test = binomtest(agree, len(decided), 0.5, alternative="greater")
    return [
        row(
            "IIW-400: the better score is the description that people preferred",
            n=len(decided),
            precision=round(agree / max(1, len(decided)), 3),
            note=f"{agree} of {len(decided)}, sign test p = {test.pvalue:.2g}; people preferred the human one in {for_human}; "
            f"{len(pairs) - len(decided)} of {len(pairs)} without a preference or a difference",
        ),
        row(
            "IIW-400: rank correlation of the scores' difference with the degree of preference",
            n=len(pairs),
            note=f"Spearman {rank.statistic:.3f}, p = {rank.pvalue:.2g}",
        ),
    ]


def _score(judged: Any) -> float:
    return 1 - len(judged.unsupported) / judged.things if judged.things else 1.0


def _box(coordinates: list[str]) -> tuple[float, float, float, float] | None:
    top, left, bottom, right = (float(value) / 999 for value in coordinates)
    return (left, top, right, bottom) if left < right and top < bottom else None


# Speed


def speed(coco: Path | None) -> list[Row]:
    """Records of one sentence to five about pictures with captions and boxes, through the store."""
    from mimicit.curate.grounding import looking
    from mimicit.schema import Annotation, Instruction, Thing
    from mimicit.store import Store

    count, pictures = 20_000, 4_000
    chance = random.Random(3)
    source = list(_annotated(coco))
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder) / "ds", create=True)
        with store.writing("benchmark"):
            chosen = [source[n % len(source)] for n in range(pictures)]
            store.add_annotations(
                [
                    Annotation(
                        (f"p{n}",), tuple(c), tuple(Thing(name, box) for name, box in o), f"f#{n}"
                    )
                    for n, (c, o) in enumerate(chosen)
                ]
            )
            texts = [c for captions, _ in source for c in captions]
            records = [
                Instruction(
                    id=f"A_INS_{n:06d}",
                    task="a",
                    instruction="What is here?",
                    answer=" ".join(
                        [
                            *chance.choices(chosen[n // 5][0], k=1 + n % 3),
                            *chance.choices(texts, k=n % 3),
                        ]
                    ),
                    image_ids=(f"p{n // 5}",),
                )
                for n in range(count)
            ]
            store.add(records)
            store.sync()
            spent = []
            for _ in range(2):
                with store.reading() as connection:
                    started = time.process_time()
                    looking.attach_answers(store, connection)
                    spent.append(time.process_time() - started)
            store.add(
                [
                    records[0].model_copy(update={"id": f"B_INS_{n:06d}"})
                    for n in range(count // 100)
                ]
            )
            store.sync()
            with store.reading() as connection:
                started = time.process_time()
                looking.attach_answers(store, connection)
                spent.append(time.process_time() - started)
    characters = sum(len(r.answer) for r in records) / count
    return [
        row(
            "speed: answers held against the annotations of their pictures, first time",
            n=count,
            note=f"{round(count / spent[0])} records per CPU second with 2 s for WordNet, {characters:.0f} characters each",
        ),
        row(
            "speed: the same again",
            n=count,
            note=f"nothing new {spent[1] / spent[0]:.1%} of the time, 1 % new {spent[2] / spent[0]:.1%}",
        ),
    ]


def _annotated(path: Path | None) -> Iterator[tuple[list[str], list[tuple[str, Any]]]]:
    if path:
        for item in lines(path):
            yield item["captions"], [(o["category"], tuple(o["bbox"])) for o in item["instances"]]
        return
    data = json.loads((HERE.parents[1] / "examples" / "photos" / "annotations.json").read_text())
    names = {one["id"]: one["name"] for one in data["categories"]}
    for image in data["images"]:
        own = [one for one in data["annotations"] if one["image_id"] == image["id"]]
        w, h = image["width"], image["height"]
        yield (
            [one["caption"] for one in own if "caption" in one],
            [
                (names[one["category_id"]], (x / w, y / h, (x + dx) / w, (y + dy) / h))
                for one in own
                if "bbox" in one
                for x, y, dx, dy in [one["bbox"]]
            ],
        )


if __name__ == "__main__":
    main()
