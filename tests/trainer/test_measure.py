"""What a step costs: the same as counting each example anew, and in no time; seconds that add up."""

import time
from contextlib import suppress

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from tests.trainer.families import FAMILIES, make  # noqa: E402
from tests.trainer.families import batch as batch_of  # noqa: E402
from trainer import measure  # noqa: E402
from trainer.flops import Sample, step_flops  # noqa: E402
from trainer.measure import Clock, Cost, Meter, peak_memory  # noqa: E402
from trainer.trainable import choose, table  # noqa: E402

torch.set_num_threads(1)
CPU = torch.device("cpu")


def samples_of(draw, *, frames, patches):
    tokens = draw(st.integers(1, 4000))
    media = tuple(draw(st.lists(st.integers(1, frames), max_size=4)))
    looking = draw(st.none() | st.integers(0, tokens)) if media else None
    taught = draw(st.none() | st.integers(0, tokens))
    return Sample(tokens, taught, media, draw(st.integers(0, patches)), looking)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return request.param, make(request.param)


@pytest.mark.parametrize(
    "parts", [("all",), ("perceiver", "gates", "embeddings"), ("language",)], ids=" ".join
)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_cost_is_what_counting_each_example_gives(model, parts, data):
    name, one = model
    if name == "fuyu" and "perceiver" in parts:
        parts = ("embeddings",)
    if name == "idefics" and "embeddings" in parts:
        parts = ("perceiver", "gates")
    choose(one, parts)
    is_fuyu = name == "fuyu"
    frames, patches = (1, 500) if is_fuyu else (1 if name == "idefics" else 3, 0)
    samples = [samples_of(data.draw, frames=frames, patches=patches) for _ in range(2)]
    if is_fuyu:
        samples = [Sample(one.tokens, one.taught, (), one.patches) for one in samples]
    assert Cost(one).of(samples) == pytest.approx(step_flops(one, samples).step, rel=1e-9)


def test_layers_that_see_a_window_only_cost_less_beyond_it():
    """Gemma 3 has layers with a window and layers without."""
    model = make("gemma3")
    window = model.config.get_text_config().sliding_window
    assert window
    for tokens in (1, window - 1, window, window + 1, 3 * window, 5000):
        samples = [Sample(tokens, 3)]
        assert Cost(model).of(samples) == pytest.approx(step_flops(model, samples).step, rel=1e-9)


def test_asking_for_a_cost_takes_a_small_part_of_counting_it():
    """64 samples of lengths never seen before. The ratio on one thread of one process; in microseconds it is about 50."""
    model = make("llama")
    cost = Cost(model)
    samples = [Sample(100 + n, 20 + n, (1,), looking=50) for n in range(64)]

    def least(do, times):
        taken = []
        for _ in range(times):
            began = time.perf_counter()
            do()
            taken.append(time.perf_counter() - began)
        return min(taken)

    counted = least(lambda: [step_flops(model, [one]) for one in samples], 3)
    assert least(lambda: cost.of(samples), 20) < counted / 100


def test_a_model_without_layers_has_no_cost_and_says_so():
    from torch import nn

    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(3, 4)

        def get_input_embeddings(self):
            return self.embedding

    meter = Meter(Flat(), CPU, "no", 1)
    assert "no list of layers" in meter.why_no_mfu
    assert meter.counts([])["flops"] == 0
    assert meter.mfu(0.0, 1.0) is None


@pytest.mark.parametrize(
    ("name", "precision", "mfu", "why"),
    [
        ("NVIDIA H200", "bf16", 0.5, None),
        ("NVIDIA H200", "no", None, "the peak in 32 bits depends on settings"),
        ("Riddle 9000", "bf16", None, "unknown GPU: Riddle 9000"),
    ],
)
def test_mfu_is_told_only_where_the_peak_is_known(monkeypatch, name, precision, mfu, why):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    meter = Meter(make("llama"), torch.device("cuda"), precision, 4)
    assert meter.why_no_mfu == why
    assert meter.mfu(4 * 989e12, 2.0) == mfu
    assert (meter.peak is None) == (mfu is None)


@pytest.mark.parametrize(("device", "times"), [("cuda", 1), ("cpu", 0)])
def test_a_run_on_a_gpu_whose_peak_is_not_known_says_so_when_it_begins(tmp_path, device, times):
    from types import SimpleNamespace

    from trainer.telling import Telling

    said = []
    accelerator = SimpleNamespace(is_main_process=False, device=torch.device(device))
    report = SimpleNamespace(every=0)
    run = SimpleNamespace(
        accelerator=accelerator, log=[], start=0, say=said.append, config=SimpleNamespace(report=report)
    )  # fmt: skip
    folder = SimpleNamespace(log=tmp_path / "log.jsonl", curve=tmp_path / "loss.png")
    telling = Telling(run, folder, None, SimpleNamespace(), Clock())
    mix = type("Mix", (), {"__len__": lambda self: 7, "notes": ()})()
    model = make("llama")
    telling.begin(mix, table(model), why_no_mfu="unknown GPU: Riddle 9000")
    assert said.count("without MFU: unknown GPU: Riddle 9000") == times


def test_on_a_cpu_there_is_no_mfu():
    meter = Meter(make("llama"), CPU, "no", 1)
    assert meter.mfu(1e12, 1.0) is None
    assert meter.why_no_mfu == "the peak of this CPU is not known"


def test_rows_that_fill_up_a_device_cost_nothing():
    from dataclasses import replace

    from trainer.rows import TensorRows

    rows = TensorRows(
        record_ids=("a",), taught=3, tokens=12, samples=(Sample(12, 3),), given=batch_of("llama")
    )
    meter = Meter(make("llama"), CPU, "no", 1)
    once = meter.counts([rows])["flops"]
    assert once > 0
    assert meter.counts([rows, rows.untaught()])["flops"] == once
    assert meter.counts([rows, replace(rows)])["flops"] == 2 * once


def test_seconds_of_steps_and_what_was_done_aside_are_all_the_time_there_was(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    clock = Clock()
    now[0] += 2
    assert clock.lap() == (2.0, {})
    with clock.aside("evaluating"):
        now[0] += 5
    now[0] += 1
    with clock.aside("saving"):
        now[0] += 3
    with suppress(ValueError), clock.aside("saving"):
        now[0] += 0.5
        raise ValueError
    now[0] += 1
    assert clock.lap() == (2.0, {"evaluating": 5.0, "saving": 3.5})
    assert clock.lap()[0] > 0, "never nothing: it is divided by"


def test_memory_is_the_peak_and_not_what_is_there_now():
    before = peak_memory(CPU)
    block = bytearray(200 << 20)
    block[::4096] = b"x" * len(block[::4096])
    high = peak_memory(CPU)
    assert high >= before
    assert high > 200 << 20
    del block
    # The kernel counts in a lump now and then.
    assert peak_memory(CPU) > high - (8 << 20)
