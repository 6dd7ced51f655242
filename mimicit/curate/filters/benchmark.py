"""Records that hold what a benchmark asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from mimicit.decontaminate.matching import Matching, find
from mimicit.decontaminate.reading import read_benchmarks
from mimicit.errors import FormatError

if TYPE_CHECKING:
    import duckdb
    import pyarrow

    from mimicit.decontaminate.items import Benchmarks

_SAID = """
SELECT record, arg_min(reason, rank) AS reason, arg_min(score, rank) AS score FROM (
    SELECT record, CASE how WHEN 'both' THEN 0 WHEN 'text' THEN 1 ELSE 2 END - share / 2 AS rank,
        if(how = 'text', share, 1 - coalesce(distance, 0) / 64) AS score,
        CASE how
            WHEN 'both' THEN printf('it asks what %s asks about the same picture (%s)', left(benchmark, 80), left(place, 80))
            WHEN 'text' THEN printf('it says what is in %s (%s; %d %% of its words in a row)', left(benchmark, 80), left(place, 80), floor(share * 100)::BIGINT)
            ELSE printf('it is about a picture of %s (%s; %s)', left(benchmark, 80), left(place, 80), CASE known_by
                WHEN 'bytes' THEN 'the same file' WHEN 'name' THEN 'by its name'
                ELSE printf('%d of 64 bits differ', distance::BIGINT) END)
        END AS reason
    FROM bench_findings JOIN (SELECT item, place FROM bench_items) USING (item)
    WHERE $pictures OR how <> 'picture'
) GROUP BY record"""


@dataclass(frozen=True)
class InBenchmark:
    """What `in_benchmark` asks; its repr says all that it depends on."""

    files: tuple[str, ...]
    images: str
    matching: Matching
    picture_alone: bool
    stamp: str
    """Of the files: other contents are another question."""

    @property
    def measures(self) -> tuple[str, ...]:
        return ("looks",)

    @cached_property
    def benchmarks(self) -> Benchmarks:
        folder = Path(self.images) if self.images else None
        return read_benchmarks([Path(file) for file in self.files], folder)

    def __call__(self, connection: duckdb.DuckDBPyConnection, kept: Path) -> pyarrow.Table:
        """Return record, reason and score of what is dropped.

        Args:
            connection: Has `candidates` and `looks`.
            kept: Is not needed.
        """
        connection.register("bench_findings", find(connection, self.benchmarks, self.matching))
        try:
            return connection.sql(_SAID, params={"pictures": self.picture_alone}).to_arrow_table()
        finally:
            connection.unregister("bench_findings")


def in_benchmark(
    *,
    files: Sequence[str],
    images: str = "",
    words: int = 8,
    least: int = 13,
    share: float = 0.7,
    common: int = 10,
    distance: int = 3,
    picture_alone: bool = True,
    names: bool = True,
) -> InBenchmark:
    """Drop a record that holds what one of these benchmarks asks.

    Questions about pictures are short and alike: "Is there a dog in the image?" is in thousands of records and in the benchmark,
    and gives nothing away without its picture. So a short question counts only with the same picture, or with an answer
    of four words and more that is the same, too. Runs of words are compared in texts of `least` words and more, where eight words in a row are no
    accident; a text counts where `share` of its runs are in the record, so that a phrase that stands in both does not. What
    is said in many items, or in many records about pictures, is a way of asking and counts for nothing; a question about a picture
    must have `words` words beside.

    Args:
        files: Files, or folders of files or pictures (see `mimicit.decontaminate.reading`).
        images: Folder of the pictures that the files name.
        words: In a row.
        least: A text of fewer words is compared as a whole.
        share: Of a text's runs of words.
        common: A text that more items, or more records about pictures, share is a way of asking.
        distance: Bits of 64 in which two hashes of one picture differ, at most. Up to 3, none is missed.
        picture_alone: Drop a record that is about a benchmark's picture, whatever it asks.
        names: Know pictures that are not there by their names, such as COCO's.
    """
    matching = Matching(words, least, share, common, distance, names)
    return InBenchmark(tuple(files), images, matching, picture_alone, _stamp(files, images))


def _stamp(files: Sequence[str], images: str) -> str:
    """Return a digest of the names, sizes and times of all that is read.

    Raises:
        ValueError: there is no such file.
    """
    digest = blake2b(digest_size=8)
    for name in [*files, *([images] if images else [])]:
        path = Path(name)
        if not path.exists():
            raise ValueError(f"there is no benchmark {name!r}")
        try:
            inside = sorted(path.rglob("*")) if path.is_dir() else [path]
            for one in inside:
                told = one.stat()
                digest.update(f"{one}:{told.st_size}:{told.st_mtime_ns}\n".encode())
        except OSError as error:
            raise FormatError(f"{name!r} cannot be read: {error}") from None
    return digest.hexdigest()
