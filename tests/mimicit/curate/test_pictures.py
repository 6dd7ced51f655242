"""The filters that ask about pictures: real photographs and planted faults."""

from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from mimicit.curate import curating, looks
from mimicit.curate.base import Sql
from mimicit.curate.filters import pictures as of
from mimicit.curate.recipe import load_recipe
from mimicit.errors import RecipeError
from tests.mimicit.curate.drawn import TEXTS, encoded, one, page, photographs, stored


@pytest.fixture
def ask(store):
    """Store pictures and records, and return what a filter drops as {record: (reason, score)}."""

    def asked(made: str | Sql, pictures=(), records=()):
        with store.writing("test"):
            store.add_images(pictures)
            store.add(records)
            store.sync()
            with store.reading() as connection:
                looks.attach(store, connection)
                connection.execute("CREATE TEMP VIEW candidates AS FROM instructions")
                if isinstance(made, Sql):
                    made = f"SELECT id, {made.reason}, {made.score} FROM candidates"
                found = connection.execute(made).fetchall()
        return {name: (reason, score) for name, reason, score in found if reason is not None}

    return asked


def test_what_is_damaged_is_said_and_stops_nothing(ask, store, photos):
    whole = encoded(photographs(photos)["coffee.png"], quality=90)
    found = ask(
        of.undecodable(),
        [
            stored("good", whole),
            stored("half", whole[: len(whole) // 2], 600, 400),
            stored("text", b"no picture at all", 1, 1),
            stored("eps", b"%!PS-Adobe-3.0 EPSF-3.0\n", 1, 1),
        ],
        [one(name, name) for name in ("good", "half", "text", "eps", "absent")]
        + [one("two", "good", "half"), one("none")],
    )
    assert set(found) == {"half", "text", "eps", "two"}
    assert "half" in found["two"][0]
    with store.reading() as connection:
        looks.attach(store, connection)
        bad = connection.execute("SELECT mean, hash FROM looks WHERE NOT decodable").fetchall()
    assert bad == [(None, None)] * 3


# Filters of looks


def records_of(names):
    return [one(name, name) for name in names]


def test_photographs_are_let_through(ask, photos):
    """Two of the twenty are pictures of text, one is blurred: that is what the filters find."""
    images = photographs(photos)
    named = [stored(name, encoded(image, quality=92)) for name, image in images.items()]
    made = {
        "undecodable": of.undecodable(),
        "small": of.too_small(),
        "aspect": of.aspect(),
        "blank": of.blank(),
        "dark": of.dark(),
        "blurred": of.blurred(),
        "text": of.text_only(),
        "missing": of.missing_picture(),
        "near": of.near_duplicate_picture(),
    }
    found = {name: set(ask(query, named, records_of(images))) for name, query in made.items()}
    assert {name: dropped for name, dropped in found.items() if dropped} == {"text": {"page.png"}}


def test_motion_blur_in_a_real_photograph_is_found_with_a_stricter_threshold(ask, photos):
    images = photographs(photos)
    named = [stored(name, encoded(image, quality=92)) for name, image in images.items()]
    assert set(ask(of.blurred(least=20), named, records_of(images))) == {"clock_motion.png"}


def test_blurred_photographs_are_dropped(ask, photos):
    blurred = {
        name: image.filter(ImageFilter.GaussianBlur(image.width / 50))
        for name, image in photographs(photos).items()
    }
    named = [stored(name, encoded(image, quality=92)) for name, image in blurred.items()]
    found = ask(of.blurred(), named, records_of(blurred))
    assert len(found) >= 17
    assert "is blurred: sharpness" in found["chelsea.png"][0]


def test_blank_pictures_are_dropped_and_plain_ones_are_not(ask):
    noise = Image.effect_noise((300, 300), 3)
    corner = Image.new("RGB", (300, 300), "white")
    ImageDraw.Draw(corner).ellipse((20, 20, 60, 60), fill="red")
    made = {
        "white": Image.new("RGB", (300, 300), "white"),
        "black": Image.new("RGB", (300, 300)),
        "blue": Image.new("RGB", (300, 300), "blue"),
        "noise": noise.convert("RGB").filter(ImageFilter.GaussianBlur(1)),
        "logo": corner,
        "line": page(TEXTS, lines=1),
        "checks": Image.fromarray(
            np.kron(np.indices((60, 60)).sum(0) % 2 * 255, np.ones((5, 5))).astype("uint8")
        ),
    }
    found = ask(of.blank(), [stored(k, encoded(v)) for k, v in made.items()], records_of(made))
    assert set(found) == {"white", "black", "blue", "noise"}


def test_dark_pictures_are_dropped_and_night_skies_are_not(ask, photos):
    images = photographs(photos)
    made = {
        name: ImageEnhance.Brightness(image).enhance(0.08)
        for name, image in images.items()
        if name not in ("page.png", "ihc.png")
    }
    made |= {"stars": images["hubble_deep_field.jpg"], "rocket": images["rocket.jpg"]}
    found = ask(of.dark(), [stored(k, encoded(v)) for k, v in made.items()], records_of(made))
    assert set(found) == set(made) - {"stars", "rocket"}


def test_pages_are_only_text_and_what_else_has_letters_is_not(ask, photos):
    images = photographs(photos)
    made = {
        f"page-{size[0]}-{letter}-{paper}": page(
            TEXTS, size=size, letter=letter, ink=ink, paper=paper
        )
        for size, letter in (((640, 480), 16), ((640, 480), 40), ((1240, 1754), 24))
        for ink, paper in ((0, 255), (40, 235), (230, 20))
    }
    made |= {f"card-{n}": page(TEXTS, letter=36, lines=n) for n in (1, 3)}
    made["scan"] = images["page.png"]
    others = {}
    for name in ("astronaut.png", "coffee.png", "rocket.jpg", "chelsea.png"):
        caption = page(TEXTS, size=(640, 640))
        caption.paste(images[name].resize((640, 400)), (0, 240))
        illustrated = page(TEXTS, size=(800, 1000), letter=22)
        illustrated.paste(images[name].resize((400, 400)), (200, 300))
        product = Image.new("RGB", (600, 600), "white")
        product.paste(images[name].resize((300, 300)), (150, 150))
        others |= {f"caption-{name}": caption, f"illustrated-{name}": illustrated, f"on-white-{name}": product}  # fmt: skip
    chart = page(TEXTS, lines=1)
    draw = ImageDraw.Draw(chart)
    draw.rectangle((80, 90, 600, 440), outline="black", width=2)
    draw.line([(80 + 40 * n, 400 - 22 * (n * 7 % 11)) for n in range(13)], "blue", 3)
    others |= {"chart": chart, "blank": Image.new("RGB", (300, 300), "white")}
    everything = made | others
    named = [stored(k, encoded(v, quality=88)) for k, v in everything.items()]
    assert set(ask(of.text_only(), named, records_of(everything))) == set(made)


def test_size_and_shape(ask):
    sizes = {"tiny": (40, 200), "small": (64, 64), "strip": (900, 100), "tall": (100, 500)}
    named = [stored(k, encoded(Image.effect_noise(v, 40))) for k, v in sizes.items()]
    assert set(ask(of.too_small(), named, records_of(sizes))) == {"tiny"}
    assert set(ask(of.aspect(), (), ())) == {"strip"}
    found = ask(of.aspect(most=4.5))
    assert found["tall"] == (
        "the picture tall is 5.0 times as long as it is wide, more than 4.5",
        5.0,
    )
    assert set(ask(of.too_small(width=65, height=1))) == {"tiny", "small"}


def test_a_video_may_begin_with_black(ask, photos):
    frame = encoded(photographs(photos)["coffee.png"])
    named = [stored("black", encoded(Image.new("RGB", (90, 90)))), stored("frame", frame)]
    records = [one("video", "black", "frame", "frame"), one("half", "frame", "black"), one("none")]
    assert set(ask(of.blank(), named, records)) == {"half"}
    assert set(ask(of.blank(share=0.1))) == {"video", "half"}
    with pytest.raises(ValueError, match="share"):
        of.blank(share=0)


# Filters of what records name


def test_missing_pictures_are_a_verdict(ask, photos):
    named = [stored("here", encoded(photographs(photos)["coffee.png"]))]
    records = [one("good", "here"), one("some", "here", "x", "y"), one("text only")]
    found = ask(of.missing_picture(), named, records)
    assert found == {"some": ("the dataset has no picture x (nor 1 others)", 2.0)}


def test_a_picture_that_comes_later_is_there(ask, photos):
    data = encoded(photographs(photos)["coffee.png"])
    assert set(ask(of.missing_picture(), (), [one("a", "late")])) == {"a"}
    assert ask(of.missing_picture(), [stored("late", data)]) == {}


def test_counts_of_pictures(ask):
    records = [one("none"), one("one", "a"), one("three", "a", "b", "c")]
    found = ask(of.picture_count(most=2), (), records)
    assert found == {
        "none": ("it has 0 pictures, fewer than 1", 0.0),
        "three": ("it has 3 pictures, more than 2", 3.0),
    }
    assert set(ask(of.picture_count(least=0))) == set()


def test_a_text_that_speaks_of_other_pictures(ask):
    def turn(id, n, text):
        return one(id, "a", "b", instruction=text, conversation=id[0], turn=n)

    records = [
        one("plain", "a"),
        one("marked", "a", instruction="<image>\nWhat is it?"),
        one("pair", "a", "b", instruction="<image> or <image>: which is older?"),
        one("chinese", "a", instruction="<image>\n图里有什么？"),
        one("too many", "a", instruction="<image><image> Which?"),
        one("too few", "a", "b", instruction="Look at <image>."),
        one("nothing", instruction="Look at <image>."),
        turn("c0", 0, "<image> What is it?"),
        turn("c1", 1, "And <image>?"),
        turn("c2", 2, "Why?"),
        turn("d0", 0, "<image> What is it?"),
        turn("d1", 1, "Why?"),
        one("difference", "a", task="spot_the_difference"),
    ]
    found = ask(of.picture_mismatch(), (), records)
    assert set(found) == {"too many", "too few", "nothing", "d0", "d1"}
    assert found["too many"] == ("it speaks of 2 pictures, and has 1", 1.0)
    known = ask(of.picture_mismatch(pictures=2, task="spot_the_difference"))
    assert known == {"difference": ("it has 1 pictures, and should have 2", 1.0)}


# Near duplicates


@pytest.fixture
def twins(photos):
    coffee, cat = (photographs(photos)[name] for name in ("coffee.png", "chelsea.png"))
    return [
        stored("coffee", encoded(coffee, quality=90)),
        stored("coffee-half", encoded(coffee.resize((300, 200)), quality=80)),
        stored("coffee-copy", encoded(coffee, quality=90)),
        stored("cat", encoded(cat, quality=90)),
    ]


def test_the_same_question_about_a_repeated_picture_is_dropped(ask, twins):
    what, why = {"instruction": "What is it?"}, {"instruction": "Why is it brown?"}
    records = [
        one("b", "coffee", **what),
        one("a", "coffee-half", instruction="what is it"),
        one("c", "coffee-half", **why),
        one("d", "cat", **what),
        one("e", "coffee-copy", **what),
        one("f", "gone", **what),
        one("g", **what),
    ]
    found = ask(of.near_duplicate_picture(), twins, records)
    assert set(found) == {"a", "e"}
    reason, score = found["e"]
    assert reason == "it asks the same as b about nearly the same picture (0 of 64 bits differ)"
    assert score == 0
    assert set(ask(of.near_duplicate_picture(prefer="first"))) == {"b", "e"}


def test_two_questions_about_one_picture_are_not_its_matter(ask, twins):
    records = [one("a", "coffee"), one("b", "coffee"), one("c", "coffee-half")]
    assert set(ask(of.near_duplicate_picture(), twins, records)) == {"c"}


def test_each_picture_of_a_record_must_be_repeated(ask, twins):
    records = [
        one("a", "coffee", "cat"),
        one("b", "coffee-half", "cat"),
        one("c", "cat", "coffee-half"),
        one("d", "coffee-half", "coffee"),
        one("e", "coffee"),
        one("f", "coffee-copy", "gone"),
    ]
    assert set(ask(of.near_duplicate_picture(), twins, records)) == {"b"}


def test_pictures_without_contrast_repeat_nothing(ask):
    named = [stored(c, encoded(Image.new("RGB", (90, 90), c))) for c in ("red", "blue", "white")]
    assert ask(of.near_duplicate_picture(), named, records_of(["red", "blue", "white"])) == {}


@pytest.mark.parametrize("prefer", ["largest", "first"])
def test_every_question_stays_with_a_picture_of_its_chain(prefer):
    """Forty hashes, each near the next: the first and the last have nothing in common but the chain."""
    import duckdb
    import pyarrow as pa

    rng = random.Random(3)
    value, looked = rng.getrandbits(62), []
    for n in range(40):
        looked.append((f"P{n}", rng.randint(100, 200), 100, value))
        for bit in rng.sample(range(62), 2):
            value ^= 1 << bit
    rng.shuffle(looked)
    columns = dict(zip(("id", "width", "height", "hash"), zip(*looked, strict=True), strict=True))
    asked = [(f"R{n}", [f"P{n}"], "What?" if n % 3 else "Why?") for n in range(40)]
    names = ("id", "image_ids", "instruction")
    with duckdb.connect() as connection:
        connection.register("looks", pa.table({k: list(v) for k, v in columns.items()}))
        rows = dict(zip(names, map(list, zip(*asked, strict=True)), strict=True))
        connection.register("candidates", pa.table(rows))
        found = connection.execute(of.near_duplicate_picture(distance=4, prefer=prefer)).fetchall()
    dropped = {name: reason.split()[5] for name, reason, _ in found}
    kept = {name for name, _, _ in asked} - set(dropped)
    for name, other in dropped.items():
        while other in dropped:
            other = dropped[other]
        assert other in kept
        assert (int(name[1:]) % 3 == 0) == (int(other[1:]) % 3 == 0)
    assert 2 <= len(kept) < 40


@pytest.mark.parametrize("wrong", [{"distance": -1}, {"distance": 40}, {"prefer": "x'; DROP"}])
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match="`"):
        of.near_duplicate_picture(**wrong)


def test_a_recipe_may_name_them(store, photos, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[[filter]]\nuse = "missing_picture"\n[[filter]]\nuse = "blank"\nshare = 1.0\n'
        '[[filter]]\nuse = "near_duplicate_picture"\nprefer = "first"\n'
    )
    coffee = photographs(photos)["coffee.png"]
    with store.writing("test"):
        store.add_images(
            [
                stored("white", encoded(Image.new("RGB", (90, 90), "white"))),
                stored("coffee", encoded(coffee)),
                stored("half", encoded(coffee.resize((300, 200)))),
            ]
        )
        store.add(records_of(["white", "coffee", "half", "gone"]))
        store.sync()
    funnel = curating.curate(store, load_recipe(str(path)))
    assert [(stage.filter, stage.dropped) for stage in funnel.stages] == [
        ("missing_picture", 1),
        ("blank", 1),
        ("near_duplicate_picture", 1),
    ]
    with store.writing("test"):
        store.add_images([stored("gone", encoded(photographs(photos)["chelsea.png"]))])
        store.sync()
    assert curating.curate(store, load_recipe(str(path))).accepted == 2
    path.write_text('[[filter]]\nuse = "near_duplicate_picture"\nprefer = "best"\n')
    with pytest.raises(RecipeError, match="'largest' or 'first'"):
        load_recipe(str(path))
