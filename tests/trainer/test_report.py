"""What a run tells: every step in the log, a table on the screen, a curve."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from trainer import curve, report  # noqa: E402
from trainer.report import Progress, StepLog  # noqa: E402

torch.set_num_threads(1)

ROOT = Path(__file__).parents[2]


def entry(step, **values):
    given = {
        "loss": 2.0,
        "taught": 100,
        "tokens": 400,
        "seconds": 0.5,
        "waited": 0.1,
        "pictures": 8,
    }
    return StepLog(step, lr=1e-4, grad_norm=0.5, **(given | values))


class Terminal(io.StringIO):
    """Keeps what stands on the screen: lines above, and those that were erased are not there."""

    columns = 120

    def isatty(self):
        return True

    def screen(self):
        lines, at = [""], 0
        for piece in self.getvalue().replace("\x1b[1A", "\v").replace("\x1b[K", "\f"):
            if piece == "\n":
                at += 1
                lines += [""] * (at == len(lines))
            elif piece == "\v":
                at -= 1
            elif piece == "\f":
                lines[at] = ""
            elif piece != "\r":
                lines[at] += piece
        return [line for line in lines if line]


@pytest.fixture
def terminal(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(
        report.shutil, "get_terminal_size", lambda _: os.terminal_size((stream.columns, 24))
    )
    monkeypatch.setattr(report, "RENEWED", 0.0)
    return stream


def table(text):
    """Return the rows of a table as dicts."""
    rows, names = [], []
    for line in text.splitlines():
        cells = (
            line.replace(" h ", "_h_")
            .replace(" min ", "_min_")
            .replace(" min", "_min")
            .replace(" s", "_s")
            .replace(" GB", "_GB")
            .replace(" MB", "_MB")
            .split()
        )
        if "loss" in cells:
            names = cells
        elif names and "/" in cells[0]:
            rows.append(dict(zip(names, cells, strict=True)))
    return rows


def test_a_line_has_means_over_the_steps_since_the_line_before():
    progress = Progress(io.StringIO())
    progress.each = 2
    progress.step(entry(1, loss=3.0, taught=300, seconds=1.0), steps=4)
    progress.step(entry(2, loss=1.0, taught=100, seconds=3.0, waited=0.5), steps=4)
    progress.step(entry(3, loss=9.0), steps=4)
    progress.step(entry(4, loss=9.0), steps=4)

    first, second = table(progress.stream.getvalue())
    assert first["step"] == "2/4"
    assert first["loss"] == "2.5"  # (3 × 300 + 1 × 100) / 400
    assert first["tokens/s"] == "200"  # 800 in 4 s
    assert first["taught/s"] == "100"
    assert first["pics/s"] == "4"
    assert first["wait"] == "40%"  # 0.1 × 1 s and 0.5 × 3 s
    assert first["left"] == "4_s"
    assert second["step"] == "4/4"
    assert second["loss"] == "9"
    assert "MFU" not in first, "on a CPU there is none, so there is no column"
    assert "memory" not in first


def test_mfu_and_memory_have_columns_where_they_are_known():
    progress = Progress(io.StringIO())
    progress.each = 1
    progress.step(entry(1, mfu=0.384, memory=71_200_000_000), steps=1)
    [row] = table(progress.stream.getvalue())
    assert row["MFU"] == "38%"
    assert row["memory"] == "71.2_GB"


def test_what_is_no_training_counts_in_the_time_that_is_left():
    progress = Progress(io.StringIO())
    progress.each = 10
    for step in range(1, 11):
        aside = {"evaluating": 5.0} if step == 5 else {}
        progress.step(entry(step, seconds=0.5, aside=aside), steps=110)
    [row] = table(progress.stream.getvalue())
    assert row["left"] == "1_min_40_s"  # 100 × (0.5 + 5 / 10)
    assert row["tokens/s"] == "800"


@pytest.mark.parametrize("columns", [200, 101, 100, 80, 60, 40, 20])
def test_no_line_is_longer_than_the_terminal_nor_than_a_hundred(terminal, columns):
    terminal.columns = columns
    progress = Progress(terminal)
    huge = {"loss": 123456.789, "tokens": 10**9, "taught": 10**8, "pictures": 10**6, "mfu": 1.0}
    for step in (1, 99_999, 100_000):
        progress.step(entry(step, memory=999_999_999_999, **huge), steps=100_000)
    lines = [line for line in terminal.screen() if "/100,000" in line or "loss" in line]
    assert lines
    assert max(map(len, lines)) <= max(min(columns - 1, 100), 15)
    assert "loss" in lines[0] or columns <= 21


def test_all_columns_fit_into_a_hundred_characters():
    progress = Progress(io.StringIO())
    progress.each = 1
    progress.step(entry(1, mfu=0.38, memory=10**11), steps=10_000)
    heading = progress.stream.getvalue().splitlines()[0].split()
    assert heading == ["step", *(column.name for column in report.COLUMNS)]


def test_on_a_terminal_one_line_renews_itself_below_what_is_said(terminal):
    progress = Progress(terminal)
    progress.say("starting")
    for step in (1, 2, 3):
        progress.step(entry(step), steps=5)
    progress.say("held-out loss 1.5")
    progress.step(entry(4), steps=5)
    progress.step(entry(5), steps=5)
    progress.say("learned")

    screen = [line.split()[0] for line in terminal.screen()]
    assert screen == ["starting", "held-out", "step", "5/5", "learned"]


def test_lines_that_stay_have_a_heading_now_and_then():
    progress = Progress(io.StringIO())
    progress.each = 1
    for step in range(1, 61):
        progress.step(entry(step), steps=60)
    lines = progress.stream.getvalue().splitlines()
    assert len([line for line in lines if "tokens/s" in line]) == 3
    assert len(lines) == 63
    assert "\x1b" not in progress.stream.getvalue()


def test_without_a_terminal_lines_come_by_time_and_the_last_one_always():
    progress = Progress(io.StringIO(), every=3600)
    for step in range(1, 6):
        progress.step(entry(step), steps=5)
    assert [row["step"] for row in table(progress.stream.getvalue())] == ["5/5"]


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (0.123, "0.12"), (12.3, "12"), (9_999, "9,999"), (12_345, "12.3k"), (123_456, "123k"),
     (1_234_567, "1.2M"), (250e6, "250M"), (3e9, "3.0G")],
)  # fmt: skip
def test_numbers_are_short(value, said):
    assert report.short(value) == said


# The log


def test_a_log_gives_back_what_was_written(tmp_path):
    path = tmp_path / "log.jsonl"
    entries = [
        entry(1, aside={"saving": 1.5}, figures={"x": 2.0}, flops=1e15, mfu=0.25, memory=5),
        entry(2),
    ]
    report.rewrite(path, entries[:1])
    report.append(path, entries[1])

    assert report.read(path, up_to=9) == entries
    assert report.read(path, up_to=1) == entries[:1]
    assert report.last_step(path) == 2
    row = json.loads(path.read_text().splitlines()[0])
    assert (row["tokens_per_second"], row["taught_per_second"], row["pictures_per_second"]) == (
        800,
        200,
        16,
    )


def test_a_log_of_an_older_version_is_read(tmp_path):
    path = tmp_path / "log.jsonl"
    old = {
        "step": 1,
        "loss": 1.0,
        "lr": 0.1,
        "grad_norm": 1.0,
        "taught": 1,
        "tokens": 2,
        "seconds": 1.0,
        "waited": 0.0,
    }
    path.write_text(json.dumps(old | {"tokens_per_second": 2.0}) + "\n")
    [found] = report.read(path, up_to=5)
    assert (found.loss, found.pictures, found.aside, found.mfu) == (1.0, 0, {}, None)


@pytest.mark.parametrize("torn", [b'{"step": 3, "lo', b"\xff\xfe", b"", b"\n\n", b"[3]\n"])
def test_a_torn_last_line_is_passed_over(tmp_path, torn):
    path = tmp_path / "log.jsonl"
    report.rewrite(path, [entry(1), entry(2)])
    with path.open("ab") as file:
        file.write(torn)
    assert [found.step for found in report.read(path, up_to=9)] == [1, 2]
    assert report.last_step(path) == 2


WRITER = """
import sys, trainer
from pathlib import Path
from trainer import report
path = Path(sys.argv[1])
for step in range(1, 10**6):
    report.append(path, report.StepLog(step, 1.0, 0.1, 0.1, 1, 1, 0.1, 0.0))
    print(step, flush=True)
"""


def test_a_kill_loses_the_step_in_progress_at_most(tmp_path):
    path = tmp_path / "log.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    with process, process.stdout:
        for _ in range(20):
            told = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        told = max([told, *map(int, process.stdout.read().split("\n")[:-1])])
    steps = [found.step for found in report.read(path, up_to=10**6)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= told


# The curve


def steps(count, **values):
    return [entry(n, loss=5.0 / n, **values) for n in range(1, count + 1)]


def size_of(path):
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()
        return picture.size


def test_a_curve_shows_held_out_losses_and_figures_below_it(tmp_path):
    path = tmp_path / "loss.png"
    curve.draw_curve(path, steps(30), title="plain")
    plain = path.read_bytes()
    width, height = size_of(path)

    curve.draw_curve(path, steps(30), title="plain", held_out={10: 0.9, 30: 0.4})
    assert path.read_bytes() != plain

    figures = {"rewards/accuracy": 0.7, "rewards/margin": -1.2}
    curve.draw_curve(path, steps(30, figures=figures), title="preferences")
    assert size_of(path)[0] == width
    assert size_of(path)[1] > height * 1.5
    assert [one.name for one in tmp_path.iterdir()] == ["loss.png"]


@pytest.mark.parametrize("name", ["$a_b^c$", "ein Lauf é", "训练", "x" * 300])
def test_any_name_is_a_title(tmp_path, name):
    curve.draw_curve(tmp_path / "loss.png", steps(3), title=name)
    assert size_of(tmp_path / "loss.png")[0] > 500


def test_losses_below_nothing_are_drawn_too(tmp_path):
    curve.draw_curve(tmp_path / "loss.png", [entry(1, loss=-0.5), entry(2, loss=0.5)], title="mpo")
    curve.draw_curve(tmp_path / "loss.png", [entry(1)], title="one step")


def test_a_long_run_is_drawn_by_means_of_neighbours(monkeypatch):
    monkeypatch.setattr(curve, "POINTS", 3)
    assert curve.binned([1, 2, 3]) == [1, 2, 3]
    assert curve.binned([1, 2, 3, 4, 5, 6, 7]) == [2, 5, 7]


def test_drawing_takes_a_hundredth_of_the_time_at_most(tmp_path, monkeypatch):
    """A run of three hours in which a drawing takes 2 s, and is asked for every second, now and then with a look."""
    now = [0.0]
    monkeypatch.setattr(curve.time, "monotonic", lambda: now[0])

    def slowly(path, entries, **options):
        now[0] += 2.0

    monkeypatch.setattr(curve, "draw_curve", slowly)
    picture = curve.Curve(tmp_path / "loss.png")
    drawn = []
    while now[0] < 3 * 3600:
        now[0] += 1.0
        if picture.is_due(looked=int(now[0]) % 50 == 0):
            picture.draw([], {})
            drawn.append(now[0])
            assert 2.0 * len(drawn) <= 0.0101 * now[0] + 1
    assert len(drawn) > 40
    assert drawn[0] > 100


def test_the_picture_that_is_there_stays_whole_while_another_is_drawn(tmp_path, monkeypatch):
    path = tmp_path / "loss.png"
    curve.draw_curve(path, steps(3), title="a")
    before = path.read_bytes()
    replace_ = Path.replace

    def looking(self, target):
        assert path.read_bytes() == before
        return replace_(self, target)

    monkeypatch.setattr(Path, "replace", looking)
    curve.draw_curve(path, steps(9), title="b")
    assert path.read_bytes() != before


def test_summaries_are_means_by_time():
    entries = [
        entry(1, seconds=1.0, mfu=0.2, memory=5),
        entry(2, seconds=3.0, waited=0.5, mfu=0.4, memory=9),
    ]
    found = report.means(entries)
    assert found["tokens_per_second"] == 200
    assert found["waited"] == pytest.approx(0.4)
    assert found["mfu"] == pytest.approx(0.35)
    assert found["memory"] == 9
    assert report.means([entry(1)])["mfu"] is None
    aside = [
        replace(entry(1), aside={"saving": 1.0}),
        replace(entry(2), aside={"saving": 2.0, "drawing": 0.5}),
    ]
    assert report.asides(aside, {"saving": 1.0}) == {"saving": 4.0, "drawing": 0.5}
    assert time.monotonic() > 0


def test_the_command_writes_its_result_as_json_and_nothing_else_to_standard_output(
    dataset, tmp_path
):
    from typer.testing import CliRunner

    from syphus.cli import app

    from .conftest import SMALL

    out = tmp_path / "run"
    settings = [
        one for setting in (*SMALL, "run.steps=2", "report.every=1") for one in ("--set", setting)
    ]
    done = CliRunner().invoke(
        app, ["train", "otter_tiny", "-d", str(dataset), "-o", str(out), "--json", *settings]
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["run"], told["steps"], told["was_finished"]) == (str(out), 2, False)
    assert told["model"] == str(out / "model")
    assert [row["step"] for row in table(done.stderr)] == ["1/2", "2/2"]
