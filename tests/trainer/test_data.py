import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from trainer.batch import Example, collate  # noqa: E402
from trainer.data import FILLER, MicroBatches, Plan  # noqa: E402
from trainer.masking import IGNORED  # noqa: E402

torch.set_num_threads(1)
small = st.integers(min_value=1, max_value=9)


@given(records=st.integers(1, 40), batch=small, micro=small, world=small, seed=st.integers(0, 3))
def test_each_epoch_meets_every_record_once_on_any_number_of_devices(
    records, batch, micro, world, seed
):
    plans = [Plan(records, batch, micro, seed, rank, world) for rank in range(world)]

    for epoch in range(2):
        steps = range(epoch * plans[0].steps_per_epoch, (epoch + 1) * plans[0].steps_per_epoch)
        parts = [[plan.micro_batches(step) for step in steps] for plan in plans]
        met = [i for device in parts for step in device for forward in step for i in forward]
        assert sorted(i for i in met if i != FILLER) == list(range(records))
        # Devices wait for each other, so each must do as many forwards as the others.
        assert (
            len({str([[len(forward) for forward in step] for step in part]) for part in parts}) == 1
        )


def test_epochs_have_orders_of_their_own_that_a_seed_repeats():
    plan = Plan(records=20, batch_size=20, micro_batch_size=20, seed=1)

    assert plan.step(0) != plan.step(1)
    assert plan.step(1) == Plan(20, 20, 20, seed=1).step(1)
    assert plan.step(0) != Plan(20, 20, 20, seed=2).step(0)


def test_a_run_resumes_in_the_middle_of_an_epoch():
    plan = Plan(records=10, batch_size=3, micro_batch_size=2, seed=0)

    whole = list(MicroBatches(plan, 0, 9))
    assert list(MicroBatches(plan, 5, 9)) == whole[-len(list(MicroBatches(plan, 5, 9))) :]
    assert list(MicroBatches(plan, 0, 5)) + list(MicroBatches(plan, 5, 9)) == whole


def example(length, *, frames=1):
    labels = [IGNORED, *range(1, length)]
    return Example(f"r{length}", list(range(length)), labels, torch.ones(1, frames, 3, 4, 4))


def test_a_batch_is_padded_on_the_right_and_counts_what_it_teaches():
    batch = collate([example(3), example(5)], pad=99)

    assert batch.ids_BT.tolist() == [[0, 1, 2, 99, 99], [0, 1, 2, 3, 4]]
    assert batch.attention_BT.tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert batch.labels_BT[0].tolist() == [IGNORED, 1, 2, IGNORED, IGNORED]
    assert (batch.taught, batch.tokens) == (2 + 4, 3 + 5)
    assert batch.frame_mask_BNF is None


def test_a_batch_says_which_frames_only_fill_it_up():
    batch = collate([example(3), example(3, frames=2)], pad=0)

    assert batch.pixels_BNFCHW.shape == (2, 1, 2, 3, 4, 4)
    assert batch.frame_mask_BNF.tolist() == [[[True, False]], [[True, True]]]


def test_an_untaught_example_teaches_nothing():
    assert collate([example(4).untaught()], pad=0).taught == 0
