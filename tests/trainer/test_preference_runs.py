"""Runs that learn from pairs of answers: from published files to a model, and whatever happens on the way."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mimicit.errors import RecipeError
from mimicit.snapshot import freeze
from mimicit.store import Store
from syphus.cli import app
from trainer import curve, memory
from trainer.errors import TrainingError
from trainer.models.otter import Otter
from trainer.models.otter_processor import OtterProcessor
from trainer.objectives import compared
from trainer.objectives.reference import log_probs
from trainer.recipe import read_recipe
from trainer.train import train

from .comparisons import ADAPTERS, COMPARE, FIRST, LAYOUTS, pairs, run
from .family_lessons import SETTINGS
from .lessons import lessons_of
from .processes import logged, losses, one, together

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def twelve(tmp_path_factory):
    return pairs(tmp_path_factory.mktemp("pairs") / "dataset")


@pytest.fixture(autouse=True)
def undrawn(request, monkeypatch):
    """Leave out loss.png, which takes longer than these runs, but where it is looked at."""
    if not request.node.name.startswith("test_fifty"):
        monkeypatch.setattr(curve, "draw_curve", lambda *_, **__: None)


# ── from a file to a model ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("layout", "kind"),
    [("rlhfv", "dpo"), ("rlaifv", "mpo"), ("llava_rlhf", "kto"), ("rlhfv", "mdpo")],
)
def test_fifty_published_pairs_are_imported_and_learned(layout, kind, tmp_path):
    """50 pairs in each published layout, through the command line: the loss falls, and the right answers win."""
    files = LAYOUTS[layout](tmp_path, 50)
    dataset, out = tmp_path / "dataset", tmp_path / "run"

    def syphus(*arguments):
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
        return done

    syphus("data", "import", *files, "-d", dataset)
    settings = [
        f"objective.kind={kind}",
        "run.steps=25",
        "run.batch_size=10",
        "run.micro_batch_size=5",
        "optim.lr=2e-3",
    ]
    changes = [part for one in (*COMPARE, *settings) for part in ("--set", one)]
    syphus("train", "otter_tiny", "-d", dataset, "-o", out, *changes)

    entries = logged(out)
    first, last = (
        np.mean([entry["loss"] for entry in part]) for part in (entries[:3], entries[-3:])
    )
    assert entries[0]["loss"] == pytest.approx(FIRST.get(kind, entries[0]["loss"]), abs=1e-6)
    assert last < first - 0.1
    assert entries[0]["figures"]["rewards/margin"] == pytest.approx(0, abs=1e-5)
    assert entries[-1]["figures"]["rewards/accuracy"] > 0.9
    assert entries[-1]["figures"]["rewards/margin"] > 0
    assert (out / "loss.png").stat().st_size > 5_000
    assert (out / "reference" / "log_probs.npy").exists()
    summary = json.loads((out / "run.json").read_text())
    assert summary["records"] == 50


def test_a_model_that_learned_from_pairs_looks_at_the_picture(twelve, tmp_path):
    """The same question and answers about another picture are another matter."""
    run(twelve, tmp_path / "run")
    processor = OtterProcessor.from_pretrained(tmp_path / "run" / "model")
    model = Otter.from_pretrained(tmp_path / "run" / "model")
    examples = lessons_of(freeze(Store.open(twelve)), processor, max_tokens=120, max_frames=8)
    encoder = compared.ComparedEncoder(
        examples.encoder, ("chosen", "rejected"), needs_both=True, kind="dpo"
    )
    mix = compared.NumberedMix(examples.mix)
    seen = []
    for other in (0, 4):  # the same question, the square on the same side
        record = mix[0][0]
        about = mix[other][0].record.turns[0].media

        def read(shown, about=about):
            return encoder.picture(about[0][0].read(), name=shown.name)

        (rows,) = encoder.lay([encoder.encode(record, read)])
        with torch.no_grad():
            seen.append(log_probs(model, rows)[0])

    assert (seen[0] - seen[1]).abs().min() > 1e-4


def test_mdpo_makes_answers_less_likely_where_a_fragment_of_the_picture_is_shown(twelve, tmp_path):
    """Its second and third term: what is right of a picture is not said without it, and becomes no less likely itself."""
    settings = ("run.steps=20", "run.batch_size=12", "run.micro_batch_size=12", "optim.lr=4e-3")
    run(twelve, tmp_path / "run", "objective.kind=mdpo", *settings)
    figures = logged(tmp_path / "run")[-1]["figures"]

    assert figures["rewards/blind"] < figures["rewards/chosen"] - 1
    assert figures["rewards/chosen"] > 0.5


def test_turns_before_the_compared_answer_are_read(tmp_path):
    """LLaVA-RLHF's conversations: by the record alone, or with what was said before."""
    files = LAYOUTS["llava_rlhf"](tmp_path, 4)
    rows = json.loads(files[0].read_text())
    for row in rows:
        row["conversations"][:0] = [
            {"from": "human", "value": "<image>\nIs it a photograph?"},
            {"from": "gpt", "value": "No, it is drawn, and rather noisy."},
        ]
        row["conversations"][2]["value"] = row["conversations"][2]["value"].removeprefix(
            "<image>\n"
        )
    files[0].write_text(json.dumps(rows))
    dataset = tmp_path / "dataset"
    done = CliRunner().invoke(app, ["data", "import", *map(str, files), "-d", str(dataset)])
    assert done.exit_code == 0, done.output
    wanted = "conversation IN (SELECT conversation FROM accepted WHERE rejected IS NOT NULL)"
    recipe = tmp_path / "turns.toml"
    own = Path(compared.__file__).parent.parent / "recipes" / "otter_tiny.toml"
    recipe.write_text(
        f'{own.read_text()}\n[data.groups.pairs]\nwhere = "{wanted}"\nturns = "conversation"\n'
    )
    steps = ("run.steps=1", "run.batch_size=4")
    run(dataset, tmp_path / "alone", 'data.where="rejected IS NOT NULL"', *steps)
    run(dataset, tmp_path / "turns", *steps, recipe=str(recipe))
    alone, turns = (logged(tmp_path / out)[0] for out in ("alone", "turns"))

    assert turns["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert turns["tokens"] > alone["tokens"] + 4 * 2 * 5
    assert json.loads((tmp_path / "turns" / "run.json").read_text())["records"] == 4


# ── the same, however it is cut ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["mdpo", "mpo", "kto"])
def test_micro_batches_and_packing_change_nothing_of_what_is_learned(twelve, tmp_path, kind):
    """Losses agree, and so do the figures and weights, if all of a step's pairs are one forward, six, or packed rows."""
    base = (
        f"objective.kind={kind}",
        "run.steps=3",
        "run.micro_batch_size=6",
        "data.max_row_tokens=0",
    )
    run(twelve, tmp_path / "one", *base)
    run(twelve, tmp_path / "six", *base, "run.micro_batch_size=1")
    run(twelve, tmp_path / "packed", *base, "data.max_tokens=80", "data.max_row_tokens=240")

    for other in ("six", "packed"):
        assert losses(tmp_path / other) == pytest.approx(losses(tmp_path / "one"), abs=2e-5)
        assert_same_figures(tmp_path / other, tmp_path / "one")


def assert_same_figures(one, other):
    for mine, theirs in zip(logged(one), logged(other), strict=True):
        # Which answer a model prefers to what it says itself is for rounding to decide.
        left_out = ("rewards/accuracy",) if mine["step"] == 1 else ()
        pair = (
            {k: v for k, v in entry["figures"].items() if k not in left_out}
            for entry in (mine, theirs)
        )
        assert next(pair) == pytest.approx(next(pair), abs=2e-4)


SHARED = {
    "kto": ("run.strategy=ddp",),
    "mpo": ("run.strategy=ddp",),
    "mdpo": ("run.strategy=fsdp2",),
    "kto with adapters": ("run.strategy=fsdp2", *ADAPTERS),
}
"""Runs of two processes, by the objective and what else there is to it."""


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    """Steps of five give devices different numbers of pairs; one record has no rejected answer."""
    return pairs(tmp_path_factory.mktemp("seven") / "dataset", records=7, without=(3,))


@pytest.fixture(scope="module")
def by_two(seven, tmp_path_factory):
    """Do all those runs with two processes that are started once."""
    folder = tmp_path_factory.mktemp("two")
    runs = [one(seven, folder / name, *COMPARE, *by_five(name)) for name in SHARED]
    together(2, folder / "said", runs)
    return folder


def by_five(name):
    kind = name.split()[0]
    kept = () if kind == "kto" else ('data.where="rejected IS NOT NULL"',)
    settings = (f"objective.kind={kind}", "run.steps=3", "run.batch_size=5")
    return (*settings, "run.micro_batch_size=2", *kept, *SHARED[name])


@pytest.mark.parametrize("name", SHARED)
def test_two_processes_learn_what_one_does(by_two, seven, tmp_path, name):
    run(seven, tmp_path / "one", *by_five(name))

    assert losses(by_two / name) == pytest.approx(losses(tmp_path / "one"), abs=2e-5)
    assert_same_figures(by_two / name, tmp_path / "one")
    tables = [out / "reference" / "log_probs.npy" for out in (by_two / name, tmp_path / "one")]
    assert [table.exists() for table in tables] == ["adapters" not in name] * 2
    if tables[0].exists():
        np.testing.assert_allclose(*map(np.load, tables), atol=1e-4)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_workers_change_no_bit(twelve, tmp_path):
    run(twelve, tmp_path / "none", "objective.kind=mdpo", "run.steps=3")
    run(twelve, tmp_path / "two", "objective.kind=mdpo", "run.steps=3", "data.workers=2")

    assert losses(tmp_path / "two") == losses(tmp_path / "none")


# ── records and settings that do not fit ─────────────────────────────────────────────────────────────────────────────────


def test_a_record_with_one_answer_stops_dpo_and_is_named(tmp_path):
    dataset = pairs(tmp_path / "dataset", without=(4,))
    with pytest.raises(
        TrainingError, match=r"'PAIR_INS_004' has no rejected answer.*rejected IS NOT NULL"
    ):
        run(dataset, tmp_path / "run")
    run(dataset, tmp_path / "chosen", 'data.where="rejected IS NOT NULL"', "run.steps=1")
    assert json.loads((tmp_path / "chosen" / "run.json").read_text())["records"] == 11


def test_records_with_one_answer_can_be_left_out_and_are_counted(tmp_path):
    dataset = pairs(tmp_path / "dataset", without=(4, 5, 6))
    run(dataset, tmp_path / "run", "data.skip_bad=3", "run.steps=2")
    left = [
        json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()
    ]

    assert {row["id"] for row in left} == {f"PAIR_INS_{nth:03d}" for nth in (4, 5, 6)}
    assert losses(tmp_path / "run")[0] == pytest.approx(math.log(2), abs=1e-6)


def test_held_out_records_with_one_answer_are_left_out_of_looks(tmp_path):
    dataset = pairs(tmp_path / "dataset", records=10, without=(1,))
    held_out = "id IN ('PAIR_INS_000', 'PAIR_INS_001')"
    run(
        dataset,
        tmp_path / "run",
        f'evaluate.where="{held_out}"',
        "evaluate.answers=0",
        "run.steps=2",
    )
    (look,) = map(json.loads, (tmp_path / "run" / "held_out.jsonl").read_text().splitlines())

    assert (look["records"], look["left_out"]) == (1, 1)
    assert 0 < look["loss"] < math.log(2)
    assert look["figures"]["rewards/margin"] > 0


def test_settings_of_another_objective_are_refused():
    with pytest.raises(RecipeError, match=r"objective.crop belongs to objective.kind = 'mdpo'"):
        read_recipe("otter_tiny", ("objective.kind=dpo", "objective.crop=0.1"))
    with pytest.raises(RecipeError, match=r"label_smoothing is 0.5"):
        read_recipe("otter_tiny", ("objective.kind=dpo", "objective.label_smoothing=0.5"))
    with pytest.raises(RecipeError, match=r"3 answers of a record share a row.*at least 240"):
        read_recipe(
            "otter_tiny", ("objective.kind=mdpo", "data.max_tokens=80", "data.max_row_tokens=160")
        )


def test_a_setting_that_would_do_nothing_is_refused():
    with pytest.raises(RecipeError, match=r"objective.beta is of the kinds that compare answers"):
        read_recipe("otter_tiny", ("objective.beta=0.3",))
    for kind, weights in (
        ("kto", ("desirable", "undesirable")),
        ("mpo", ("preference", "quality", "generation")),
    ):
        nothing = [f"objective.{name}_weight=0" for name in weights]
        with pytest.raises(RecipeError, match=r"all weights .* are 0, so nothing would be learned"):
            read_recipe("otter_tiny", (f"objective.kind={kind}", *nothing))
        read_recipe("otter_tiny", (f"objective.kind={kind}", *nothing[1:]))


@pytest.mark.parametrize(("kind", "answers"), [("dpo", 2), ("mdpo", 3), ("mpo", 2), ("kto", 2)])
def test_the_estimate_of_memory_counts_all_answers_of_a_record(kind, answers):
    one, all_of_them = (
        memory.shown(read_recipe("otter_tiny", (f"objective.kind={name}", "data.max_row_tokens=0")))
        for name in ("answers", kind)
    )

    assert all_of_them.tokens == answers * one.tokens
    assert all_of_them.frames == answers * one.frames


def test_the_shipped_recipe_compares_answers():
    config = read_recipe("otter_tiny_dpo", ("model.start=somewhere",))

    assert config.objective.kind == "dpo"
    assert config.data.where == "rejected IS NOT NULL"


# ── other families ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("family", ["fuyu", "idefics"])
def test_other_families_learn_from_pairs(twelve, tmp_path, family):
    """Fuyu packed, Idefics padded and recomputing its layers; mDPO's fragments are smaller pictures to Fuyu."""
    extra = {
        "fuyu": ("data.max_tokens=90", "data.max_row_tokens=270"),
        "idefics": ("run.gradient_checkpointing=true",),
    }
    train(
        recipe=f"{family}_tiny",
        dataset=twelve,
        out=tmp_path / "run",
        overrides=(
            *SETTINGS[family],
            "objective.kind=mdpo",
            "optim.lr=1e-3",
            "run.steps=6",
            "run.batch_size=6",
            "run.micro_batch_size=3",
            *extra[family],
        ),
    )
    found = losses(tmp_path / "run")

    assert found[0] == pytest.approx(FIRST["mdpo"], abs=1e-5)
    assert found[-1] < found[0] - 0.05
