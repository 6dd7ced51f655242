"""Annotations by a vision model: against a real server on this machine that speaks OpenAI's protocol, and misbehaves."""

import base64
import io
import json
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from PIL import Image, ImageDraw, ImageFont

from mimicit.errors import LockedError, MissingExtraError, PictureError
from syphus import ocr
from syphus.annotate import Job, annotate, check_sight, count_pictures
from syphus.annotate.reading import UnclearBoxesError, read_annotation
from syphus.annotate.rows import Rows
from syphus.annotations import read
from syphus.annotations.context import Problem
from syphus.errors import AnnotationError, ReplyError, StopError
from syphus.generate import Job as Generating
from syphus.generate import generate
from syphus.pacing import retries
from syphus.providers import connect
from syphus.providers.scripted import ScriptedModel
from syphus.task import load_task
from tests.server import Provider, good, refuse, serve

KEY = "sk-test-0123456789abcdef"
MODEL = "openai/gpt-4o-mini"
NOTED = {
    "captions": ["A cat lies on a sofa.", "The sofa is red."],
    "objects": [{"name": "cat", "box": [0.1, 0.2, 0.5, 0.9]}],
}


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(retries, "_backoff", lambda failures: 0.01)


@pytest.fixture
def folder(tmp_path):
    """Five pictures in two folders, all different, one larger than a model is shown."""
    root = tmp_path / "photos"
    (root / "inner").mkdir(parents=True)
    sizes = {
        "a.png": (60, 40),
        "b.jpg": (2000, 1000),
        "inner/c.webp": (50, 50),
        "inner/d.png": (30, 20),
    }
    for number, (name, size) in enumerate(sizes.items()):
        Image.new("RGB", size, (40 * number, 90, 10)).save(root / name)
    (root / "notes.txt").write_text("no picture")
    (root / ".hidden.png").write_bytes(b"")
    return root


def said(value):
    return lambda body, before: good(body, value if isinstance(value, str) else json.dumps(value))


@pytest.fixture
def run(tmp_path, folder, monkeypatch):
    """Annotate against a server that behaves so; return the report."""

    def run(provider=None, paths=None, **options):
        provider = provider or Provider(said(NOTED))
        with serve(provider):
            monkeypatch.setenv("OPENAI_API_KEY", KEY)
            monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
            monkeypatch.setenv("OPENAI_API_BASE", provider.url)
            options = {"out": tmp_path / "out.jsonl", "model": MODEL} | options
            job = Job(load_task("annotate"), paths or [folder], **options)
            return annotate(job, connect(MODEL), concurrency=2)

    return run


def rows(tmp_path, name="out.jsonl"):
    return [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]


def shown(body):
    """Return the picture of a request; after an unreadable reply it is not in the last message."""
    parts = [m["content"] for m in body["messages"] if isinstance(m["content"], list)][-1]
    [part] = [part for part in parts if part["type"] == "image_url"]
    kind, data = part["image_url"]["url"].split(",")
    return kind, Image.open(io.BytesIO(base64.b64decode(data)))


def test_every_picture_gets_a_row_that_generate_reads(run, tmp_path):
    report = run()
    assert (report.pictures, report.rows, report.known, report.problem_count) == (4, 4, 0, 0)
    assert (report.captions, report.objects) == (8, 4)
    found = {row["id"]: row for row in rows(tmp_path)}
    assert set(found) == {"a", "b", "inner/c", "inner/d"}
    assert found["inner/c"] == {"id": "inner/c", "image": "inner/c.webp", **NOTED, "facts": {}}
    contexts = list(read([tmp_path / "out.jsonl"]))
    assert not [item for item in contexts if isinstance(item, Problem)]
    assert {context.pictures[0].name for context in contexts} == {
        "a.png", "b.jpg", "inner/c.webp", "inner/d.png",
    }  # fmt: skip
    assert contexts[0].captions == tuple(NOTED["captions"])


def test_from_pictures_nobody_annotated_to_records_with_their_pictures(
    run, folder, tmp_path, store
):
    run()
    pairs = "\n\n".join(f"Question: What is {n}?\nAnswer: It is {n}." for n in range(3))
    job = Generating(
        load_task("la_conversation"), read([tmp_path / "out.jsonl"]), folder, "made/up"
    )
    report = generate(job, store, ScriptedModel(lambda request: pairs), concurrency=1)
    assert (report.contexts, report.pairs, report.problem_count) == (4, 12, 0)
    with store.reading() as connection:
        found = connection.execute("SELECT id FROM images ORDER BY id").fetchall()
    assert found == [("LA_IMG_a",), ("LA_IMG_b",), ("LA_IMG_inner/c",), ("LA_IMG_inner/d",)]


def test_pictures_are_sent_as_data_urls_and_made_smaller(run):
    provider = Provider(said(NOTED))
    run(provider)
    sizes = {}
    for body in provider.bodies:
        kind, image = shown(body)
        assert kind == f"data:image/{image.format.lower()};base64"
        sizes[image.size] = image.format
        assert body["messages"][-1]["content"][-1]["type"] == "text"
        assert body["response_format"]["json_schema"]["strict"] is True
    assert sizes == {(60, 40): "PNG", (1024, 512): "JPEG", (50, 50): "JPEG", (30, 20): "PNG"}


def test_a_second_run_asks_nothing_and_adds_nothing(run, tmp_path):
    run()
    before = (tmp_path / "out.jsonl").read_bytes()
    again = Provider(said(NOTED))
    report = run(again)
    assert (report.pictures, report.rows, report.known, again.bodies) == (4, 0, 4, [])
    assert (tmp_path / "out.jsonl").read_bytes() == before


def test_new_pictures_and_a_limit(run, folder, tmp_path):
    assert run(limit=2).rows == 2
    assert run(limit=2).rows == 0
    Image.new("RGB", (9, 9), "red").save(folder / "a.jpg")
    report = run()
    assert (report.rows, report.known) == (3, 2)
    assert {row["id"]: row["image"] for row in rows(tmp_path)}["a.jpg"] == "a.jpg"  # a is a.png's


def test_a_lost_file_is_made_again_from_the_ledger(run, tmp_path):
    run()
    before = sorted(map(str, rows(tmp_path)))
    (tmp_path / "out.jsonl").unlink()
    again = Provider(said(NOTED))
    report = run(again)
    assert (report.rows, report.reused, again.bodies) == (4, 4, [])
    assert sorted(map(str, rows(tmp_path))) == before


@pytest.mark.parametrize(
    ("torn", "kept"),
    [(b'{"id": "x", "ima', 4), (b'{"id": "x", "image": "x.png"}', 5), (b"\x00\x00", 4)],
    ids=["torn", "whole without its end", "zeros"],
)
def test_a_torn_last_line_is_cut_off(run, tmp_path, torn, kept):
    run()
    with (tmp_path / "out.jsonl").open("ab") as file:
        file.write(torn)
    run()
    assert len(rows(tmp_path)) == kept
    assert (tmp_path / "out.jsonl").read_bytes().endswith(b"}\n")


def test_a_file_of_something_else_is_left_alone(run, tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text("name,box\ncat,1\n")
    with pytest.raises(AnnotationError, match=r"line 1 of .* is not a row"):
        run()
    assert path.read_text() == "name,box\ncat,1\n"


def test_names_stay_the_same_whichever_part_of_the_folder_is_named(run, folder, tmp_path):
    run(paths=[folder])
    Image.new("RGB", (8, 8), "blue").save(folder / "inner" / "new.png")
    report = run(paths=[folder / "inner" / "new.png", folder / "inner"])
    assert (report.rows, report.known) == (1, 2)
    assert rows(tmp_path)[-1]["id"] == "inner/new"
    other = tmp_path / "elsewhere"
    other.mkdir()
    Image.new("RGB", (8, 8)).save(other / "z.png")
    with pytest.raises(AnnotationError, match="name another file"):
        run(paths=[other])


def test_bad_pictures_are_listed_and_cost_nothing(run, folder):
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.jpg").write_text("hello")
    (folder / "odd\n.png").write_bytes((folder / "a.png").read_bytes())
    provider = Provider(said(NOTED))
    report = run(provider, paths=[folder, folder / "notes.txt"])
    assert (report.rows, report.problem_count, len(provider.bodies)) == (4, 4, 4)
    reasons = " ".join(problem.reason for problem in report.problems)
    for part in ("is empty", "not a picture in a format", "control characters", "ends in none of"):
        assert part in reasons
    with pytest.raises(PictureError, match="there is no picture or folder"):
        run(paths=[folder / "nothing"])


def test_two_runs_at_once_do_not_write_to_one_file(run, tmp_path):
    with Rows.writing(tmp_path / "out.jsonl"), pytest.raises(LockedError, match=r"out\.jsonl"):
        run()


@pytest.mark.parametrize(
    ("reply", "captions"),
    [
        ("Sure! Here it is:\n```json\n" + json.dumps(NOTED) + "\n```\nAnything else?", 2),
        ("<think>{captions: [1]}</think>" + json.dumps(NOTED), 2),
        ('{"captions": ["Draft."], "objects": []}\nBetter:\n' + json.dumps(NOTED), 2),
        (json.dumps([NOTED]), 2),
        ('{"captions": "One sentence.", "objects": null}', 1),
        ("{'captions': ['It is the cat\\'s sofa.', '', '  ', 7,], 'objects': [],}", 1),
        (json.dumps({"captions": [f"{n}." for n in range(9)], "objects": []}), 6),
        ('{"captions": ["Whole.", "Half of a sen', 1),
    ],
    ids=["prose", "thoughts", "draft", "list", "string", "pythonic", "many", "cut off"],
)
def test_captions_are_read_however_they_are_wrapped(reply, captions):
    assert len(read_annotation(reply, (640, 480)).captions) == captions


@pytest.mark.parametrize(
    "reply",
    ["", "I'm sorry, I can't help with that.", '{"captions": []}', '{"captions": ["…"]}', "[1, 2]", '{"objects": []}'],
)  # fmt: skip
def test_without_a_caption_a_reply_is_unreadable(reply):
    with pytest.raises(ReplyError):
        read_annotation(reply, (640, 480))


def boxes(*listed, size=(640, 480)):
    things = [{"name": "cat", "box": box} for box in listed]
    return read_annotation(json.dumps({"captions": ["A."], "objects": things}), size)


@pytest.mark.parametrize(
    ("box", "size", "read"),
    [
        ([0.1, 0.2, 0.5, 0.9], (640, 480), (0.1, 0.2, 0.5, 0.9)),
        ([0, 0, 1, 1], (640, 480), (0, 0, 1, 1)),
        (["0.1", "0.2", "0.5", "0.9"], (640, 480), (0.1, 0.2, 0.5, 0.9)),
        ([0.5, 0.9, 0.1, 0.2], (640, 480), (0.1, 0.2, 0.5, 0.9)),
        ([-0.01, 0.2, 1.02, 0.9], (640, 480), (0, 0.2, 1, 0.9)),
        ([100, 200, 500, 900], (640, 480), (0.1, 0.2, 0.5, 0.9)),
        ([256, 300, 1010, 760], (1024, 768), (0.25, 0.3906, 0.9863, 0.9896)),
    ],
    ids=["shares", "all of it", "strings", "reversed", "a little outside", "thousandths", "pixels"],
)
def test_the_convention_of_boxes_is_told_from_their_numbers(box, size, read):
    assert boxes(box, size=size).objects[0].box == pytest.approx(read, abs=1e-4)


def test_all_boxes_of_a_reply_are_in_one_convention():
    noted = boxes([10, 20, 100, 120], [300, 700, 990, 999])
    assert [thing.box for thing in noted.objects] == [
        (0.01, 0.02, 0.1, 0.12),
        (0.3, 0.7, 0.99, 0.999),
    ]


def test_one_strange_box_does_not_spoil_the_others():
    noted = boxes([0.1, 0.2, 0.5, 0.9], [0.1, 0.2, 0.5, 90])
    assert len(noted.objects) == 1
    assert "empty or outside" in noted.remarks[0]


@pytest.mark.parametrize(
    "box",
    [[0.5, 0.2, 0.5, 0.9], [1.5, 0.2, 1.9, 0.9], [0.1, 0.2, 0.5], None, [1, True, 1, 1], ["a"] * 4, [0.1, 0.2, "inf", 1]],
    ids=["no area", "outside", "three numbers", "none", "truth", "words", "infinite"],
)  # fmt: skip
def test_boxes_that_are_none_are_left_out_with_a_remark(box):
    noted = boxes([0.1, 0.2, 0.5, 0.9], box)
    assert (len(noted.objects), len(noted.remarks)) == (1, 1)


@pytest.mark.parametrize(
    ("box", "size"),
    [([100, 100, 300, 300], (640, 480)), ([10, 20, 30, 40], (900, 900)), ([10, 10, 5000, 5000], (640, 480))],
    ids=["thousandths or pixels", "percent?", "nothing fits"],
)  # fmt: skip
def test_boxes_that_may_mean_two_things_are_not_guessed(box, size):
    with pytest.raises(UnclearBoxesError) as caught:
        boxes(box, size=size)
    assert caught.value.rest.captions == ("A.",)


def test_a_model_that_writes_pixels_is_asked_for_shares(run, tmp_path):
    pixels = {"captions": ["A."], "objects": [{"name": "cat", "box": [5, 10, 15, 19]}]}
    provider = Provider(
        lambda body, before: good(body, json.dumps(pixels if body["seed"] == 0 else NOTED))
    )
    report = run(provider)
    assert (report.rows, report.unreadable, report.objects) == (4, 4, 4)
    repaired = [body["messages"][-1]["content"] for body in provider.bodies if body["seed"] == 1]
    assert all("divided by the picture's width" in text for text in repaired)
    kinds = [part["type"] for part in provider.bodies[-1]["messages"][-3]["content"]]
    assert kinds == ["image_url", "text"]


def test_where_it_keeps_to_them_the_captions_stay_and_the_boxes_go(run, tmp_path):
    pixels = {"captions": ["A."], "objects": [{"name": "cat", "box": [5, 10, 15, 19]}]}
    report = run(Provider(said(pixels)))
    assert (report.rows, report.captions, report.objects, report.problem_count) == (4, 4, 0, 0)
    assert report.remark_count == 4
    assert "unclear what their numbers mean" in report.remarks[0].reason
    again = Provider(said(NOTED))
    assert (run(again).known, again.bodies) == (4, [])


def test_refusals_are_listed_not_paid_again_and_the_others_go_on(run, tmp_path):
    def behave(body, before):
        _, image = shown(body)
        if image.size == (60, 40):
            return good(body, "I'm sorry, but I can't help with that.")
        if image.size == (30, 20):
            return refuse(400, "content policy")
        return good(body, json.dumps(NOTED))

    report = run(Provider(behave))
    assert (report.rows, report.problem_count) == (2, 2)
    assert {problem.where for problem in report.problems} == {"a.png", "inner/d.png"}
    again = Provider(behave)
    report = run(again)
    assert (report.rows, report.known, report.problem_count) == (0, 2, 2)
    assert len(again.bodies) == 1  # what was refused outright has no reply, and is asked again


def test_a_wrong_key_stops_the_run_and_is_nowhere(run, tmp_path):
    with pytest.raises(StopError) as caught:
        run(Provider(lambda body, before: refuse(401, f"Incorrect API key provided: {KEY}")))
    assert KEY not in str(caught.value)
    for path in [
        tmp_path / "out.jsonl",
        *(p for p in (tmp_path / "out.jsonl.ledger").rglob("*") if p.is_file()),
    ]:
        assert KEY.encode() not in path.read_bytes()


def test_models_that_cannot_see_are_refused_with_a_sentence():
    with pytest.raises(StopError, match="embedded model cannot see"):
        check_sight("local")
    with pytest.raises(StopError, match="--sees"):
        check_sight("openai/gpt-3.5-turbo")
    check_sight("openai/gpt-3.5-turbo", sees=True)
    check_sight("openai/gpt-4o-mini")
    check_sight("hosted_vllm/acme-vision-unknown")


def test_pictures_are_counted_without_what_is_none(folder):
    assert count_pictures([folder]) == 4


# Text in pictures


def written(text, size=(640, 120)):
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).text((40, 30), text, fill="black", font=ImageFont.load_default(48))
    return image


@pytest.fixture(scope="module")
def reader():
    pytest.importorskip("rapidocr_onnxruntime")
    try:
        return ocr.TextReader()
    except AnnotationError as error:
        pytest.skip(str(error))


def test_text_in_a_picture_is_read_with_its_place(reader):
    [text] = reader.read(written("OPEN DAILY 9-17"))
    assert text.text.replace(" ", "") == "OPENDAILY9-17"
    left, top, right, bottom = text.box
    assert 0 < left < 0.15 < 0.5 < right < 1
    assert 0.1 < top < 0.5 < bottom < 0.9
    assert text.score > 0.8


def test_a_photographed_page_is_read(reader, photos):
    texts = reader.read(Image.open(photos / "page.png"))
    assert len(texts) >= 4
    assert any("coins" in text.text for text in texts)


@pytest.mark.parametrize("size", [(1, 1), (3000, 3), (3, 3000), (80, 60)])
def test_pictures_without_text_of_any_size_have_none(reader, size):
    assert reader.read(Image.new("RGB", size)) == ()


def test_text_is_a_fact_of_the_row_beside_what_the_model_noted(run, folder, tmp_path, reader):
    written("EXIT 12").save(folder / "a.png")
    report = run(paths=[folder / "a.png"], reader=reader)
    [row] = rows(tmp_path)
    assert report.texts == 1
    assert row["captions"] == NOTED["captions"]
    [text] = row["facts"]["text"]
    assert (text["text"], len(text["box"])) == ("EXIT 12", 4)


def test_without_a_model_only_text_is_read(folder, tmp_path, reader):
    written("EXIT 12").save(folder / "a.png")
    job = Job(load_task("annotate"), [folder], tmp_path / "out.jsonl", "none", reader)
    report = annotate(job, None)
    assert (report.rows, report.asked, report.texts, report.captions) == (4, 0, 1, 0)
    assert [len(row["facts"]["text"]) for row in rows(tmp_path)] == [1, 0, 0, 0]


def test_what_is_missing_to_read_words_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)  # as without libGL
    monkeypatch.setattr(ocr, "is_installed", lambda: True)
    with pytest.raises(AnnotationError, match="opencv-python-headless"):
        ocr.TextReader()
    monkeypatch.setattr(ocr, "is_installed", lambda: False)
    with pytest.raises(MissingExtraError, match=r"mimicit\[ocr\]"):
        ocr.TextReader()


# The command

CODE = "import sys; from syphus.cli import main; sys.argv = ['syphus', *sys.argv[1:]]; main()"


def command(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", CODE, "annotate", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=120, **options,
    )  # fmt: skip


def test_the_command_writes_and_exits_with_3_where_pictures_failed(folder, tmp_path, monkeypatch):
    (folder / "empty.png").write_bytes(b"")
    with serve(Provider(said(NOTED))) as provider:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
        done = command(folder, "-o", tmp_path / "x.jsonl", "-m", MODEL, "--no-ocr", "--json")
    assert done.returncode == 3, done.stderr
    assert "empty.png: 'empty.png' is empty" in done.stderr
    assert json.loads(done.stdout)["rows"] == 4
    assert len(rows(tmp_path, "x.jsonl")) == 4


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-m", "local"], 1, "the embedded model cannot see pictures"),
        (["-m", "openai/gpt-3.5-turbo"], 1, "cannot see pictures, as far as"),
        (["-m", "none", "--no-ocr"], 2, "leaves nothing to do"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(folder, tmp_path, arguments, code, said):
    done = command(folder, "-o", tmp_path / "x.jsonl", *arguments)
    assert done.returncode == code
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_and_pays_only_what_was_in_flight(tmp_path, monkeypatch):
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(40):
        Image.new("RGB", (20 + n, 20)).save(folder / f"{n:02d}.png")
    code = textwrap.dedent(CODE)
    arguments = [folder, "-o", tmp_path / "x.jsonl", "-m", MODEL, "--no-ocr", "--concurrency", "3"]
    with serve(Provider(said(NOTED), delay=0.1)) as provider:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", provider.url)
        for kills in (1, 2):
            with subprocess.Popen(
                [sys.executable, "-c", code, "annotate", *map(str, arguments)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            ) as run:  # fmt: skip
                deadline = time.monotonic() + 60
                while len(provider.bodies) < 12 * kills and time.monotonic() < deadline:
                    time.sleep(0.01)
                run.send_signal(signal.SIGKILL)
        done = command(*arguments)
    assert done.returncode == 0, done.stderr
    found = rows(tmp_path, "x.jsonl")
    assert len(found) == len({row["id"] for row in found}) == 40
    assert 40 <= len(provider.bodies) <= 40 + 2 * 3
