"""Several processes learn what one learns, however the work is shared between them."""

import math
import shutil

import pytest

torch = pytest.importorskip("torch")

from trainer.train import train  # noqa: E402

from .conftest import SMALL  # noqa: E402
from .processes import logged, losses, one, together  # noqa: E402

torch.set_num_threads(1)

STEPS = [*SMALL, "run.steps=12", "run.micro_batch_size=1"]
"""Seven records, four a step: every second step is short, and one process then has a forward that teaches nothing."""
PACKED = ["data.max_tokens=64", "data.max_row_tokens=64", "run.micro_batch_size=4"]
HALF = ["run.precision=bf16", "run.steps=6"]
MASKED = ["data.max_tokens=16", "run.steps=6"]
"""So few tokens that only the shortest question leaves room for an answer: most forwards of a process teach nothing."""
SPOILT = ["run.steps=6", "run.micro_batch_size=2", "optim.max_bad_steps=2"]
"""A forward a step on each process."""
GRADIENTS = [
    *SMALL,
    "run.steps=1",
    "run.save_every=1",
    "run.batch_size=7",
    "run.micro_batch_size=7",
    "optim.max_grad_norm=1e9",
]


def alone(dataset, out, *overrides, **options):
    train(recipe="otter_tiny", dataset=dataset, out=out, overrides=overrides, **options)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def single(dataset, folder):
    """What one process learns."""
    alone(dataset, folder / "padded", *STEPS)
    alone(dataset, folder / "packed", *STEPS, *PACKED)
    alone(dataset, folder / "bf16", *STEPS, *HALF)
    alone(dataset, folder / "gradients", *GRADIENTS)
    alone(dataset, folder / "masked", *STEPS, *MASKED)
    return folder


@pytest.fixture(scope="module")
def broken(dataset, folder):
    """The dataset with a picture that cannot be read."""
    copied = folder / "dataset"
    shutil.copytree(dataset, copied)
    (shard,) = (copied / "images").iterdir()
    shard.write_bytes(shard.read_bytes().replace(b"\x89PNG", b"\x89PIG", 1))
    return copied


@pytest.fixture(scope="module")
def two(dataset, broken, single):
    """The same with two processes."""
    folder = single / "two"
    runs = []
    for way in ("ddp", "fsdp2"):
        to, way = folder / way, f"run.strategy={way}"
        runs += [
            one(dataset, to / "padded", *STEPS, way),
            one(dataset, to / "packed", *STEPS, *PACKED, way),
            one(dataset, to / "bf16", *STEPS, *HALF, way),
            one(dataset, to / "gradients", *GRADIENTS, "run.micro_batch_size=2", way),
            one(dataset, to / "halves", *STEPS, way, stop=5, copy=to / "cut"),
            one(dataset, to / "halves", *STEPS, way),
            one(dataset, to / "masked", *STEPS, *MASKED, way),
            one(dataset, to / "spoilt", *STEPS, *SPOILT, way, spoil=[2, 3, 5]),
            one(dataset, to / "hopeless", *STEPS, *SPOILT, way, spoil=range(3, 99), fails=True),
            one(dataset, to / "mute", *STEPS, "data.max_tokens=8", way, fails=True),
            one(broken, to / "broken", *STEPS, way, fails=True),
        ]
    together(2, folder, runs)
    return folder


@pytest.fixture(scope="module")
def three(dataset, two):
    """What three processes make of it, and of runs that two began."""
    folder = two.parent / "three"
    runs = []
    for way in ("ddp", "fsdp2"):
        shutil.copytree(two / way / "cut", folder / way / "cut", symlinks=True)
        runs += [
            one(dataset, folder / way / "gradients", *GRADIENTS, f"run.strategy={way}"),
            one(dataset, folder / way / "cut", *STEPS, f"run.strategy={way}"),
        ]
    together(3, folder, runs)
    return folder


def gradients(out):
    """Return the gradients of a run's first step, by name: AdamW's first average of them is a tenth."""
    path = out / "checkpoints" / "step-000001" / "training.pt"
    averages = torch.load(path, weights_only=True)["optimizer"]["averages"]
    return {name: held["exp_avg"] / (1 - 0.9) for name, held in averages.items()}


def are_close(some, others, *, atol):
    assert some.keys() == others.keys()
    for name, one_of_them in some.items():
        torch.testing.assert_close(others[name], one_of_them, atol=atol, rtol=1e-5, msg=name)


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_two_processes_learn_what_one_learns(single, two, way, layout):
    """The golden step log: loss, gradient norm, taught tokens, tokens and pictures of twelve steps."""
    ours, theirs = logged(single / layout), logged(two / way / layout)

    assert len(ours) == len(theirs) == 12
    for mine, other in zip(ours, theirs, strict=True):
        assert other["loss"] == pytest.approx(mine["loss"], abs=2e-5)
        assert other["grad_norm"] == pytest.approx(mine["grad_norm"], rel=1e-3)
        for exact in ("taught", "tokens", "pictures", "lr"):
            assert other[exact] == mine[exact], exact
        assert 0 <= other["waited"] <= 1


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
def test_two_processes_learn_the_same_in_16_bits(single, two, way):
    half = losses(single / "bf16")

    assert half != losses(single / "padded")
    assert losses(two / way / "bf16") == pytest.approx(half, abs=0.02)


@pytest.mark.parametrize("micro", [4, 2, 1])
def test_micro_batches_do_not_change_gradients(dataset, single, tmp_path, micro):
    alone(dataset, tmp_path / "run", *GRADIENTS, f"run.micro_batch_size={micro}")

    are_close(gradients(single / "gradients"), gradients(tmp_path / "run"), atol=1e-6)


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
@pytest.mark.parametrize("processes", ["two", "three"])
def test_the_number_of_processes_does_not_change_gradients(single, request, processes, way):
    """Seven records of different lengths: each process has another number of taught tokens, and one has a filler."""
    folder = request.getfixturevalue(processes)

    are_close(gradients(single / "gradients"), gradients(folder / way / "gradients"), atol=1e-6)


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
def test_a_saved_model_does_not_show_which_strategy_wrote_it(single, two, way):
    from trainer.models.otter import Otter

    one_of_one, of_two = (
        Otter.from_pretrained(path / "model", output_loading_info=True)
        for path in (single / "padded", two / way / "padded")
    )

    assert not of_two[1]["missing_keys"]
    assert not of_two[1]["unexpected_keys"]
    are_close(one_of_one[0].state_dict(), of_two[0].state_dict(), atol=2e-4)
    ids = torch.tensor([[1, 5, 7, 9]])
    with torch.no_grad():
        ours, theirs = (model(input_ids=ids).logits for model, _ in (one_of_one, of_two))
    torch.testing.assert_close(theirs, ours, atol=2e-3, rtol=0)
    names = [
        sorted(file.relative_to(path).as_posix() for file in (path / "model").rglob("*"))
        for path in (single / "padded", two / way / "padded")
    ]
    assert names[0] == names[1]


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
def test_as_many_processes_resume_bit_for_bit(two, way):
    assert losses(two / way / "halves") == losses(two / way / "padded")


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
def test_one_process_resumes_what_two_began(dataset, two, tmp_path, way):
    shutil.copytree(two / way / "cut", tmp_path / "cut", symlinks=True)
    assert len(losses(tmp_path / "cut")) == 5

    alone(dataset, tmp_path / "cut", *STEPS, f"run.strategy={way}", resume=True)

    assert losses(tmp_path / "cut") == pytest.approx(losses(two / way / "padded"), abs=1e-5)


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
def test_three_processes_resume_what_two_began(two, three, way):
    assert "continuing at step 6" in (three / way / "cut" / "said.txt").read_text()
    assert losses(three / way / "cut") == pytest.approx(losses(two / way / "padded"), abs=1e-5)


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
def test_forwards_without_a_taught_token_teach_nothing_and_spoil_nothing(single, two, way):
    """T6: their loss is 0 and not NaN, and the other process does not wait for their gradients."""
    ours, theirs, full = (logged(path) for path in (single / "masked", two / way / "masked", single / "padded"))  # fmt: skip

    assert all(0 < mine["taught"] < all_of_them["taught"] for mine, all_of_them in zip(ours, full, strict=False))  # fmt: skip
    for mine, other in zip(ours, theirs, strict=True):
        assert other["taught"] == mine["taught"]
        assert other["loss"] == pytest.approx(mine["loss"], abs=2e-5)
        assert other["grad_norm"] == pytest.approx(mine["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
def test_a_gradient_that_one_process_spoils_moves_no_weight_on_any(two, way):
    from trainer.models.otter import Otter

    out = two / way / "spoilt"

    assert [step["step"] for step in logged(out) if step["grad_norm"] is None] == [2, 3, 5]
    assert all(math.isfinite(loss) for loss in losses(out))
    assert (out / "said.txt").read_text().count("no weight moved; its records: LA_INS_") == 3
    weights = Otter.from_pretrained(out / "model").state_dict().values()
    assert all(bool(weight.isfinite().all()) for weight in weights)


@pytest.mark.parametrize("way", ["ddp", "fsdp2"])
@pytest.mark.parametrize(
    ("run", "told"),
    [
        ("broken", "a picture of record 'LA_INS_"),
        ("mute", "no answer of 7 records begins within data.max_tokens = 8"),
        ("hopeless", "the gradient of step 5 is not finite, as of the 2 steps before"),
    ],
)
def test_what_stops_all_is_told_by_the_first(two, way, run, told):
    assert (two / way / run / "told0.txt").read_text().count(told) == 1
    assert (two / way / run / "told1.txt").read_text() == ""
