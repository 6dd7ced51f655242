"""Filters of pictures: queries over the records, the pictures that they name, and what was measured of those (`looks`).

They are filters of many records, asked each time: a picture may come after its record. A record whose pictures are not there, or cannot be
decoded, is only `missing_picture`'s or `undecodable`'s matter; no other filter of this file drops it. A record without pictures is dropped by
`picture_count` alone.

A record may have many pictures. What makes one useless anywhere (it cannot be decoded, it is tiny) drops the record; what is a matter of looks
(blank, dark, blurred, only text) drops it when at least a `share` of its pictures is so: a video may begin with black.
"""

from __future__ import annotations

from mimicit.curate.base import Sql, quoted
from mimicit.curate.filters.text import normal
from mimicit.curate.hashes import near_pairs

_MARK = "<image>"
MOST_DISTANCE = 10
"""Of 64 bits; pictures that have nothing to do with each other differ in 32, give or take 4."""


def undecodable() -> str:
    """Drop a record with a picture that cannot be decoded."""
    return _of_any("NOT decodable", "printf('the picture %s: %s', id, error)")


def missing_picture() -> str:
    """Drop a record that names a picture which the dataset does not have; the score is how many."""
    more = "if(count(*) > 1, printf(' (nor %d others)', count(*) - 1), '')"
    return f"""
SELECT record, 'the dataset has no picture ' || arg_min(picture, place) || {more} AS reason,
    count(*)::DOUBLE AS score
FROM ({_named()}) ANTI JOIN images ON images.id = picture GROUP BY record"""


def too_small(*, width: int = 64, height: int = 64) -> str:
    """Drop a record with a picture of fewer pixels across or down; the score is its shorter side."""
    reason = f"printf('the picture %s has %d × %d pixels, fewer than {width:d} × {height:d}', id, width, height)"
    return _of_any(f"width < {width:d} OR height < {height:d}", reason, "least(width, height)")


def aspect(*, most: float = 5.0) -> str:
    """Drop a record with a picture whose longer side is more than so many times its shorter one."""
    ratio = "(greatest(width, height) / greatest(least(width, height), 1))"
    reason = f"printf('the picture %s is %.1f times as long as it is wide, more than {most:g}', id, {ratio}::DOUBLE)"
    return _of_any(f"{ratio} > {most:f}", reason, ratio)


def blank(*, spread: float = 4.0, sharpness: float = 10.0, share: float = 0.5) -> str:
    """Drop a record whose pictures show nothing: brightness hardly varies, and nothing has an edge.

    Noise has edges, and evens out where brightness is measured: with a quarter of the spread, there may be 15 times as much of them.
    """
    reason = "printf('the picture %s is blank: its brightness varies by %.1f of 255', id, spread)"
    where = (
        f"spread < {spread:f} AND sharpness < if(spread < {spread / 4:f}, 15, 1) * {sharpness:f}"
    )
    return _of_a_share(where, reason, "spread", share)


def dark(*, mean: float = 20.0, peak: float = 64.0, share: float = 0.5) -> str:
    """Drop a record whose pictures are dark all over: on average, and in their brightest spot; stars at night are no fault."""
    reason = (
        "printf('the picture %s is dark: %.0f of 255, its brightest spot %.0f', id, mean, peak)"
    )
    return _of_a_share(f"mean < {mean:f} AND peak < {peak:f}", reason, "mean", share)


def blurred(*, least: float = 15.0, share: float = 0.5) -> str:
    """Drop a record whose pictures are less sharp at the size at which a model sees them; a blank one is not called blurred."""
    reason = (
        f"printf('the picture %s is blurred: sharpness %.1f, less than {least:g}', id, sharpness)"
    )
    return _of_a_share(f"sharpness < {least:f} AND spread >= 4", reason, "sharpness", share)


def text_only(*, least: float = 0.75, share: float = 0.5) -> str:
    """Drop a record whose pictures look like a page of text and nothing else; tasks about documents want to keep them."""
    reason = "printf('the picture %s shows nothing but text (%.2f)', id, text)"
    return _of_a_share(f"text >= {least:f}", reason, "text", share)


def picture_count(*, least: int = 1, most: int = 1_000) -> Sql:
    """Drop a record with fewer or more pictures."""
    count = "len(image_ids)"
    reason = (
        f"CASE WHEN {count} < {least:d} THEN printf('it has %d pictures, fewer than {least:d}', {count}) "
        f"WHEN {count} > {most:d} THEN printf('it has %d pictures, more than {most:d}', {count}) END"
    )
    return Sql(reason, f"{count}::DOUBLE")


def picture_mismatch(*, pictures: int = 0, task: str = "") -> str:
    """Drop a record that speaks of another number of pictures than it has.

    It is the number of marks `<image>` in its text, if there are any; of the turns of a conversation, which share their pictures, the marks are
    added up. Beside that, a known number of pictures may be given.

    Args:
        pictures: That each record has; 0 where it is not known.
        task: Whose records; empty for all of them.
    """
    known = (
        f"WHEN {pictures:d} > 0 AND has <> {pictures:d} "
        f"THEN printf('it has %d pictures, and should have {pictures:d}', has)"
    )
    ours = f"WHERE task = {quoted(task)}" if task else ""
    return f"""
SELECT id, CASE WHEN marks > 0 AND marks <> has
    THEN printf('it speaks of %d pictures, and has %d', marks, has) {known} END AS reason, has::DOUBLE
FROM (
    SELECT id, len(image_ids) AS has, if(conversation IS NULL, {_marks()}, marks) AS marks
    FROM candidates LEFT JOIN (
        SELECT conversation, sum({_marks()})::BIGINT AS marks FROM instructions
        WHERE conversation IS NOT NULL GROUP BY conversation
    ) USING (conversation) {ours}
) WHERE reason IS NOT NULL"""


def near_duplicate_picture(*, distance: int = 3, prefer: str = "largest") -> str:
    """Drop a record that asks what another one asks about nearly the same picture.

    A repeated picture is no fault by itself: other questions about it teach other things, and dropping its records would lose them.
    The same question about it twice teaches nothing new and counts twice, whatever the answers say. So a record is dropped only if a better
    one has the same question (case, punctuation and spacing make no difference), as many pictures, and in each place a picture that is the same or
    near. The best one is never dropped, and each dropped one names one that is better still; so every question stays with one of
    the pictures that are near, or near by way of others in between. Two questions about one and the same picture are
    `repeated_question`'s matter.

    Args:
        distance: Bits of 64 in which two pictures may differ. Up to 3, no pair is missed; above, a few are.
        prefer: `largest`: the record whose pictures have the most pixels, and of several the first by id; `first`: the first by id.

    Raises:
        ValueError: an impossible distance, or another word.
    """
    if not 0 <= distance <= MOST_DISTANCE:
        raise ValueError(f"`distance` is from 0 to {MOST_DISTANCE}, not {distance}")
    if prefer not in ("largest", "first"):
        raise ValueError(f"`prefer` is 'largest' or 'first', not {prefer!r}")
    area = "sum(l.width::BIGINT * l.height)" if prefer == "largest" else "0"
    return f"""
WITH seen AS MATERIALIZED (
    SELECT hash, count(*) AS pictures FROM looks WHERE hash IS NOT NULL GROUP BY hash
), pairs AS MATERIALIZED ({near_pairs("seen", distance)}),
twins AS MATERIALIZED (
    SELECT id FROM looks WHERE hash IN (
        SELECT a FROM pairs UNION ALL SELECT b FROM pairs
        UNION ALL SELECT hash FROM seen WHERE pictures > 1)
), touched AS MATERIALIZED (
    SELECT * FROM candidates WHERE id IN (
        SELECT record FROM ({_named()}) WHERE picture IN (SELECT id FROM twins))
), asked AS MATERIALIZED (
    SELECT record, image_ids, md5_number_lower({normal("instruction")}) AS question, hashes, area
    FROM touched JOIN (
        SELECT record, list(l.hash ORDER BY place) AS hashes, {area} AS area
        FROM ({_named("touched")}) JOIN looks AS l ON l.id = picture
        GROUP BY record HAVING count(l.hash) = any_value(pictures)
    ) ON record = id
), alike AS MATERIALIZED (
    SELECT row_number() OVER () AS number, * FROM (
        SELECT question, hashes, first(record ORDER BY area DESC, record) AS best,
            first(image_ids ORDER BY area DESC, record) AS image_ids, max(area) AS area
        FROM asked GROUP BY question, hashes)
), shown AS MATERIALIZED (
    SELECT number, question, len(hashes) AS pictures, unnest(hashes) AS hash,
        generate_subscripts(hashes, 1) AS place FROM alike
), near AS MATERIALIZED (
    SELECT a, b, distance FROM pairs UNION ALL SELECT b, a, distance FROM pairs
    UNION ALL SELECT DISTINCT hash, hash, 0 FROM shown WHERE pictures > 1
), reached AS MATERIALIZED (
    SELECT number, question, pictures, place, near.b AS hash, distance
    FROM shown JOIN near ON near.a = shown.hash
), others AS (
    SELECT x.number, y.number AS other, max(distance) AS distance
    FROM reached AS x JOIN shown AS y USING (hash, question, pictures, place)
    WHERE x.number <> y.number GROUP BY x.number, y.number HAVING count(*) = any_value(pictures)
), better AS (
    SELECT number, first(y.best ORDER BY y.area DESC, y.best) AS best,
        first(distance ORDER BY y.area DESC, y.best) AS distance
    FROM others JOIN alike AS x USING (number) JOIN alike AS y ON y.number = other
    WHERE y.area > x.area OR (y.area = x.area AND y.best < x.best) GROUP BY number
)
SELECT record, printf('it asks the same as %s about nearly the same picture (%d of 64 bits differ)',
    coalesce(better.best, alike.best), coalesce(distance, 0)::BIGINT) AS reason,
    coalesce(distance, 0)::DOUBLE AS score
FROM asked JOIN alike USING (question, hashes) LEFT JOIN better USING (number)
WHERE better.best IS NOT NULL OR asked.image_ids <> alike.image_ids"""


def _named(records: str = "candidates") -> str:
    """Return the query of all pictures that records name, with their places."""
    return (
        "SELECT id AS record, len(image_ids) AS pictures, unnest(image_ids) AS picture, "
        f"generate_subscripts(image_ids, 1) AS place FROM {records}"
    )


def _of_any(where: str, reason: str, score: str = "NULL") -> str:
    """Return the query of the records with a picture that is so; the first one says why."""
    return _of_pictures(where, reason, score, "true")


def _of_a_share(where: str, reason: str, score: str, share: float) -> str:
    """Return the query of the records of whose pictures at least a share is so.

    Raises:
        ValueError: that is no share.
    """
    if not 0 < share <= 1:
        raise ValueError(f"`share` is above 0 and at most 1, not {share:g}")
    return _of_pictures(where, reason, score, f"count(*) >= {share:f} * any_value(pictures)")


def _of_pictures(where: str, reason: str, score: str, having: str) -> str:
    return f"""
SELECT record, arg_min(reason, place) AS reason, arg_min(score, place) AS score
FROM ({_named()}) JOIN (SELECT id, {reason} AS reason, ({score})::DOUBLE AS score FROM looks WHERE {where}) AS bad
    ON bad.id = picture
GROUP BY record HAVING {having}"""


def _marks() -> str:
    texts = "instruction || chr(31) || answer"
    return f"((len({texts}) - len(replace({texts}, '{_MARK}', ''))) // {len(_MARK)})::BIGINT"
