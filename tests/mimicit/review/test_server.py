"""The room over HTTP: who may ask, and that nothing that was said to be saved is lost."""

import asyncio
import io
import json
import socket
import subprocess

import pytest
from PIL import Image

from mimicit.review.journal import Journal, journal_path
from mimicit.store import Store
from tests.generating import SYPHUS
from tests.mimicit.review.rooms import EVIL, RECORDS, accepted, dataset, rows, serving

pytest.importorskip("aiohttp")


@pytest.fixture(scope="module")
def shared(tmp_path_factory, photos):
    """Give a room for tests that decide nothing."""
    store = dataset(tmp_path_factory.mktemp("room") / "ds", photos)
    with serving(store) as room:
        yield room


@pytest.fixture
def store(tmp_path, photos) -> Store:
    return dataset(tmp_path / "ds", photos)


# Who may ask

PATHS = ["/", "/review.js", "/picture?id=LA_IMG_chelsea", "/api/hello", "/api/record?by=ann&id=a", "/api/agreement"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_without_the_token_nothing_is_said(shared, path):
    for cookie in ("", "x=y", f"{shared.cookie}x", shared.cookie.replace("review_", "review_1")):
        answer = shared.send("GET", path, headers={"Cookie": cookie}, cookie=False)
        assert answer.status == 403
        assert b"LA_IMG" not in answer.data
    assert shared.send("GET", path).status == 200


@pytest.mark.parametrize("token", ["", "x", "é", "0" * 43])
def test_a_wrong_token_is_none(shared, token):
    answer = shared.send(
        "GET", f"/?token={token.encode().hex() if token == 'é' else token}", cookie=False
    )
    assert answer.status == 403
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "0.0.0.0:{port}"]
)
def test_another_host_is_refused(shared, host):
    headers = {"Host": host.format(port=shared.port)}
    assert shared.send("GET", "/api/hello", headers=headers).status == 403


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1"]
)
def test_another_page_is_refused(shared, origin):
    headers = {"Origin": origin.format(port=shared.port), "Content-Type": "application/json"}
    body = json.dumps({"by": "ann", "do": "accept", "record": "a"})
    assert shared.send("POST", "/api/decide", body, headers).status == 403
    headers["Origin"] = f"http://127.0.0.1:{shared.port}"
    assert shared.send("POST", "/api/agreement", "{}", headers).status == 405


def test_what_changes_something_must_be_json(shared):
    """A form of another page can send text, and cookies with it."""
    body = json.dumps({"by": "ann", "do": "accept", "record": "a"})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert shared.send("POST", "/api/decide", body, {"Content-Type": kind}).status == 415


def test_answers_allow_nothing_from_elsewhere(shared):
    for path in (*PATHS, "/nothing"):
        headers = shared.send("GET", path).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
    assert "HttpOnly" in shared.enter().headers["Set-Cookie"]
    assert "SameSite=Strict" in shared.enter().headers["Set-Cookie"]


def test_it_listens_on_this_machine_only(shared):
    from pathlib import Path

    local = f"{0x7F000001:08X}"
    there = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    found = [
        at for _, at, _, state, *_ in there if state == "0A" and at.endswith(f":{shared.port:04X}")
    ]
    assert found == [
        "".join(reversed([local[n : n + 2] for n in range(0, 8, 2)])) + f":{shared.port:04X}"
    ]


# What it shows


def test_a_record_comes_with_all_that_is_known_of_it(shared):
    found = shared.record("e")
    assert [picture["id"] for picture in found["pictures"]] == [
        "LA_IMG_chelsea",
        "LA_IMG_tiff",
        "LA_IMG_gone",
    ]
    assert found["pictures"][0]["width"] == 451
    assert "width" not in found["pictures"][2]
    assert [turn["id"] for turn in found["turns"]] == ["e", "f"]
    [told] = found["annotations"]
    assert told["captions"] == ["A cat.", EVIL]
    assert told["objects"][0] == {"name": "cat", "box": [0.25, 0.5, 0.75, 1.0]}
    assert [verdict["filter"] for verdict in shared.record("g")["verdicts"]] == ["blurred"]
    assert shared.record("a")["verdicts"][0]["score"] == 2.5


def test_pictures_come_as_they_are_and_others_as_browsers_show_them(shared, photos):
    answer = shared.get("/picture", id="LA_IMG_chelsea")
    assert (answer.data, answer.headers["Content-Type"]) == (
        (photos / "chelsea.png").read_bytes(),
        "image/png",
    )
    answer = shared.get("/picture", id="LA_IMG_tiff")
    assert answer.headers["Content-Type"] == "image/png"
    with Image.open(io.BytesIO(answer.data)) as drawn:
        assert (drawn.size, drawn.getpixel((0, 0))) == ((40, 30), (255, 0, 0))


@pytest.mark.parametrize(
    "id", ["LA_IMG_gone", "", "../dataset.json", "/etc/passwd", "images/s-00000.parquet", "a\0b"]
)
def test_what_is_no_picture_is_not_served(shared, id):
    answer = shared.get("/picture", id=id)
    assert answer.status == 404
    assert b"root:" not in answer.data


@pytest.mark.parametrize("path", ["/../dataset.json", "/%2e%2e/dataset.json", "/page/page.html", "/room.py", "/review.js/../room.py"])  # fmt: skip
def test_no_other_file_is_served(shared, path):
    answer = shared.send("GET", path)
    assert answer.status == 404
    assert b"MIMIC-IT" not in answer.data


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("nonsense = 1", "nonsense"),
        ("task =", "no predicate"),
        ("true) OR (true", "no predicate"),
        ("true; DROP TABLE verdicts", "cannot be checked"),
        ("true ORDER BY id LIMIT 1", "syntax error"),
        ("id IN (SELECT content FROM read_text('/etc/passwd'))", "disabled"),
        ("id IN (SELECT * FROM enable_logging())", "not allowed"),
        ("id IN (WITH x AS (COPY instructions TO '/tmp/x.csv') SELECT '1')", ""),
        ("x" * 10_001, "too long"),
        ("1 / 0 = '\0'", ""),
    ],
)
def test_a_wrong_predicate_is_answered_with_a_sentence(shared, where, says):
    answer = shared.sit(where=where)
    assert answer.status == 400
    assert says in answer.json["error"]
    assert "Traceback" not in answer.json["error"]
    assert shared.ids() == ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        ("", "abcdef"),
        ("true -- all of them", "abcdefg"),
        ("id IN (SELECT record FROM verdicts WHERE filter = 'blurred')", "g"),
        ("language = 'en' AND length(answer) < 8", "befg"),
        ("conversation IS NOT NULL", "ef"),
        ("false", ""),
    ],
)
def test_a_predicate_chooses(shared, where, ids):
    assert shared.ids(where=where) == [id for id in RECORDS if id in ids]


@pytest.mark.parametrize(
    "body",
    [
        {"do": "accept"},
        {"do": "burn", "record": "a"},
        {"do": "accept", "record": 7},
        {"do": "accept", "record": "nobody"},
        {"do": "reject", "record": "a", "reason": " "},
        {"do": "accept", "record": "a", "by": "../../eve"},
        {"do": "accept", "record": "a", "more": 1},
        {"do": "edit", "record": "a", "instruction": "x", "answer": "y" * (1 << 20)},
    ],
)
def test_what_is_no_decision_is_refused(shared, body):
    answer = shared.post("/api/decide", **body)
    assert answer.status in (400, 413)
    assert answer.json["error"]
    assert shared.get("/api/agreement").json["pairs"] == []


# What it keeps


def test_what_was_saved_survives_a_kill(store):
    with serving(store) as room:
        for id in "abc":
            assert room.decide("accept", id).json["saved"]
        assert room.decide("reject", "d", reason="wrong count").json["saved"]
        assert room.edit("e", "It is one.").json == {"saved": True, "new": "e~2"}
        room.kill()
    with serving(store) as room:
        assert room.record("c")["mine"]["do"] == "accept"
        assert room.record("d")["mine"]["reason"] == "wrong count"
        assert accepted(store) == {"a", "b", "c", "e~2", "f"}  # brought in by the next start
        assert room.sit().json["done"] == 4  # the edited one is no more in it
        undone = [room.post("/api/undo").json["record"] for _ in range(5)]
        assert undone == ["e", "d", "c", "b", "a"]
        assert room.post("/api/undo").status == 400
    assert accepted(store) == {"a", "b", "c", "d", "e", "f"}


def test_decisions_become_verdicts_while_it_is_open_and_at_its_end(store):
    with serving(store) as room:
        for n in range(24):
            room.decide("accept", "abcdef"[n % 6])
        deadline = 60
        while not rows(store, "SELECT 1 FROM verdicts WHERE recipe = 'review:ann'"):
            import time

            time.sleep(0.5)
            deadline -= 1
            assert deadline
        room.decide("reject", "f", reason="why")
    assert accepted(store) == {"a", "b", "c", "d", "e"}


def test_reviewing_goes_on_while_another_process_writes(store):
    other = Store.open(store.path)
    with serving(store) as room:
        with other.writing("syphus data curate"):
            assert room.ids() == ["a", "b", "c", "d", "e", "f"]
            assert room.decide("reject", "a", reason="why").json["saved"]
        assert room.decide("accept", "b").json["saved"]
    assert accepted(store) == {"b", "c", "d", "e", "f"}
    with other.writing("syphus data curate"), serving(store) as room:
        assert room.decide("reject", "b", reason="why").json["saved"]
        room.stop()
    assert "the next review brings it in" in room.errors[0]
    with serving(store):
        assert accepted(store) == {"c", "d", "e", "f"}


def test_what_is_in_memory_is_reviewed_while_the_catalog_is_written(store):
    from mimicit import catalog

    with serving(store) as room:
        assert room.ids() == ["a", "b", "c", "d", "e", "f"]
        with catalog.connect(store.catalog_path, read_only=False):
            assert room.record("c")["instruction"] == "What flies?"
            assert room.decide("reject", "c", reason="why").json["saved"]
            answer = room.get("/api/record", by="ann", id="g")
            assert (answer.status, "open in another process" in answer.json["error"]) == (503, True)
        assert room.record("g")["id"] == "g"


def test_the_catalog_is_let_go_of(store):
    """Or nobody else could write while a page is open."""
    from mimicit import catalog

    with serving(store) as room:
        room.ids()
        for n in range(5):
            room.record("abcde"[n])
            with catalog.connect(store.catalog_path, read_only=False, patience=3.0):
                pass


def test_two_reviewers_of_one_record_both_count(store):
    with serving(store) as room:
        room.decide("accept", "a", by="ann")
        room.decide("reject", "a", by="Ben", reason="wrong count")
        room.decide("accept", "b", by="Ben")
        assert [one["by"] for one in room.record("a", by="ann")["others"]] == ["Ben"]
        answer = room.edit("b", "Tea.", by="ann")
        assert answer.json["new"] == "b~2"
        late = room.edit("b", "Milk.", by="Ben")
        assert late.status == 409
        assert [(one["by"], one["answer"]) for one in late.json["others"]] == [("ann", "Tea.")]
        assert room.edit("b~2", "Milk.", by="Ben").json["new"] == "b~3"
        assert room.get("/api/agreement").json["pairs"][0]["records"] == 2
    assert accepted(store) == {"b~3", "c", "d", "e", "f"}
    said = rows(
        store,
        "SELECT recipe, rejects FROM verdicts WHERE record = 'a' AND filter = 'review' ORDER BY 1",
    )
    assert said == [("review:Ben", True), ("review:ann", False)]
    done = subprocess.run(
        [*SYPHUS, "data", "review", "-d", store.path, "--agreement"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Ben, ann         2        0 %  -1.00" in done.stdout
    assert "Ben: reject (wrong count)" in done.stdout


def test_one_room_is_enough(store):
    with serving(store):
        done = subprocess.run(
            [*SYPHUS, "data", "review", "-d", store.path, "--no-browser"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert "is open already" in done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [(["--where", "true) OR (true"], "no predicate"), (["--reviewer", "../x"], "cannot be a reviewer's name"), (["--order", "size"], "none of random")],
)  # fmt: skip
def test_the_command_says_what_is_wrong(store, options, says):
    done = subprocess.run(
        [*SYPHUS, "data", "review", "-d", store.path, *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_port_that_is_in_use_is_said_in_a_sentence(store):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*SYPHUS, "data", "review", "-d", store.path, "--no-browser", "--port", str(port)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert f"port {port} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_strangers_journal_cannot_steer_a_terminal(store):
    steering = "\x1b]0;hacked\x07\x1b[2J\n\u202eolleh\x9b31m"
    for name, kind in (("ann", "accept"), ("eve", "reject")):
        journal = Journal(journal_path(store.path, name))
        journal.decide(1.0, kind, "a\u202eb", steering + "x" * 1_000)
    done = subprocess.run(
        [*SYPHUS, "data", "review", "-d", store.path, "--agreement"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "eve: reject (\\x1b]0;hacked" in done.stdout
    for line in done.stdout.splitlines():
        assert line.isprintable()
        assert len(line) < 700


def test_a_decision_that_cannot_be_brought_in_now_is_tried_again(store):
    """For want of processes, say."""

    async def refused(*given, **more):
        raise OSError(11, "Resource temporarily unavailable")

    from mimicit.review.deck import Wanted
    from mimicit.review.room import Room
    from mimicit.review.server import Server

    server = Server(Room(store), reviewer="ann", wanted=Wanted())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(asyncio, "create_subprocess_exec", refused)
        assert "Resource temporarily unavailable" in asyncio.run(server._bring())
    assert asyncio.run(server._bring()) == ""
