"""`syphus data convert`."""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mimicit.commands.options import Dataset, Json, as_text
from mimicit.sources import SOURCES

if TYPE_CHECKING:
    from mimicit.sources.converting import Converted

_NTSC = {
    "23.98": Fraction(24_000, 1_001),
    "23.976": Fraction(24_000, 1_001),
    "29.97": Fraction(30_000, 1_001),
    "59.94": Fraction(60_000, 1_001),
}
"""What people write for rates that are not decimal."""
_FASTEST = 1_000


class Encoding(StrEnum):
    webp = "webp"
    jpeg = "jpeg"


def _rate(text: str) -> Fraction:
    try:
        rate = _NTSC.get(text) or Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"{text!r} is not a rate, such as 1, 0.5 or 30000/1001") from None
    if not Fraction(1, 86_400) <= rate <= _FASTEST:
        raise typer.BadParameter(f"{text!r} is not between one a day and {_FASTEST:,} a second")
    return rate


def convert(
    source: Annotated[str, typer.Argument(help=f"{', '.join(SOURCES)}.")],
    path: Annotated[Path, typer.Argument(help="The source's folder or file.")],
    dataset: Dataset,
    fps: Annotated[
        Fraction | None,
        typer.Option(parser=_rate, metavar="RATE", help="Frames a second: 1, 0.5, 30000/1001."),
    ] = None,
    frames: Annotated[
        int | None,
        typer.Option(
            min=1, max=1_000_000, help="Of each video so many, to the last, at even distances."
        ),
    ] = None,
    max_side: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="Pixels; larger pictures are made smaller."),
    ] = None,
    format: Annotated[
        Encoding | None,
        typer.Option("--format", help="Encode what is not in it; without, bytes stay as given."),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of the pictures that a list names; vst: instead of downloads."),
    ] = None,
    only: Annotated[
        Path | None,
        typer.Option(help="A file of the names or ids that are wanted, or *_instructions.json."),
    ] = None,
    prefix: Annotated[
        str | None, typer.Option(help="XY in XY_IMG_…, for folder, list and videos.")
    ] = None,
    keep_damaged: Annotated[
        bool, typer.Option("--keep-damaged", help="Keep pictures that open and break off.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="At once; as many as processors, of downloads 8."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many pictures and videos.")
    ] = None,
    delay: Annotated[
        float, typer.Option(min=0, help="Seconds between two downloads from one host.")
    ] = 0.2,
    timeout: Annotated[
        float, typer.Option(min=0.001, max=86_400, help="Seconds for one download.")
    ] = 30.0,
    json: Json = False,
) -> None:
    """Bring the pictures and videos of a public data set, or of a folder, into a dataset folder.

    Pictures stay as they are, byte for byte. What is there already is not read again. What cannot be used is listed and left out.

    Example:

        syphus data convert la coco/train2017 -d demo

        syphus data convert dc activitynet/videos -d demo --fps 1 --max-side 448

        syphus data convert vst train.story-in-sequence.json -d demo --images vist/train
    """
    import re
    import time

    from mimicit.errors import FormatError
    from mimicit.progress import Progress
    from mimicit.sources import source_named
    from mimicit.sources.base import FindOptions
    from mimicit.sources.converting import ConvertOptions
    from mimicit.sources.converting import convert as run
    from mimicit.sources.failures import unreadable, unwritten
    from mimicit.sources.stills import Shape
    from mimicit.store import Store

    if fps is not None and frames is not None:
        raise typer.BadParameter("--fps and --frames are two ways to choose frames; name one")
    if prefix is not None and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", prefix) is None:
        raise typer.BadParameter(f"the prefix {prefix!r} has other signs than letters and digits")
    options = ConvertOptions(
        find=FindOptions(images, prefix, fps, frames),
        shape=Shape(max_side, format.value if format else None, keep_damaged),
        only=only,
        jobs=jobs,
        limit=limit,
        delay=delay,
        timeout=timeout,
    )
    reader = source_named(source)
    try:
        is_there = path.exists()
    except OSError as error:
        raise unreadable(path, error) from None
    if not is_there:  # before there is a dataset folder
        raise FormatError(f"there is no {str(path)!r}")
    with Progress("converting", total=None, unit="pictures") as progress:
        started = time.monotonic()

        def show(converted: Converted) -> None:
            progress.update(converted.images, lambda: _note(converted, time.monotonic() - started))

        try:
            store = Store.open(dataset, create=True)
        except OSError as error:
            raise unwritten(dataset, error, 0) from error
        done = run(reader, path, store, options, progress=show)
    for row in done.bad:
        typer.echo(f"{row.where}: {row.reason}", err=True)
    if done.bad_count > len(done.bad):
        typer.echo(f"… and {done.bad_count - len(done.bad):,} more", err=True)
    typer.echo(_as_json(done) if json else _said(done))
    raise typer.Exit(3 if done.bad_count else 0)


def _note(done: Converted, seconds: float) -> str:
    parts = [f"{done.files:,} files", f"{done.bytes / max(seconds, 0.001) / 1e6:,.1f} MB/s"]
    parts += [f"{done.known:,} were there"] if done.known else []
    parts += [f"{done.bad_count:,} failed"] if done.bad_count else []
    return " · ".join(parts)


def _said(done: Converted) -> str:
    said = (
        f"{done.images:,} pictures are new, {done.known:,} were there, "
        f"{done.bad_count:,} could not be used"
    )
    said += f"; {done.damaged:,} are damaged and kept" if done.damaged else ""
    return said + (f"; {done.others:,} other files were passed over" if done.others else "")


def _as_json(done: Converted) -> str:
    report = {
        "images": done.images,
        "bytes": done.bytes,
        "files": done.files,
        "known": done.known,
        "damaged": done.damaged,
        "others": done.others,
        "bad": done.bad_count,
        "rows": [{"where": row.where, "reason": row.reason} for row in done.bad],
    }
    return as_text(report)
