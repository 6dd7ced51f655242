"""One dataset of real imports with one fault of every kind, before the real command.

    pytest tests/mimicit/validate/test_folder.py

Each kind in `FAULTS` has an entry in `PLANTS`; a kind without one fails. The command must find each where it was planted, once, and nothing else;
then `--repair` puts them aside, the command finds nothing, and every row is either in the dataset or in quarantine.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mimicit.exchange import import_files
from mimicit.formats import ReadOptions
from mimicit.parts import parts_of, write_part
from mimicit.schema import ImageRecord, image_schema, text_schema
from mimicit.shards import ShardWriter, places
from mimicit.snapshot import freeze
from mimicit.store import Store
from mimicit.validate import FAULTS
from tests.mimicit.validate.builders import assert_works, damage, everything, png

PHOTOS = 24


def files(folder):
    """Write what people have: LLaVA's JSON beside photographs, with talks of two turns; MIMIC-IT's with a list to train on."""
    folder.mkdir()
    for n in range(PHOTOS):
        (folder / f"photo{n:02d}.png").write_bytes(png(n, (40, 30)))

    def said(*texts):
        roles = ("human", "gpt") * len(texts)
        return [{"from": who, "value": text} for who, text in zip(roles, texts, strict=False)]

    alone = [
        {"id": f"one{n:02d}", "image": f"photo{n:02d}.png", "conversations": said(f"<image>\nWhat is it, {n}?", f"Thing {n}.")}
        for n in range(16)
    ]  # fmt: skip
    talks = [
        {"id": f"talk{n}", "image": f"photo{16 + n}.png", "conversations": said(f"<image>\nWho, {n}?", "She.", "Why?", "So.")}
        for n in range(6)
    ]  # fmt: skip
    (folder / "llava.json").write_text(json.dumps(alone + talks))
    pairs = {
        f"SD_INS_{n}": {
            "instruction": "What differs?", "answer": f"Light {n}.", "image_ids": [f"SD_IMG_{n}a", f"SD_IMG_{n}b"],
            "rel_ins_ids": [f"SD_INS_{(n + 1) % 8}"],
        }
        for n in range(8)
    }  # fmt: skip
    (folder / "SD_instructions.json").write_text(json.dumps({"meta": {"version": "1", "time": "2023", "author": "x"}, "data": pairs}))  # fmt: skip
    pictures = {
        f"SD_IMG_{n}{side}": base64.b64encode(png(99 + n, (20, 10 + (side == "b")))).decode()
        for n in range(8)
        for side in "ab"
    }
    (folder / "SD.json").write_text(json.dumps(pictures))
    (folder / "SD_train.json").write_text(json.dumps({id_: row["rel_ins_ids"] for id_, row in pairs.items()}))  # fmt: skip


@dataclass
class Folder:
    store: Store

    def part_of(self, id_):
        """Return the part that has a record, and its row there."""
        for part in parts_of(self.store.path / "text"):
            ids = pq.read_table(part, columns=["id"])["id"].to_pylist()
            if id_ in ids:
                return part, ids.index(id_)
        raise LookupError(id_)

    def edit(self, id_, **changes):
        """Change a record where it lies; return where that is."""
        part, row = self.part_of(id_)
        rows = pq.read_table(part).to_pylist()
        rows[row] |= changes
        write_part(part, iter([pa.Table.from_pylist(rows, schema=text_schema())]), text_schema())
        return f"text/{part.name}, row {row}", rows[row]["id"]

    def write_text(self, name, rows):
        path = self.store.path / "text" / name
        write_part(path, iter([pa.Table.from_pylist(rows, schema=text_schema())]), text_schema())
        return path

    def row(self, id_):
        part, row = self.part_of(id_)
        return pq.read_table(part).to_pylist()[row]

    def ids(self, where):
        with self.store.reading() as connection:
            rows = connection.execute(f"SELECT id FROM instructions WHERE {where} ORDER BY id")
            return [id_ for (id_,) in rows.fetchall()]

    def shard_of(self, id_):
        for shard in parts_of(self.store.path / "images"):
            ids = pq.read_table(shard, columns=["id"])["id"].to_pylist()
            if id_ in ids:
                return shard, ids.index(id_)
        raise LookupError(id_)

    def edit_picture(self, id_, **changes):
        """Write a shard again with another picture in one place."""
        shard, row = self.shard_of(id_)
        rows = pq.read_table(shard).to_pylist()
        rows[row] |= changes
        shard.unlink()
        writer = ShardWriter(shard)
        for one in rows:
            writer.add(ImageRecord(**{k: one[k] for k in ImageRecord.model_fields}))
        writer.close()
        return f"images/{shard.name}, row {row}", id_


def truncated(folder, id_):
    shard, row = folder.shard_of(id_)
    half = pq.read_table(shard)["image"][row].as_py()[:60]
    return folder.edit_picture(id_, image=half, sha256=hashlib.sha256(half).hexdigest())


def other_bytes(folder, id_):
    shard, row = folder.shard_of(id_)
    damage(shard, places(shard)["offset"][row].as_py() + 30)
    return f"images/{shard.name}, row {row}", id_


def bad_rows(folder):
    """Break the middle one of three row groups."""
    rows = [dict(folder.row("SD_INS_0"), id=f"SD_INS_9{n}", rel_ins_ids=[]) for n in range(6)]
    path = folder.store.path / "text" / "p-00050.parquet"
    with pq.ParquetWriter(path, text_schema(), compression="zstd") as writer:
        for n in range(3):
            writer.write_table(pa.Table.from_pylist(rows[2 * n : 2 * n + 2], schema=text_schema()))
    with pq.ParquetFile(path) as file:
        chunk = file.metadata.row_group(1).column(2)
        at = chunk.dictionary_page_offset or chunk.data_page_offset
    damage(path, at, b"\xff" * chunk.total_compressed_size)
    return "text/p-00050.parquet, row 2", None


def packed_shard(folder):
    rows = pq.read_table(parts_of(folder.store.path / "images")[0]).slice(0, 2)
    ids = pa.array(["SD_IMG_packed0", "SD_IMG_packed1"])
    path = folder.store.path / "images" / "s-00050.parquet"
    pq.write_table(rows.set_column(0, image_schema().field(0), ids), path, compression="zstd")
    return "images/s-00050.parquet", None


def second_picture(folder):
    shard, row = folder.shard_of("SD_IMG_7a")
    one = pq.read_table(shard).to_pylist()[row]
    writer = ShardWriter(folder.store.path / "images" / "s-00051.parquet")
    writer.add(ImageRecord(**{k: one[k] for k in ImageRecord.model_fields}))
    writer.close()
    return "images/s-00051.parquet, row 0", "SD_IMG_7a"


def second_record(folder):
    path = folder.write_text("p-00051.parquet", [dict(folder.row("SD_INS_7"), answer="Other.")])
    return f"text/{path.name}, row 0", "SD_INS_7"


def no_parquet(folder):
    (folder.store.path / "verdicts" / "v-00050.parquet").write_bytes(b"PAR1 half of it")
    return "verdicts/v-00050.parquet", None


def other_columns(folder):
    path = folder.store.path / "relations" / "r-00050.parquet"
    pq.write_table(pa.table({"record": ["SD_INS_0"], "near": ["SD_INS_1"]}), path)
    return "relations/r-00050.parquet", None


def damaged_snapshot(folder):
    digest = freeze(folder.store, where="id = 'SD_INS_6'").digest
    damage(folder.store.path / "snapshots" / digest / "text.arrow", 400)
    return f"snapshots/{digest}", None


def staged_file(folder):
    (folder.store.path / "text" / ".p-00060.parquet.staged").write_bytes(b"half")
    return "text/.p-00060.parquet.staged", None


def first_of(folder, number):
    """Return the first turn of a talk."""
    return folder.ids("turn = 0")[number]


def second_of(folder, number):
    return folder.ids("turn = 1")[number]


def with_other_turn(folder, number, **changes):
    """Spoil the second turn of a talk; what is found is said of the first."""
    folder.edit(second_of(folder, number), **changes)
    part, row = folder.part_of(first_of(folder, number))
    return f"text/{part.name}, row {row}", first_of(folder, number)


def alone(folder, number):
    """Return a question that is no turn, about one picture of its own."""
    return folder.ids("conversation IS NULL AND task <> 'sd'")[number]


def picture_of(folder, number):
    return folder.row(alone(folder, number))["image_ids"][0]


# Snapshots first: they are made of what the catalog has. Places of pictures last: a shard that is written again has others.
PLANTS = {
    "broken-snapshot": damaged_snapshot,
    "unreadable-file": no_parquet,
    "wrong-columns": other_columns,
    "wrong-layout": packed_shard,
    "unreadable-rows": bad_rows,
    "bad-id": lambda f: f.edit(alone(f, 0), id="a\nb"),
    "duplicate-record": second_record,
    "duplicate-picture": second_picture,
    "empty-text": lambda f: f.edit(alone(f, 1), answer=" \n"),
    "dangling-picture": lambda f: f.edit(alone(f, 2), image_ids=["LLAVA_IMG_gone"]),
    "picture-count": lambda f: f.edit(alone(f, 3), task="cgd"),
    "placeholder-count": lambda f: f.edit(alone(f, 4), instruction="<image> or <image>?"),
    "conversation-turns": lambda f: with_other_turn(f, 0, turn=5),
    "conversation-pictures": lambda f: with_other_turn(f, 1, image_ids=["SD_IMG_1a"]),
    "dangling-relation": lambda f: f.edit("SD_INS_2", rel_ins_ids=["SD_INS_3", "SD_INS_gone"]),
    "dangling-translation": lambda f: f.edit("SD_INS_3", translation_of="SD_INS_gone"),
    "undecodable-picture": lambda f: truncated(f, picture_of(f, 5)),
    "wrong-mime": lambda f: f.edit_picture(picture_of(f, 6), mime="image/jpeg"),
    "wrong-size": lambda f: f.edit_picture(picture_of(f, 7), width=4_000),
    "checksum-mismatch": lambda f: other_bytes(f, picture_of(f, 8)),
    "leftover": staged_file,
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A dataset of three imports with all faults, and where they are."""
    base = tmp_path_factory.mktemp("folder")
    files(base / "files")
    store = Store.open(base / "ds", create=True)
    for path, options in (
        (base / "files" / "llava.json", ReadOptions()),
        (base / "files" / "SD.json", ReadOptions()),
        (base / "files" / "SD_instructions.json", ReadOptions(task="sd")),
        (base / "files" / "SD_train.json", ReadOptions()),
    ):
        assert import_files([path], store, options=options).bad == []
    assert run(store.path) == (0, {})
    folder = Folder(store)
    expected = {fault: plant(folder) for fault, plant in PLANTS.items()}
    return store, expected


def command(*arguments):
    code = "from syphus.cli import main; main()"
    line = [sys.executable, "-c", code, "data", "validate", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def run(path, *arguments):
    """Run the command; return its exit code, and where it found what."""
    ran = command("-d", path, "--json", *arguments)
    assert ran.stdout, ran.stderr
    said = json.loads(ran.stdout)
    found = {}
    for one in said["findings"]:
        found.setdefault(one["fault"], []).append((one["where"], one["id"]))
    return ran.returncode, found


def test_every_kind_of_fault_is_planted():
    assert PLANTS.keys() == FAULTS.keys()


def test_each_fault_is_found_once_where_it_was_planted_and_nothing_else(planted):
    store, expected = planted
    code, found = run(store.path)
    assert code == 3
    assert found == {fault: [place] for fault, place in expected.items()}
    text = command("-d", store.path).stdout
    assert text.startswith(f"{len(FAULTS)} findings")
    assert all(f"1 {fault}: {FAULTS[fault].title}" in text for fault in FAULTS)


def test_a_repair_leaves_nothing_to_be_found_and_loses_no_row(planted, tmp_path):
    path = tmp_path / "ds"
    shutil.copytree(planted[0].path, path)
    (path / "text" / ".p-00060.parquet.staged").unlink()  # half of a file that nobody has
    before, counts = everything(path), rows_of(path)
    ran = command("-d", path, "--repair", "--json")
    assert ran.returncode == 3
    repaired = json.loads(ran.stdout)["repaired"]
    assert run(path) == (0, {})
    assert before <= everything(path)
    store = Store.open(path)
    assert_works(store)

    aside = path / repaired["quarantine"]
    now, put = rows_of(path), rows_of(aside)
    noted = pq.read_table(aside / "findings.parquet").to_pylist()
    assert {one["fault"] for one in noted} == {*FAULTS, "taken-along"} - {"leftover"}
    # What was mended is in both: names taken out of a record, pictures noted as they are.
    mended = {"text": 2, "images": 2}
    for folder in ("text", "images", "relations", "verdicts"):
        assert now[folder] + put[folder] == counts[folder] + mended.get(folder, 0), folder
    assert sum(mended.values()) == repaired["mended"]
    assert (aside / "verdicts" / "v-00050.parquet").read_bytes() == b"PAR1 half of it"
    assert repaired["snapshots"] == len(list((aside / "snapshots").iterdir())) == 1


def rows_of(folder):
    """Count the rows that can be read, by folder; those of damaged files are in the part that stands for them, too."""
    counts = dict.fromkeys(("text", "images", "relations", "verdicts"), 0)
    for name in counts:
        for path in (folder / name).glob("*.parquet"):
            try:
                file = pq.ParquetFile(path)
            except (pa.ArrowException, OSError):
                continue
            with file:
                for group in range(file.num_row_groups):
                    try:
                        counts[name] += file.read_row_group(group).num_rows
                    except (pa.ArrowException, OSError):
                        continue
    return counts
