"""Whole runs on shards in the public layouts: pairs as of CC3M, pages as of MMC4 in both layouts, and both with instructions."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from mimicit.errors import PictureError, RecipeError  # noqa: E402
from tests.trainer import processes  # noqa: E402
from tests.trainer.made_shards import (  # noqa: E402
    pair,
    picture,
    write_document_lines,
    write_document_tars,
    write_pairs,
    write_tar,
)
from tests.trainer.stopping import StopAfter  # noqa: E402
from trainer.errors import RunFolderError  # noqa: E402
from trainer.report import Progress  # noqa: E402
from trainer.train import train  # noqa: E402

torch.set_num_threads(1)

SMALL = (
    "model.vocab_size=400",
    "model.vision.image_size=16",
    "model.vision.hidden_size=32",
    "model.vision.intermediate_size=64",
    "model.vision.num_hidden_layers=1",
    "model.perceiver.depth=1",
    "model.perceiver.num_latents=4",
    "model.perceiver.heads=2",
    "model.cross_attention.heads=2",
    "model.text.hidden_size=64",
    "model.text.intermediate_size=128",
    "model.text.num_hidden_layers=2",
    "model.text.num_attention_heads=4",
    "model.text.num_key_value_heads=4",
    "optim.lr=5e-3",
    "optim.warmup_steps=2",
    "run.batch_size=16",
    "run.micro_batch_size=8",
)
PAIRS = ("data.groups.laion.shards=pairs/*.tar", "data.groups.laion.max_tokens=32")
TARS = ("data.groups.mmc4.documents=tars/{000000000..000000002}.tar", "data.groups.mmc4.min_picture_bytes=0")  # fmt: skip
LINES = (
    "data.groups.mmc4.documents=lines/docs_shard_*_v2.jsonl",
    "data.groups.mmc4.images=lines/images",
    "data.groups.mmc4.min_picture_bytes=0",
)
WEIGHTS = ("data.groups.laion.loss_weight=0.2", "data.groups.mmc4.loss_weight=1.0")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two hundred pairs and two hundred pages in each layout; no dataset folder."""
    path = tmp_path_factory.mktemp("shards")
    write_pairs(path / "pairs", 200, shards=3)
    write_document_tars(path / "tars", 200, shards=3)
    write_document_lines(path / "lines", 200, shards=2)
    return path


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SYPHUS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def run(folder, out, *overrides, recipe="flamingo_tiny", steps=24, progress=None, **options):
    said = io.StringIO()
    train(
        recipe=recipe,
        dataset=folder,
        out=out,
        overrides=[*SMALL, *overrides, f"run.steps={steps}"],
        progress=progress or Progress(said),
        **options,
    )
    return losses(out), said.getvalue()


def losses(out):
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("recipe", "overrides", "records"),
    [
        ("flamingo_tiny", PAIRS, 200),
        ("flamingo_tiny", TARS, 200),
        ("flamingo_tiny", LINES, 200),
        ("flamingo_tiny", (*PAIRS, *LINES, *WEIGHTS), 400),
        ("otter_tiny", (*PAIRS, *TARS, *WEIGHTS), 400),
    ],
    ids=["pairs", "documents-tars", "documents-lines", "both", "both-otter"],
)
def test_a_run_on_shards_alone_learns(folder, tmp_path, recipe, overrides, records):
    found, said = run(folder, tmp_path / "run", *overrides, recipe=recipe)
    assert sum(found[-5:]) < sum(found[:5]) / 2
    assert f"{records:,} records" in said
    assert (tmp_path / "run" / "loss.png").stat().st_size > 10_000
    assert (tmp_path / "run" / "model" / "config.json").exists()
    # The folder that was given is no dataset, and nothing is written into it.
    assert sorted(path.name for path in folder.iterdir()) == ["lines", "pairs", "tars"]


def test_a_run_says_what_it_learns_from_and_what_it_leaves_out(folder, tmp_path):
    overrides = (*PAIRS, *TARS, "data.groups.mmc4.min_similarity=0.255")
    _, said = run(folder, tmp_path / "run", *overrides, steps=2)
    assert "laion · 200 pairs in 3 files" in said
    assert "mmc4 · 133 documents in 3 files" in said
    assert "mmc4 · left out: 200 × a picture is less like its sentence than min_similarity" in said


def test_pairs_pages_and_instructions_are_learned_in_one_run(folder, dataset, tmp_path):
    shards = [one.replace("=pairs", f"={folder}/pairs").replace("=tars", f"={folder}/tars") for one in (*PAIRS, *TARS, *WEIGHTS)]  # fmt: skip
    own = ("data.groups.squares.where=answer <> ''", "data.groups.squares.weight=4")
    before = set((dataset / "training").glob("*.jsonl"))
    found, said = run(dataset, tmp_path / "run", *shards, *own, recipe="otter_tiny")
    assert sum(found[-5:]) < sum(found[:5]) / 2
    assert "407 records" in said
    # This one is a dataset, and its steps are told there.
    assert len(set((dataset / "training").glob("*.jsonl")) - before) == 1


def test_the_recipe_for_pretraining_is_that_of_the_documentation(folder, tmp_path):
    documents = "data.groups.documents.documents=tars/*.tar"
    found, said = run(folder, tmp_path / "run", documents, recipe="flamingo_pretrain_tiny")
    assert sum(found[-5:]) < sum(found[:5]) / 2
    assert "400 records" in said


MIXED = (*PAIRS, *LINES, *WEIGHTS, "run.save_every=100")


@pytest.fixture(scope="module")
def unbroken(folder, tmp_path_factory):
    """Return the losses of a run that nobody stopped."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    return run(folder, out, *MIXED, steps=12)[0]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_is_stopped_twice_within_an_epoch_goes_on_bit_for_bit(
    folder, tmp_path, unbroken, workers
):
    overrides = (*MIXED, f"data.workers={workers}")
    for last in (4, 9):
        with pytest.raises(KeyboardInterrupt):
            run(folder, tmp_path / "run", *overrides, steps=12, progress=StopAfter(last))
    run(folder, tmp_path / "run", *overrides, steps=12, resume=True)

    assert losses(tmp_path / "run") == unbroken


def test_a_run_whose_shards_were_moved_goes_on(folder, tmp_path):
    moved = tmp_path / "moved"
    write_pairs(moved / "pairs", 200, shards=3)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "run", *PAIRS, steps=6, progress=StopAfter(3))
    run(moved, tmp_path / "run", *PAIRS, steps=6, resume=True)
    whole, _ = run(folder, tmp_path / "whole", *PAIRS, steps=6)
    assert losses(tmp_path / "run") == whole


@pytest.mark.parametrize("changed", ["another shard", "a longer shard", "one text"])
def test_a_run_whose_shards_changed_does_not_go_on(tmp_path, changed):
    path = write_pairs(tmp_path / "shards" / "pairs", 20, shards=2) / "00001.tar"
    short = (*PAIRS, "run.batch_size=8", "run.save_every=100")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "shards", tmp_path / "run", *short, steps=6, progress=StopAfter(3))
    before = path.read_bytes()
    if changed == "another shard":
        write_tar(path.with_name("00002.tar"), pair(3, "new"))
    elif changed == "a longer shard":
        with tarfile.open(path, "a") as tar:
            for name, data in pair(3, "new"):
                header = tarfile.TarInfo(name)
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))
    else:
        path.write_bytes(before.replace(b"a blue", b"a glue", 1))
    with pytest.raises(RunFolderError, match=r"began with other records .*: files of the mix have changed since"):  # fmt: skip
        run(tmp_path / "shards", tmp_path / "run", *short, steps=6, resume=True)
    # Put back, they are what they were.
    path.write_bytes(before)
    path.with_name("00002.tar").unlink(missing_ok=True)
    assert len(run(tmp_path / "shards", tmp_path / "run", *short, steps=6, resume=True)[0]) == 6


MEANS = (*PAIRS, *LINES, *WEIGHTS, "data.loss_mean=groups", "run.batch_size=100")


@pytest.fixture(scope="module")
def means(folder, tmp_path_factory):
    """Learn three steps of pairs and pages, each with a mean of its own."""
    out = tmp_path_factory.mktemp("means") / "run"
    run(folder, out, *MEANS, "run.micro_batch_size=100", steps=3)
    return out


def test_groups_may_have_means_of_their_own_as_published(tmp_path):
    """All pairs and pages are one step, so its loss is 0.2 times that of the pairs and that of the pages."""
    write_pairs(tmp_path / "pairs", 30)
    write_document_lines(tmp_path / "lines", 30)
    once = ("run.batch_size=60", "run.micro_batch_size=60")
    mixed = (*PAIRS, *LINES, *WEIGHTS, *once)
    ((by_group,), _) = run(tmp_path, tmp_path / "a", *mixed, "data.loss_mean=groups", steps=1)
    words = f"model.tokenizer={tmp_path / 'a' / 'model'}"  # theirs are of both texts
    (pairs, pages, by_token) = (
        run(tmp_path, tmp_path / str(nth), *settings, words, *once, steps=1)[0][0]
        for nth, settings in enumerate((PAIRS, LINES, mixed))
    )
    assert by_group == pytest.approx(0.2 * pairs + pages, rel=1e-5)
    [step] = map(json.loads, (tmp_path / "a" / "log.jsonl").read_text().splitlines())
    each = sorted(step["figures"].items())
    assert [name for name, _ in each] == ["loss/laion", "loss/mmc4"]
    assert [mean for _, mean in each] == pytest.approx([pairs, pages], rel=1e-5)
    assert min(pairs, pages) < by_token < max(pairs, pages)


@pytest.mark.parametrize(
    "overrides",
    [
        ("run.micro_batch_size=7",),
        ("run.micro_batch_size=50", "data.max_row_tokens=600", "data.workers=1"),
    ],
    ids=["small", "packed"],
)
def test_means_of_groups_are_of_the_whole_step_however_it_is_cut(
    folder, tmp_path, means, overrides
):
    found, _ = run(folder, tmp_path / "run", *MEANS, *overrides, steps=3)
    assert found == pytest.approx(losses(means), rel=2e-4)


def test_means_of_groups_are_of_all_processes(folder, tmp_path, means):
    settings = [*SMALL, *MEANS, "run.steps=3", "run.micro_batch_size=20"]
    one = processes.one(folder, tmp_path / "run", *settings, recipe="flamingo_tiny")
    processes.together(2, tmp_path / "two", [one])
    assert losses(tmp_path / "run") == pytest.approx(losses(means), rel=2e-4)


def test_held_out_records_have_one_mean_beside_groups(folder, dataset, tmp_path):
    shards = [one.replace("=pairs", f"={folder}/pairs") for one in PAIRS]
    out = ("evaluate.where=id LIKE '%red%'", "evaluate.every=1")
    found = []
    for mean in ("tokens", "groups"):
        more = (*shards, *out, f"data.loss_mean={mean}")
        run(dataset, tmp_path / mean, *more, recipe="otter_tiny", steps=1)
        found.append(json.loads((tmp_path / mean / "held_out.jsonl").read_text())["loss"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_means_of_groups_are_of_answers(folder, tmp_path):
    with pytest.raises(RecipeError, match=r"data\.loss_mean = 'groups' belongs to objective\.kind = 'answers'"):  # fmt: skip
        run(folder, tmp_path / "run", *MEANS, "objective.kind=dpo")


def test_groups_that_all_count_nothing_are_refused(folder, tmp_path):
    with pytest.raises(RecipeError, match="each group has a loss_weight of 0, so nothing would be learned"):  # fmt: skip
        run(folder, tmp_path / "run", *PAIRS, "data.groups.laion.loss_weight=0")


def test_a_command_trains_on_shards(folder, tmp_path):
    settings = [word for one in (*SMALL, *PAIRS, "run.steps=2") for word in ("--set", one)]
    command = ["train", "flamingo_tiny", "-d", str(folder), "-o", str(tmp_path / "run"), *settings]
    found = subprocess.run(
        [sys.executable, "-m", "syphus.cli", *command],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert found.returncode == 0, found.stderr
    assert "is trained: 2 steps" in found.stdout
    assert "laion · 200 pairs in 3 files" in found.stderr


def test_a_pattern_without_files_ends_before_anything_is_made(folder, tmp_path):
    with pytest.raises(RecipeError, match=r"data\.groups\.laion\.shards is 'none/\*\.tar', but there is no such file"):  # fmt: skip
        run(folder, tmp_path / "run", "data.groups.laion.shards=none/*.tar")
    assert not (tmp_path / "run").exists()


def test_a_picture_that_breaks_off_stops_a_run_or_is_passed_over(tmp_path):
    torn = picture("red", "disc", side=64)[:400]
    members = [("torn.jpg", torn), ("torn.txt", b"a torn picture")]
    members += [one for n in range(7) for one in pair(n, f"{n}")]
    write_tar(tmp_path / "shards" / "pairs" / "0.tar", members)
    short = (*PAIRS, "run.batch_size=8")
    with pytest.raises(PictureError, match=r"record '0\.tar/torn' cannot be read"):
        run(tmp_path / "shards", tmp_path / "run", *short, steps=1)
    run(tmp_path / "shards", tmp_path / "more", *short, "data.skip_bad=1", steps=1)
    assert "0.tar/torn" in (tmp_path / "more" / "skipped.jsonl").read_text()
