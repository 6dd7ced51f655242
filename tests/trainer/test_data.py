import io
import pickle
from functools import partial
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402
from hypothesis import HealthCheck, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from mimicit.errors import PictureError  # noqa: E402
from mimicit.media.picture import decode  # noqa: E402
from mimicit.snapshot import freeze  # noqa: E402
from mimicit.store import Store  # noqa: E402
from trainer.batch import Example, collate, scaled  # noqa: E402
from trainer.encode import encode  # noqa: E402
from trainer.errors import TrainingError  # noqa: E402
from trainer.models.loss import IGNORED  # noqa: E402
from trainer.models.otter_processor import CLIP_STD, OtterProcessor, Turn  # noqa: E402
from trainer.plan import FILLER, MicroBatches, Plan  # noqa: E402

from .lessons import lessons_of, otter_processor  # noqa: E402

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


@pytest.fixture(scope="module")
def album(tmp_path_factory, photos):
    """Records of photographs as JPEG and PNG: of one, of two, of none."""
    from PIL import Image

    from mimicit.media.picture import measure
    from mimicit.schema import Instruction

    store = Store.open(tmp_path_factory.mktemp("album") / "dataset", create=True)
    pictures = []
    for number, path in enumerate(sorted(photos.iterdir())):
        encoded = io.BytesIO()
        with Image.open(path) as image:
            image.convert("RGB").save(encoded, "PNG" if number % 4 == 3 else "JPEG")
        pictures.append(measure(encoded.getvalue(), id=f"LA_IMG_{number}", name=path.name))
    store.add_images(pictures)
    shown = [[n] for n in range(len(pictures))] + [[0, 1], [2, 3], []]
    records = [
        Instruction(
            id=f"LA_INS_{number:03d}",
            task="album",
            instruction="What is it?",
            answer=f"It is number {number}.",
            image_ids=tuple(f"LA_IMG_{n}" for n in numbers),
        )
        for number, numbers in enumerate(shown)
    ]
    store.add(records)
    return freeze(store)


@pytest.fixture(scope="module")
def processor(album):
    return otter_processor(album, image_size=64)


def floats(example):
    """Return pixels_NFCHW as the model takes them."""
    return scaled(example.pixels_NFCHW, example.scale)


def examples_of(album, processor, **options):
    return lessons_of(album, processor, max_tokens=64, **options)


def by_pillow(album, processor, index):
    """Return a record's pixels as a user's own picture gets them."""
    pictures = [decode(album.read(place), name="it") for place in album[index].pictures]
    return torch.stack([processor.pixels(picture) for picture in pictures])[None]


def test_teaching_and_asking_see_the_same_picture(album, processor):
    good, exact = (examples_of(album, processor, decode=way) for way in ("good", "exact"))
    step = (1 / 255 / torch.tensor(CLIP_STD).view(3, 1, 1)) * 1.0001
    differ = 0
    for index in range(len(album) - 1):
        expected = by_pillow(album, processor, index)
        assert torch.equal(floats(exact[index].example), expected)
        off = (floats(good[index].example) - expected).abs()
        assert (off <= step).all()
        differ += bool(off.any())
    assert differ, "the fast way was not taken"


def test_pictures_whose_middle_is_taken_are_taught_as_they_are_asked_about(album):
    tokenizer = otter_processor(album).tokenizer
    crop, squash = (
        OtterProcessor(tokenizer, image_size=64, geometry=geometry)
        for geometry in ("crop", "squash")
    )
    differ = 0
    for index in range(len(album) - 1):
        taught = floats(examples_of(album, crop)[index].example)
        assert torch.equal(taught, by_pillow(album, crop, index))
        differ += not torch.equal(taught, by_pillow(album, squash, index))
    assert differ


def test_pixels_are_what_the_published_formula_gives(processor):
    """To the bit: what a model was taught with yesterday is what it is asked with today."""
    from PIL import Image

    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mean = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
    std = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)
    expected = ((values.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)
    assert np.array_equal(processor.pixels(Image.fromarray(values)).numpy(), expected)


def test_what_is_kept_of_a_picture_changes_no_bit_and_is_a_quarter(album, processor):
    bytes_of_one = 3 * 64 * 64
    plain = examples_of(album, processor)
    keeping = examples_of(album, processor, cache_bytes=5 * bytes_of_one)
    for _ in range(2):
        for index in range(len(album)):
            pixels = keeping[index].example.pixels_NFCHW
            assert torch.equal(pixels, plain[index].example.pixels_NFCHW)
            pixels.zero_()  # what a caller does with it is no matter of the next one
    assert len(keeping._cache) == 5
    assert sum(kept.untyped_storage().nbytes() for kept in keeping._cache.values()) == (
        5 * bytes_of_one
    )
    assert plain._cache == {}


def collated(lessons, *, pad):
    return collate([lesson.example for lesson in lessons], pad=pad)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_workers_read_the_same_whether_forked_or_spawned(album, processor, method):
    plan = Plan(len(album), batch_size=4, micro_batch_size=2, seed=0)
    examples = examples_of(album, processor, cache_bytes=1 << 20)
    sampler = MicroBatches(plan, 0, 2 * plan.steps_per_epoch)
    alone, together = (
        list(DataLoader(
            examples,
            batch_sampler=sampler,
            collate_fn=partial(collated, pad=processor.pad_id),
            num_workers=workers,
            multiprocessing_context=method if workers else None,
        ))
        for workers in (0, 2 if method == "fork" else 1)
    )  # fmt: skip
    assert len(alone) == len(list(sampler))
    for one, other in zip(alone, together, strict=True):
        assert one.record_ids == other.record_ids
        assert torch.equal(one.ids_BT, other.ids_BT)
        assert torch.equal(one.pixels_BNFCHW, other.pixels_BNFCHW)


def test_a_snapshot_travels_as_a_name(album, processor):
    """A spawned worker gets neither the rows nor the pictures that were kept."""
    examples = examples_of(album, processor, cache_bytes=1 << 20)
    bare = len(pickle.dumps(examples))
    assert len(pickle.dumps(album)) < 1_000
    for index in range(len(album)):
        _ = examples[index]
    assert examples._cache
    sent = pickle.dumps(examples)
    assert len(sent) < bare + 1_000
    with pickle.loads(sent).mix.parts[0].source.snapshot as there:
        assert there[3] == album[3]


class Weighed(torch.utils.data.Dataset):
    """Examples, and in their place what memory is the reading process's own."""

    def __init__(self, examples):
        self.examples = examples

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, number):
        _ = self.examples[number]
        if number % 100 != 99:  # looking takes milliseconds
            return 0
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Private_"))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_worker_takes_no_more_memory_as_it_goes_on(tmp_path, processor):
    """Each picture takes 12 kB of it, so all that it meets would be 24 MB, and its cache holds one."""
    from PIL import Image

    from mimicit.media.picture import measure
    from mimicit.schema import Instruction

    store = Store.open(tmp_path / "dataset", create=True)
    data = io.BytesIO()
    Image.new("RGB", (64, 64), (3, 4, 5)).save(data, "PNG")
    count = 2_000
    with store.writing("test"):
        picture = measure(data.getvalue(), id="LA_IMG_0", name="it")
        ids = [f"LA_IMG_{n}" for n in range(count)]
        store.add_images([picture.model_copy(update={"id": id_}) for id_ in ids])
        store.add([
            Instruction(id=f"LA_INS_{n:04d}", task="t", instruction="What?", answer="It.", image_ids=(id_,))
            for n, id_ in enumerate(ids)
        ])  # fmt: skip
    examples = examples_of(freeze(store), processor, cache_bytes=1 << 20)
    loader = DataLoader(Weighed(examples), batch_size=100, num_workers=1, collate_fn=max)
    own = list(loader)
    assert own[-1] - own[3] < 8 << 20


def bytes_of(seed, *, frames=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (frames, 3, 64, 64), dtype=torch.uint8, generator=generator)


def test_pictures_are_the_frames_of_one_medium_or_media_of_their_own(album, processor):
    two = len(album) - 2
    frames = examples_of(album, processor)[two].example
    media = examples_of(album, processor, pictures="media")[two].example

    assert (frames.pixels_NFCHW.shape[:2], frames.ids_T.count(processor.image_id)) == ((1, 2), 1)
    assert (media.pixels_NFCHW.shape[:2], media.ids_T.count(processor.image_id)) == ((2, 1), 2)
    assert torch.equal(media.pixels_NFCHW[:, 0], frames.pixels_NFCHW[0])


def test_text_alone_has_no_media(album, processor):
    for pictures in ("frames", "media"):
        alone = examples_of(album, processor, pictures=pictures)[len(album) - 1].example
        assert alone.pixels_NFCHW.shape == (0, 1, 3, 64, 64)
        assert processor.image_id not in alone.ids_T


def test_a_number_of_media_has_no_limit_where_frames_have_one(album, processor):
    two = len(album) - 2
    options = {"max_tokens": 64, "max_frames": 1}

    with pytest.raises(PictureError, match=rf"record '{album[two].id}' has 2 pictures"):
        lessons_of(album, processor, **options)[two]
    assert (
        len(lessons_of(album, processor, **options, pictures="media")[two].example.pixels_NFCHW)
        == 2
    )


def test_several_turns_show_their_own_media(processor):
    turns = [
        Turn("What is it?", "A cat.", [bytes_of(1)]),
        Turn("And then?", "It sleeps."),
        Turn("And here?", "It runs.", [bytes_of(2, frames=3), bytes_of(3)]),
    ]
    example = encode("r", turns, processor, max_tokens=400)

    shown = "<image>User:What is it? GPT:<answer>A cat.<|endofchunk|>User:And then? GPT:<answer>It sleeps.<|endofchunk|>"
    last = "<image><image>User:And here? GPT:<answer>It runs.<|endofchunk|>"
    assert processor.tokenizer.decode(example.ids_T) == shown + last
    taught = [label for label in example.labels_T if label != IGNORED]
    assert processor.tokenizer.decode(taught) == (
        "A cat.<|endofchunk|>It sleeps.<|endofchunk|>It runs.<|endofchunk|>"
    )
    assert example.frames_N == (1, 3, 1)
    assert example.pixels_NFCHW.shape[:2] == (3, 3)
    assert torch.equal(example.pixels_NFCHW[1], bytes_of(2, frames=3))
    assert torch.equal(example.pixels_NFCHW[2, 0], bytes_of(3)[0])
    assert not example.pixels_NFCHW[2, 1:].any()


def test_a_question_says_where_its_media_stand(processor):
    turns = [
        Turn("Is <image> older than <image>?", "Yes.", [bytes_of(1), bytes_of(2)]),
        Turn("And this?", "No.", [bytes_of(3)]),
    ]
    example = encode("r", turns, processor, max_tokens=400, marked=True)

    text = "User:Is <image> older than <image>? GPT:<answer>Yes.<|endofchunk|><image>User:And this? GPT:<answer>No.<|endofchunk|>"
    assert processor.tokenizer.decode(example.ids_T) == text
    assert example.ids_T.count(processor.image_id) == 3


def test_characters_are_no_mark_where_pictures_are_frames(processor):
    turn = Turn("What does <image> mean?", "Nothing.", [bytes_of(1)])

    assert encode("r", [turn], processor, max_tokens=400).ids_T.count(processor.image_id) == 1


def test_marks_that_are_not_as_many_as_pictures_name_the_record(processor):
    turn = Turn("Is <image> older than <image>?", "Yes.", [bytes_of(1)])

    with pytest.raises(TrainingError, match=r"record 'r9' has 1 pictures, .* says <image> 2 times"):
        encode("r9", [turn], processor, max_tokens=400, marked=True)


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(cut=st.integers(1, 90), media=st.lists(st.integers(0, 2), min_size=1, max_size=3))
def test_a_cut_takes_no_mark_or_names_the_record(processor, cut, media):
    turns = [
        Turn(f"Number {n}?", "It is so.", [bytes_of(n)] * count) for n, count in enumerate(media)
    ]
    whole = encode("r", turns, processor, max_tokens=1000)
    marks = [at for at, token in enumerate(whole.ids_T) if token == processor.image_id]

    if marks and cut <= marks[-1]:
        with pytest.raises(
            TrainingError, match=rf"record 'r' shows .* token {marks[-1] + 1}, .* {cut};"
        ):
            encode("r", turns, processor, max_tokens=cut)
    else:
        example = encode("r", turns, processor, max_tokens=cut)
        assert example.ids_T == whole.ids_T[:cut]
        assert example.labels_T == whole.labels_T[:cut]
        assert example.ids_T.count(processor.image_id) == len(example.pixels_NFCHW) == sum(media)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_corrupt_picture_names_its_record(album, processor, monkeypatch, workers):
    whole = album.read(album[0].pictures[0])
    monkeypatch.setattr(album, "read", lambda _: whole[: len(whole) // 2])
    examples = examples_of(album, processor)
    loader = DataLoader(examples, batch_size=1, collate_fn=list, num_workers=workers)

    with pytest.raises(PictureError, match=rf"a picture of record '{album[0].id}' cannot be read"):
        next(iter(loader))
