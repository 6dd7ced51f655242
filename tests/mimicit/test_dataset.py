import pickle
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pyarrow as pa
import pytest

import mimicit
from mimicit.errors import DatasetError, MissingExtraError, PictureError, QueryError
from mimicit.schema import Verdict, text_schema
from mimicit.store import Store
from tests.builders import image, record
from tests.conftest import ROOT

NAMES = ["chelsea.png", "rocket.jpg", "coffee.png"]
COUNT = 30


def picture(n):
    return f"LA_IMG_{NAMES[n % 3].partition('.')[0]}"


@pytest.fixture
def filled(store, photos):
    with store.writing("test"):
        store.add_images(image(photos, name) for name in NAMES)
        store.add(
            [
                record(n, image_ids=[picture(n), picture(n + 1)][: n % 3], rel_ins_ids=["x"])
                for n in range(COUNT)
            ]
        )
        store.add(
            [
                record(
                    100, conversation="c", turn=0, rejected="No.", meta='{"a": 1}', task="la_detail"
                )
            ]
        )
        store.add_verdicts(
            [Verdict(record=record(3).id, filter="f", reason="bad", recipe="r", recipe_digest="d")]
        )
    return store


@pytest.fixture
def dataset(filled):
    dataset = mimicit.open(filled.path)
    yield dataset
    dataset.images.close()


def ids_and_bytes(dataset):
    """What a worker reads; module level, so that a spawned one can import it."""
    return [record.id for record in dataset], dataset.images.get([picture(1)])


def test_a_dataset_is_its_accepted_records_in_the_order_in_which_they_were_written(dataset):
    records = list(dataset)
    assert len(dataset) == len(records) == COUNT
    assert [r.id for r in records] == [record(n).id for n in (*range(3), *range(4, COUNT), 100)]
    assert records[2] == record(2, image_ids=[picture(2), picture(3)], rel_ins_ids=["x"])
    assert (records[-1].conversation, records[-1].turn, records[-1].meta) == ("c", 0, '{"a": 1}')
    assert [r.id for r in dataset.records("task = 'la_detail'")] == [record(100).id]
    assert dataset.count("len(image_ids) = 2") == 10


def test_records_come_as_arrow_and_as_pandas(dataset):
    table = dataset.arrow().read_all()
    assert table.column_names == text_schema().names
    assert table.num_rows == COUNT
    some = dataset.arrow("len(image_ids) = 2", columns=["id", "image_ids"])
    assert isinstance(some, pa.RecordBatchReader)
    assert some.read_all().num_rows == 10
    assert dataset.arrow("false").read_all().column_names == table.column_names

    frame = dataset.pandas("task = 'la_detail'", columns=["id", "turn", "rejected"])
    assert frame.to_dict("records") == [{"id": record(100).id, "turn": 0, "rejected": "No."}]


def test_what_is_wrong_in_a_selection_is_said(dataset):
    for call in (dataset.records, dataset.arrow, dataset.count, dataset.pandas, dataset.torch):
        with pytest.raises(QueryError):
            list(call("no_such_column = 1"))
        with pytest.raises(QueryError):
            list(call("true) UNION (SELECT 1"))
    with pytest.raises(QueryError):
        dataset.arrow(columns=['id" FROM range(3) --'])
    with pytest.raises(QueryError, match="at least one"):
        dataset.arrow(columns=[])


def test_sql_gives_a_table_and_can_only_read(dataset):
    table = dataset.sql("SELECT task, count(*) AS n FROM instructions GROUP BY 1 ORDER BY 1")
    assert table.to_pydict() == {"task": ["la_conversation", "la_detail"], "n": [COUNT, 1]}
    assert dataset.sql("SELECT id FROM images WHERE false").num_rows == 0
    for bad in ("DROP TABLE images", "SELECT * FROM read_text('/etc/passwd')", "SELEC 1", ""):
        with pytest.raises(QueryError):
            dataset.sql(bad)


def test_what_was_added_meanwhile_is_there(dataset, filled, photos):
    assert len(dataset) == COUNT
    with filled.writing("test"):
        filled.add_images([image(photos, "moon.png")])
        filled.add([record(200, image_ids=["LA_IMG_moon"])])
    assert len(dataset) == COUNT + 1
    assert dataset.images.get(["LA_IMG_moon"]) == [(photos / "moon.png").read_bytes()]


def test_a_stream_keeps_no_writer_waiting_and_does_not_change(dataset, filled, monkeypatch):
    monkeypatch.setattr("mimicit.dataset.IN_MEMORY", 100)
    monkeypatch.setattr("mimicit.dataset.BATCH_ROWS", 4)
    records, reader = iter(dataset), dataset.arrow()
    next(records)
    reader.read_next_batch()
    code = (
        "from pathlib import Path; from mimicit.store import Store; from tests.builders import record\n"
        f"store = Store.open(Path({str(filled.path)!r}))\n"
        "with store.writing('test'):\n    store.add([record(200)]); store.sync(patience=0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    assert len(dataset) == COUNT + 1
    assert len(list(records)) == COUNT - 1
    assert reader.read_all().num_rows == COUNT - 4


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_workers_get_it_by_pickle(dataset, method, photos):
    expected = [r.id for r in dataset], [(photos / NAMES[1]).read_bytes()]
    assert repr(pickle.loads(pickle.dumps(dataset))) == repr(dataset)
    with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
        assert list(pool.map(ids_and_bytes, [dataset] * 3)) == [expected] * 3


def test_a_record_that_is_none_is_named(dataset, filled):
    import pyarrow.parquet as pq

    path = filled.path / "text" / "p-00000.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[1]["image_ids"] = ["a\nb"]
    pq.write_table(pa.Table.from_pylist(rows, text_schema()), filled.path / "text/p-00009.parquet")
    path.unlink()
    with pytest.raises(DatasetError, match=f"{record(1).id!r} is not as it should be"):
        list(dataset)


def test_opening_what_is_no_dataset_says_so(tmp_path):
    with pytest.raises(DatasetError, match="no dataset folder"):
        mimicit.open(tmp_path / "nowhere")


def test_importing_the_package_imports_nothing_else():
    code = "import sys, mimicit; print([m for m in sys.modules if m.startswith('mimicit.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Other libraries


@pytest.fixture
def huggingface(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    return tmp_path / "hf" / "mimicit"


def test_huggingface_reads_rows_from_disk_and_pictures_when_asked(dataset, huggingface):
    found = dataset.huggingface("len(image_ids) = 2 OR task = 'la_detail'")
    assert len(found) == 11
    row = found[0]
    assert (row["id"], row["image_ids"]) == (record(2).id, [picture(2), picture(0)])
    assert [shown.size for shown in row["images"]] == [(600, 400), (451, 300)]
    assert found[-1]["images"] == []
    assert [len(images) for images in found[:3]["images"]] == [2, 2, 2]
    assert len(pickle.loads(pickle.dumps(found))[0]["images"]) == 2

    plain = dataset.huggingface(pictures=False)
    assert "images" not in plain[0]
    assert plain.map(lambda row: {"letters": len(row["answer"])})[0]["letters"] > 0
    assert dataset.huggingface(pictures=False)._fingerprint
    arrows = [path for path in huggingface.iterdir() if len(path.stem) == 32]
    assert len(arrows) == 2  # of two selections; the same one again is the same file
    assert not list(huggingface.glob("*.staged"))


def test_torch_gets_bytes_or_tensors(dataset, photos):
    torch = pytest.importorskip("torch")
    rows = dataset.torch("len(image_ids) = 2")
    assert len(rows) == 10
    assert rows[0]["id"] == record(2).id
    assert rows[0]["images"] == [(photos / name).read_bytes() for name in ("coffee.png", NAMES[0])]
    with pytest.raises(IndexError):
        rows[10]

    shown = dataset.torch("len(image_ids) = 2", size=(32, 48))
    assert shown[0]["images"].shape == (2, 3, 32, 48)
    assert 0.1 < shown[0]["images"].max() <= 1
    scaled = dataset.torch("len(image_ids) = 2", size=(32, 48), dtype="uint8")[0]["images"]
    assert torch.equal(scaled.float() / 255, shown[0]["images"])
    assert dataset.torch("len(image_ids) = 0", size=8)[0]["images"].shape == (0, 3, 8, 8)
    with pytest.raises(ValueError, match="float16"):
        dataset.torch(dtype="float16")


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_torch_workers_read_what_one_process_reads(dataset, method):
    torch = pytest.importorskip("torch")
    rows = dataset.torch("len(image_ids) > 0", size=16, dtype="uint8")
    alone = [rows[n] for n in range(len(rows))]
    loader = torch.utils.data.DataLoader(
        rows, batch_size=4, num_workers=2, collate_fn=list, multiprocessing_context=method
    )
    together = [row for batch in loader for row in batch]
    assert [row["id"] for row in together] == [row["id"] for row in alone]
    assert all(torch.equal(a["images"], b["images"]) for a, b in zip(alone, together, strict=True))


def test_a_picture_that_cannot_be_read_names_its_record(dataset, filled):
    pytest.importorskip("torch")
    rows = dataset.torch("len(image_ids) = 2")
    [shard] = (filled.path / "images").glob("*.parquet")
    with shard.open("r+b") as file:
        file.truncate(50)
    with pytest.raises(PictureError, match=record(2).id):
        rows[0]


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("pandas", lambda dataset: dataset.pandas()),
        ("datasets", lambda dataset: dataset.huggingface()),
        ("torch", lambda dataset: dataset.torch(size=8)[0]),
    ],
    ids=["pandas", "datasets", "torch"],
)
def test_a_package_that_is_not_installed_is_named(dataset, monkeypatch, package, call):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=f"needs the package '{package}'"):
        call(dataset)


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
def test_the_examples_of_the_documentation_run(tmp_path, photos, monkeypatch, huggingface):
    pytest.importorskip("torch")
    store = Store.open(tmp_path / "demo", create=True)
    shown = image(photos, "rocket.jpg").model_copy(update={"id": "LA_IMG_000000000042"})
    with store.writing("test"):
        store.add_images([shown])
        store.add([record(n, task="la_detail", image_ids=[shown.id]) for n in range(3)])
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    names = {"ids": [shown.id], "torch": __import__("torch")}
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        exec(block, names)
    assert len(names["loader"].dataset) == 3
    names["dataset"].images.close()
