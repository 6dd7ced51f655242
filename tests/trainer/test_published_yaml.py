"""The published YAML, as it is, trains; its counts are the published ones."""

import base64
import io
import json
import time

import pytest

torch = pytest.importorskip("torch")

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from mimicit.errors import RecipeError  # noqa: E402
from trainer.config import Data  # noqa: E402
from trainer.errors import RunFolderError, TrainingError  # noqa: E402
from trainer.plan import Plan  # noqa: E402
from trainer.report import Progress  # noqa: E402
from trainer.sources import published_yaml  # noqa: E402
from trainer.sources.opening import open_mix  # noqa: E402
from trainer.sources.published_yaml import GROUPS, read_yaml  # noqa: E402
from trainer.train import train  # noqa: E402

from . import golden  # noqa: E402
from .conftest import SMALL  # noqa: E402
from .golden import GOLDEN  # noqa: E402
from .processes import losses  # noqa: E402
from .stopping import StopAfter  # noqa: E402

torch.set_num_threads(1)


def png(colour):
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (24, 20), colour).save(data, "PNG")
    return data.getvalue()


def write_pictures(path, pictures, *, alphabet=base64.urlsafe_b64encode):
    """As pandas writes them: one column, the id as index."""
    columns = {
        "base64": [alphabet(data).decode() for data in pictures.values()],
        "__index_level_0__": list(pictures),
    }
    pq.write_table(pa.table(columns), path)


def write_records(path, records):
    data = {
        id_: {"instruction": q, "answer": a, "image_ids": images, "rel_ins_ids": related}
        for id_, (q, a, images, related) in records.items()
    }
    meta = {"version": "0.0.1", "time": "2023-06", "author": "nobody"}
    path.write_text(json.dumps({"meta": meta, "data": data}))


COLOURS = {f"LA_IMG_{n:03d}": png((n * 40 % 256, 80, 160 - n * 10)) for n in range(6)}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The four groups, each of five records or so, as people have them on disk."""
    folder = tmp_path_factory.mktemp("azure")
    write_pictures(folder / "LA.parquet", COLOURS)
    write_records(
        folder / "LADD_instructions.json",
        {
            f"LADD_INS_{n:03d}": (f"What is number {n}?", f"It is {n}.", [f"LA_IMG_{n:03d}"], [])
            for n in range(5)
        },
    )
    write_records(
        folder / "TEXT_instructions.json",
        {f"TXT_INS_{n}": (f"Say {n}.", f"{n}!", ["NO_IMG_1"] if n else [], []) for n in range(3)},
    )
    write_records(
        folder / "VID_instructions.json",
        {"VID_INS_0": ("What happens?", "Much.", [f"LA_IMG_{n:03d}" for n in range(5)], [])},
    )
    write_records(
        folder / "LACR_instructions.json",
        {
            f"LACR_INS_{n}": (
                f"And {n}?",
                f"Also {n}.",
                [f"LA_IMG_{n:03d}"],
                [f"LACR_INS_{(n + 1) % 4}", "LACR_INS_77", f"LACR_INS_{(n + 2) % 4}"],
            )
            for n in range(4)
        },
    )
    (folder / "LACR_train.json").write_text(
        json.dumps({"LACR_INS_0": ["LACR_INS_3"], "LACR_INS_2": []})
    )
    (folder / "mix.yaml").write_text(
        """
IMAGE_TEXT:
  LADD:
    mimicit_path: LADD_instructions.json
    images_path: LA.parquet
    num_samples: 12
    task_description: [Describe it., Look closely.]
TEXT_ONLY:
  TEXT:
    mimicit_path: TEXT_instructions.json
    num_samples: -1
VIDEO_TEXT:
  VID:
    mimicit_path: VID_instructions.json
    images_path: LA.parquet
IMAGE_TEXT_IN_CONTEXT:
  LACR:
    mimicit_path: LACR_instructions.json
    images_path: LA.parquet
    num_samples: 2
"""
    )
    return folder


def opened(folder, name="mix", *, without=None, **settings):
    data = Data(yaml=str(folder / f"{name}.yaml"), **settings)
    return open_mix(data, folder / "no dataset", cache=folder / "cache", without=without)


def test_groups_are_parts_that_show_what_they_are_called(published):
    mix = opened(published, video_frames=7)
    ladd, text, video, lacr = mix.parts

    assert mix.shares == ((5, 12), (3, 3), (1, 1), (4, 2))
    assert mix.parts[0].name == "IMAGE_TEXT.LADD"
    [said] = ladd.source[3].turns
    assert said.question in ("Describe it.\nWhat is number 3?", "Look closely.\nWhat is number 3?")
    assert [shown.read() for [shown] in said.media] == [COLOURS["LA_IMG_003"]]
    assert all(turn.media == () for n in range(3) for turn in text.source[n].turns)
    [clip] = video.source[0].turns[0].media
    assert [list(COLOURS.values()).index(shown.read()) for shown in clip] == [0, 0, 1, 2, 2, 3, 4]
    turns = lacr.source[1].turns
    assert [turn.question for turn in turns] == ["And 2?", "And 3?", "And 1?"]
    assert [clip[0].read() for turn in turns for clip in turn.media] == [
        COLOURS[f"LA_IMG_00{n}"] for n in (2, 3, 1)
    ]


def test_a_list_to_train_on_says_what_is_learned_and_what_comes_before(published):
    (published / "lists.yaml").write_text(
        """
IMAGE_TEXT:
  talk: {mimicit_path: LACR_instructions.json, images_path: LA.parquet, train_config_path: LACR_train.json}
IMAGE_TEXT_IN_CONTEXT:
  shots: {mimicit_path: LACR_instructions.json, images_path: LA.parquet, train_config_path: LACR_train.json}
"""
    )
    talk, shots = (part.source for part in opened(published, "lists").parts)

    assert [len(talk), len(shots)] == [2, 2]
    pictures = [[clip[0].read() for clip in turn.media] for turn in talk[0].turns]
    # Earlier questions about the record's own picture, which is shown once, and first.
    assert [turn.question for turn in talk[0].turns] == ["And 3?", "And 0?"]
    assert pictures == [[COLOURS["LA_IMG_000"]], []]
    pictures = [[clip[0].read() for clip in turn.media] for turn in shots[0].turns]
    assert pictures == [[COLOURS["LA_IMG_003"]], [COLOURS["LA_IMG_000"]]]
    assert [turn.question for turn in shots[1].turns] == ["And 2?"]


@pytest.mark.skipif(not (GOLDEN / "text" / "resample.json").exists(), reason="needs the fixture")
def test_held_out_records_are_in_no_group_and_no_example(published):
    mix = opened(published, without="id IN ('LADD_INS_001', 'LACR_INS_3', 'TXT_INS_0')")
    told = [[source[n] for n in range(len(source))] for source in (p.source for p in mix.parts)]
    assert [[one.id for one in part] for part in told] == [
        [f"LADD_INS_{n:03d}" for n in (0, 2, 3, 4)],
        ["TXT_INS_1", "TXT_INS_2"],
        ["VID_INS_0"],
        [f"LACR_INS_{n}" for n in (0, 1, 2)],
    ]
    asked = {turn.question for one in told[3] for turn in one.turns}
    assert asked == {"And 0?", "And 1?", "And 2?"}


def test_counts_are_the_published_ones(tmp_path):
    cases = json.loads((GOLDEN / "text" / "resample.json").read_text())["resample_data"]
    assert len(cases) > 5
    ids = cases[0]["data"]
    write_records(tmp_path / "r.json", {f"T_INS_{id_}": ("q", "a", [], []) for id_ in ids})
    for case in (case for case in cases if case["data"] == ids):
        (tmp_path / "mix.yaml").write_text(
            f"TEXT_ONLY:\n  one:\n    mimicit_path: r.json\n    num_samples: {case['N']}\n"
        )
        mix = opened(tmp_path)
        [(size, draws)] = mix.shares
        assert draws == len(case["output"])
        epoch = Plan(draws, draws, draws, 0, shares=mix.shares).step(0)
        # Whole repeats, and a rest that ours draws without taking one twice.
        counts = {epoch.count(n) for n in range(size)}
        assert counts <= {draws // size, draws // size + 1}


@pytest.mark.parametrize(
    "folder", golden.folders("text", "process_general.json", "dataset.json"), ids=golden.label
)
def test_conversations_are_the_published_ones(tmp_path, folder):
    """In the four groups, with and without a list to train on; but for spaces at edges of texts, some of which the published code kept."""
    data = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
    (tmp_path / "T.json").write_text(json.dumps({"meta": {}, "data": data["data"]}))
    (tmp_path / "T_train.json").write_text(json.dumps(data["train_config"]))
    pictures = {name: base64.urlsafe_b64decode(text) for name, text in data["images"].items()}
    write_pictures(tmp_path / "T.parquet", pictures)
    text = ""
    for group in GROUPS:
        images = "" if group == "TEXT_ONLY" else ", images_path: T.parquet"
        text += f"{group}:\n  all: {{mimicit_path: T.json{images}}}\n"
        text += f"  listed: {{mimicit_path: T.json{images}, train_config_path: T_train.json}}\n"
    (tmp_path / "mix.yaml").write_text(text)
    cases = json.loads((folder / "process_general.json").read_text(encoding="utf-8"))
    wanted = {
        (case["group"], case["in_context_source"]): {
            row["id"]: "".join(row["full_text"].split()) for row in case["rows"]
        }
        for case in cases
        if case["format"] == "simple" and case["keep_symbols"]
    }
    parts = opened(tmp_path).parts
    assert len(parts) == 8
    for part in parts:
        group, _, name = part.name.partition(".")
        related = "rel_ins" if group == "IMAGE_TEXT_IN_CONTEXT" else "none"
        texts = wanted[group, "train_config" if name == "listed" else related]
        found = {}
        for index in range(len(part.source)):
            record = part.source[index]
            found[record.id] = "".join(
                "<image>" * len(turn.media)
                + "".join(f"User:{turn.question}GPT:<answer>{turn.answer}<|endofchunk|>".split())
                for turn in record.turns
            )
        assert found == texts


def test_files_are_imported_once(published, monkeypatch):
    first = opened(published)
    calls = []
    monkeypatch.setattr(published_yaml, "import_files", lambda *_, **__: calls.append(1))
    began = time.process_time()
    again = opened(published)
    assert time.process_time() - began < 0.5
    assert not calls
    assert again.digest == first.digest
    shards = list((published / "cache").glob("published/*/images/*.parquet"))
    assert len(shards) >= 4
    assert len({shard.stat().st_ino for shard in shards}) == 1, "pictures were copied"


def test_a_file_that_changed_is_imported_again(published):
    (published / "one.yaml").write_text("TEXT_ONLY: {a: {mimicit_path: new.json}}")
    write_records(published / "new.json", {"TXT_INS_9": ("New?", "No.", [], [])})
    before = opened(published, "one")
    write_records(published / "new.json", {"TXT_INS_9": ("New?", "Yes.", [], [])})
    after = opened(published, "one")
    assert after.digest != before.digest
    assert after.parts[0].source[0].turns[0].answer == "Yes."


def test_a_run_goes_on_with_what_it_began_with(published, tmp_path, dataset, monkeypatch):
    monkeypatch.setenv("SYPHUS_CACHE", str(tmp_path / "cache"))
    texts, yaml = tmp_path / "t.json", tmp_path / "mix.yaml"
    records = {f"TXT_INS_{n}": (f"Say {n}.", f"{n}!", [], []) for n in range(6)}
    write_records(texts, records)
    yaml.write_text("TEXT_ONLY: {a: {mimicit_path: t.json}}")
    settings = {
        "recipe": "otter_tiny",
        "dataset": dataset,
        "overrides": [*SMALL, f"data.yaml={yaml}", "run.steps=4"],
    }
    train(**settings, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(**settings, out=tmp_path / "run", progress=StopAfter(2))
    write_records(texts, records | {"TXT_INS_9": ("New?", "New.", [], [])})
    progress = Progress(io.StringIO())
    train(**settings, out=tmp_path / "run", progress=progress)
    said = progress.stream.getvalue()
    assert (
        "files of TEXT_ONLY.a have changed since this run began; it goes on with its own 6 records"
        in said
    )
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    # Without the cache there is nothing to go on with.
    (tmp_path / "run" / "run.json").unlink()
    monkeypatch.setenv("SYPHUS_CACHE", str(tmp_path / "other"))
    with pytest.raises(RunFolderError, match="files of the mix have changed since"):
        train(**settings, out=tmp_path / "run")
    # And whoever begins takes what there is.
    assert len(open_mix(Data(yaml=str(yaml)), dataset)) == 7


def test_another_description_is_another_mix(published):
    text = (published / "mix.yaml").read_text().replace("Look closely.", "Look.")
    (published / "other.yaml").write_text(text)
    assert opened(published, "other").digest != opened(published).digest


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_it_trains(published, tmp_path, dataset, monkeypatch):
    monkeypatch.setenv("SYPHUS_CACHE", str(published / "cache"))
    yaml = f"data.yaml={published / 'mix.yaml'}"
    overrides = [*SMALL, yaml, "data.video_frames=4", "run.steps=3"]
    result = train(recipe="otter_tiny", dataset=dataset, out=tmp_path / "run", overrides=overrides)
    assert result.steps == 3
    assert json.loads((tmp_path / "run" / "run.json").read_text())["records"] == 13


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("IMAGE_TXT: {a: {mimicit_path: TEXT_instructions.json}}", "did you mean 'IMAGE_TEXT'"),
        ("TEXT_ONLY: {a: {mimicit_paths: TEXT_instructions.json}}", "did you mean 'mimicit_path'"),
        ("TEXT_ONLY: {a: {num_samples: 3}}", "TEXT_ONLY.a has no mimicit_path"),
        ("TEXT_ONLY: {a: {mimicit_path: nowhere.json}}", "names 'nowhere.json', but .* is not there"),
        ("TEXT_ONLY: {a: {mimicit_path: TEXT_instructions.json, num_samples: many}}", "whole number"),
        ("TEXT_ONLY: [1, 2", "is not YAML"),
        ("- a", "must hold groups"),
        ("", "must hold groups"),
        ("TEXT_ONLY:", "names no set"),
        ("TEXT_ONLY: {a: {mimicit_path: TEXT_instructions.json, task_description: {a: 1}}}", "list of texts"),
        ("!!python/object/apply:os.system ['true']", "is not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_a_sentence(published, text, said):
    (published / "wrong.yaml").write_text(text)
    with pytest.raises(RecipeError, match=said):
        read_yaml(published / "wrong.yaml")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"mix\.yaml' cannot be read: No such file"):
        opened(tmp_path)


def test_a_description_that_is_one_text_is_taken_whole(published):
    (published / "text.yaml").write_text(
        "TEXT_ONLY: {a: {mimicit_path: TEXT_instructions.json, task_description: Say it.}}"
    )
    assert read_yaml(published / "text.yaml")[0].descriptions == ("Say it.",)


def test_rows_that_cannot_be_used_stop_it_unless_they_may_be_left_out(published):
    told = json.loads((published / "TEXT_instructions.json").read_text())
    told["data"]["TXT_INS_bad"] = {"instruction": 3, "answer": None}
    (published / "bad.json").write_text(json.dumps(told))
    (published / "bad.yaml").write_text("TEXT_ONLY: {a: {mimicit_path: bad.json}}")
    for _ in range(2):  # the second time it is read from what was noted
        with pytest.raises(
            TrainingError, match=r"1 rows of TEXT_ONLY\.a cannot be used .*TXT_INS_bad"
        ):
            opened(published, "bad")
    assert len(opened(published, "bad", skip_bad=1).parts[0].source) == 3


def test_a_picture_that_is_missing_names_set_and_record(published):
    write_records(published / "lone.json", {"LADD_INS_0": ("q", "a", ["LA_IMG_x"], [])})
    (published / "lone.yaml").write_text(
        "IMAGE_TEXT: {a: {mimicit_path: lone.json, images_path: LA.parquet}}"
    )
    with pytest.raises(TrainingError, match=r"IMAGE_TEXT\.a cannot be opened: record 'LADD_INS_0'"):
        opened(published, "lone")
