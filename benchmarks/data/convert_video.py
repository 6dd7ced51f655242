"""Frames of videos into a dataset, beside a bare loop of PyAV that decodes every frame and does nothing with it.

Ours demuxes, decodes what the wanted frames need, makes JPEGs of them, and stores them. Both in processes of their own, in turns, on the same
files. *Steady* is the slope between few videos and many, so the start of the process is out of it. The ratio is the bare loop's processor time
divided by ours.

    python benchmarks/data/convert_video.py [--quick]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from fractions import Fraction
from multiprocessing import Process
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE.parent), str(ROOT)]

from common import Run, measure, middle, save  # noqa: E402

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

BARE = """
import sys, av
from pathlib import Path
for path in sorted(Path(sys.argv[1]).iterdir()):
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            pass
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
               ConvertOptions(FindOptions({way})))
assert done.images and not done.bad, done
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter videos, one round")
    options = parser.parse_args()
    frames, few, many, rounds = (300, 1, 3, 1) if options.quick else (900, 1, 4, 3)
    table: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, (codec, settings) in KINDS.items():
            one = folder / "one.mp4"
            drawing = Process(target=film, args=(one, frames, codec, settings))
            drawing.start()  # not here: what this process held would count as its children's peak
            drawing.join()
            short, long = copies(one, folder / "few", few), copies(one, folder / "many", many)
            clients = {"bare PyAV": BARE} | {k: OURS.format(way=w) for k, w in WAYS.items()}
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


def film(path: Path, frames: int, codec: str, settings: dict[str, str]) -> None:
    """Write a camera's pan over a blurred picture, with a sensor's noise."""
    import av
    import numpy as np
    from PIL import Image

    draw = np.random.default_rng(0)
    width, height = SIZE
    coarse = Image.fromarray(draw.integers(0, 256, (60, 100, 3), dtype=np.uint8))
    scene = np.asarray(coarse.resize((width + 400, height + 200), Image.Resampling.BICUBIC), int)
    noise = draw.integers(-10, 10, (height, width, 3))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, options=settings)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            x, y = number % 400, number // 3 % 200
            shifted = np.roll(noise, 37 * number, axis=1)
            seen = np.clip(scene[y : y + height, x : x + width] + shifted, 0, 255)
            frame = av.VideoFrame.from_ndarray(seen.astype(np.uint8), "rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


if __name__ == "__main__":
    main()
