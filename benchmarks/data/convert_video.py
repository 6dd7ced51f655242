"""Frames of videos into a dataset, beside a bare loop of PyAV that decodes every frame and does nothing with it.

Ours demuxes, decodes what the wanted frames need, makes JPEGs of them, and stores them. The reference opens each video with `av.open`, demuxes
and decodes its first video stream from the first packet to the last, and lets each frame go. Both have the same threads: `AT_ONCE` videos at a
time, each with a decoder of one thread (`thread_type` SLICE, `thread_count` 1), which is what `--jobs 2` is where there are that many videos.
Both are processes of their own, in turns, on the same files. *Steady* is the slope between few videos and many, so the start of the process is
out of it. The ratios are the reference's processor time, and its wall time, divided by ours; the bar is for the first.

    python benchmarks/data/convert_video.py [--quick]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from multiprocessing import Process
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent), str(ROOT)]

from common import Run, measure, middle, save  # noqa: E402

if TYPE_CHECKING:
    import numpy as np

RATE = Fraction(30_000, 1_001)
SIZE = (1_280, 720)
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "h264, B frames, 2.5 Mbit/s": ("libx264", {"preset": "veryfast", "b": "2500000"}),
    "h264, no B frames, 5 Mbit/s": ("libx264", {"preset": "veryfast", "b": "5000000", "bf": "0"}),
    "h264, no B frames, CRF 23": ("libx264", {"preset": "veryfast", "crf": "23", "bf": "0"}),
    "mpeg4, 5 Mbit/s": ("mpeg4", {"b": "5000000"}),
}
"""As videos of the web, of cameras, and old ones are. The one at CRF 23 has few bits: decoding it is cheap, so what comes after weighs most."""
WAYS = {"1 frame a second": "fps=Fraction(1)", "16 frames a video": "frames=16"}
BAR = ">= 0.9x"

AT_ONCE = 2
"""Videos, of both sides."""

BARE = """
import sys, av
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
def decode(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "SLICE", 1
        for frame in container.decode(stream):
            pass
with ThreadPoolExecutor({at_once}) as pool:
    list(pool.map(decode, sorted(Path(sys.argv[1]).iterdir())))
"""
OURS = """
import sys
from fractions import Fraction
from pathlib import Path
from mimicit.sources import source_named
from mimicit.sources.base import FindOptions
from mimicit.sources.converting import ConvertOptions, convert
from mimicit.store import Store
done = convert(source_named("dc"), Path(sys.argv[1]), Store.open(Path(sys.argv[2]), create=True),
               ConvertOptions(FindOptions({way}), jobs={at_once}))
assert done.images and not done.bad, done
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter videos, one round")
    options = parser.parse_args()
    # Of 510 frames the last is one of those at one a second: no end is left out.
    frames, rounds = (300, 1) if options.quick else (510, 3)
    few, many = AT_ONCE, 2 * AT_ONCE
    table: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {kind: folder / f"{number}.mp4" for number, kind in enumerate(KINDS)}
        drawing = Process(target=films, args=(files, frames))
        drawing.start()  # not here: what this process held would count as its children's peak
        drawing.join()
        for kind, one in files.items():
            short, long = copies(one, folder / "few", few), copies(one, folder / "many", many)
            clients = {"bare PyAV": BARE.format(at_once=AT_ONCE)}
            clients |= {k: OURS.format(way=w, at_once=AT_ONCE) for k, w in WAYS.items()}
            found: dict[str, list[Run]] = {client: [] for client in clients}
            for _ in range(rounds):
                for client, script in clients.items():
                    found[client].append(steady(script, short, long, folder, frames * (many - few)))
            bare = middle(found["bare PyAV"])
            for client, runs in found.items():
                ours = middle(runs)
                table.append(
                    {
                        "video": kind,
                        "client": client,
                        "cpu_ms_a_frame": round(1_000 * ours.cpu, 3),
                        "wall_ms_a_frame": round(1_000 * ours.wall, 3),
                        "peak_mb": round(ours.peak_mb),
                        "cpu_ratio": round(bare.cpu / ours.cpu, 2),
                        "wall_ratio": round(bare.wall / ours.wall, 2),
                        "bar": "" if client == "bare PyAV" else BAR,
                    }
                )
    save("data_convert_video", table)


def steady(script: str, few: Path, many: Path, folder: Path, frames: int) -> Run:
    """Return seconds a frame, and the peak of the longer run."""
    runs = []
    for videos in (few, many):
        shutil.rmtree(folder / "ds", ignore_errors=True)
        runs.append(measure([sys.executable, "-c", script, str(videos), str(folder / "ds")]))
    short, long = runs
    return Run((long.wall - short.wall) / frames, (long.cpu - short.cpu) / frames, long.peak_mb)


def copies(path: Path, folder: Path, count: int) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number in range(count):
        shutil.copy(path, folder / f"v_{number}.mp4")
    return folder


def films(files: dict[str, Path], frames: int) -> None:
    """Write a camera's pan over a blurred picture, with a sensor's noise, as each kind of video."""
    import av

    with ExitStack() as stack:
        opened = []
        for kind, path in files.items():
            codec, settings = KINDS[kind]
            container = stack.enter_context(av.open(str(path), "w"))
            stream = container.add_stream(codec, rate=RATE, options=settings)
            (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p"
            opened.append((container, stream))
        for number, seen in enumerate(drawn(frames)):
            frame = av.VideoFrame.from_ndarray(seen, "rgb24").reformat(format="yuv420p")
            for container, stream in opened:
                frame.pts, frame.time_base = number, 1 / RATE
                container.mux(stream.encode(frame))
        for container, stream in opened:
            container.mux(stream.encode())


def drawn(frames: int) -> Iterator[np.ndarray]:
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    width, height = SIZE
    coarse = Image.fromarray(draw.integers(0, 256, (60, 100, 3), dtype=np.uint8))
    smooth = coarse.resize((width + 400, height + 200), Image.Resampling.BICUBIC)
    scene = np.asarray(smooth, np.int16)
    noise = draw.integers(-10, 10, (height, width, 3)).astype(np.int16)
    for number in range(frames):
        x, y = number % 400, number // 3 % 200
        shifted = np.roll(noise, 37 * number, axis=1)
        seen = scene[y : y + height, x : x + width] + shifted
        yield np.clip(seen, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
