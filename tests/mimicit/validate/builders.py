"""Datasets to be broken, and what can be asked of a broken one."""

import hashlib
import io
import os

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mimicit.media.picture import measure
from mimicit.parts import parts_of, write_part
from mimicit.schema import text_schema
from mimicit.shards import ShardWriter
from mimicit.validate import checking
from tests.builders import record

PICTURES = 70
"""Two row groups of a shard."""


def png(number, size=(9, 7)):
    file = io.BytesIO()
    Image.new("RGB", size, (number % 256, 40, 200)).save(file, "PNG")
    return file.getvalue()


def picture(number, data=None, **changes):
    made = measure(png(number), id=f"LA_IMG_{number:03d}", name="made")
    if data is not None:
        changes |= {"image": data, "sha256": hashlib.sha256(data).hexdigest()}
    return made.model_copy(update=changes)


def about(number, **changes):
    return record(number, **{"image_ids": [f"LA_IMG_{number:03d}"], **changes})


def turn(conversation, number, pictures=("LA_IMG_003",), **changes):
    return record(0, **{
        "id": f"{conversation}_{number:02d}", "conversation": conversation, "turn": number, "image_ids": pictures,
    } | changes)  # fmt: skip


def relate(store, rows):
    from mimicit.schema import relation_schema

    names, related = zip(*rows, strict=True)
    columns = [names, related, ["text"] * len(names), [0] * len(names)]
    schema = relation_schema()
    arrays = [pa.array(c, t) for c, t in zip(columns, schema.types, strict=True)]
    store.write_part("relations", "r", pa.table(arrays, schema=schema))


def found(store, **options):
    with checking(store, **options) as report:
        return {(f.fault, f.where, f.id) for f in report.findings()}


def faults(store, **options):
    return {fault for fault, _, _ in found(store, **options)}


def raw_part(store, rows, name="p-00009"):
    """Write records as a part without asking the store."""
    schema = text_schema()
    columns = {n: [getattr(row, n) for row in rows] for n in schema.names}
    table = pa.table([pa.array(columns[f.name], f.type) for f in schema], schema=schema)
    write_part(store.path / "text" / f"{name}.parquet", iter([table]), schema)


def raw_shard(store, *images):
    writer = ShardWriter(store.path / "images" / "s-00009.parquet")
    for image in images:
        writer.add(image)
    writer.close()


def damage(path, at, data=b"\xff\xff\xff\xff"):
    content = bytearray(path.read_bytes())
    content[at : at + len(data)] = data
    path.write_bytes(content)


def everything(folder):
    """Return all ids with their texts or bytes that any Parquet file below a folder still gives."""
    seen = set()
    for path in folder.rglob("*.parquet"):
        try:
            file = pq.ParquetFile(path)
        except (pa.ArrowException, OSError):
            seen.add(path.read_bytes())
            continue
        with file:
            names = [
                name
                for name in ("id", "answer", "image", "record")
                if name in file.schema_arrow.names
            ]
            for group in range(file.num_row_groups):
                try:
                    seen |= set(file.read_row_group(group, columns=names[:1])[0].to_pylist())
                    rows = file.read_row_group(group, columns=names)
                except (pa.ArrowException, OSError):
                    if seen and path.parent.name == "images":
                        continue  # its places still give the pictures
                    chunk = file.metadata.row_group(group).column(0)
                    with path.open("rb") as raw:
                        seen.add(
                            os.pread(
                                raw.fileno(), chunk.total_compressed_size, chunk.data_page_offset
                            )
                        )
                    continue
                seen |= set(zip(*rows.to_pydict().values(), strict=True))
    return seen


def assert_works(store):
    """The catalog follows, and what is in it is what the parts have."""
    store.refresh()
    with store.reading() as connection:
        [(records,)] = connection.execute("SELECT count(*) FROM instructions").fetchall()
        placed = connection.execute(
            'SELECT id, shard, "offset", length, sha256 FROM images'
        ).fetchall()
    assert records == sum(pq.read_metadata(part).num_rows for part in parts_of(store.path / "text"))
    for _, shard, offset, length, sha256 in placed:
        with (store.path / shard).open("rb") as file:
            assert hashlib.sha256(os.pread(file.fileno(), length, offset)).hexdigest() == sha256
