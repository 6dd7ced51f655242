"""Held-out records: never learned, looked at without a trace, their answers written down."""

import io
import json
import re

import pytest

torch = pytest.importorskip("torch")

from mimicit.errors import DatasetError, QueryError, RecipeError  # noqa: E402
from mimicit.schema import Instruction  # noqa: E402
from mimicit.snapshot import freeze  # noqa: E402
from mimicit.store import Store  # noqa: E402
from trainer import checkpoint, evaluate  # noqa: E402
from trainer.evaluate import at_rest, messages_of  # noqa: E402
from trainer.loading import load  # noqa: E402
from trainer.report import Progress  # noqa: E402
from trainer.samples import Asked, write_page  # noqa: E402
from trainer.sources.base import Conversation, Said, Shown  # noqa: E402
from trainer.train import train  # noqa: E402

from . import processes  # noqa: E402
from .conftest import SMALL  # noqa: E402
from .runs import losses, run  # noqa: E402
from .stopping import StopAfter  # noqa: E402

torch.set_num_threads(1)

HELD = "evaluate.where=id IN ('LA_INS_red_00', 'LA_INS_blue_01')"


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def looked(dataset, tmp_path_factory):
    """A run that looks every second step, with dropout, and one that looks at the end alone."""
    folder = tmp_path_factory.mktemp("looked")
    settings = [
        HELD, "lora.r=2", "lora.dropout=0.5", "trainable.parts=perceiver,gates", "evaluate.answers=2", "evaluate.max_new_tokens=8",
    ]  # fmt: skip
    run(dataset, folder / "often", *settings, "evaluate.every=2")
    run(dataset, folder / "once", *settings)
    return folder


def test_looking_changes_nothing_of_what_is_learned(looked):
    assert losses(looked / "often") == losses(looked / "once")
    often, once = (load(looked / name, device="cpu")[0].state_dict() for name in ("often", "once"))
    assert all(torch.equal(often[name], once[name]) for name in once)


def test_there_is_a_line_for_each_look_and_the_whole_at_the_end(looked):
    looks = rows(looked / "often" / "held_out.jsonl")
    assert [row["step"] for row in looks] == [2, 4, 6, 8]
    assert {row["records"] for row in looks} == {2}
    assert looks[-1]["loss"] < looks[0]["loss"]
    assert [row["step"] for row in rows(looked / "once" / "held_out.jsonl")] == [8]

    summary = json.loads((looked / "often" / "run.json").read_text())
    assert summary["held_out"]["loss"] == pytest.approx(looks[-1]["loss"], rel=1e-6)
    assert summary["held_out"]["records"] == 2
    assert summary["aside"]["evaluating"] > 0
    assert summary["records"] == 5


def test_the_loss_is_that_of_the_finished_model_on_these_records(dataset, tmp_path):
    """Computed once more from the saved model, by hand."""
    from trainer.batch import collate

    from .lessons import lessons_of

    out = tmp_path / "run"
    run(dataset, out, HELD, "run.steps=3")
    model, processor = load(out, device="cpu")
    snapshot = freeze(Store.open(dataset), where=HELD.partition("=")[2])
    lessons = lessons_of(snapshot, processor, max_tokens=512)
    batch = collate([lessons[index].example for index in range(2)], pad=processor.pad_id)
    with torch.no_grad():
        expected = float(model(**batch.inputs(), num_items_in_batch=batch.taught).loss)
    [look] = rows(out / "held_out.jsonl")
    assert look["loss"] == pytest.approx(expected, rel=1e-5)
    assert look["taught"] == batch.taught


def test_held_out_records_are_in_no_step(looked, dataset, monkeypatch, tmp_path):
    from mimicit.sql import run_sql

    out = looked / "often"
    store = Store.open(dataset)
    store.refresh()
    result = tmp_path / "r.json"
    with result.open("wb") as file:
        query = f"SELECT DISTINCT record FROM step_records WHERE run = '{out.resolve()}' ORDER BY record"
        run_sql(query, store.catalog_path, output=file, format="json")
    learned = {row["record"] for row in json.loads(result.read_text())}
    assert learned == {
        "LA_INS_red_01",
        "LA_INS_green_00",
        "LA_INS_green_01",
        "LA_INS_blue_00",
        "LA_INS_white_00",
    }


@pytest.mark.parametrize("micro", ["run.micro_batch_size=1", "data.max_row_tokens=512"])
def test_how_held_out_records_are_cut_into_forwards_does_not_change_their_loss(
    dataset, tmp_path, micro
):
    def at_the_end(name, *settings):
        run(dataset, tmp_path / name, HELD, "run.steps=2", *settings)
        return rows(tmp_path / name / "held_out.jsonl")[-1]["loss"]

    assert at_the_end("other", micro) == pytest.approx(at_the_end("plain"), abs=2e-4)


def test_a_look_is_at_the_same_few_records_each_time(dataset, tmp_path, monkeypatch):
    out = tmp_path / "few"
    where = "evaluate.where=task = 'squares' AND id LIKE '%_00'"
    run(
        dataset,
        out,
        where,
        "evaluate.every=2",
        "evaluate.records=2",
        "evaluate.answers=1",
        "run.steps=4",
    )
    looks = rows(out / "held_out.jsonl")
    assert [row["records"] for row in looks] == [2, 2]
    assert len({row["record"] for row in rows(out / "samples.jsonl")}) == 1
    assert json.loads((out / "run.json").read_text())["held_out"]["records"] == 4


def test_a_resumed_run_has_each_look_once(dataset, tmp_path):
    settings = [HELD, "evaluate.every=2", "run.save_every=4", "evaluate.answers=1"]
    run(dataset, tmp_path / "whole", *settings)
    out = tmp_path / "halves"

    class PowerCut(BaseException):
        pass

    class Dying(Progress):
        def step(self, entry, *, steps):
            if entry.step == 7:
                raise PowerCut

    with pytest.raises(PowerCut):
        run(dataset, out, *settings, progress=Dying(io.StringIO()))
    assert [row["step"] for row in rows(out / "held_out.jsonl")] == [2, 4, 6]
    with (out / "samples.jsonl").open("a") as file:
        file.write('{"step": 6, "rec')
    with pytest.raises(KeyboardInterrupt):
        run(dataset, out, *settings, progress=StopAfter(6))
    run(dataset, out, *settings)

    def told(name, folder):
        return [
            {key: value for key, value in row.items() if key != "seconds"}
            for row in rows(folder / name)
        ]

    for name in ("held_out.jsonl", "samples.jsonl"):
        assert told(name, out) == told(name, tmp_path / "whole")
    assert losses(out) == losses(tmp_path / "whole")


def test_a_run_that_goes_on_looks_at_the_records_that_it_began_with(tmp_path, square):
    """Of a dataset that has got more of them since, as it keeps to those that it learns."""
    store = Store.open(tmp_path / "dataset", create=True)

    def add(count, letter):
        store.add(
            [Instruction(id=f"X_INS_{letter}_{n}", task="t", instruction="What?", answer="Red.") for n in range(count)]
        )  # fmt: skip

    add(6, "a")
    settings = [
        "evaluate.where=id LIKE '%_1' OR id LIKE '%_2'",
        "evaluate.every=2",
        "run.steps=4",
        "run.save_every=2",
    ]
    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        run(store.path, out, *settings, progress=StopAfter(2))
    add(4, "b")
    run(store.path, out, *settings)

    assert [row["records"] for row in rows(out / "held_out.jsonl")] == [2, 2]
    summary = json.loads((out / "run.json").read_text())
    assert (summary["records"], summary["held_out"]["records"]) == (4, 2)


def test_what_a_look_writes_may_fail(dataset, tmp_path, monkeypatch):
    """As on a full disk; the run goes on, and says so."""

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluate, "write_page", full)
    told = io.StringIO()
    out = tmp_path / "run"
    settings = [HELD, "evaluate.every=2", "run.steps=4", "evaluate.max_new_tokens=2"]
    assert run(dataset, out, *settings, progress=Progress(told)).steps == 4
    assert told.getvalue().count("samples.html' cannot be written (No space left on device)") == 2
    assert len(rows(out / "samples.jsonl")) == 4


def test_it_is_said_once_where_answers_are_and_the_end_is_not_looked_at_twice(
    dataset, tmp_path, monkeypatch
):
    looked = []
    real = evaluate.Looks._measure

    def noting(self, model, numbers, step):
        looked.append((step, len(numbers)))
        return real(self, model, numbers, step)

    monkeypatch.setattr(evaluate.Looks, "_measure", noting)
    told = io.StringIO()
    out = tmp_path / "run"
    settings = [HELD, "evaluate.every=2", "run.steps=4", "evaluate.max_new_tokens=2"]
    result = run(dataset, out, *settings, progress=Progress(told))
    assert looked == [(2, 2), (4, 2)]
    assert told.getvalue().count(f"answers in '{out / 'samples.html'}'") == 1
    assert result.held_out == rows(out / "held_out.jsonl")[-1]["loss"]
    assert f"held-out loss {result.held_out:.3g} · model in" in told.getvalue()


def test_the_best_checkpoint_is_chosen_by_a_look_at_each_one_that_is_saved(dataset, tmp_path):
    out = tmp_path / "best"
    run(
        dataset,
        out,
        HELD,
        "evaluate.every=3",
        "run.keep_best=true",
        "run.save_every=2",
        "run.keep=1",
        "evaluate.answers=0",
    )
    looks = {row["step"]: row["loss"] for row in rows(out / "held_out.jsonl")}
    assert list(looks) == [2, 3, 4, 6, 8]
    saved = {step: loss for step, loss in looks.items() if step % 2 == 0}
    best = min(saved, key=saved.get)
    state = json.loads((out / "checkpoints" / f"step-{best:06d}" / "state.json").read_text())
    assert state["held_out"] == saved[best]
    newest = checkpoint.newest(out / "checkpoints", say=pytest.fail)
    assert newest.held_out == looks[8]


@pytest.mark.parametrize(
    ("where", "error", "said"),
    [
        ("id = 'nobody'", RecipeError, "evaluate.where holds nothing out"),
        ("nothing = 1", QueryError, "evaluate.where: the selection 'nothing = 1' fails"),
        ("1 = 1", DatasetError, "no accepted record .* satisfies 'true' without '1 = 1'"),
    ],
)
def test_a_selection_that_cannot_be_is_refused(dataset, tmp_path, where, error, said):
    with pytest.raises(error, match=said):
        run(dataset, tmp_path / "run", f"evaluate.where={where}")


def test_a_record_for_which_the_predicate_is_unknown_is_learned(dataset, tmp_path):
    """NULL is not true; so neither is such a record held out nor is it lost."""
    out = tmp_path / "run"
    run(dataset, out, "evaluate.where=turn = 1 OR id = 'LA_INS_red_00'", "run.steps=1")
    summary = json.loads((out / "run.json").read_text())
    assert (summary["records"], summary["held_out"]["records"]) == (6, 1)


# Modes


def test_each_part_of_a_model_is_left_in_its_own_mode():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout())
    model.train()
    model[1].eval()
    with at_rest(model):
        assert not any(part.training for part in model.modules())
        assert not torch.is_grad_enabled()
    assert [part.training for part in model.modules()] == [True, True, False]
    with pytest.raises(RuntimeError), at_rest(model):
        raise RuntimeError
    assert model[0].training


# Answers


def test_answers_are_those_of_a_chat_with_the_model(looked, dataset, square):
    from trainer.chat import answer

    out = looked / "once"
    told = rows(out / "samples.jsonl")
    asked = {row["record"]: row for row in told}
    assert asked.keys() == {"LA_INS_red_00", "LA_INS_blue_01"}
    row = asked["LA_INS_red_00"]
    assert (row["question"], row["expected"]) == ("What colour is it?", "It is red.")
    assert row["said"] == answer(out, square("red"), "What colour is it?", max_new_tokens=8)


def test_a_page_shows_what_was_asked_with_pictures(looked):
    page = (looked / "often" / "samples.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "What colour is it?" in page
    assert "It is red." in page
    assert not re.search(r"(src|href)=\"?https?:", page)


def test_what_people_and_models_write_is_text_on_the_page(tmp_path):
    nasty = '<script>alert(1)</script> & "quotes" {braces} \ud800'
    asked = [
        Asked(step, nasty, nasty, nasty, said)
        for step, said in enumerate(["", nasty, nasty, "x"], start=1)
    ]
    write_page(
        tmp_path / "samples.html",
        asked,
        {nasty: ["data:image/jpeg;base64,AA=="]},
        {4: 0.5},
        name=nasty,
    )
    page = (tmp_path / "samples.html").read_bytes().decode()
    assert "<script>" not in page
    assert page.count("<tr>") == 3, "looks at which it said the same are one line"
    assert "step 2 – 3" in page
    assert "held-out loss 0.5" in page


def test_a_long_history_is_cut_in_the_middle(tmp_path):
    asked = [Asked(step, "r", "q", "e", f"said {step}") for step in range(1, 500)]
    write_page(tmp_path / "samples.html", asked, {}, {}, name="run")
    page = (tmp_path / "samples.html").read_text()
    assert page.count("<tr>") == 42
    assert "said 1<" in page.replace("\n", "<")
    assert "said 499" in page


def shown(colour):
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (9, 9), colour).save(data, format="PNG")
    return Shown(colour, f"{colour}.png", data.getvalue)


def test_a_conversation_is_asked_up_to_its_last_answer_with_pictures_in_their_places():
    record = Conversation(
        "r",
        (
            Said("Is <image> like <image>?", "No.", ((shown("red"),), (shown("blue"),))),
            Said("Why?", "Colour."),
        ),
        marked=True,
    )
    first, reply, second = messages_of(record, has_clips=True)
    assert [part["type"] for part in first["content"]] == ["text", "image", "text", "image", "text"]
    assert [part.get("text") for part in first["content"]] == ["Is ", None, " like ", None, "?"]
    assert [part["image"].getpixel((0, 0)) for part in first["content"] if "image" in part] == [
        (255, 0, 0),
        (0, 0, 255),
    ]
    assert reply == {"role": "assistant", "content": "No."}
    assert second["content"] == [{"type": "text", "text": "Why?"}]


@pytest.mark.parametrize(
    ("has_clips", "kinds"), [(True, ["video", "text"]), (False, ["image", "image", "text"])]
)
def test_frames_of_a_clip_are_a_video_where_a_model_knows_videos(has_clips, kinds):
    record = Conversation("r", (Said("What?", "It.", ((shown("red"), shown("blue")),)),))
    [asked] = messages_of(record, has_clips=has_clips)
    assert [part["type"] for part in asked["content"]] == kinds


def test_a_picture_that_cannot_be_read_is_said_and_does_not_stop_the_run(tmp_path):
    store = Store.open(tmp_path / "dataset", create=True)
    from PIL import Image

    from mimicit.media.picture import measure

    data = io.BytesIO()
    Image.new("RGB", (24, 20), "red").save(data, format="PNG")
    good = measure(data.getvalue(), id="good", name="good.png")
    bad = good.model_copy(update={"id": "bad", "image": data.getvalue()[:60], "sha256": "0" * 64})
    store.add_images([good, bad])
    store.add(
        [Instruction(id=f"X_INS_{name}_{n}", task="t", instruction="What?", answer="Red.", image_ids=(name,))
        for name, count in (("good", 4), ("bad", 1)) for n in range(count)]
    )  # fmt: skip
    told = io.StringIO()
    run(
        store.path, tmp_path / "run", "run.steps=1", "evaluate.where=id IN ('X_INS_bad_0', 'X_INS_good_0')",
        progress=Progress(told),
    )  # fmt: skip
    [look] = rows(tmp_path / "run" / "held_out.jsonl")
    assert (look["records"], look["left_out"]) == (1, 1)
    assert "1 records, 1 cannot be examples" in told.getvalue()
    said = {row["record"]: row["said"] for row in rows(tmp_path / "run" / "samples.jsonl")}
    assert said["X_INS_bad_0"].startswith("(")


def test_the_window_of_forwards_does_not_change_a_loss(dataset, tmp_path, monkeypatch):
    settings = ["evaluate.where=id LIKE '%_00'", "run.steps=1", "run.micro_batch_size=1"]
    run(dataset, tmp_path / "wide", *settings)
    monkeypatch.setattr(evaluate, "WINDOW", 1)
    run(dataset, tmp_path / "narrow", *settings)
    wide, narrow = (rows(tmp_path / name / "held_out.jsonl")[0] for name in ("wide", "narrow"))
    assert narrow["loss"] == pytest.approx(wide["loss"], rel=1e-6)
    assert narrow["records"] == wide["records"] == 4


def test_two_processes_find_what_one_finds(dataset, tmp_path):
    """Of three records one has two and the other one; and a look leaves what they learn as it is."""
    where = "evaluate.where=id IN ('LA_INS_red_00', 'LA_INS_blue_01', 'LA_INS_green_00')"
    settings = [
        *SMALL,
        where,
        "evaluate.every=2",
        "run.steps=4",
        "run.micro_batch_size=1",
        "evaluate.answers=1",
    ]
    fsdp = [*settings, "run.strategy=fsdp2"]
    processes.together(
        2,
        tmp_path / "two",
        [
            processes.one(dataset, tmp_path / "ddp", *settings),
            processes.one(dataset, tmp_path / "fsdp", *fsdp),
        ],
    )
    run(dataset, tmp_path / "alone", *settings)

    alone = rows(tmp_path / "alone" / "held_out.jsonl")
    for name in ("ddp", "fsdp"):
        both = rows(tmp_path / name / "held_out.jsonl")
        assert [row["records"] for row in both] == [3, 3]
        assert [row["taught"] for row in both] == [row["taught"] for row in alone]
        assert [row["loss"] for row in both] == pytest.approx(
            [row["loss"] for row in alone], abs=1e-5
        )
        said = [row["said"] for row in rows(tmp_path / name / "samples.jsonl")]
        assert said == [row["said"] for row in rows(tmp_path / "alone" / "samples.jsonl")]


@pytest.mark.parametrize(
    "settings",
    [
        ("run.precision=bf16",),
        ("run.precision=bf16", "run.frozen=bf16", "trainable.parts=perceiver,gates"),
        ("data.max_row_tokens=512", "run.gradient_checkpointing=true"),
        ("data.pictures=media",),
    ],
    ids=" ".join,
)
def test_questions_are_answered_however_the_model_is_kept(dataset, tmp_path, settings):
    run(dataset, tmp_path / "run", HELD, "run.steps=1", "evaluate.max_new_tokens=4", *settings)
    told = rows(tmp_path / "run" / "samples.jsonl")
    assert len(told) == 2
    assert not any(row["said"].startswith("(") for row in told)


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_preferences_are_measured_on_held_out_pairs_beside_their_own_reference(tmp_path, kind):
    """At the first look after an update of nothing (a learning rate of 0) the model is its reference."""
    from .comparisons import COMPARE, pairs

    dataset, out = pairs(tmp_path / "dataset"), tmp_path / "run"
    ids = [row.id for row in freeze(Store.open(dataset))]
    where = f"evaluate.where=id IN ('{ids[1]}', '{ids[5]}', '{ids[7]}')"
    settings = [
        *COMPARE,
        where,
        f"objective.kind={kind}",
        "run.steps=4",
        "evaluate.every=2",
        "evaluate.answers=0",
    ]
    train(
        recipe="otter_tiny",
        dataset=dataset,
        out=out,
        overrides=[*settings, "optim.lr=0"],
        progress=Progress(io.StringIO()),
    )

    looks = rows(out / "held_out.jsonl")
    assert [row["records"] for row in looks] == [3, 3]
    assert [row["loss"] for row in looks] == pytest.approx([FIRST[kind]] * 2, abs=1e-5)
    assert {"rewards/margin", "rewards/accuracy"} <= looks[0]["figures"].keys()
    assert looks[0]["figures"]["rewards/margin"] == pytest.approx(0, abs=1e-4)
    assert json.loads((out / "run.json").read_text())["records"] == len(ids) - 3


FIRST = {"dpo": 0.693147, "kto": 0.5}
