import base64
import io
import json
import tarfile

import pytest

from mimicit.errors import FormatError
from mimicit.formats import BadRow, ReadOptions, WriteOptions, webdataset
from mimicit.schema import ImageRecord, Instruction
from mimicit.store import Store
from tests.builders import record
from tests.mimicit.formats.trl_builders import again, fill, png, rows, shot

CAPTION = json.dumps(
    {"url": "http://x/1", "caption": "A cat.", "key": "0001", "status": "success", "exif": None}
).encode()


SEED = 2
"""Puts the two pictures of `fill` into two splits."""


@pytest.fixture
def filled(store):
    return fill(store)


def tar(path, *members, format=tarfile.USTAR_FORMAT):
    with tarfile.open(path, "w", format=format) as file:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
    return path


def read(path, **options):
    found = list(webdataset.read(path, ReadOptions(**options)))
    return (
        [one for one in found if isinstance(one, Instruction)],
        [one for one in found if isinstance(one, ImageRecord)],
        [one for one in found if isinstance(one, BadRow)],
    )


# Writing, and reading what was written


def test_what_is_written_is_read_back_identical(filled, tmp_path):
    written = webdataset.write(filled, tmp_path / "out", WriteOptions())
    other = again(tmp_path, [file.path for file in written], webdataset)
    assert rows(other) == rows(filled)
    pictures = "SELECT id, sha256, mime FROM images ORDER BY id"
    assert rows(other, pictures) == rows(filled, pictures)
    second = webdataset.write(other, tmp_path / "two", WriteOptions())
    assert [f.path.read_bytes() for f in written] == [f.path.read_bytes() for f in second]


def test_shards_are_bounded_numbered_and_the_same_bytes_again(filled, tmp_path):
    options = WriteOptions(shard_bytes=8_000, splits={"test": 0.5}, seed=SEED)
    one = webdataset.write(filled, tmp_path / "one", options)
    two = webdataset.write(filled, tmp_path / "two", options)
    assert [f.path.read_bytes() for f in one] == [f.path.read_bytes() for f in two]
    names = [file.path.name for file in one]
    assert {name.split("-")[0] for name in names} == {"train", "test"}
    assert "train-000001.tar" in names
    assert sum(file.records for file in one) == 15
    for file in one:
        assert file.path.stat().st_size <= 8_000 + 10_240
    assert not list(tmp_path.rglob("*.staged"))


def test_a_shard_has_a_limit_of_samples(filled, tmp_path, monkeypatch):
    monkeypatch.setattr(webdataset, "SAMPLES", 4)
    written = webdataset.write(filled, tmp_path, WriteOptions())
    assert [file.records for file in written] == [4, 4, 4, 3]


def test_members_have_no_time_and_no_owner_and_are_in_order(store, tmp_path):
    names = [f"LA_IMG_{number:02d}" for number in range(11)]
    with store.writing("test"):
        store.add_images(shot(name[7:], number) for number, name in enumerate(names))
        store.add([record(1, image_ids=names)])
        store.sync()
    [written] = webdataset.write(store, tmp_path, WriteOptions())
    with tarfile.open(written.path) as file:
        found = file.getmembers()
    assert [member.name for member in found] == [
        *(f"0000000000.{number:02d}.png" for number in range(11)),
        "0000000000.json",
    ]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.mode) for m in found} == {(0, 0, 0, "", 0o644)}
    [one], pictures, _ = read(written.path)
    assert list(one.image_ids) == [picture.id for picture in pictures] == names


def test_a_caption_is_written_as_img2dataset_writes_it(store, tmp_path):
    with store.writing("test"):
        store.add_images([shot("a", 1)])
        store.add([record(1, image_ids=["LA_IMG_a"], instruction="", answer="A cat.")])
        store.sync()
    [written] = webdataset.write(store, tmp_path, WriteOptions())
    with tarfile.open(written.path) as file:
        assert file.getnames() == ["0000000000.png", "0000000000.json", "0000000000.txt"]
        assert file.extractfile("0000000000.txt").read() == b"A cat."


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
def test_webdataset_reads_samples_and_pictures(filled, tmp_path):
    """Its reader leaves files open, hence the marks."""
    wds = pytest.importorskip("webdataset")
    [written] = webdataset.write(filled, tmp_path / "out", WriteOptions())
    samples = list(wds.WebDataset(str(written.path), shardshuffle=False).decode("pil"))
    assert len(samples) == written.records
    by_id = {sample["json"]["id"]: sample for sample in samples}
    assert by_id["LACONV_INS_001_00"]["png"].size == (8, 6)
    two = by_id["LACONV_INS_002_00"]
    assert [two["0.png"].getpixel((0, 0))[0], two["1.png"].getpixel((0, 0))[0]] == [2, 1]
    assert two["json"]["prompt"][0]["role"] == "user"


def test_an_export_beside_shards_of_another_is_refused(filled, tmp_path):
    (tmp_path / "train-000001.tar").write_bytes(b"theirs")
    with pytest.raises(FormatError, match="another export"):
        webdataset.write(filled, tmp_path, WriteOptions())
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["train-000001.tar"]


# Files of others


def test_captions_of_img2dataset(tmp_path):
    path = tar(
        tmp_path / "00000.tar",
        ("000000001.jpg", png(1)),
        ("000000001.json", CAPTION),
        ("000000001.txt", b"A cat."),
        ("000000002.jpg", png(2)),
        ("000000002.txt", b"A dog."),
    )
    assert webdataset.detect(path)
    (cat, dog), pictures, bad = read(path, task="captions")
    assert bad == []
    assert (cat.instruction, cat.answer, cat.task) == ("", "A cat.", "captions")
    assert cat.id.startswith("WDS_INS_000000001_")
    assert json.loads(cat.meta) == {"url": "http://x/1", "key": "0001", "status": "success"}
    assert (dog.answer, dog.meta) == ("A dog.", None)
    assert [picture.image for picture in pictures] == [png(1), png(2)]
    assert [cat.image_ids, dog.image_ids] == [(picture.id,) for picture in pictures]


def test_the_same_key_in_two_sets_makes_two_records(tmp_path):
    one = tar(tmp_path / "a.tar", ("0.jpg", png(1)), ("0.txt", b"A cat."))
    two = tar(tmp_path / "b.tar", ("0.jpg", png(2)), ("0.txt", b"A dog."))
    (first,), (cat,), _ = read(one)
    (second,), (dog,), _ = read(two)
    assert first.id != second.id
    assert cat.id != dog.id


@pytest.mark.parametrize(
    "members",
    [
        [("x.json", {"question": "Q", "answer": "A"})],
        [("x.json", {"conversations": [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", "value": "A"}]})],
        [("x.json", [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", "value": "A"}])],
        [("x.json", {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Q"}]}, {"role": "assistant", "content": "A"}]})],
        [("x.json", {"texts": [{"user": "Q", "assistant": "A"}]})],
        [("x.question.txt", "Q"), ("x.answer.txt", "A")],
    ],
    ids=["question", "conversations", "a list", "messages", "texts", "txt"],
)  # fmt: skip
def test_the_shapes_of_questions_and_answers(tmp_path, members):
    encoded = [
        (name, (said if name.endswith("txt") else json.dumps(said)).encode())
        for name, said in members
    ]
    path = tar(tmp_path / "x.tar", ("x.png", png(1)), *encoded)
    [one], [picture], bad = read(path)
    assert bad == []
    assert (one.instruction, one.answer, one.image_ids) == ("Q", "A", (picture.id,))


def test_numbered_pictures_are_in_their_order_whatever_that_of_the_members(tmp_path):
    numbers = sorted(map(str, range(12)))
    members = [(f"x.{number}.png", png(int(number))) for number in numbers]
    said = json.dumps({"question": "Q", "answer": "A"}).encode()
    path = tar(tmp_path / "x.tar", *members, ("x.json", said))
    _, pictures, _ = read(path)
    assert [picture.image for picture in pictures] == [png(number) for number in range(12)]


def test_pictures_as_base64(tmp_path):
    text = base64.encodebytes(png(1))
    path = tar(tmp_path / "x.tar", ("x.png", text), ("x.txt", b"A cat."))
    _, [picture], bad = read(path)
    assert (picture.image, bad) == (png(1), [])


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names(tmp_path, format):
    folder = "a/" * 40 if format == tarfile.USTAR_FORMAT else "ä" * 80 + "/" + "b" * 120
    path = tar(
        tmp_path / "x.tar", (f"{folder}k.png", png(1)), (f"{folder}k.txt", b"1"), format=format
    )
    [one], _, bad = read(path)
    assert (one.answer, bad) == ("1", [])
    assert one.id.startswith(f"WDS_INS_{folder}k_")


@pytest.mark.parametrize("name", ["../../out", "/etc/passwd", "a/../../b", "C:\\x"])
def test_a_name_is_never_a_path(tmp_path, monkeypatch, name):
    folder = tmp_path / "one" / "two"
    folder.mkdir(parents=True)
    path = tar(folder / "x.tar", (f"{name}.png", png(1)), (f"{name}.txt", b"A cat."))
    monkeypatch.chdir(folder)
    before = sorted(tmp_path.rglob("*"))
    [one], [_], bad = read(path)
    assert (one.answer, bad) == ("A cat.", [])
    assert sorted(tmp_path.rglob("*")) == before


def test_links_and_devices_are_told_and_not_followed(tmp_path):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as file:
        for kind, name in ((tarfile.SYMTYPE, "l.png"), (tarfile.LNKTYPE, "h.png"), (tarfile.CHRTYPE, "c.png"), (tarfile.DIRTYPE, "d")):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            file.addfile(info)
    records, pictures, bad = read(path)
    assert (records, pictures) == ([], [])
    assert [one.where for one in bad] == ["x.tar: l.png", "x.tar: h.png", "x.tar: c.png"]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("x.png", b"no picture"), ("x.txt", b"A")], "not a picture"),
        ([("x.txt", b"A caption")], "without its picture"),
        ([("x.png", None)], "no question"),
        ([("x.npy", b"\0")], "no question"),
        ([("x.png", None), ("x.json", b"{")], "broken JSON"),
        ([("x.png", None), ("x.json", b"3")], "no object"),
        ([("x.png", None), ("x.json", b"[" * 5_000)], "broken JSON"),
        ([("x.png", None), ("x.txt", b"\xff")], "UTF-8"),
        ([("x.png", None), ("x.txt", b" \n")], "no caption"),
        ([("x.png", None), ("x.png", None), ("x.txt", b"A")], "two members"),
        ([("x.png", None), ("x.json", b'{"question": "Q", "answer": {"a": 1}}')], "no messages"),
        ([("x\ny.png", None), ("x\ny.txt", b"A")], "string_pattern"),
        ([("x.png", None), ("x.json", b'{"question": "Q", "answer": "A", "m": ' + b"[" * 99 + b"]" * 99 + b"}")], "nested"),
    ],
)  # fmt: skip
def test_a_bad_sample_is_named_and_the_others_are_read(tmp_path, members, reason):
    filled = [(name, png(1) if data is None else data) for name, data in members]
    path = tar(
        tmp_path / "x.tar", ("a.png", png(2)), ("a.txt", b"1"), *filled,
        ("z.png", png(3)), ("z.txt", b"2"),
    )  # fmt: skip
    records, _, [bad] = read(path)
    assert [one.answer for one in records] == ["1", "2"]
    assert bad.where.startswith("x.tar: x")
    assert "\n" not in bad.where
    if reason != "string_pattern":
        assert reason in bad.reason


@pytest.mark.parametrize("limit", ["MAX_TEXT_BYTES", "MAX_SAMPLE_BYTES", "MAX_SAMPLE_MEMBERS"])
def test_too_large_members_are_not_read(tmp_path, monkeypatch, limit):
    small = 2 if limit == "MAX_SAMPLE_MEMBERS" else 2_000
    monkeypatch.setattr(webdataset, limit, small)
    many = [(f"x.{number}.png", png(number)) for number in range(3)]
    path = tar(
        tmp_path / "x.tar", *many, ("x.txt", b"A" * 3_000), ("z.png", png(9)), ("z.txt", b"B")
    )
    [one], _, [bad] = read(path)
    assert one.answer == "B"
    assert bad.where == "x.tar: x"


def test_a_picture_larger_than_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(webdataset.picture, "MAX_BYTES", 1_000)
    path = tar(tmp_path / "x.tar", ("x.png", bytes(1_001)), ("x.txt", b"A"))
    records, _, [bad] = read(path)
    assert records == []
    assert "larger" in bad.reason


def test_a_cut_file_gives_what_came_before(tmp_path):
    path = tar(tmp_path / "x.tar", ("a.png", png(1)), ("a.txt", b"1"), ("b.png", png(2, (90, 90))))
    path.write_bytes(path.read_bytes()[: 512 * 4 + 512 + 100])
    found = webdataset.read(path, ReadOptions())
    with pytest.raises(FormatError, match=r"ends within 'b\.png'"):
        list(found)


def test_rubbish_between_members_is_told(tmp_path):
    path = tar(tmp_path / "x.tar", ("a.png", png(1)), ("a.txt", b"1"), ("b.txt", b"2"))
    data = bytearray(path.read_bytes())
    at = data.index(b"b.txt")
    data[at : at + 512] = b"\x07" * 512
    path.write_bytes(data)
    found = webdataset.read(path, ReadOptions())
    with pytest.raises(FormatError, match=f"broken at byte {at:,}"):
        list(found)


def test_a_header_that_claims_a_huge_name_is_refused(tmp_path):
    path = tmp_path / "x.tar"
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2 << 20
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2 << 20))
    with pytest.raises(FormatError, match="a name of 2,097,152 bytes"):
        list(webdataset.read(path, ReadOptions()))


@pytest.mark.parametrize(
    "data", [b"", b"no tar at all", bytes(10_240)], ids=["empty", "text", "end"]
)
def test_other_files_are_not_taken(tmp_path, data):
    path = tmp_path / "x.tar"
    path.write_bytes(data)
    assert not webdataset.detect(path)
    tar(path, ("setup.py", b"import os"))
    assert not webdataset.detect(path)


def test_reading_stays_flat_in_memory(tmp_path):
    import tracemalloc

    noise = [png(number, (16, 16)) + bytes(200_000) for number in range(8)]
    path = tar(
        tmp_path / "x.tar",
        *(
            member
            for number in range(300)
            for member in ((f"{number}.png", noise[number % 8]), (f"{number}.txt", b"A"))
        ),
    )
    assert path.stat().st_size > 50 << 20
    tracemalloc.start()
    for _ in webdataset.read(path, ReadOptions()):
        pass
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


def test_a_store_of_captions_goes_round(tmp_path):
    path = tar(tmp_path / "x.tar", ("1.jpg", png(1)), ("1.json", CAPTION), ("1.txt", b"A cat."))
    store = again(tmp_path, [path], webdataset)
    [written] = webdataset.write(store, tmp_path / "out", WriteOptions())
    other = Store.open(tmp_path / "other", create=True)
    with other.writing("test"):
        other.add([one for one in webdataset.read(written.path, ReadOptions()) if isinstance(one, Instruction)])  # fmt: skip
        other.sync()
    assert rows(other) == rows(store)
