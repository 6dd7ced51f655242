"""From what a source finds to the dataset's image shards.

Pictures are read, checked and encoded by several threads, and stored in the order in which they were found, a video's frames in theirs. What
the dataset has is passed over: of a video only what is missing is decoded. Shards appear whole, at a gigabyte or every few minutes, so a
killed run loses minutes; Ctrl-C loses nothing that was decoded. What fails is told, and the others go on.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from threading import Event
from typing import TypeAlias

from mimicit.errors import FormatError, PictureError
from mimicit.formats.base import BadRow
from mimicit.media import picture
from mimicit.schema import ImageRecord
from mimicit.shards import SHARD_BYTES
from mimicit.sources.base import (
    Film,
    FindOptions,
    Found,
    Other,
    Remote,
    Source,
    Still,
    reason_against,
    within,
)
from mimicit.sources.download import Downloads, StoppedError
from mimicit.sources.failures import remove_staged, unreadable, unwritten
from mimicit.sources.known import Known
from mimicit.sources.lanes import in_order
from mimicit.sources.naming import film_frame
from mimicit.sources.stills import Shape, Stored, frame_record, stored
from mimicit.sources.track import Reel, pick, reel, scan
from mimicit.sources.wanted import Wanted
from mimicit.store import Added, Store

SHARD_SECONDS = 300.0
"""After which what was decoded is stored even if there is little of it: downloads are slow."""
TOGETHER = 16
"""Pictures that one task reads."""
MOST_BAD = 1_000
DOWNLOAD_JOBS = 8
_ONE_A_SECOND = Fraction(1)


@dataclass(frozen=True, slots=True)
class ConvertOptions:
    find: FindOptions = field(default_factory=FindOptions)
    shape: Shape = field(default_factory=Shape)
    only: Path | None = None
    """A file that names which are wanted."""
    jobs: int | None = None
    """Threads; None: as many as processors, and `DOWNLOAD_JOBS` where pictures are downloaded."""
    limit: int | None = None
    """Pictures and videos, from the first."""
    delay: float = 0.2
    """Seconds between two downloads from one host."""
    timeout: float = 30.0
    """Seconds for one download."""


@dataclass
class Converted:
    images: int = 0
    bytes: int = 0
    """Of all pictures that were read or decoded."""
    known: int = 0
    """Pictures that the dataset had."""
    files: int = 0
    """Pictures, videos and addresses that were looked at."""
    damaged: int = 0
    """Of the pictures, those that were kept although they do not decode to their end."""
    others: int = 0
    """Files that are none of the source's."""
    bad: list[BadRow] = field(default_factory=list)
    """The first of them; `bad_count` counts all."""
    bad_count: int = 0

    def note(self, row: BadRow) -> None:
        self.bad_count += 1
        if len(self.bad) < MOST_BAD:
            self.bad.append(row)


@dataclass(frozen=True, slots=True)
class _Had:
    """Pictures that the dataset has."""

    count: int


_Result: TypeAlias = Stored | BadRow | _Had


def convert(
    source: Source,
    path: Path,
    store: Store,
    options: ConvertOptions | None = None,
    *,
    progress: Callable[[Converted], None] = lambda converted: None,
) -> Converted:
    """Bring a source's pictures and frames into a dataset; what cannot be used is listed.

    Raises:
        FormatError: the path is not what the source needs.
        MissingExtraError: there is a video, and PyAV is not installed.
        LockedError: another process is writing to the dataset.
        DatasetError: the dataset cannot be written; what was stored before stays.
    """
    options, converted = options or ConvertOptions(), Converted()
    can_write = True
    try:
        with store.writing("syphus data convert"):
            run = _Run(source, path, options, Known(store.path), converted)
            try:
                _store_all(run, store, progress)
            except OSError:  # what cannot be read is another error
                can_write = False
                remove_staged(store.path)
                raise
            finally:
                run.stop.set()
                progress(converted)
                if can_write:
                    store.try_sync(patience=10.0)
    except OSError as error:
        raise unwritten(store.path, error, converted.images) from error
    return converted


def _store_all(run: _Run, store: Store, progress: Callable[[Converted], None]) -> None:
    results, is_end = run.results(), False
    try:
        while not is_end:
            batch = _Batch(results, run.converted, progress)
            try:
                added = store.add_images(batch)
            except OSError:
                run.converted.images -= batch.images
                raise
            _note(added, batch, run.converted)
            is_end = batch.is_end
            if batch.error is not None:
                raise batch.error
    finally:
        results.close()


class _Batch:
    """The pictures of one shard, or of the next minutes; the rest of the results is noted."""

    def __init__(
        self,
        results: Iterator[_Result],
        converted: Converted,
        progress: Callable[[Converted], None],
    ) -> None:
        self._results, self._converted, self._progress = results, converted, progress
        self.is_end = False
        self.error: BaseException | None = None
        """What ended it, to be raised when what came before is stored."""
        self.images = self.bytes = 0

    def __iter__(self) -> Iterator[ImageRecord]:
        end = time.monotonic() + SHARD_SECONDS
        try:
            for result in self._results:
                if isinstance(result, Stored):
                    yield from self._counted(result)
                elif isinstance(result, _Had):
                    self._converted.known += result.count
                else:
                    self._converted.note(result)
                self._progress(self._converted)
                if self.bytes >= SHARD_BYTES or time.monotonic() > end:
                    return
            self.is_end = True
        except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - it is raised again
            self.error = error

    def _counted(self, result: Stored) -> Iterator[ImageRecord]:
        self.images += 1
        self.bytes += len(result.image.image)
        self._converted.images += 1
        self._converted.bytes += len(result.image.image)
        self._converted.damaged += result.is_damaged
        yield result.image


def _note(added: Added, batch: _Batch, converted: Converted) -> None:
    """Correct the counts by what the store made of a batch."""
    converted.images -= batch.images - added.new
    converted.known += added.known
    for id_ in added.conflicts:
        converted.note(BadRow(id_, "the dataset has another picture of this id; it stays"))


class _Run:
    """One conversion: what there is to do, and how each of it is done."""

    def __init__(
        self,
        source: Source,
        path: Path,
        options: ConvertOptions,
        known: Known,
        converted: Converted,
    ) -> None:
        self._source, self._path, self._options, self._known = source, path, options, known
        self._wanted = Wanted(options.only)
        self.converted = converted
        self.stop = Event()
        self._downloads = Downloads(options.delay, options.timeout, self.stop)
        self._is_limited = False
        self._broken: FormatError | None = None
        self._threads = 1
        """Of one video's decoder."""

    def results(self) -> Generator[_Result]:
        """Yield pictures in the order in which they were found, and what cannot be used."""
        found = self._found()
        first = list(islice(found, TOGETHER))
        jobs = self._jobs(first)
        yield from in_order(
            self._tasks(_again(first, found)), threads=jobs, weigh=_weight, stop=self.stop
        )
        if self._broken is not None:
            raise self._broken
        if not self._is_limited:
            yield from self._wanted.missing()

    def _jobs(self, first: list[Found]) -> int:
        processors = os.cpu_count() or 1
        is_remote = any(isinstance(item, Remote) for item in first)
        jobs = self._options.jobs or (DOWNLOAD_JOBS if is_remote else processors)
        if len(first) < TOGETHER:  # all there is: a thread for each, and the rest for decoders
            jobs = max(min(jobs, len(first)), 1)
        total = self._options.jobs or processors
        self._threads = max(total // jobs, 1)
        return jobs

    def _found(self) -> Iterator[Found]:
        """Yield what is wanted of what there is, to the limit; what is no picture is counted."""
        limit, is_empty = self._options.limit, True
        for item in self._unbroken():
            if limit is not None and self.converted.files >= limit:
                self._is_limited = True
                return
            is_empty = is_empty and isinstance(item, Other)
            if isinstance(item, Other):
                self.converted.others += 1
            elif isinstance(item, BadRow):
                yield item
            elif self._wanted.takes(item):
                self.converted.files += 1
                yield item
        if is_empty:
            raise FormatError(
                f"{str(self._path)!r} holds nothing that the source {self._source.NAME!r} reads"
            )

    def _unbroken(self) -> Iterator[Found]:
        """Yield what the source finds; what breaks it off is raised when that is stored."""
        count = 0
        try:
            for item in self._source.find(self._path, self._options.find):
                count += 1
                yield item
        except (FormatError, OSError) as error:
            said = unreadable(self._path, error) if isinstance(error, OSError) else error
            if not count:
                raise said from None
            self._broken = said

    def _tasks(self, found: Iterator[Found]) -> Iterator[Callable[[], Iterable[_Result]]]:
        """Put pictures together, a few to a task; a video is one of its own."""
        for kind, items in groupby(found, key=type):
            while group := list(islice(items, TOGETHER if kind is Still else 1)):
                yield partial(self._done, group)

    def _done(self, group: list[Found]) -> Iterator[_Result]:
        for item in group:
            if self.stop.is_set():
                return
            if isinstance(item, BadRow):
                yield item
            elif isinstance(item, Still):
                yield self._still(item)
            elif isinstance(item, Film):
                yield from self._film(item)
            elif isinstance(item, Remote):
                yield from self._remote(item)

    def _still(self, item: Still) -> _Result:
        if (reason := reason_against(item.id, item.name)) is not None:
            return BadRow(repr(item.name), reason)
        if self._known.has(item.id, item.name, item.time):
            return _Had(1)
        try:
            data = picture.read(item.folder, item.name)
            return stored(
                data,
                self._options.shape,
                id=item.id,
                name=item.name,
                source=item.name,
                time=item.time,
            )
        except PictureError as error:
            return BadRow(item.name, _without(item.name, error))
        except OSError as error:
            return BadRow(item.name, f"cannot be read: {error.strerror or error}")

    def _film(self, item: Film) -> Iterator[_Result]:
        if (reason := reason_against(film_frame(item.id, 0), item.name)) is not None:
            yield BadRow(repr(item.name), reason)
            return
        try:
            path = within(item.folder, item.name)
            with reel(path) as opened:
                yield from self._frames(item, path, opened)
        except PictureError as error:
            yield BadRow(item.name, _without(item.name, error))
        except OSError as error:
            yield BadRow(item.name, f"cannot be read: {error.strerror or error}")

    def _frames(self, item: Film, path: Path, opened: Reel) -> Iterator[_Result]:
        """Decode those of a video's frames that the dataset does not have."""
        track = scan(path, opened)
        find = self._options.find
        numbered = (
            track.evenly(find.frames)
            if find.frames is not None
            else track.at_rate(find.fps or _ONE_A_SECOND)
        )
        named: dict[int, list[str]] = {}
        """Frame -> ids: one that stands for long is there under several."""
        had = 0
        for number, frame in numbered:
            id_ = film_frame(item.id, number)
            if self._known.has(id_, item.name, track.time(frame)):
                had += 1
            else:
                named.setdefault(frame, []).append(id_)
        if had:
            yield _Had(had)
        wanted = list(named)
        shown_ones = pick(path, track, wanted, threads=self._threads, reel_=opened) if named else ()
        for shown in shown_ones:
            ids = named.pop(shown.frame)
            at = track.time(shown.frame)
            if shown.is_damaged and not self._options.shape.keep_damaged:
                yield BadRow(f"{item.name} at {at:g} s", "the frame is damaged")
                continue
            record = frame_record(shown, self._options.shape, id=ids[0], source=item.name, time=at)
            for id_ in ids:
                same = record if id_ == record.id else record.model_copy(update={"id": id_})
                yield Stored(same, shown.is_damaged)
            if self.stop.is_set():
                return
        for frame in named:
            yield BadRow(f"{item.name} at {track.time(frame):g} s", "the frame cannot be decoded")

    def _remote(self, item: Remote) -> Iterator[_Result]:
        if (reason := reason_against(item.id, item.id)) is not None:
            yield BadRow(repr(item.key), reason)
            return
        if any(self._known.has(item.id, url) for url in item.urls):
            yield _Had(1)
            return
        reasons = []
        for url in item.urls:
            try:
                data = self._downloads.get(url)
                yield stored(data, self._options.shape, id=item.id, name=url, source=url)
            except PictureError as error:
                reasons.append(str(error))
            except StoppedError:
                return
            else:
                return
        yield BadRow(item.key, "; ".join(reasons))


def _without(name: str, error: PictureError) -> str:
    """Return an error's words without the name that stands before them where it is listed."""
    said = str(error)
    for start in (f"{name!r} ", f"{Path(name).name!r} "):
        said = said.removeprefix(start)
    return said


def _weight(result: _Result) -> int:
    return len(result.image.image) if isinstance(result, Stored) else 200


def _again(first: list[Found], rest: Iterator[Found]) -> Iterator[Found]:
    yield from first
    yield from rest
