"""Records that cannot be taught are left out, counted, listed, replaced by nothing, and never more than the recipe allows."""

import hashlib
import io
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from mimicit.errors import PictureError  # noqa: E402
from mimicit.media.picture import measure  # noqa: E402
from mimicit.schema import Instruction  # noqa: E402
from mimicit.store import Store  # noqa: E402
from trainer import report  # noqa: E402
from trainer.config import Data  # noqa: E402
from trainer.data import Examples, Skipped, Told, laid  # noqa: E402
from trainer.errors import TrainingError  # noqa: E402
from trainer.families.otter import OtterEncoder  # noqa: E402
from trainer.plan import FILLER  # noqa: E402
from trainer.sources.opening import open_mix  # noqa: E402
from trainer.train import train  # noqa: E402

from . import processes  # noqa: E402
from .conftest import COLOURS, SMALL  # noqa: E402
from .lessons import otter_processor  # noqa: E402
from .stopping import StopAfter  # noqa: E402

torch.set_num_threads(1)
BAD = ("LA_INS_0", "LA_INS_3")


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """Eight records, of which the first and another have a picture that breaks off."""
    from PIL import Image

    store = Store.open(tmp_path_factory.mktemp("spoilt") / "dataset", create=True)
    pictures = []
    for n in range(8):
        png = io.BytesIO()
        Image.new("RGB", (24, 20), list(COLOURS.values())[n % 4]).save(png, "PNG")
        whole = measure(png.getvalue(), id=f"LA_IMG_{n}", name="it")
        if f"LA_INS_{n}" in BAD:
            half = whole.image[:40]
            digest = hashlib.sha256(half).hexdigest()
            whole = whole.model_copy(update={"image": half, "sha256": digest})
        pictures.append(whole)
    store.add_images(pictures)
    store.add([
        Instruction(id=f"LA_INS_{n}", task="t", instruction="Which?", answer=f"No. {n}.", image_ids=(f"LA_IMG_{n}",))
        for n in range(8)
    ])  # fmt: skip
    return store.path


def told(path, *, skips=True, **settings):
    mix = open_mix(Data(), path)
    processor = otter_processor(mix.parts[0].source.snapshot, image_size=16)
    encoder = OtterEncoder(processor, Data(max_tokens=64, **settings))
    return Told(Examples(mix, encoder), skips=skips), encoder


def overrides(**changes):
    values = {"run.steps": 6, "run.batch_size": 3, "run.micro_batch_size": 1, "run.save_every": 2}
    return [*SMALL, *(f"{name}={value}" for name, value in (values | changes).items())]


def skipped_of(run):
    path = run / "skipped.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def losses(run):
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_what_cannot_be_taught_travels_beside_the_others(spoilt):
    tell, encoder = told(spoilt)
    made = tell.__getitems__([1, 0, 2])
    rows = laid(made, encoder=encoder)
    [bad] = rows.skipped
    assert (bad.id, bad.reason) == ("LA_INS_0", "picture")
    assert "a picture of record 'LA_INS_0' cannot be read" in bad.why
    assert [id_ for one in rows for id_ in one.record_ids] == ["LA_INS_1", "LA_INS_2"]


def test_nothing_takes_the_place_of_a_record(spoilt):
    """Trap: an unreadable picture that is replaced by its neighbour."""
    tell, encoder = told(spoilt)
    with_bad = laid(tell.__getitems__([1, 3, 2]), encoder=encoder)
    without = laid(tell.__getitems__([1, 2]), encoder=encoder)
    assert [one.record_ids for one in with_bad] == [one.record_ids for one in without]
    assert [one.taught for one in with_bad] == [one.taught for one in without]
    for one, other in zip(with_bad, without, strict=True):
        for name, value in one.inputs().items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, other.inputs()[name])


def test_a_batch_of_bad_records_alone_still_goes_through_a_model(spoilt):
    tell, encoder = told(spoilt)
    rows = laid(tell.__getitems__([0, 3]), encoder=encoder)
    assert sum(one.taught for one in rows) == 0
    assert len(rows) == 1
    assert [bad.id for bad in rows.skipped] == list(BAD)
    # The filler is not the first record, which is bad itself.
    assert isinstance(tell[0], Skipped)
    assert not isinstance(tell[FILLER], Skipped | Exception)


def test_without_leave_the_first_bad_record_is_said_at_once(spoilt):
    tell, encoder = told(spoilt, skips=False)
    found = laid(tell.__getitems__([1, 0]), encoder=encoder)
    assert isinstance(found, PictureError)
    assert "LA_INS_0" in str(found)


def test_a_run_leaves_them_out_and_lists_them(spoilt, tmp_path):
    out = tmp_path / "run"
    train(recipe="otter_tiny", dataset=spoilt, out=out, overrides=overrides(**{"data.skip_bad": 2}))
    rows = skipped_of(out)
    assert sorted(row["id"] for row in rows) == list(BAD), (
        "twice an epoch of three steps, but once each"
    )
    assert {row["reason"] for row in rows} == {"picture"}
    assert all(1 <= row["step"] <= 3 for row in rows)
    taught = [json.loads(line)["taught"] for line in (out / "log.jsonl").read_text().splitlines()]
    assert sum(taught[:3]) * 2 == sum(taught)


def test_above_the_number_the_run_stops_with_counts(spoilt, tmp_path):
    out = tmp_path / "run"
    with pytest.raises(
        TrainingError,
        match=r"2 records cannot be taught \(picture: 2\), and data.skip_bad allows 1",
    ):
        train(
            recipe="otter_tiny",
            dataset=spoilt,
            out=out,
            overrides=overrides(**{"data.skip_bad": 1}),
        )
    assert len(skipped_of(out)) == 2


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_stopped_run_leaves_out_the_same(spoilt, tmp_path, workers):
    settings = {"data.skip_bad": 2, "data.workers": workers}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(recipe="otter_tiny", dataset=spoilt, out=whole, overrides=overrides(**settings))
    for step in (1, 4):
        with pytest.raises(KeyboardInterrupt):
            train(
                recipe="otter_tiny",
                dataset=spoilt,
                out=stopped,
                overrides=overrides(**settings),
                progress=StopAfter(step),
            )
    # As a killed process may have left it: steps that were not saved, and half of a line.
    with (stopped / "skipped.jsonl").open("a") as file:
        file.write('{"step": 5, "id": "LA_INS_7", "reason": "x", "why": ""}\n{"step": 6, "i')
    train(recipe="otter_tiny", dataset=spoilt, out=stopped, overrides=overrides(**settings))
    assert losses(stopped) == losses(whole)
    assert skipped_of(stopped) == skipped_of(whole)


PROGRAM = """
import json, os, sys
import trainer, torch
torch.set_num_threads(1)
from pathlib import Path
from trainer.errors import TrainingError
from trainer.train import train
for out, overrides in json.loads(sys.argv[2]).items():
    try:
        train(recipe="otter_tiny", dataset=Path(sys.argv[1]), out=Path(out), overrides=overrides)
        print("learned", flush=True)
    except TrainingError as error:
        print(error, flush=True)
os._exit(0)
"""


def test_several_processes_leave_out_the_same_and_stop_together(spoilt, tmp_path):
    settings = {
        str(tmp_path / f"two-{allowed}"): overrides(
            **{"data.skip_bad": allowed, "run.micro_batch_size": 3}
        )
        for allowed in (2, 1)
    }
    codes, told = processes.start(
        2, tmp_path, ["-c", PROGRAM, str(spoilt), json.dumps(settings)], limit=120
    )
    # One of them tells; the other leaves, and that at once.
    assert codes in ([0, 0], [0, 1]), told
    assert [said.count("learned\n") for said in told] == [1, 1]
    assert told[0].count("2 records cannot be taught") == 1
    for out in settings:
        assert sorted(row["id"] for row in skipped_of(Path(out))) == list(BAD)
    out, same = next(iter(settings.items()))
    train(recipe="otter_tiny", dataset=spoilt, out=tmp_path / "one", overrides=same)
    assert losses(Path(out)) == pytest.approx(losses(tmp_path / "one"), rel=1e-4)


def test_a_dataset_of_bad_records_alone_is_said(tmp_path, spoilt):
    mix = open_mix(Data(where="id = 'LA_INS_0'"), spoilt)
    processor = otter_processor(mix.parts[0].source.snapshot, image_size=16)
    examples = Examples(mix, OtterEncoder(processor, Data(max_tokens=64)))
    with pytest.raises(TrainingError, match="none of 1 records can be taught"):
        _ = examples[FILLER]


def test_each_reason_has_a_name(tmp_path):
    store = Store.open(tmp_path / "dataset", create=True)
    png = io.BytesIO()
    from PIL import Image

    Image.new("RGB", (8, 8)).save(png, "PNG")
    store.add_images([measure(png.getvalue(), id="LA_IMG_0", name="it")])
    asked = ["Right?", "<image> <image>?", "word " * 200 + "<image>?"]
    store.add([
        Instruction(id=f"LA_INS_{n}", task="t", instruction=text, answer="Yes.", image_ids=("LA_IMG_0",))
        for n, text in enumerate(asked)
    ])  # fmt: skip
    mix = open_mix(Data(pictures="media", skip_bad=3), store.path)
    processor = otter_processor(mix.parts[0].source.snapshot, image_size=16)
    tell = Told(Examples(mix, OtterEncoder(processor, Data(max_tokens=32))), skips=True)
    found = [tell[n] for n in range(3)]
    assert [getattr(one, "reason", None) for one in found] == [None, "marks and pictures", "length"]


def test_a_torn_list_is_read(tmp_path):
    path = tmp_path / "skipped.jsonl"
    path.write_text('{"step": 1, "id": "a", "reason": "r", "why": "w"}\n{"step": 2, "i')
    assert [row["id"] for row in report.keep_up_to(path, 5)] == ["a"]
