"""Precision and recall of every filter, on 100,000 records with planted faults; and how often filters of text drop what people wrote.

Records ask and answer in eight languages, about some thousands of pictures put together from the photographs in `examples/photos`. Three quarters of
them are as they were drawn. Of the others, each has a fault of one filter, of several kinds (`planting`), or only looks as if it had one. Where a fault
gives a second filter reason, too, it is planted for both; where one cannot say whether it does, hits of that filter on that record count neither way.

Each filter is asked alone, by `syphus data curate` with a recipe of its own, so that what it drops is its own doing; then `strict` is, as a funnel.
That an unplanted duplicate is one after all is worked out from the texts, not assumed: `near_duplicate` where the exact similarity is 0.7 or more.

    python benchmarks/curate/planted.py [--records 100000] [--only FILTER …] [--show 5] [--real FOLDER]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

from common import measure, save  # noqa: E402
from costs import costs  # noqa: E402

from benchmarks.curate.planting import beside, breaking, copies, looks, tongues, words  # noqa: E402
from benchmarks.curate.planting.drafts import Draft, Planter, Plot  # noqa: E402
from benchmarks.curate.planting.good import English  # noqa: E402
from benchmarks.curate.planting.real import dropped_of_real  # noqa: E402
from benchmarks.curate.planting.unseen import found_of_unseen  # noqa: E402

SYPHUS = [sys.executable, "-c", "from syphus.cli import main; main()"]
SHARE = 0.007
"""Of the records, those that each filter's faults are planted in."""
OTHERS = 0.05
"""Of the records, those in each of the seven other languages."""
PICTURES = 0.04
"""For each record: so 25 records are about one picture."""
MOST_PICTURES = 4_000

PLANTERS: dict[str, Planter] = {
    "empty": breaking.empty,
    "too_short": breaking.too_short,
    "too_long": breaking.too_long,
    "mentions": words.mentions,
    "coordinates": words.coordinates,
    "echo": breaking.echo,
    "refusal": words.refusal,
    "boilerplate": words.boilerplate,
    "annotation_talk": words.annotation_talk,
    "question_echo": breaking.question_echo,
    "repetition": breaking.repetition,
    "unfinished": breaking.unfinished,
    "no_valid_option": breaking.no_valid_option,
    "encoding_damage": breaking.encoding_damage,
    "mixed_script": breaking.mixed_script,
    "wrong_language": breaking.wrong_language,
    "toxic": words.toxic,
    "toxic_by_model": words.toxic_by_model,
    "personal_data": words.personal_data,
    "source_rule": words.source_rule,
    "undecodable": looks.undecodable,
    "missing_picture": looks.missing_picture,
    "too_small": looks.too_small,
    "aspect": looks.aspect,
    "blank": looks.blank,
    "dark": looks.dark,
    "blurred": looks.blurred,
    "text_only": looks.text_only,
    "picture_count": looks.picture_count,
    "picture_mismatch": looks.picture_mismatch,
    "near_duplicate_picture": looks.near_duplicate_picture,
    "exact_duplicate": copies.exact_duplicate,
    "near_duplicate": copies.near_duplicate,
    "repeated_question": copies.repeated_question,
    "in_benchmark": beside.in_benchmark,
    "translations_differ": beside.translations_differ,
    "judge_score": beside.judge_score,
    "judges_disagree": beside.judges_disagree,
    "unsupported_object": beside.unsupported_object,
    "contradicted_count": beside.contradicted_count,
    "wrong_colour": beside.wrong_colour,
    "wrong_side": beside.wrong_side,
    "semantic_duplicate": beside.semantic_duplicate,
}
"""Filter -> what plants its faults. Those that need many plain records to choose from come first."""
PARAMETERS: dict[str, dict[str, object]] = {
    **{name: dict(values) for name, values in words.PARAMETERS.items()},
    **beside.PARAMETERS,
    "picture_count": {"most": 4},
}
"""Of filters that are not asked with their defaults; `{folder}` is the one of the dataset."""
SLOW = {"semantic_duplicate"}
"""Filters that need a vector of every record: left out where there are more than `FEW` of these."""
FEW = 20_000
SAME = ("exact_duplicate", "repeated_question", "near_duplicate")
"""Filters of which it can be worked out whether they are right."""
COLUMNS: dict[str, object] = dict.fromkeys(
    (
        "filter", "on", "records", "planted", "found", "right", "unplanted_right", "unclear", "precision", "recall", "wrong_on_hard",
        "share_dropped", "sql_s_per_million", "measure_s_per_million",
    ),
    "",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--only", nargs="+", default=list(PLANTERS), metavar="FILTER")
    parser.add_argument("--show", type=int, default=0, help="print so many wrong hits and misses")
    parser.add_argument("--real", type=Path, help="a folder of texts that people wrote")
    parser.add_argument("--folder", type=Path, help="keep the dataset here, or use it again")
    options = parser.parse_args()
    everything = options.only == list(PLANTERS)
    if everything and options.records > FEW:
        options.only = [name for name in PLANTERS if name not in SLOW]
    with tempfile.TemporaryDirectory(prefix="planted-") as temporary:
        folder = options.folder or Path(temporary)
        drafts = planted(folder, options.records)
        table = [judged(folder, drafts, name, options.show) for name in options.only]
        if everything:
            table.append(funnel(folder, drafts))
        for row, cost in zip(table, seconds(folder / "ds", options.only), strict=False):
            row |= cost
    table += found_of_unseen()
    if options.real:
        table += dropped_of_real(options.real, options.show)
    if everything:
        save("curate_planted", [COLUMNS | row for row in table])
    else:
        for row in table:
            print(row)


def seconds(dataset: Path, names: Sequence[str]) -> list[dict[str, object]]:
    """Return what each filter costs for a million records, once."""
    filters = {name: parameters(name, dataset.parent) for name in names}
    wanted = ("sql_s_per_million", "measure_s_per_million")
    return [{name: row[name] for name in wanted} for row in costs(dataset, filters, 1)]


# The dataset


def planted(folder: Path, count: int, seed: int = 6) -> list[Draft]:
    """Write the dataset, if it is not there; return its records with what is known of them."""
    plot = Plot(drawn(count, random.Random(seed)), random.Random(seed + 1), {})
    pictures = min(MOST_PICTURES, max(20, int(count * PICTURES)))
    plot.pictures = looks.plot_pictures(pictures, random.Random(seed + 2))
    for planter in PLANTERS.values():
        plot.rewind()
        planter(plot, max(8, round(count * SHARE)))
    if not (folder / "ds").exists():
        write(folder / "ds", plot)
    return plot.drafts


def drawn(count: int, rng: random.Random) -> list[Draft]:
    """Return good records: no question comes twice about one picture."""
    english, codes = English(rng), list(tongues.TONGUES)
    pictures = min(MOST_PICTURES, max(20, int(count * PICTURES)))
    asked, drafts = set(), []
    for n in range(count):
        language = rng.choice(codes) if rng.random() < OTHERS * len(codes) else "en"
        picture = f"P_IMG_{rng.randrange(pictures):06d}"
        while True:
            question, answer = english.pair() if language == "en" else tongues.pair(language, rng)
            key = (picture, copies.normal(question))
            if key not in asked:
                break
        asked.add(key)
        drafts.append(Draft(f"P_INS_{n:06d}", question, answer, (picture,), language))
    return drafts


def write(folder: Path, plot: Plot) -> None:
    from mimicit.store import Store

    store = Store.open(folder, create=True)
    with store.writing("benchmark"):
        for rows in _by(20_000, plot.drafts):
            store.add([_row(draft) for draft in rows])
        for some in _by(1_000, plot.pictures.items()):
            store.add_images([_image(id_, data) for id_, data in some])
        _write_beside(store, plot)
        store.sync()
    for name, text in plot.sides.items():
        (folder.parent / name).write_text(text)


def _write_beside(store: Any, plot: Plot) -> None:
    from mimicit.schema import Annotation, Thing, Verdict

    for some in _by(20_000, plot.annotations):
        store.add_annotations(
            [
                Annotation(
                    pictures, captions, tuple(Thing(*thing) for thing in things), f"told#{n}"
                )
                for n, (pictures, captions, things) in enumerate(some)
            ]
        )
    store.add_verdicts(
        [
            Verdict(
                record=record,
                filter="judge",
                reason="grounded 3, answerable 3, correct 3, useful 3",
                recipe=f"judge:{judge}",
                recipe_digest="planted",
                score=score,
                rejects=False,
            )
            for record, judge, score in plot.judged
        ]
    )


def _by(size: int, things: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(things)
    while some := list(islice(rest, size)):
        yield some


def _row(draft: Draft) -> Any:
    from mimicit.schema import InstructionRow

    return InstructionRow(
        id=draft.id, task=draft.task, instruction=draft.instruction, answer=draft.answer, image_ids=draft.image_ids, rel_ins_ids=(),
        language=draft.language, source=draft.source, request=None, reply=None, translation_of=draft.translation_of,
        conversation=draft.conversation, turn=draft.turn, meta=draft.meta,
    )  # fmt: skip


def _image(id_: str, data: bytes) -> Any:
    import hashlib
    import io

    from PIL import Image

    from mimicit.schema import ImageRecord

    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            mime = Image.MIME[image.format or "JPEG"]
    except (OSError, SyntaxError):
        (width, height), mime = looks.SIZE, "image/jpeg"
    digest = hashlib.sha256(data).hexdigest()
    return ImageRecord(id=id_, image=data, sha256=digest, mime=mime, width=width, height=height)


# What filters make of it


def judged(folder: Path, drafts: Sequence[Draft], name: str, show: int = 0) -> dict[str, object]:
    """Ask one filter, and compare."""
    found = ask(folder, f"alone_{name}", [{"use": name, **parameters(name, folder)}])
    return compared(drafts, name, found, show)


def parameters(name: str, folder: Path) -> dict[str, object]:
    said = json.dumps(PARAMETERS.get(name, {})).replace("{folder}", str(folder))
    return dict(json.loads(said))


def ask(folder: Path, name: str, filters: list[dict[str, object]]) -> dict[str, str]:
    """Run a recipe; return the reason of each record that it drops."""
    path = folder / f"{name}.toml"
    tables = "".join(
        "\n[[filter]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in one.items())
        for one in filters
    )
    path.write_text(f'name = "{name}"\n{tables}')
    measure([*SYPHUS, "data", "curate", str(path), "-d", str(folder / "ds")])
    return reasons(folder, name)


def reasons(folder: Path, recipe: str) -> dict[str, str]:
    from mimicit.store import Store

    with Store.open(folder / "ds").reading() as connection:
        return dict(
            connection.execute(
                "SELECT record, reason FROM verdicts WHERE recipe = ?", [recipe]
            ).fetchall()
        )


def compared(
    drafts: Sequence[Draft], name: str, found: dict[str, str], show: int = 0
) -> dict[str, object]:
    by_id = {draft.id: draft for draft in drafts}
    right = {draft.id for draft in drafts if name in draft.labels}
    unclear = {draft.id for draft in drafts if name in draft.may} - right
    extra = {
        i
        for i in found
        if i not in right and i not in unclear and is_right(by_id, name, i, found[i])
    }
    wrong = [i for i in found if i not in right and i not in unclear and i not in extra]
    missed = [i for i in right if i not in found]
    hits = len(found) - len(wrong) - len(unclear & set(found))
    for title, ids in (("wrong", wrong), ("missed", missed)):
        for id_ in sorted(ids, key=lambda i: hash((i, 1)))[:show]:
            draft = by_id[id_]
            print(
                f"  {name} {title}: {found.get(id_, '')} | {draft.kind or 'plain'} {draft.language} {draft.image_ids[:2]}\n    Q {draft.instruction[:160]!r}\n    A {draft.answer[:300]!r}"
            )
    return {
        "filter": name,
        "on": "planted",
        "records": len(drafts),
        "planted": len(right),
        "found": len(found),
        "right": hits,
        "unplanted_right": len(extra),
        "unclear": len(unclear & set(found)),
        "precision": round(hits / max(1, hits + len(wrong)), 4),
        "recall": round(1 - len(missed) / max(1, len(right)), 4),
        "wrong_on_hard": sum(by_id[i].kind == "hard" for i in wrong),
    }


def is_right(by_id: dict[str, Draft], name: str, id_: str, reason: str) -> bool:
    """Say whether a duplicate that was not planted is one, from the texts of the two."""
    if name not in SAME:
        return False
    one = by_id[id_]
    other = by_id[next(word for word in reason.split() if word.startswith("P_INS_")).rstrip(".,")]
    if one.image_ids != other.image_ids and name != "near_duplicate":
        return False
    same_question = copies.normal(one.instruction) == copies.normal(other.instruction)
    if name == "repeated_question":
        return same_question
    if name == "exact_duplicate":
        return same_question and copies.normal(one.answer) == copies.normal(other.answer)
    texts = [copies.normal(f"{d.instruction} {d.answer}") for d in (one, other)]
    return set(one.image_ids) == set(other.image_ids) and copies.similarity(*texts) >= 0.7


STRICT_LACKS = {
    "too_short", "too_long", "mentions", "source_rule", "echo", "toxic_by_model", "undecodable", "missing_picture", "too_small", "aspect", "blank", "dark", "blurred",
    "text_only", "picture_count", "picture_mismatch", "near_duplicate_picture",
    "in_benchmark", "translations_differ", "judge_score", "judges_disagree", "unsupported_object", "contradicted_count", "wrong_colour", "wrong_side", "semantic_duplicate",
}  # fmt: skip
"""Filters that the recipe `strict` does not have, or only with wider limits."""


def funnel(folder: Path, drafts: Sequence[Draft]) -> dict[str, object]:
    """Run `strict`: of the records with a fault that it has a filter for, how many go; and how many of the others."""
    command = [*SYPHUS, "data", "curate", "strict", "-d", str(folder / "ds")]
    print(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    found = reasons(folder, "strict")
    bad = {draft.id for draft in drafts if draft.labels - STRICT_LACKS}
    plain = {draft.id for draft in drafts if draft.kind in ("", "source")}
    return {
        "filter": "the recipe strict",
        "on": "planted",
        "records": len(drafts),
        "planted": len(bad),
        "found": len(found),
        "right": len(bad & set(found)),
        "unclear": len(set(found) - bad - plain),
        "precision": round(
            len(bad & set(found)) / max(1, len(bad & set(found)) + len(plain & set(found))), 4
        ),
        "recall": round(len(bad & set(found)) / len(bad), 4),
        "share_dropped": round(len(plain & set(found)) / len(plain), 5),
    }


if __name__ == "__main__":
    main()
