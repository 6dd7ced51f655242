"""Which examples share a row, and that a packed run learns what a padded one does."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

import trainer  # noqa: E402
from mimicit.errors import PictureError, RecipeError  # noqa: E402
from mimicit.snapshot import Snapshot, freeze  # noqa: E402
from mimicit.store import Store  # noqa: E402
from tests.trainer.stopping import StopAfter  # noqa: E402
from trainer.batch import Example  # noqa: E402
from trainer.errors import TrainingError  # noqa: E402
from trainer.models.otter_processor import OtterProcessor  # noqa: E402
from trainer.packing import MOST_FILLED, Load, batches, lay_out, pack  # noqa: E402
from trainer.plan import Plan  # noqa: E402
from trainer.recipe import read_recipe  # noqa: E402
from trainer.report import Progress  # noqa: E402
from trainer.train import train  # noqa: E402

from .conftest import SMALL  # noqa: E402
from .lessons import lessons_of  # noqa: E402

torch.set_num_threads(1)
loads = st.lists(
    st.builds(Load, st.integers(1, 100), st.lists(st.integers(1, 8), max_size=3).map(tuple))
)


@given(loads=loads)
def test_every_example_has_one_place_and_no_row_too_much(loads):
    rows = lay_out(loads, max_row_tokens=100)

    assert sorted(index for row in rows for index in row) == list(range(len(loads)))
    assert rows == lay_out(loads, max_row_tokens=100)
    for row in rows:
        assert sum(loads[index].tokens for index in row) <= 100
        frames = [count for index in row for count in loads[index].frames]
        if len(row) > 1 and frames:
            assert len(frames) * max(frames) <= MOST_FILLED * sum(frames)


@given(lengths=st.lists(st.integers(1, 100), min_size=1, max_size=40))
def test_no_two_rows_would_fit_into_one(lengths):
    rows = lay_out([Load(length, (1,)) for length in lengths], max_row_tokens=100)

    filled = sorted(sum(lengths[index] for index in row) for row in rows)
    assert len(filled) == 1 or filled[0] + filled[1] > 100


def test_the_longest_go_first_and_the_short_fill_the_gaps():
    lengths = [300, 40, 90, 380, 60]

    assert lay_out([Load(length) for length in lengths], max_row_tokens=512) == [[0, 4], [1, 2, 3]]


def test_a_long_clip_does_not_lengthen_many_pictures():
    clip, picture, text = Load(10, (32,)), Load(10, (1,)), Load(10)

    rows = lay_out([clip, *[picture] * 8, text], max_row_tokens=1000)

    # With a second picture, three media of 32 frames would stand for 34 true ones.
    assert rows == [[0, 1, 9], [2, 3, 4, 5, 6, 7, 8]]


def make_example(tokens, name="r"):
    return Example(name, [5] * tokens, [5] * tokens, torch.zeros(0, 1, 3, 4, 4))


def test_an_example_that_no_row_holds_names_its_record():
    with pytest.raises(TrainingError, match=r"record 'long' has 9 tokens, .* room for 8"):
        pack([make_example(3), make_example(9, "long")], max_row_tokens=8, image=1)


def test_a_micro_batch_is_one_padded_batch_or_packed_rows():
    examples = [make_example(3), make_example(5), make_example(4)]

    [padded] = batches(examples, pad=0, image=1, max_row_tokens=None)
    packed = batches(examples, pad=0, image=1, max_row_tokens=8)

    assert padded.ids_BT.shape == (3, 5)
    assert [row.ids_BT.shape for row in packed] == [(1, 8), (1, 4)]
    assert sum(row.tokens for row in packed) == padded.tokens


def test_a_row_that_is_shorter_than_an_example_may_be_is_refused():
    with pytest.raises(RecipeError, match=r"data\.max_row_tokens is 100, .*\.max_tokens = 256"):
        read_recipe("otter_tiny", ["data.max_row_tokens=100"])


def run(dataset, out, *overrides, progress=None):
    return train(
        recipe="otter_tiny",
        dataset=dataset,
        out=out,
        overrides=[*SMALL, "data.max_tokens=32", *overrides],
        progress=progress or Progress(io.StringIO()),
    )


def logged(out, *names):
    lines = (out / "log.jsonl").read_text().splitlines()
    return [tuple(json.loads(line)[name] for name in names) for line in lines]


@pytest.fixture(scope="module")
def padded(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "padded"
    run(dataset, out)
    return out


@pytest.mark.parametrize("setting", [(64, 4), (256, 4), (32, 3)], ids=str)
def test_packing_does_not_change_what_is_learned(dataset, padded, tmp_path, setting):
    room, micro = setting
    run(
        dataset, tmp_path / "packed", f"data.max_row_tokens={room}", f"run.micro_batch_size={micro}"
    )

    assert logged(tmp_path / "packed", "taught", "tokens") == logged(padded, "taught", "tokens")
    for name in ("loss", "grad_norm"):
        packed, apart = logged(tmp_path / "packed", name), logged(padded, name)
        assert [value for (value,) in packed] == pytest.approx(
            [value for (value,) in apart], abs=1e-5
        )


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_packed_run_resumes_to_the_bit_and_with_any_number_of_workers(dataset, tmp_path):
    run(dataset, tmp_path / "whole", "data.max_row_tokens=32")
    with pytest.raises(KeyboardInterrupt):
        run(dataset, tmp_path / "halves", "data.max_row_tokens=32", progress=StopAfter(3))
    run(dataset, tmp_path / "halves", "data.max_row_tokens=32")
    run(dataset, tmp_path / "helped", "data.max_row_tokens=32", "data.workers=1")

    assert logged(tmp_path / "halves", "loss") == logged(tmp_path / "whole", "loss")
    assert logged(tmp_path / "helped", "loss") == logged(tmp_path / "whole", "loss")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_record_that_cannot_be_taught_stops_a_run_in_one_sentence(
    dataset, tmp_path, monkeypatch, workers
):
    monkeypatch.setattr(Snapshot, "read", lambda *_: b"no picture")
    with pytest.raises(PictureError) as error:
        run(dataset, tmp_path, f"data.workers={workers}")

    assert str(error.value).startswith("a picture of record 'LA_INS_")
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_devices_that_have_different_numbers_of_rows_learn_the_same(dataset, padded, tmp_path):
    settings = [*SMALL, "run.steps=4", "data.max_tokens=31", "data.max_row_tokens=31"]
    script = tmp_path / "train.py"
    script.write_text(
        "from pathlib import Path\nfrom trainer.train import train\n"
        f"train(recipe='otter_tiny', dataset=Path({str(dataset)!r}), out=Path({str(tmp_path / 'two')!r}), overrides={settings!r})\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    root = str(Path(trainer.__file__).parent.parent)
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": root,
    }  # fmt: skip
    done = subprocess.run(
        [*command, str(script)], env=environment, capture_output=True, text=True, timeout=200
    )

    assert done.returncode == 0, done.stderr
    assert set(rows_of_each_step(dataset, padded)) == {(1, 1), (1, 2)}
    two, one = logged(tmp_path / "two", "loss"), logged(padded, "loss")[:4]
    assert [loss for (loss,) in two] == pytest.approx([loss for (loss,) in one], abs=1e-5)


def rows_of_each_step(dataset, out):
    """Count the rows that each of two devices makes of each of four steps."""
    processor = OtterProcessor.from_pretrained(out / "model")
    examples = lessons_of(freeze(Store.open(dataset)), processor, max_tokens=31, max_frames=8)
    lengths = examples.mix.lengths
    plans = [Plan(len(examples), 4, 4, 0, rank, world=2, lengths=lengths) for rank in range(2)]
    for step in range(4):
        parts = [
            [examples[index].example for index in plan.micro_batches(step)[0]] for plan in plans
        ]
        yield tuple(
            sorted(len(pack(part, max_row_tokens=31, image=processor.image_id)) for part in parts)
        )
