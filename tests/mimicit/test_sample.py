"""`syphus data sample` on terminals that answer, that do not, and where there is none."""

import base64
import fcntl
import hashlib
import io
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from mimicit import inline
from mimicit.cli import data
from mimicit.commands.sample import sampled, wrapped
from mimicit.errors import QueryError
from mimicit.schema import Verdict
from tests.builders import image, record

ROOT = Path(__file__).parent.parent.parent
NASTY = "a\x1b]0;title\x07b\x9bc\u202edc\x00e"
DA1, SIXEL_DA1 = b"\x1b[?62;22c", b"\x1b[?62;4;22c"
# A session without a terminal gets the one that it opens first.
CHILD = "import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); {} from syphus.cli import main; main()"


@pytest.fixture
def filled(store, photos):
    with store.writing("test"):
        store.add_images([image(photos, "chelsea.png"), image(photos, "rocket.jpg")])
        store.add(
            [
                record(1, image_ids=["LA_IMG_chelsea"]),
                record(2, image_ids=["LA_IMG_rocket", "LA_IMG_gone"], task="la_detail"),
                record(3, answer=NASTY),
                *(record(n) for n in range(4, 30)),
            ]
        )
        store.add_verdicts(
            [
                Verdict(record="LACONV_INS_001_00", filter="judge", reason="grounded 5", recipe="judge:m",
                        recipe_digest="d", score=4.25, rejects=False),
                Verdict(record="LACONV_INS_003_00", filter="odd", reason=NASTY, recipe="r", recipe_digest="d"),
            ]
        )  # fmt: skip
        store.sync()
    return store


def on_terminal(
    arguments, *, answer=b"", typed=b"", prelude="", term="xterm", colour="", pixels=(0, 0)
):
    """Run the command on a pseudo-terminal of 80 × 24 that answers its questions; return what it printed and the seconds it took."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, *pixels))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLORTERM", "NO_COLOR", "COLUMNS", "LINES", "TMUX", "TERM_PROGRAM")}  # fmt: skip
    environment |= {"TERM": term} | ({"COLORTERM": colour} if colour else {})
    os.write(ours, typed)
    started = time.monotonic()
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD.format(prelude), "data", "sample", *arguments],
        stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, cwd=ROOT, env=environment, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    seen, answered = b"", False
    while select.select([ours], [], [], 30)[0]:
        try:
            found = os.read(ours, 65_536)
        except OSError:  # the last one who had it open is gone
            break
        if not found:
            break
        seen += found
        if b"\x1b[c" in seen and not answered:
            answered = True
            os.write(ours, answer)
    assert child.wait(30) == 0
    os.close(ours)
    return seen, time.monotonic() - started


@pytest.fixture
def one(filled):
    return ["-d", str(filled.path), "--where", "id = 'LACONV_INS_001_00'"]


def kitty_pictures(seen):
    chunks = re.findall(rb"\x1b_G(?:a=T[^;]*,)?m=[01];([^\x1b]*)\x1b\\", seen)
    return Image.open(io.BytesIO(base64.b64decode(b"".join(chunks))))


def test_a_terminal_with_kitty_graphics_gets_the_picture(one, photos):
    seen, _ = on_terminal(one, answer=b"\x1b_Gi=31;OK\x1b\\" + DA1, pixels=(800, 480))
    picture = kitty_pictures(seen)
    with Image.open(photos / "chelsea.png") as original:
        assert picture.width / picture.height == pytest.approx(
            original.width / original.height, 0.02
        )
        small = original.convert("RGB").resize((8, 8), Image.Resampling.BOX)
    again = picture.convert("RGB").resize((8, 8), Image.Resampling.BOX)
    pairs = zip(small.tobytes(), again.tobytes(), strict=True)
    assert max(abs(a - b) for a, b in pairs) < 12
    assert b"It is thing number 1." in seen
    assert b"judge:m: judge (4.25): grounded 5" in seen


def test_a_terminal_with_sixels_gets_them(one):
    seen, _ = on_terminal(one, answer=b"\x1b[6;16;8t" + SIXEL_DA1)
    [(width, height)] = re.findall(rb'\x1bP0;1q"1;1;(\d+);(\d+)', seen)
    assert 8 * 20 < int(width) <= 8 * 32  # of 80 columns the picture takes at most 32
    assert int(height) <= 14 * 16
    assert b"_Ga=T" not in seen


def test_iterm_gets_its_own_kind(one):
    seen, _ = on_terminal(one, answer=b"\x1bP>|iTerm2 3.5.0\x1b\\" + SIXEL_DA1)
    [(size, data)] = re.findall(rb"\x1b\]1337;File=inline=1;size=(\d+);[^:]*:([^\x07]*)\x07", seen)
    picture = base64.b64decode(data)
    assert len(picture) == int(size)
    Image.open(io.BytesIO(picture)).verify()


@pytest.mark.parametrize(("colour", "mark"), [("truecolor", rb"\x1b\[38;2;"), ("", rb"LA_IMG_chelsea  451")])  # fmt: skip
def test_a_terminal_that_never_answers_is_not_waited_for(one, colour, mark):
    seen, seconds = on_terminal(one, colour=colour)
    assert b"\x1b[c" in seen
    assert re.search(mark, seen)
    assert (b"38;2" in seen) == bool(colour)
    assert (
        seconds < 20
    )  # one of them for the answer; the rest is starting a program on a busy machine


def test_256_colours_are_enough_for_blocks(one):
    seen, _ = on_terminal(one, answer=DA1, term="xterm-256color")
    assert re.search(rb"\x1b\[38;5;\d+;48;5;\d+m\xe2\x96\x80", seen)


def test_keys_that_were_pressed_before_are_left_to_whoever_reads_them(one):
    prelude = "import atexit; atexit.register(lambda: print('TYPED', os.read(0, 99)));"
    seen, _ = on_terminal(one, typed=b"ls\n", prelude=prelude, colour="truecolor")
    assert b"\x1b[c" not in seen
    assert b"TYPED b'ls\\n'" in seen


def test_a_job_in_the_background_asks_nothing(one):
    # Another process has the terminal: the command's own group is not the one in front.
    prelude = "os.fork() and os._exit(os.waitstatus_to_exitcode(os.wait()[1])) or os.setpgid(0, 0);"
    seen, _ = on_terminal(one, prelude=prelude, colour="truecolor", answer=DA1)
    assert b"\x1b[c" not in seen
    assert b"38;2" in seen


@pytest.mark.parametrize("term", ["dumb", "linux", "screen"])
def test_terminals_that_would_print_the_question_are_not_asked(one, term):
    seen, _ = on_terminal(one, term=term, answer=DA1)
    assert b"\x1b[c" not in seen


@pytest.mark.parametrize("pictures", ["kitty", "sixel", "blocks", "none"])
def test_no_text_of_a_record_reaches_the_terminal_as_a_command(filled, pictures):
    arguments = ["-d", str(filled.path), "--all", "--where", "id = 'LACONV_INS_003_00'"]
    seen, _ = on_terminal([*arguments, "--pictures", pictures], colour="truecolor")
    text = seen.decode()
    assert "\x1b]" not in text
    assert not set(text) & {"\x07", "\x9b", "\u202e", "\0"}
    assert text.replace("\r\n", "").count(r"\x1b]0;title\x07b\x9bc\u202edc\x00e") == 2


# Without a terminal


def run(*arguments):
    return CliRunner().invoke(data, ["sample", *map(str, arguments)])


def test_without_a_terminal_pictures_are_named(filled):
    said = run("-d", filled.path, "--where", "task = 'la_detail'").stdout
    assert "\x1b" not in said
    assert "LA_IMG_rocket  640×427 image/jpeg" in said
    assert "LA_IMG_gone  is not there" in said


def test_a_seed_always_draws_the_same(filled):
    def ids(**options):
        return [row["id"] for row in sampled(filled, count=5, **options)]

    assert ids(seed=1) == ids(seed=1)
    assert len(set(ids(seed=1))) == 5
    assert ids(seed=1) != ids(seed=2)
    # A record that comes or goes moves no other one out of its place.
    fewer = ids(seed=1, where="id <> 'LACONV_INS_005_00'")
    assert [id_ for id_ in ids(seed=1) if id_ in fewer] == fewer[: len(set(ids(seed=1)) & set(fewer))]  # fmt: skip
    with filled.reading() as connection:  # the order is one that SQL can be asked for
        rows = connection.execute(
            "SELECT id FROM accepted ORDER BY md5_number_lower('1:' || id) LIMIT 5"
        ).fetchall()
    assert ids(seed=1) == [id_ for (id_,) in rows]


def test_rejected_records_come_with_their_reasons(filled):
    [row] = json.loads(run("-d", filled.path, "--rejected", "--json").stdout)
    assert row["id"] == "LACONV_INS_003_00"
    assert [verdict["filter"] for verdict in row["verdicts"]] == ["odd"]
    assert row["answer"] == NASTY
    ids = {row["id"] for row in sampled(filled, count=99)}
    assert len(ids) == 28
    assert "LACONV_INS_003_00" not in ids
    assert len(sampled(filled, count=99, view="instructions")) == 29


def test_records_are_looked_up_without_loading_arrow(filled):
    """It takes longer to load than all that is asked of a million records."""
    code = "import sys; sys.argv[0] = 'syphus'; from syphus.cli import main\ntry: main()\nexcept SystemExit: print('pyarrow' in sys.modules)"
    arguments = ["data", "sample", "-d", str(filled.path), "--json", "--all"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT, check=True
    )  # fmt: skip
    assert done.stdout.endswith("]\nFalse\n")


def test_an_empty_dataset_says_that_there_is_nothing_to_show(store):
    with store.writing("test"):
        store.sync()
    for option, said in ((), "none is accepted"), (("--all",), "none is there"):
        done = run("-d", store.path, *option)
        assert (done.exit_code, done.stdout) == (0, "")
        assert done.stderr.strip() == f"no record to show: {said}"


def test_json_holds_nothing_that_a_terminal_obeys(filled):
    printed = run("-d", filled.path, "--rejected", "--json").stdout
    assert not set(printed) & set("\x1b\x07\x9b\u202e\0")


def test_a_wrong_predicate_is_said(filled):
    with pytest.raises(QueryError, match="nothing_of_the_kind"):
        sampled(filled, count=1, where="nothing_of_the_kind = 1")
    with pytest.raises(QueryError):
        sampled(filled, count=1, where="true) UNION (SELECT 1")
    empty = run("-d", filled.path, "--where", "false")
    assert empty.exit_code == 0
    assert empty.stdout == ""
    assert "no record to show: none is accepted and satisfies 'false'" in empty.stderr
    assert run("-d", filled.path, "--pictures", "braille").exit_code == 2


def test_a_damaged_picture_is_said_and_the_record_shown(store, photos):
    whole = image(photos, "rocket.jpg")
    with store.writing("test"):
        half = whole.image[:200]
        digest = hashlib.sha256(half).hexdigest()
        store.add_images([whole.model_copy(update={"image": half, "sha256": digest})])
        store.add([record(1, image_ids=["LA_IMG_rocket"])])
        store.sync()
    said = run("-d", store.path, "--pictures", "blocks").stdout
    assert "'LA_IMG_rocket' cannot be decoded" in " ".join(said.split())
    assert "It is thing number 1." in said


# Drawing


def unsixel(text):
    """Paint a Sixel sequence, as a terminal does."""
    head, body = re.fullmatch(r'\x1bP0;1q"1;1;(\d+;\d+)(.*)\x1b\\', text, re.DOTALL).groups()
    width, height = map(int, head.split(";"))
    pixels, palette = {}, {}
    x = y = colour = 0
    for token in re.finditer(r"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|([$-])", body):
        number, red, green, blue, times, many, single, move = token.groups()
        if red is not None:
            palette[int(number)] = tuple(round(int(v) * 2.55) for v in (red, green, blue))
        elif number is not None:
            colour = int(number)
        elif move:
            x, y = 0, y + (6 if move == "-" else 0)
        else:
            bits, after = ord(many or single) - 63, x + int(times or 1)
            places = [(a, y + bit) for a in range(x, after) for bit in range(6) if bits >> bit & 1]
            pixels |= dict.fromkeys(places, palette[colour])
            x = after
    assert len(pixels) == width * height  # each once, and none beyond
    picture = Image.new("RGB", (width, height))
    for place, value in pixels.items():
        picture.putpixel(place, value)
    return picture


@pytest.mark.parametrize("size", [(50, 37), (1, 1), (200, 6), (3, 100)])
def test_sixels_paint_the_picture(photos, size):
    with Image.open(photos / "coffee.png") as opened:
        picture = opened.convert("RGB").resize(size)
    painted = unsixel(inline.sixel(picture))
    far = [abs(a - b) for a, b in zip(picture.tobytes(), painted.tobytes(), strict=True)]
    assert sum(far) / len(far) < 12


def test_blocks_hold_two_pixels_each():
    picture = Image.new("RGB", (2, 3), "red")
    picture.putpixel((0, 1), (0, 0, 255))
    drawn = inline.draw(picture, inline.Screen("blocks"), columns=2, lines=2)
    assert (drawn.columns, drawn.lines) == (2, 2)
    wide = inline.draw(picture, inline.Screen("blocks"), columns=80, lines=24)
    assert wide.columns == 8  # a small picture is not blown up without end
    assert inline.draw(picture, inline.Screen("none"), columns=9, lines=9) is None


@pytest.mark.parametrize("way", ["kitty", "iterm", "sixel", "blocks"])
@pytest.mark.parametrize("size", [(1, 2_000), (2_000, 1), (300, 300)])
def test_whatever_its_shape_a_picture_stays_in_its_box(way, size):
    drawn = inline.draw(Image.new("RGB", size), inline.Screen(way), columns=30, lines=10)
    assert 1 <= drawn.columns <= 30
    assert 1 <= drawn.lines <= 10


def test_several_pictures_lie_side_by_side():
    colours = ["red", "green", "blue"]
    whole = inline.sheet([Image.new("RGB", (100, 50), colour) for colour in colours])
    places = [whole.getpixel((whole.width * x // 4, whole.height * y // 4)) for x, y in ((1, 1), (3, 1), (1, 3))]  # fmt: skip
    assert places == [(255, 0, 0), (0, 128, 0), (0, 0, 255)]


def test_the_cursor_is_below_the_picture_and_its_text_in_the_end():
    drawn = inline.Drawn(10, 4, "PICTURE")
    for lines in ([], ["one"], ["line"] * 9):
        text = "".join(inline.beside(drawn, lines))
        up, down = re.findall(r"\x1b\[(\d+)[AB]", text)
        assert up == down == "4"
        assert text.count("\n") == max(4, len(lines))
        assert text.index("PICTURE") > text.rindex("\n", 0, text.index("PICTURE"))


@pytest.mark.parametrize(
    "text", ["Ein Mann geht.", "红色的沙发", "هذا رجل", "👩\u200d🍳 ok", "two\nlines", "C:\\x1b"]
)
def test_ordinary_text_stays_as_it_is(text):
    assert inline.plain(text) == text


def test_wide_letters_are_counted_twice():
    assert wrapped("红色的沙发" * 4, 10) == ["红色的沙发"] * 4
