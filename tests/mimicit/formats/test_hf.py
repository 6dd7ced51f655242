import base64
import http.server
import json
import threading
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import pytest
import yaml

from mimicit.errors import DatasetError, FormatError, QueryError
from mimicit.formats import WriteOptions, hf, hf_card
from mimicit.formats.hf_card import Making, Tally, card, made_by
from mimicit.formats.trl_table import card_features
from tests.builders import record
from tests.mimicit.formats.trl_builders import again, fill, rows
from tests.mimicit.test_catalog import begin, put

SPLIT = WriteOptions(splits={"validation": 0.5}, seed=2)
TOKEN = "hf_Secret0123456789"


@pytest.fixture
def filled(store):
    return fill(store)


def front(folder):
    _, text, _ = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(text)


# The folder


def test_what_is_written_is_read_back_identical(filled, tmp_path):
    hf.write(filled, tmp_path / "out", SPLIT)
    assert hf.detect(tmp_path / "out")
    assert not hf.detect(tmp_path)
    other = again(tmp_path, [tmp_path / "out"], hf)
    assert rows(other) == rows(filled)
    hf.write(other, tmp_path / "two", SPLIT)
    written = sorted(path for path in (tmp_path / "out").rglob("*.parquet"))
    assert len(written) == 4
    for path in written:
        again_written = tmp_path / "two" / path.relative_to(tmp_path / "out")
        assert path.read_bytes() == again_written.read_bytes()


def test_two_exports_are_the_same_bytes(filled, tmp_path):
    one = hf.write(filled, tmp_path / "one", SPLIT)
    two = hf.write(filled, tmp_path / "two", SPLIT)
    assert [f.path.read_bytes() for f in one] == [f.path.read_bytes() for f in two]
    assert [str(file.path.relative_to(tmp_path / "one")) for file in one] == [
        "data/train-00000-of-00001.parquet",
        "data/validation-00000-of-00001.parquet",
        "preference/train-00000-of-00001.parquet",
        "preference/validation-00000-of-00001.parquet",
        "README.md",
    ]


def test_datasets_loads_the_folder_as_the_card_says(filled, tmp_path):
    datasets = pytest.importorskip("datasets")
    hf.write(filled, tmp_path / "out", SPLIT)
    said = {one["config_name"]: one for one in front(tmp_path / "out")["dataset_info"]}
    for name in ("default", "preference"):
        # It checks the numbers of rows by the card.
        loaded = datasets.load_dataset(
            str(tmp_path / "out"), name, cache_dir=str(tmp_path / "cache")
        )
        for split in said[name]["splits"]:
            assert loaded[split["name"]].num_rows == split["num_examples"] > 0
        features = loaded["train"].features
        assert features["images"] == datasets.List(datasets.Image())
        assert datasets.Features._from_yaml_list(said[name]["features"]) == features
        assert features._to_yaml_list() == said[name]["features"]
    [row] = [row for split in loaded.values() for row in split if row["id"] == "D"]
    assert row["images"][0].size == (8, 6)
    assert row["chosen"][0]["role"] == "assistant"


def test_a_card_that_is_wrong_is_noticed_by_datasets(filled, tmp_path):
    datasets = pytest.importorskip("datasets")
    hf.write(filled, tmp_path / "out", WriteOptions())
    path = tmp_path / "out" / "README.md"
    count = front(tmp_path / "out")["dataset_info"][0]["splits"][0]["num_examples"]
    path.write_text(path.read_text().replace(f"num_examples: {count}", "num_examples: 99", 1))
    with pytest.raises(datasets.exceptions.NonMatchingSplitsSizesError):
        datasets.load_dataset(str(tmp_path / "out"), "default", cache_dir=str(tmp_path / "cache"))


def test_the_card_counts_files_rows_tasks_languages_and_licences(filled, tmp_path):
    hf.write(filled, tmp_path / "out", WriteOptions())
    said = front(tmp_path / "out")
    assert said["language"] == ["en", "zh"]
    assert said["license"] == "other"
    [default, preference] = said["dataset_info"]
    path = tmp_path / "out" / "data" / "train-00000-of-00001.parquet"
    assert default["download_size"] == path.stat().st_size
    assert default["splits"][0]["num_examples"] == pq.read_metadata(path).num_rows
    assert default["splits"][0]["num_bytes"] == default["dataset_size"] > 0
    assert preference["splits"][0]["num_examples"] == 4
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| la\\_conversation | en | 13 | 19 | 16 |" in text
    assert "| la\\_conversation | zh | 1 | 1 | 0 |" in text
    assert "| MIT | 1 |" in text
    assert "| unknown | 14 |" in text
    assert "21 questions were imported" in text
    assert "What it cost" not in text


def test_one_licence_of_all_rows_is_the_hubs(store, tmp_path):
    with store.writing("test"):
        store.add([record(1, meta='{"license": "CC-BY-4.0"}')])
        store.sync()
    hf.write(store, tmp_path / "out", WriteOptions())
    assert front(tmp_path / "out")["license"] == "cc-by-4.0"


def test_the_card_tells_models_prompts_and_cost(store, tmp_path):
    ledger = begin(store)
    said = json.dumps([{"role": "system", "content": "Ask ```well```."}])
    put(ledger, "prompts", digest="d" * 64, task="la_conversation", version=3, messages=said)
    put(ledger, "prompts", digest="e" * 64, task="other", version=1, messages="[]")
    for number, prompt in ((1, "d"), (2, "d"), (3, "e")):
        key = f"key{number}"
        put(ledger, "requests", key=key, run="run 1", prompt=prompt * 64, model="gpt")
        put(
            ledger, "replies", id=number, request=key, run="run 1", model="gpt", text="…",
            prompt_tokens=1_000, completion_tokens=50, cost_usd=0.125, time=5.0,
        )  # fmt: skip
    ledger.close()
    with store.writing("test"):
        store.add(
            [
                record(1, request="key1", reply=1),
                record(2, request="key1", reply=1),
                record(3, request="key2", reply=2),
                record(4),
            ]
        )
        store.sync()
    hf.write(store, tmp_path / "out", WriteOptions())
    text = (tmp_path / "out" / "README.md").read_text()
    assert "1 questions were imported" in text
    assert "| la\\_conversation | gpt | 3 | dddddddddddd | 1 | 2 | 3 |" in text
    assert "````json" in text
    assert "Ask ```well```." in text
    assert "0.25 USD" in text
    assert "| la\\_conversation | gpt | 2 | 2,000 | 100 | 0.25 |" in text
    assert "other" not in text.split("---\n", 2)[2]
    making = made_by(store, "id = 'LACONV_INS_004_00'")
    assert (making.made, making.prompts, making.costs, making.imported) == ([], [], [], 1)


def test_names_cannot_break_out_of_the_card():
    evil = "x | y\n---\n# <script>alert(1)</script> `[a](b)`"
    tally = Tally()
    tally.rows[evil, "en"] = tally.records[evil, "en"] = 1
    tally.licences[evil] = 1
    row = {"task": evil, "version": 1, "digest": "d", "messages": "</details>```"}
    text = card([], tally, Making([{"task": evil}], [row], [], 0))
    body = text.split("---\n", 2)[2]
    assert "<script" not in body
    assert all(line.count(" | ") == 4 for line in body.splitlines() if "alert" in line and line.endswith("1 | 0 |"))  # fmt: skip
    assert "\n---\n" not in body
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "other"


def test_many_licences_are_counted_together(monkeypatch, filled):
    monkeypatch.setattr(hf_card, "MOST_LICENCES", 1)
    tally = Tally()
    with hf.trl.Export(filled, WriteOptions()) as export:
        for conversation in export.conversations():
            tally.note(conversation)
    assert len(tally.licences) == 2
    assert sum(tally.licences.values()) == 15


def test_features_of_a_card_are_those_of_the_file():
    assert card_features({"a": [hf.trl.IMAGE], "b": hf.trl.TEXT, "c": {"d": hf.trl.TEXT}}) == [
        {"name": "a", "list": "image"},
        {"name": "b", "dtype": "string"},
        {"name": "c", "struct": [{"name": "d", "dtype": "string"}]},
    ]


def test_a_wrong_predicate_is_a_sentence(filled, tmp_path):
    with pytest.raises(QueryError, match="no_such_column"):
        hf.write(filled, tmp_path / "out", WriteOptions(where="no_such_column = 1"))
    with pytest.raises(QueryError, match="no_such_column"):
        made_by(filled, "no_such_column = 1")


def test_a_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(FormatError, match="no Parquet files"):
        list(hf.read(tmp_path, hf.ReadOptions()))


# The hub


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as an upload asks for."""

    def do_GET(self):
        self._note(b"")
        path = urlsplit(self.path).path
        if "/tree/" in path:
            return self._answer(
                [
                    {"type": "file", "path": name, "size": 3, "oid": "0" * 40}
                    for name in self.server.there
                ]
            )
        return self._answer({"id": "me/demo", "sha": "1" * 40, "private": True, "siblings": []})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._note(body)
        if self.server.refuse:
            return self._answer({"error": f"bad token {TOKEN}"}, 401)
        if self.path == "/api/repos/create":
            return self._answer({"url": f"{self.server.address}/datasets/me/demo"})
        if "/preupload/" in self.path:
            files = json.loads(body)["files"]
            modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]  # fmt: skip
            return self._answer({"files": modes})
        address = f"{self.server.address}/datasets/me/demo/commit/{'2' * 40}"
        return self._answer({"commitUrl": address, "commitOid": "2" * 40, "success": True})

    def _note(self, body):
        self.server.asked.append((self.command, self.path, self.headers, body))

    def _answer(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    huggingface_hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    # Xet's client is a program of its own, with servers of its own.
    monkeypatch.setattr(huggingface_hub.hf_api, "is_xet_available", lambda: False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.address = f"http://127.0.0.1:{server.server_port}"
        server.asked, server.there, server.refuse = [], [], False
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        huggingface_hub.close_session()
        server.shutdown()
        thread.join()


def commits(hub):
    return [
        [json.loads(line) for line in body.splitlines()]
        for method, path, _, body in hub.asked
        if method == "POST" and "/commit/" in path
    ]


def test_a_push_makes_the_dataset_and_uploads_what_was_written(filled, tmp_path, hub):
    written = hf.write(filled, tmp_path / "out", WriteOptions())
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / ".env").write_text(TOKEN)
    hub.there = ["data/train-00001-of-00002.parquet", "keep.txt"]
    address = hf.push_to_hub(
        tmp_path / "out", "me/demo", private=True, token=TOKEN, endpoint=hub.address, message="One"
    )
    assert address == f"{hub.address}/datasets/me/demo"
    made = json.loads(hub.asked[0][3])
    assert (made["name"], made["organization"], made["type"]) == ("demo", "me", "dataset")
    assert made["visibility"] == "private"
    assert {headers["Authorization"] for _, _, headers, _ in hub.asked} == {f"Bearer {TOKEN}"}
    [commit] = commits(hub)
    assert commit[0]["value"]["summary"] == "One"
    files = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"])
        for line in commit
        if line["key"] == "file"
    }
    assert files == {
        str(file.path.relative_to(tmp_path / "out")): file.path.read_bytes() for file in written
    }
    deleted = [line["value"]["path"] for line in commit if line["key"] == "deletedFile"]
    assert deleted == ["data/train-00001-of-00002.parquet"]


def test_a_refused_push_is_a_sentence_without_the_token(filled, tmp_path, hub):
    hf.write(filled, tmp_path / "out", WriteOptions())
    hub.refuse = True
    with pytest.raises(DatasetError, match="'me/demo' was not uploaded") as caught:
        hf.push_to_hub(tmp_path / "out", "me/demo", token=TOKEN, endpoint=hub.address)
    assert TOKEN not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_hub_that_is_not_there_is_a_sentence(filled, tmp_path, hub):
    hf.write(filled, tmp_path / "out", WriteOptions())
    with pytest.raises(DatasetError, match="was not uploaded"):
        hf.push_to_hub(tmp_path / "out", "me/demo", token=TOKEN, endpoint="http://127.0.0.1:9")


@pytest.mark.parametrize("repo", ["a/b/c", "../x", ""])
def test_a_name_that_cannot_be_is_refused(filled, tmp_path, hub, repo):
    hf.write(filled, tmp_path / "out", WriteOptions())
    with pytest.raises(DatasetError, match="was not uploaded"):
        hf.push_to_hub(tmp_path / "out", repo, token=TOKEN, endpoint=hub.address)
    assert commits(hub) == []


def test_another_folder_is_not_uploaded(tmp_path, hub):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(FormatError, match="no dataset folder for the hub"):
        hf.push_to_hub(tmp_path, "me/demo", token=TOKEN, endpoint=hub.address)
    assert hub.asked == []


def test_the_command_pushes_by_the_environments_token(filled, tmp_path, monkeypatch):
    import typer
    from typer.testing import CliRunner

    from mimicit.commands.push import push

    asked = []

    class Api:
        def __init__(self, **arguments):
            asked.append(("api", arguments))

        def create_repo(self, *names, **arguments):
            asked.append(("create_repo", names, arguments))
            return pytest.importorskip("huggingface_hub").RepoUrl("https://hf.co/datasets/me/demo")

        def upload_folder(self, **arguments):
            asked.append(("upload_folder", arguments))

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    hf.write(filled, tmp_path / "out", WriteOptions())
    app = typer.Typer()
    app.command()(push)
    done = CliRunner().invoke(app, [str(tmp_path / "out"), "me/demo", "--revision", "next"])
    assert (done.exit_code, done.stdout) == (0, "https://hf.co/datasets/me/demo\n")
    assert asked == [
        ("api", {"endpoint": None, "token": None}),
        ("create_repo", ("me/demo",), {"repo_type": "dataset", "private": None, "exist_ok": True}),
        (
            "upload_folder",
            {
                "repo_id": "me/demo",
                "folder_path": tmp_path / "out",
                "repo_type": "dataset",
                "revision": "next",
                "commit_message": "Upload the dataset",
                "allow_patterns": ["README.md", "data/*.parquet", "preference/*.parquet"],
                "delete_patterns": ["data/*.parquet", "preference/*.parquet"],
            },
        ),
    ]
