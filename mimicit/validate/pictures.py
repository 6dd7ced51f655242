"""Read every picture at its place, hash it, decode it: in as many processes as there are processors.

A process gets one row group at a time and reads one picture at a time. Bytes that are not those that were stored are not decoded. A
process that dies takes its row group with it: that one is then looked at picture by picture, in processes of their own.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from mimicit.errors import DatasetError, PictureError
from mimicit.media.picture import MAX_BYTES, measure
from mimicit.validate.bench import Found
from mimicit.validate.scan import Item, Job

Truth = tuple[int, int, str, int, int]
"""Part, row, mime, width, height of a picture that is not what is noted."""

_NO_GUARD = (
    "the processes that decode pictures cannot be started: a script that checks a dataset must do so under "
    '`if __name__ == "__main__":`, since they import it'
)


class Checked(NamedTuple):
    pictures: int
    found: list[Found]
    truths: list[Truth]


def check_all(
    jobs: Iterator[Job], *, decode: bool, processes: int | None = None
) -> Iterator[Checked]:
    """Check row groups, a few ahead of whoever asks for the results."""
    workers = processes or len(os.sched_getaffinity(0))
    pool = _pool(workers)
    waiting: deque[tuple[Job, Future[Checked]]] = deque()
    try:
        for job in jobs:
            try:
                waiting.append((job, pool.submit(check, job, decode)))
            except BrokenProcessPool:
                pool.shutdown()
                pool = _pool(workers)
                waiting.append((job, pool.submit(check, job, decode)))
            if len(waiting) >= 3 * workers:
                yield _result(*waiting.popleft(), decode)
        while waiting:
            yield _result(*waiting.popleft(), decode)
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of processes.

    Raises:
        DatasetError: this is one of them, which imports the script that started it.
    """
    # Python refuses only when the first process is started; until then it makes semaphores that nobody takes down.
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise DatasetError(_NO_GUARD)
    # Not forked: the parent has threads of DuckDB and Arrow, which a fork would not survive.
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))


def _result(job: Job, future: Future[Checked], decode: bool) -> Checked:
    try:
        return future.result()
    except BrokenProcessPool:
        return _one_by_one(job, decode)


def _one_by_one(job: Job, decode: bool) -> Checked:
    whole = Checked(len(job.items), [], [])
    pool = _pool(1)
    _refuse_without_processes(pool)
    try:
        for item in job.items:
            try:
                part = pool.submit(check, job._replace(items=[item]), decode).result()
            except BrokenProcessPool:
                whole.found.append(
                    _of("undecodable-picture", job, item, "the decoder crashed on it")
                )
                pool.shutdown()
                pool = _pool(1)
            else:
                whole.found.extend(part.found)
                whole.truths.extend(part.truths)
    finally:
        pool.shutdown()
    return whole


def _refuse_without_processes(pool: Executor) -> None:
    """Tell a decoder that crashes from a script that cannot be imported by the processes.

    Raises:
        DatasetError: no process can be started.
    """
    try:
        pool.submit(os.getpid).result()
    except BrokenProcessPool:
        pool.shutdown()
        raise DatasetError(_NO_GUARD) from None


def check(job: Job, decode: bool) -> Checked:
    """Check the pictures of one row group."""
    checked = Checked(len(job.items), [], [])
    with Path(job.path).open("rb") as file:
        for item in job.items:
            _check(file.fileno(), job, item, decode, checked)
    return checked


def _check(file: int, job: Job, item: Item, decode: bool, checked: Checked) -> None:
    if item.length > MAX_BYTES:
        what = f"it is larger than {MAX_BYTES >> 20} MiB"
        checked.found.append(_of("undecodable-picture", job, item, what))
        return
    # The 4 bytes before a picture are its length, for readers of Parquet.
    stored = os.pread(file, item.length + 4, item.offset - 4)
    data = stored[4:]
    if len(data) < item.length or int.from_bytes(stored[:4], "little") != item.length:
        what = f"{item.length:,} bytes are noted, and the file has others at their place"
        checked.found.append(_of("checksum-mismatch", job, item, what))
    elif hashlib.sha256(data).hexdigest() != item.sha256:
        what = "the SHA-256 of its bytes is not the one that is noted"
        checked.found.append(_of("checksum-mismatch", job, item, what))
    elif decode:
        _decode(data, job, item, checked)


def _decode(data: bytes, job: Job, item: Item, checked: Checked) -> None:
    try:
        truth = measure(data, id="checked", name=item.id)
    except PictureError as error:
        checked.found.append(_of("undecodable-picture", job, item, str(error)))
        return
    faults = []
    if truth.mime != item.mime:
        faults += [("wrong-mime", f"it is {truth.mime}, and noted as {item.mime!r}")]
    if (truth.width, truth.height) != (item.width, item.height):
        noted = f"noted as {item.width}×{item.height}"
        faults += [("wrong-size", f"it has {truth.width}×{truth.height} pixels, and is {noted}")]
    checked.found.extend(_of(fault, job, item, what) for fault, what in faults)
    if faults:
        checked.truths.append((job.part, item.row, truth.mime, truth.width, truth.height))


def _of(fault: str, job: Job, item: Item, what: str) -> Found:
    return Found(fault, what, job.part, item.row, item.id)
