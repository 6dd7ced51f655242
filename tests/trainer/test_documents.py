"""Pages of MMC4, and how pages and pairs become examples."""

import base64
import gzip
import json
import os
import tarfile
import zipfile
from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from PIL import Image  # noqa: E402

from mimicit.errors import FormatError, MissingExtraError, PictureError, RecipeError  # noqa: E402
from tests.trainer.made_shards import (  # noqa: E402
    page,
    picture,
    with_base64,
    write_document_lines,
    write_document_tars,
    write_tar,
)
from trainer.config import Data  # noqa: E402
from trainer.encode import encode_document  # noqa: E402
from trainer.errors import TrainingError  # noqa: E402
from trainer.families.otter import OtterEncoder  # noqa: E402
from trainer.group_config import Group  # noqa: E402
from trainer.models.loss import IGNORED  # noqa: E402
from trainer.models.otter_processor import OtterProcessor  # noqa: E402
from trainer.sources import documents as module  # noqa: E402
from trainer.sources import pages, shards, unpacking  # noqa: E402
from trainer.sources.base import Document, Shown  # noqa: E402
from trainer.sources.documents import open_documents  # noqa: E402
from trainer.tokenizer import train_tokenizer  # noqa: E402

torch.set_num_threads(1)

JPEG = picture("red", "disc")


def opened(base, pattern="*.tar", **options):
    group = Group(documents=pattern, **{"min_picture_bytes": 0} | options)
    return open_documents(group, name="pages", base=base, cache=base.parent / "cache")


def contents(source):
    return [plain(source[number]) for number in range(len(source))]


def plain(document):
    return [part.read() if isinstance(part, Shown) else part for part in document.parts]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "shards"
    path.mkdir()
    return path


def body(sentences=2, **changes):
    """Return a page of a picture before its second sentence."""
    info = {"image_name": "a.jpg", "matched_text_index": 1, "matched_sim": 0.3, "image_base64": base64.b64encode(JPEG).decode()}  # fmt: skip
    made = {"text_list": [f"Sentence {n}." for n in range(sentences)], "image_info": [info]}
    return made | changes


def shown(**changes):
    return body()["image_info"][0] | changes


def write(folder, *bodies, name="a.tar"):
    members = [(f"{n:04d}.json", one if isinstance(one, bytes) else json.dumps(one).encode()) for n, one in enumerate(bodies)]  # fmt: skip
    return write_tar(folder / name, members)


# Reading


@pytest.mark.parametrize("layout", ["tars", "lines"])
def test_pictures_stand_before_their_sentence_whatever_the_order_of_the_list(folder, layout):
    """Trap T19: the list of pictures is in another order than the sentences."""
    if layout == "tars":
        write_document_tars(folder, 12)
        source = opened(folder)
    else:
        write_document_lines(folder, 12)
        source = opened(folder, "docs_shard_*_v2.jsonl", images="images")

    assert len(source) == 12
    for number in range(12):
        made, pictures = page(number, pictures=1 + number % 3)
        assert [i["matched_text_index"] for i in made["image_info"]] == [5, 3, 1][2 - number % 3 :]
        parts = plain(source[number])
        assert parts[0] == f"This is page {number % 10}."
        assert parts[1::2] == pictures[::-1]
        assert [text.split(".")[1] for text in parts[2::2]] == [" It stands alone"] * len(pictures)
        assert not source[number].is_pair
    assert np.array_equal(source.lengths([1, 0]) // 400, [2, 1])
    assert source.names([3, 0]) == [(source[3].id,), (source[0].id,)]


def test_lines_tars_zip_and_gz_say_the_same(folder):
    write_document_lines(folder, 20, shards=1)
    name = "docs_shard_0_v2.jsonl"
    data = (folder / name).read_bytes()
    (folder / f"{name}.gz").write_bytes(gzip.compress(data))
    with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    members = [(f"{n}.json", json.dumps(with_base64(*page(n, pictures=1 + n % 3))).encode()) for n in range(20)]  # fmt: skip
    write_tar(folder / "a.tar", members)

    found = [contents(opened(folder, pattern, images="images")) for pattern in (name, f"{name}.gz", f"{name}.zip")]  # fmt: skip

    assert found == [contents(opened(folder))] * 3
    unpacked = folder.parent / "cache" / "unpacked"
    assert sorted(path.read_bytes() == data for path in unpacked.iterdir()) == [True, True]


def test_an_unpacked_file_that_was_thrown_away_is_made_again(folder):
    write_document_lines(folder, 4, shards=1)
    name = "docs_shard_0_v2.jsonl"
    (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
    found = contents(opened(folder, f"{name}.gz", images="images"))
    for path in (folder.parent / "cache" / "unpacked").iterdir():
        path.unlink()
    assert contents(opened(folder, f"{name}.gz", images="images")) == found


def test_a_torn_gz_keeps_what_comes_before(folder):
    write_document_lines(folder, 40, shards=1)
    name = "docs_shard_0_v2.jsonl"
    packed = gzip.compress((folder / name).read_bytes())
    (folder / f"{name}.gz").write_bytes(packed[: len(packed) // 2])
    for changed in (0.1, 0.2):  # also where it was unpacked before
        source = opened(folder, f"{name}.gz", images="images", min_similarity=changed)
        assert 5 < len(source) < 40
        assert "1 × is broken from some place on" in "".join(source.notes)
        whole = contents(opened(folder, name, images="images", min_similarity=changed))
        assert contents(source) == whole[: len(source)]


@pytest.mark.parametrize("held", [0, 2, "locked", "large"])
def test_a_zip_that_is_not_one_file_of_lines_is_refused(folder, monkeypatch, held):
    path = folder / "a.jsonl.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for n in range(held if isinstance(held, int) else 1):
            archive.writestr(f"{n}.jsonl", b"{}\n" * 1000)
    says = "must hold one file of JSON lines"
    if held == "locked":
        data = bytearray(path.read_bytes())
        data[data.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(data)
    if held == "large":
        monkeypatch.setattr(unpacking, "MOST_UNPACKED_BYTES", 100)
        says = "unpacks to 3,000 bytes, which is too much"
    with pytest.raises(FormatError, match=says):
        opened(folder, "*.zip")


def test_a_gz_that_unpacks_without_end_is_refused(folder, monkeypatch):
    monkeypatch.setattr(unpacking, "MOST_UNPACKED_BYTES", 1 << 21)
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(bytes(1 << 23)))
    with pytest.raises(FormatError, match="unpacks to more than 0 GiB"):
        opened(folder, "*.gz")
    assert not list((folder.parent / "cache" / "unpacked").iterdir())


# Which pictures


def test_pictures_are_chosen_by_likeness_size_and_number(folder):
    likeness = [0.5, 0.23, 0.24, 0.4, 0.3, 0.6]
    infos = [shown(matched_sim=sim, matched_text_index=at) for sim, at in zip(likeness, (5, 0, 1, 3, 3, 2), strict=True)]  # fmt: skip
    write(folder, body(8, image_info=infos))

    def sentences(**options):
        parts = opened(folder, **options)[0].parts
        return [said.split()[1][:1] for shown, said in pairwise(parts) if isinstance(shown, Shown)]  # fmt: skip

    assert sentences() == ["1", "2", "3", "5"]
    assert sentences(max_pictures=2) == ["1", "2"]
    assert sentences(min_similarity=0.45) == ["2", "5"]
    assert sentences(min_similarity=-1.0, max_pictures=100) == ["0", "1", "2", "3", "5"]
    # Of two pictures for one sentence the more similar one stays.
    (name,) = [one.name for one in opened(folder)[0].parts if isinstance(one, Shown)][2:3]
    assert name == "a.tar/0000, picture 3"
    assert opened(folder).index.left_out.counts == {
        "a picture is less like its sentence than min_similarity": 1,
        "a picture is less like its sentence than another one there": 1,
    }


def test_small_pictures_are_left_out_as_published(folder):
    sizes = (10_999, 11_000)  # the published code: `bytes // 1000 <= 10` is too small
    pictures = [b"\xff\xd8\xff" + os.urandom(size - 3) for size in sizes]
    infos = [
        shown(image_base64=base64.b64encode(data).decode(), matched_text_index=at)
        for at, data in enumerate(pictures)
    ]
    write(folder, body(image_info=infos), body())
    source = opened(folder, min_picture_bytes=Group(documents="x").min_picture_bytes)
    assert [len(part) for part in contents(source)[0]] == [11, 11_000, 11]
    assert len(source) == 1
    assert source.index.left_out.counts == {
        "a picture has fewer bytes than min_picture_bytes": 2,
        "has no picture left": 1,
    }


def test_pictures_may_be_assigned_so_that_all_are_most_alike(folder):
    pytest.importorskip("scipy")
    infos = [shown(matched_text_index=0), shown(matched_text_index=0, image_name="b.jpg")]
    # Greedily the first would take sentence 0, and the second were left with 0.25.
    matrix = [[0.9, 0.8, 0.1], [0.85, 0.25, 0.1]]
    write(folder, body(3, image_info=infos, similarity_matrix=matrix))
    for bad in ([[0.9]], "x", None, [[0.9, None, 0.1], [0.1, 0.1, 0.1]], [[0.1, 0.2], [0.3]]):
        write(folder, body(3, image_info=infos, similarity_matrix=bad), name=f"{id(bad)}.tar")

    source = opened(folder, matching="assigned")

    assert len(source) == 1
    assert [one.name[-1] for one in source[0].parts if isinstance(one, Shown)] == ["1", "0"]
    assert source[0].parts[1] == "Sentence 0."
    assert source.index.left_out.counts == {
        "has no similarity_matrix of its pictures and sentences": 5
    }


def test_a_picture_that_is_not_there_takes_no_sentence_from_others(folder):
    """As published: of a page's pictures many could not be downloaded, and those that are there are assigned."""
    pytest.importorskip("scipy")
    gone, here, small = shown(image_base64=None), shown(), shown(image_base64="/9j/")
    matrix = [[0.9, 0.1, 0.1], [0.8, 0.3, 0.1], [0.95, 0.1, 0.1], [0.1, 0.5, 0.7]]
    options = {"matching": "assigned", "min_picture_bytes": 100}
    write(folder, body(3, image_info=[gone, here, small, here], similarity_matrix=matrix))
    parts = opened(folder, **options)[0].parts
    assert [one if isinstance(one, str) else one.name[-1] for one in parts] == ["1", "Sentence 0. Sentence 1.", "3", "Sentence 2."]  # fmt: skip

    # More pictures than sentences: the least alike is left over.
    write(folder, body(1, image_info=[here, here], similarity_matrix=[[0.5], [0.6]]))
    source = opened(folder, **options)
    assert [one.name[-1] for one in source[0].parts if isinstance(one, Shown)] == ["1"]
    (reason,) = source.index.left_out.counts
    assert reason == "a picture is left without a sentence, for each other picture has one"


def test_assigning_without_scipy_names_what_to_install(folder, monkeypatch):
    write(folder, body())
    monkeypatch.setitem(__import__("sys").modules, "scipy.optimize", None)
    with pytest.raises(MissingExtraError, match=r"mimicit\[curate\]"):
        opened(folder, matching="assigned")


def test_lone_pictures_are_dropped_by_name_and_not_by_chance(folder):
    lone = [body() for _ in range(200)]
    several = body(4, image_info=[shown(matched_text_index=n) for n in range(3)])
    write(folder, *lone[:100], several, *lone[100:])

    source = opened(folder, keep_lone=0.5)

    kept = {source[number].id for number in range(len(source))}
    assert 75 < len(kept) < 125
    assert "a.tar/0100" in kept
    assert source.index.left_out.counts == {
        "has a single picture, and keep_lone leaves it out": 201 - len(kept)
    }
    # The same ones whatever else there is, and more of them where more may stay.
    write(folder, body(), name="b.tar")
    more = opened(folder, keep_lone=0.75)
    names = {more[number].id for number in range(len(more))}
    assert kept < names
    assert len(opened(folder, keep_lone=0.0)) == 1
    assert len(opened(folder)) == 202


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"shards": "a", "where": "id > 3"}, "where says nothing about shards"),
        ({"shards": "a", "keep_lone": 0.5}, "keep_lone says nothing about shards"),
        ({"documents": "a", "in_context": 2}, "in_context says nothing about documents"),
        ({"min_similarity": 0.3}, "min_similarity says nothing about records"),
        ({"dataset": "b", "max_pictures": 2}, "max_pictures says nothing about records"),
        ({"images": "b"}, "images says nothing about records"),
        ({"shards": "a", "documents": "b"}, "a group is of one kind"),
        (
            {"documents": "a", "max_pictures": 10**9},
            "max_pictures is 1000000000, but must be at most 1,000",
        ),
        ({"documents": "a", "keep_lone": 2}, "keep_lone is 2, but must be at most 1"),
        ({"documents": "a", "max_pictures": 0}, "max_pictures is 0, but must be at least 1"),
    ],
)
def test_settings_of_another_kind_of_group_are_refused(settings, says):
    with pytest.raises(RecipeError, match=says):
        Group(**settings)


# What is wrong


HOSTILE = {
    "names no sentence": [shown(matched_text_index=value) for value in (2, -1, 10**30, 1.0, "1", True, None)],
    "has no similarity": [shown(matched_sim=value) for value in (None, "0.9", True, float("nan"), float("inf"))],
    "is not there": [shown(image_base64=value) for value in (None, "", 7, [])] + [3, None, "x"],
    "bytes are none": [shown(image_base64=value) for value in ("%%%", "A", "ü", "QUJD" * 30, base64.b64encode(b"<html>").decode())],
}  # fmt: skip


@pytest.mark.parametrize("reason", HOSTILE)
def test_pictures_that_cannot_be_shown_are_counted_and_the_others_stay(folder, reason):
    infos = [shown(matched_text_index=0), *HOSTILE[reason]]
    write(folder, body(image_info=infos))
    source = opened(folder)
    counts = dict(source.index.left_out.counts)
    assert contents(source) == [[JPEG, "Sentence 0. Sentence 1."]]
    # Of `is not there` some say no sentence, for they say nothing.
    assert sum(counts.values()) == len(HOSTILE[reason])
    assert any(reason in said for said in counts)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is no object of JSON"),
        (b"[1, 2]", "is no object of JSON"),
        (b'{"text_list": ["a"]', "is no object of JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is no object of JSON"),
        (b'{"a": NaN, "b": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is no object of JSON"),
        (b'{"image_info": [], "text_list": "abc"}', "has no text_list of texts"),
        (b'{"image_info": [{}], "text_list": ["a", 3]}', "has no text_list of texts"),
        (b'{"is_gpt": true, "example": "_!_IMAGE1_!_"}', "has no text_list of texts"),
        (b'{"text_list": ["a"], "image_info": []}', "has no image_info"),
        (b'{"text_list": ["a"], "image_info": {"0": 1}}', "has no image_info"),
        (json.dumps(body() | {"text_list": ["a", " \n"]}).encode(), "has no picture left"),
        (b"\xff\xfe\x00", "is no object of JSON"),
    ],
)
@pytest.mark.parametrize("layout", ["a.tar", "a.jsonl"])
def test_pages_that_are_none_are_left_out_and_counted(folder, data, reason, layout):
    if layout == "a.tar":
        write(folder, data, body())
        source = opened(folder)
    else:
        (folder / layout).write_bytes(data + b"\n\n" + json.dumps(body()).encode())
        source = opened(folder, layout)
    assert contents(source) == [["Sentence 0.", JPEG, "Sentence 1."]]
    if data or layout == "a.tar":  # an empty line is nothing
        assert source.index.left_out.counts[reason] == 1


def test_pictures_in_a_folder_are_found_by_plain_names_only(folder, tmp_path):
    images = folder / "images"
    (images / "sub").mkdir(parents=True)
    (images / "a.jpg").write_bytes(JPEG)
    (images / "sub" / "b.jpg").write_bytes(JPEG)
    (tmp_path / "secret.jpg").write_bytes(JPEG)
    (images / "page.jpg").write_bytes(b"<html>")
    os.mkfifo(images / "pipe.jpg")
    names = ["../../secret.jpg", str(tmp_path / "secret.jpg"), "sub/b.jpg", "..", ".", "a\0.jpg", "x\\a.jpg"]  # fmt: skip
    missing = ["gone.jpg", "sub", "pipe.jpg", "n" * 5000, "\ud800.jpg", "", None, 7]
    infos = [shown(image_name=name, matched_text_index=0) for name in (*names, *missing, "page.jpg")]  # fmt: skip
    line = json.dumps(body(image_info=[*infos, shown()]))
    # A half of a surrogate pair makes the whole line unreadable, as it should.
    (folder / "a.jsonl").write_text(line.replace("\\ud800", "ud800"))

    source = opened(folder, "a.jsonl", images="images")

    assert contents(source) == [["Sentence 0.", JPEG, "Sentence 1."]]
    assert source.index.left_out.counts == {
        "a picture's image_name is a path, not a name": len(names),
        "a picture is not there": len(missing),
        "a picture's bytes are none": 1,
    }


def test_pages_without_their_pictures_say_what_is_missing(folder):
    write_document_lines(folder, 4)
    with pytest.raises(TrainingError, match=r"nothing to learn from in 2 files: .*a picture is not there: it has no image_base64, and the group names no folder of images"):  # fmt: skip
        opened(folder, "*.jsonl")
    with pytest.raises(RecipeError, match=r"data\.groups\.pages\.images is 'none', but .* no folder"):  # fmt: skip
        opened(folder, "*.jsonl", images="none")


def test_a_page_that_is_too_large_is_passed_over(folder, monkeypatch):
    monkeypatch.setattr(module, "MOST_PAGE_BYTES", 4000)
    line = json.dumps(body()).encode()
    assert len(line) < 2000
    huge = [json.dumps(body(url="x" * size)).encode() for size in (5000, 9000)]
    (folder / "a.jsonl").write_bytes(b"\n".join([line, *huge, line]) + b"\n")
    write(folder, body(), *huge, body())
    for source in (opened(folder, "a.jsonl"), opened(folder)):
        assert len(source) == 2
        assert contents(source)[0] == contents(source)[1]
        assert list(source.index.left_out.counts.values()) == [2]


def test_links_in_tars_of_pages_are_counted(folder):
    link = tarfile.TarInfo("0.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    write_tar(folder / "a.tar", [(link, b""), ("1.json", json.dumps(body()).encode())])
    source = opened(folder)
    assert len(source) == 1
    assert source.index.left_out.counts == {"is a link, or no plain file": 1}


def test_a_picture_that_vanishes_is_named_when_it_is_read(folder):
    write_document_lines(folder, 2)
    source = opened(folder, "*.jsonl", images="images")
    for path in (folder / "images").iterdir():
        path.unlink()
    shown = source[0].parts[1]
    with pytest.raises(FileNotFoundError, match=r"0000000\.jpg"):
        shown.read()


def test_a_file_of_pages_that_changes_is_named(folder):
    (folder / "a.jsonl").write_text(json.dumps(body()))
    source = opened(folder, "a.jsonl")
    (folder / "a.jsonl").write_bytes(b"x" * 2000)
    with pytest.raises(PictureError, match=r"a\.jsonl' has changed since the run began"):
        source[0]


def test_an_index_is_of_its_rules(folder, monkeypatch):
    write_document_tars(folder, 10)
    digests = {
        opened(folder, **options).digest
        for options in ({}, {"min_similarity": 0.255}, {"max_pictures": 1}, {"keep_lone": 0.3})
    }
    assert len(digests) == 4
    monkeypatch.setattr(shards, "_scan_missing", None)
    assert opened(folder, min_similarity=pages.MIN_SIMILARITY).digest in digests


# Examples


TEXT = "We saw a cat and a dog. They played: it was <image> and <|endofchunk|> of all that, é!"


def make_processor(layout="flamingo", *, bos=False, eos=True, side=8, geometry="squash"):
    tokenizer = train_tokenizer([TEXT] * 2, vocab_size=300)
    if bos:
        tokenizer.add_special_tokens({"bos_token": "<s>"})
    if eos:
        tokenizer.add_special_tokens({"eos_token": "</s>"})
    OtterProcessor.add_special_tokens(tokenizer, layout=layout)
    return OtterProcessor(tokenizer, image_size=side, layout=layout, geometry=geometry)


def a_picture(name):
    return Shown(name, str(name), lambda: JPEG)


def bytes_of(shown):
    return torch.full((3, 8, 8), int(shown.key), dtype=torch.uint8)


def written(processor, ids):
    return "".join(processor.tokenizer.convert_ids_to_tokens(ids)).replace("Ġ", " ")


def taught(processor, example):
    return [None if label == IGNORED else written(processor, [label]) for label in example.labels_T]


@pytest.mark.parametrize("layout", ["otter", "flamingo"])
@pytest.mark.parametrize("bos", [False, True])
def test_a_pair_teaches_its_caption_and_its_end(layout, bos):
    processor = make_processor(layout, bos=bos)
    document = Document("a", (a_picture(7), " A cat \n"))
    example = encode_document(document, processor, bytes_of, max_tokens=50)
    begin = "<s>" if bos else ""
    assert written(processor, example.ids_T) == f"{begin}<image>A cat<|endofchunk|></s>"
    first = 1 + bos
    assert example.labels_T == [IGNORED] * first + example.ids_T[first:]
    assert example.pixels_NFCHW.shape == (1, 1, 3, 8, 8)
    assert int(example.pixels_NFCHW[0, 0, 0, 0, 0]) == 7


@pytest.mark.parametrize("layout", ["otter", "flamingo"])
def test_a_page_teaches_what_stands_between_a_picture_and_the_end_of_its_chunk(layout):
    processor = make_processor(layout, bos=True)
    parts = ("We saw", a_picture(1), "a cat.", a_picture(2), "and a dog. They played")
    example = encode_document(Document("a", parts), processor, bytes_of, max_tokens=90)
    said = "<s>We saw<image>a cat.<|endofchunk|><image>and a dog. They played<|endofchunk|></s>"
    assert written(processor, example.ids_T) == said
    learned = ["" if one is None else one for one in taught(processor, example)]
    assert "".join(learned) == "a cat.<|endofchunk|>and a dog. They played<|endofchunk|>"
    assert example.labels_T[0] == example.labels_T[-1] == IGNORED


def published_labels_of_page(ids, *, image, end, first=0):
    """Label as the published code did, written from its rules: strike out, one rule after the other."""
    labels = list(ids)
    labels[0] = IGNORED
    at = 0
    while at < len(ids) and ids[at] != image:
        labels[at] = IGNORED
        at += 1
    for start, token in enumerate(ids):
        after = start + 1
        while token == end and after < len(ids) and ids[after] != image:
            labels[after] = IGNORED
            after += 1
    return [IGNORED if token == image else label for token, label in zip(ids, labels, strict=True)]


def published_text(sentences, at):
    """Write a page as the published code did."""
    marked = [f"<|endofchunk|><image>{said}" if n in at else said for n, said in enumerate(sentences)]  # fmt: skip
    text = " ".join(marked).replace("<|endofchunk|>", "", 1)
    for token in ("<|endofchunk|>", "<image>"):
        text = text.replace(f" {token}", token).replace(f"{token} ", token)
    return f"{text}<|endofchunk|></s>"


PROCESSORS = {layout: make_processor(layout) for layout in ("otter", "flamingo")}
WORDS = st.text("catdog .é", min_size=1, max_size=12).map(str.strip).filter(bool)
PAGES = st.lists(WORDS, min_size=1, max_size=7).flatmap(
    lambda said: st.tuples(
        st.just(said), st.sets(st.integers(0, len(said) - 1), min_size=1, max_size=6)
    )
)


@settings(max_examples=150, deadline=None)
@given(PAGES, st.sampled_from(["otter", "flamingo"]))
def test_pages_are_written_and_labelled_by_the_published_rules(page, layout):
    sentences, at = page
    processor = PROCESSORS[layout]
    parts = module._parts(sentences, {number: a_picture(number) for number in at})
    document = Document("a", parts)
    example = encode_document(document, processor, bytes_of, max_tokens=10_000)

    ids = list(processor.tokenizer(published_text(sentences, at))["input_ids"])
    expected = published_labels_of_page(ids, image=processor.image_id, end=processor.end_id)
    if document.is_pair:  # a pair's end is taught, by the rule of pairs
        expected[-1] = ids[-1]
    # The published code gave text before the first picture to the model in full; here it is at most half.
    assert example.ids_T == ids
    assert example.labels_T == expected
    assert [int(one) for one in example.pixels_NFCHW[:, 0, 0, 0, 0]] == sorted(at)


def test_a_cut_takes_pictures_with_it_and_never_an_image_token_alone():
    """Trap T1: for every length there are as many `<image>` as pictures, and those that are cut off are not even read."""
    processor = make_processor(bos=True)
    parts = ("We saw", a_picture(1), "a cat.", a_picture(2), "and a dog.", a_picture(3), "It was")
    document = Document("a", parts)
    whole = encode_document(document, processor, bytes_of, max_tokens=10_000)
    for most in range(4, len(whole.ids_T) + 2):
        read = []

        def remember(shown, read=read):
            read.append(shown.key)
            return bytes_of(shown)

        example = encode_document(document, processor, remember, max_tokens=most)
        assert len(example.ids_T) <= most
        shown = example.ids_T.count(processor.image_id)
        assert read == [1, 2, 3][:shown]
        assert len(example.pixels_NFCHW) == shown == len(example.frames_N) >= 1
        assert example.ids_T[-1] != processor.image_id
        assert example.taught >= 1
    with pytest.raises(TrainingError, match=r"record 'a' shows no picture .* within 2 tokens"):
        encode_document(document, processor, bytes_of, max_tokens=2)


def test_a_long_beginning_leaves_room_for_the_first_picture():
    processor = make_processor()
    document = Document("a", ("and a cat " * 50 + "We saw", a_picture(1), "a dog."))
    example = encode_document(document, processor, bytes_of, max_tokens=24)
    before = example.ids_T.index(processor.image_id)
    assert before == 12
    assert written(processor, example.ids_T[:before]).endswith(" We saw")
    assert example.ids_T[before + 1 :][-2:] == [processor.end_id, processor.tokenizer.eos_token_id]


def test_a_group_may_have_shorter_examples_than_its_run(folder):
    processor = make_processor()
    write(folder, body(40))
    encoder = OtterEncoder(processor, Data(max_tokens=200))

    def example_of(**options):
        record = opened(folder, **options)[0]
        return encoder.encode(record, lambda shown: encoder.picture(shown.read(), name="x"))

    assert len(example_of().ids_T) == 200
    assert len(example_of(max_tokens=32).ids_T) == 32
    assert len(example_of(max_tokens=10_000).ids_T) == 200


def test_characters_of_marks_in_a_text_stay_text():
    processor = make_processor()
    document = Document("a", (a_picture(1), "it was <image> and <|endofchunk|> of </s>"))
    example = encode_document(document, processor, bytes_of, max_tokens=99)
    assert example.ids_T.count(processor.image_id) == 1
    assert example.ids_T.count(processor.end_id) == 1
    assert processor.decode(example.ids_T) == "it was <image> and <|endofchunk|> of </s>"


def test_a_tokenizer_without_an_end_of_text_teaches_none():
    processor = make_processor(eos=False)
    document = Document("a", (a_picture(1), "a cat"))
    example = encode_document(document, processor, bytes_of, max_tokens=99)
    assert example.ids_T[-1] == processor.end_id


@pytest.mark.parametrize("geometry", ["squash", "crop"])
def test_pictures_are_never_mirrored(folder, geometry):
    """Trap T27: a mirrored picture would teach that letters are mirrored."""
    image = Image.new("RGB", (64, 64), "white")
    image.paste((0, 0, 0), (4, 4, 20, 60))  # a bar on the left
    path = folder / "letters.png"
    image.save(path)
    text = base64.b64encode(path.read_bytes()).decode()
    write(folder, *[body(url=str(n), image_info=[shown(image_base64=text)]) for n in range(40)])
    encoder = OtterEncoder(make_processor(geometry=geometry), Data(max_tokens=64))
    source = opened(folder)
    for number in range(40):
        example = encoder.encode(source[number], lambda one: encoder.picture(one.read(), name="x"))
        row_W = example.pixels_NFCHW[0, 0, 0, 4].float()
        assert row_W[:3].mean() < 150 < row_W[-3:].mean()
