"""Batches are made by a thread beside the model, which leaves with the run, however that ends."""

import multiprocessing
import threading
import time
from statistics import median

import pytest

torch = pytest.importorskip("torch")

import trainer.ahead  # noqa: E402
import trainer.build  # noqa: E402
import trainer.train  # noqa: E402
from mimicit.errors import PictureError  # noqa: E402
from tests.trainer.stopping import StopAfter  # noqa: E402
from trainer.ahead import Ahead  # noqa: E402
from trainer.data import Examples  # noqa: E402
from trainer.objectives.answers import Answers  # noqa: E402

from .runs import log_of, run  # noqa: E402

torch.set_num_threads(1)


def test_items_come_in_their_order():
    with Ahead(iter(range(100))) as items:
        assert list(items) == list(range(100))


def test_what_is_raised_comes_in_its_place():
    def items():
        yield 1
        raise ValueError("the second one")

    with Ahead(items()) as ahead:
        assert next(ahead) == 1
        with pytest.raises(ValueError, match="the second one"):
            next(ahead)
        with pytest.raises(StopIteration):
            next(ahead)


def test_no_more_is_made_than_was_allowed():
    made = []

    def items():
        for number in range(50):
            made.append(number)
            yield number

    with Ahead(items(), most=2) as ahead:
        assert next(ahead) == 0
        time.sleep(0.1)
        # One was taken, two wait, and one is in the thread's hand.
        assert len(made) <= 4


@pytest.mark.parametrize("most", [1, 2])
def test_leaving_early_closes_the_items_and_ends_the_thread(most):
    closed = threading.Event()

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.set()

    before = threading.active_count()
    for _ in range(20):
        closed.clear()
        with Ahead(items(), most=most) as ahead:
            next(ahead)
        assert threading.active_count() == before
        assert closed.is_set()
    with pytest.raises(StopIteration):
        next(ahead)


def test_an_item_that_never_comes_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr(trainer.ahead, "PATIENCE", 0.1)
    comes = threading.Event()

    def items():
        yield 0
        comes.wait()

    with Ahead(items()) as ahead:
        assert next(ahead) == 0
    comes.set()


# In a run


@pytest.fixture
def makers(monkeypatch):
    """Names of the threads that make examples."""
    names = set()
    made = Examples.__getitem__

    def noting(self, number):
        names.add(threading.current_thread().name)
        return made(self, number)

    monkeypatch.setattr(Examples, "__getitem__", noting)
    return names


@pytest.mark.parametrize("end", ["the last step", "a low loss", "Ctrl-C", "a record", "the model"])
def test_the_thread_leaves_with_the_run(dataset, tmp_path, monkeypatch, makers, end):
    settings, progress = {"a low loss": "run.stop_below=99"}.get(end, "run.steps=6"), None
    if end == "Ctrl-C":
        progress = StopAfter(2)
    if end == "a record":
        met = []

        def picture(*_, **__):
            met.append(1)
            if len(met) > 9:
                raise PictureError("the tenth picture")
            return torch.zeros(3, 16, 16, dtype=torch.uint8)

        monkeypatch.setattr("trainer.families.otter.OtterEncoder.picture", picture)
        settings = "data.picture_cache_mb=0"
    if end == "the model":
        monkeypatch.setattr(Answers, "loss", lambda *_, **__: 1 / 0)

    wanted = {"Ctrl-C": KeyboardInterrupt, "a record": PictureError, "the model": ZeroDivisionError}
    if end in wanted:
        with pytest.raises(wanted[end]):
            run(dataset, tmp_path / "run", settings, progress=progress)
    else:
        run(dataset, tmp_path / "run", settings)

    assert makers == {"ahead"}
    assert "ahead" not in {thread.name for thread in threading.enumerate()}
    if end == "a record":
        # Steps of 4, 3, 4 and 3 records: what came before the tenth was learned.
        assert len(log_of(tmp_path / "run")) == 2


def test_the_model_does_not_wait_for_what_can_be_made_beside_it(dataset, tmp_path, monkeypatch):
    made, loss = Examples.__getitem__, Answers.loss

    def slowly(self, number):
        time.sleep(0.03)
        return made(self, number)

    def working(self, model, rows, *, whole):
        time.sleep(0.2)  # as a GPU would, which asks nothing of the interpreter
        return loss(self, model, rows, whole=whole)

    monkeypatch.setattr(Examples, "__getitem__", slowly)
    monkeypatch.setattr(Answers, "loss", working)
    run(dataset, tmp_path / "run")

    assert median(entry["waited"] for entry in log_of(tmp_path / "run")[1:]) < 0.15


def test_worker_processes_begin_before_the_thread(dataset, tmp_path, monkeypatch):
    seen, enter = [], Ahead.__enter__

    def entering(self):
        names = {thread.name for thread in threading.enumerate()}
        seen.append((len(multiprocessing.active_children()), "ahead" in names))
        return enter(self)

    monkeypatch.setattr(Ahead, "__enter__", entering)
    run(dataset, tmp_path / "run", "data.workers=2", "run.steps=2")

    assert seen == [(2, False)]
    assert not multiprocessing.active_children()


def test_the_thread_has_a_tokenizer_of_its_own(dataset, tmp_path, monkeypatch):
    """What is asked meanwhile is laid out by the run's, which is set before each text to take special tokens for text or not."""
    tokenizers, make = [], trainer.build.Examples

    def noting(mix, encoder, **options):
        tokenizers.append(encoder.processor.tokenizer)
        return make(mix, encoder, **options)

    encoders, of_run = [], trainer.train.make_encoder

    def making(*given):
        encoders.append(of_run(*given))
        return encoders[-1]

    monkeypatch.setattr(trainer.build, "Examples", noting)
    monkeypatch.setattr(trainer.train, "make_encoder", making)
    run(dataset, tmp_path / "run", "run.steps=1")

    [mine], [its] = tokenizers, encoders
    assert mine._tokenizer is not its.processor.tokenizer._tokenizer
    assert mine.get_vocab() == its.processor.tokenizer.get_vocab()
