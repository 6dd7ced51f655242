"""One row, picture, reply or disk that is not as it should be spoils nothing but itself."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys

import pytest
from PIL import Image

from mimicit.errors import DatasetError, PictureError
from mimicit.ledger_files import open_ledger
from mimicit.media.picture import decode, measure
from mimicit.store import Store
from syphus.annotations import read
from syphus.annotations.context import Context, Picture, Segment
from syphus.generate import Job, generate
from syphus.ledger import Ledger, Reading
from syphus.pictures import image_ids, read_pictures
from syphus.providers.scripted import ScriptedModel
from syphus.task import load_task
from tests.syphus.test_pictures import film

PAIRS = "\n\n".join(f"Question: What is {n}?\nAnswer: It is {n}." for n in range(3))
ROOT = __file__.partition("/tests/")[0]


def job(contexts, **options):
    return Job(load_task("la_conversation"), contexts, None, **({"model": "x/y"} | options))


def rows(store, query):
    with store.reading() as connection:
        return connection.execute(query).fetchall()


def said(name, text="A dog runs.", **changes):
    return Context(name, (Picture(f"{name}.png"),), (text,), source=f"a.json#{name}", **changes)


# Two pictures with the same annotations


@pytest.mark.parametrize("at_once", [1, 4])
def test_pictures_with_the_same_captions_share_a_reply_and_each_get_records(store, at_once):
    model = ScriptedModel(lambda r: PAIRS)
    report = generate(job([said("a"), said("b"), said("c")]), store, model, concurrency=at_once)
    assert len(model.seen) == 1
    assert (report.pairs, report.answered, report.reused) == (9, 3, 2)
    found = rows(
        store, "SELECT count(*), count(DISTINCT id), count(DISTINCT image_ids) FROM accepted"
    )
    assert found == [(9, 9, 3)]


def test_they_get_them_also_in_a_later_run(store):
    generate(job([said("a")]), store, ScriptedModel(lambda r: PAIRS), concurrency=1)
    later = ScriptedModel(lambda r: PAIRS)
    report = generate(job([said("b")]), store, later, concurrency=1)
    assert (report.pairs, later.seen) == (3, [])
    assert rows(store, "SELECT count(DISTINCT image_ids) FROM accepted") == [(2,)]
    again = generate(job([said("a"), said("b")]), store, later, concurrency=1)
    assert (again.pairs, again.reused, later.seen) == (6, 2, [])
    assert rows(store, "SELECT count(*) FROM instructions") == [(6,)]


def test_twins_in_flight_are_asked_about_once(store):
    class Slow(ScriptedModel):
        async def complete(self, request):
            await asyncio.sleep(0.05)
            return await super().complete(request)

    model = Slow(lambda r: PAIRS)
    contexts = [said(f"p{n}", f"A dog number {n % 3}.") for n in range(12)]
    report = generate(job(contexts), store, model, concurrency=12)
    assert len(model.seen) == 3
    assert report.pairs == 36


def test_a_ledger_from_before_goes_on(store):
    """Its readings do not say for which context; they were for the one that was asked about."""
    generate(job([said("a")]), store, ScriptedModel(lambda r: PAIRS), concurrency=1)
    path = store.path / "ledger" / "ledger.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE readings DROP COLUMN context")
    connection.close()
    store.rebuild()
    assert rows(store, "SELECT pairs, context FROM readings") == [(3, None)]
    model = ScriptedModel(lambda r: PAIRS)
    report = generate(job([said("a"), said("b")]), store, model, concurrency=1)
    assert (report.pairs, model.seen) == (6, [])
    assert rows(store, "SELECT count(DISTINCT image_ids) FROM accepted") == [(2,)]


# Replies


def test_half_a_character_in_a_reply_is_replaced_and_the_reply_kept(store):
    broken = PAIRS.replace("It is 1.", "It is \ud83d and \udca9.")
    generate(job([said("a")]), store, ScriptedModel(lambda r: broken), concurrency=1)
    assert rows(store, "SELECT answer FROM accepted ORDER BY id")[1] == ("It is � and �.",)


def test_numbers_that_no_file_can_hold_are_cut(tmp_path):
    with Ledger(tmp_path / "l.sqlite") as ledger:
        ledger.read([Reading(10**30, -(10**30))])
    with open_ledger(tmp_path / "l.sqlite") as connection:
        [(reply, pairs)] = connection.execute("SELECT reply, pairs FROM readings").fetchall()
    assert (reply, pairs) == (2**63 - 1, -(2**63) + 1)


# Rows


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (said("x" * 401), "has 401 characters, more than 400"),
        (said("a\nb"), "holds characters that no name can have"),
        (Context("y", (Picture("z" * 5_000),), ("A dog.",)), "has 5,000 characters"),
        (Context("y", captions=("A dog.",), video="v" * 5_000), "has 5,000 characters"),
    ],
)
def test_a_name_that_no_record_can_have_is_listed(store, bad, reason):
    model = ScriptedModel(lambda r: PAIRS)
    report = generate(job([bad, said("good")]), store, model, concurrency=1)
    assert (report.pairs, report.problem_count, len(model.seen)) == (3, 1, 1)
    assert reason in report.problems[0].reason


def test_a_picture_called_dot_has_an_id():
    assert image_ids(load_task("sd"), Context("a", (Picture("."), Picture(".png")))) == (
        "SD_IMG_.", "SD_IMG_.png",
    )  # fmt: skip


def test_a_name_too_long_for_the_file_system_is_listed(tmp_path):
    with pytest.raises(PictureError, match="cannot be found: File name too long"):
        read_pictures(load_task("sd"), Context("a", (Picture("x" * 300),)), tmp_path)


def test_a_template_that_fails_on_one_row_goes_on_with_the_next(store, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"id": "a", "image": "a.png", "captions": ["A dog."], "facts": {"n": 1}}\n'
        '{"id": "b", "image": "b.png", "captions": ["A cat."], "facts": {"n": "x"}}\n'
        '{"id": "c", "image": "c.png", "captions": ["A cow."], "facts": {"n": 2}}\n'
    )
    folder = tmp_path / "mine"
    subprocess.run(["cp", "-r", load_task("la_conversation").folder, folder], check=True)
    (folder / "query.md.j2").write_text(
        "{{ captions[0] }}{% if facts.n is defined %}{{ facts.n + 1 }}{% endif %}"
    )
    mine = Job(load_task(str(folder)), read([path]), None, "x/y")
    report = generate(mine, store, ScriptedModel(lambda r: PAIRS), concurrency=1)
    assert (report.pairs, [p.where for p in report.problems]) == (6, ["rows.jsonl:2"])


def test_a_span_in_milliseconds_does_not_list_a_million_seconds(tmp_path):
    film(tmp_path / "v.mp4", seconds=3)
    context = Context("v", segments=(Segment("x", 0.0, 1e300),), video="v", span=(0.0, 1e300))
    assert len(read_pictures(load_task("dc"), context, tmp_path)) == 3


def test_a_video_that_is_a_link_out_of_the_folder_is_refused(tmp_path):
    film(tmp_path / "secret" / "s.mp4")
    videos = tmp_path / "videos"
    videos.mkdir()
    (videos / "leak.mp4").symlink_to(tmp_path / "secret" / "s.mp4")
    (videos / "folder").symlink_to(tmp_path / "secret")
    for name in ("leak", "leak.mp4", "folder"):
        with pytest.raises(PictureError, match="leads out"):
            read_pictures(load_task("dc"), Context("v", video=name), videos)


# Pictures


@pytest.mark.parametrize("kind", ["EPS", "PDF", "DDS", "ICNS", "TGA"])
def test_only_formats_of_pictures_are_decoded(tmp_path, kind):
    """Pillow knows others: an EPS file called .jpg would be run by Ghostscript."""
    path = tmp_path / "x.jpg"
    Image.new("RGB", (64, 64)).save(path, kind)
    with pytest.raises(PictureError, match="not a picture in a format that is read here"):
        measure(path.read_bytes(), id="x", name="x.jpg")


@pytest.mark.parametrize("kind", ["AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP"])
def test_damaged_bytes_are_a_sentence_whatever_the_decoder_raises(tmp_path, kind):
    import io
    import random

    buffer = io.BytesIO()
    try:
        Image.effect_noise((60, 40), 80).convert("RGB").save(buffer, kind)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {kind}")
    whole = buffer.getvalue()
    assert decode(whole, name="x").size == (60, 40)
    chance = random.Random(1)
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 12)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            decode(bytes(data[: chance.randint(1, len(data))]), name="x")
        except PictureError as error:
            said = str(error)
            if not said.startswith("'x'"):
                raise


# Disks


def test_a_ledger_that_cannot_be_written_is_not_called_damaged(tmp_path):
    path = tmp_path / "l.sqlite"
    Ledger(path)._close()
    path.write_bytes(path.read_bytes()[:4_096] + b"\xff" * 100)
    with pytest.raises(DatasetError, match="is damaged"):
        Ledger(path)
    with pytest.raises(sqlite3.OperationalError):
        Ledger(tmp_path / "nowhere" / "l.sqlite")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_dataset_that_cannot_be_written_can_be_read(store):
    generate(job([said("a")]), store, ScriptedModel(lambda r: PAIRS), concurrency=1)
    folders = [store.path, *(p for p in store.path.rglob("*") if p.is_dir())]
    try:
        for folder in folders:
            folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
        with Ledger(store.path / "ledger" / "ledger.sqlite", read_only=True) as ledger:
            assert ledger.counts()["replies"] == 1
        Store.open(store.path).refresh()
        assert rows(store, "SELECT count(*) FROM accepted") == [(3,)]
    finally:
        for folder in folders:
            folder.chmod(stat.S_IRWXU)


def test_a_full_disk_is_one_sentence(tmp_path):
    """Let the process write files of 200 kB at most, and look at what the command says."""
    annotations = tmp_path / "a.jsonl"
    annotations.write_text(
        "".join(
            f'{{"id": "p{n}", "image": "p{n}.png", "captions": ["Dog {n}."]}}\n' for n in range(40)
        )
    )
    code = f"""
import resource, sys
from syphus import providers
from syphus.providers.scripted import ScriptedModel
providers.connect = lambda model, **options: ScriptedModel(lambda r: {PAIRS!r} + "x" * 20_000)
from syphus.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.argv = ["syphus", "generate", "la_conversation", "-a", {str(annotations)!r}, "-d", {str(tmp_path / "d")!r}, "-m", "x/y"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.rstrip().splitlines()[-1].startswith("syphus: ")
    assert "damaged" not in done.stderr
