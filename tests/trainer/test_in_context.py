"""Examples in context show their own pictures; conversations are one example; frames are evenly chosen."""

import io
import json
import pickle

import pytest

torch = pytest.importorskip("torch")

import numpy as np  # noqa: E402

from mimicit.errors import DatasetError, RecipeError  # noqa: E402
from mimicit.media.picture import measure  # noqa: E402
from mimicit.schema import Instruction, Verdict  # noqa: E402
from mimicit.snapshot import OWN, Snapshot, freeze  # noqa: E402
from mimicit.store import Store  # noqa: E402
from trainer.config import Data, Group  # noqa: E402
from trainer.data import Examples  # noqa: E402
from trainer.errors import TrainingError  # noqa: E402
from trainer.families.otter import OtterEncoder  # noqa: E402
from trainer.sources.mix import Mix, Part  # noqa: E402
from trainer.sources.opening import open_mix  # noqa: E402

from .lessons import otter_processor  # noqa: E402

torch.set_num_threads(1)
COLOURS = [(n * 30 % 256, 255 - n * 25, 128) for n in range(10)]


def png(number):
    from PIL import Image

    data = io.BytesIO()
    Image.new("RGB", (16, 16), COLOURS[number]).save(data, "PNG")
    return data.getvalue()


def record(number, **changes):
    values = {
        "id": f"LA_INS_{number}",
        "task": "la",
        "instruction": f"What is {number}?",
        "answer": f"It is {number}.",
        "image_ids": (f"LA_IMG_{number}",),
    }
    return Instruction(**values | changes)


def related(*numbers):
    return tuple(f"LA_INS_{n}" for n in numbers)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store.open(tmp_path_factory.mktemp("context") / "dataset", create=True)
    store.add_images([measure(png(n), id=f"LA_IMG_{n}", name=f"{n}.png") for n in range(10)])
    talk = {"conversation": "TALK_INS_a", "task": "talk"}
    both = {"image_ids": ("LA_IMG_7", "LA_IMG_8")}
    records = [
        record(0, rel_ins_ids=related(3, 99, 1, 0, 2)),
        record(1, rel_ins_ids=related(0)),
        record(2, image_ids=()),  # text alone
        record(3, image_ids=("LA_IMG_3", "LA_IMG_4"), rel_ins_ids=related(4)),
        record(4),
        record(5, id="TALK_INS_a_00", turn=0, instruction="First <image> and?", **talk, **both),
        record(6, id="TALK_INS_a_01", turn=1, instruction="Then?", **talk, **both),
        record(7, id="TALK_INS_a_02", turn=2, instruction="Last <image>?", **talk, **both),
        record(8, id="TALK_INS_b_00", conversation="TALK_INS_b", turn=0, task="talk"),
    ]
    store.add(records)
    return store


def opened(store, **settings):
    group = Group(**settings)
    return open_mix(Data(groups={"all": group}), store.path).parts[0].source


def pictures(said):
    return [[shown.read() for shown in clip] for clip in said.media]


def test_examples_come_in_their_order_with_their_own_pictures(store):
    source = opened(store, where="id = 'LA_INS_0'", in_context=8)

    assert len(source) == 1, "examples are not taught by themselves"
    conversation = source[0]
    assert conversation.id == "LA_INS_0"
    assert [turn.question for turn in conversation.turns] == [
        "What is 3?", "What is 1?", "What is 2?", "What is 0?",
    ]  # fmt: skip
    # A record that is not there and the record itself are passed over; text alone shows nothing.
    assert [pictures(turn) for turn in conversation.turns] == [
        [[png(3), png(4)]], [[png(1)]], [], [[png(0)]],
    ]  # fmt: skip
    assert source.snapshot.manifest["not_there"] == 1
    assert "1 names of examples in context are of no accepted record" in source.notes[0]


@pytest.mark.parametrize("most", [1, 2])
def test_there_are_at_most_so_many(store, most):
    turns = opened(store, where="id = 'LA_INS_0'", in_context=most)[0].turns
    wanted = ["What is 3?", "What is 1?"][:most]
    assert [turn.question for turn in turns] == [*wanted, "What is 0?"]


def test_an_example_may_be_learned_by_itself_too(store):
    source = opened(store, where="id IN ('LA_INS_0', 'LA_INS_1')", in_context=8)
    assert len(source) == 2
    assert source.snapshot.rows == 4
    assert [turn.answer for turn in source[1].turns] == ["It is 0.", "It is 1."]


def test_rejected_records_are_no_examples(tmp_path):
    store = Store.open(tmp_path / "dataset", create=True)
    store.add([record(0, image_ids=(), rel_ins_ids=related(1, 2))])
    store.add([record(n, image_ids=()) for n in (1, 2)])
    store.add_verdicts(
        [Verdict(record="LA_INS_1", filter="f", reason="no", recipe="r", recipe_digest="d")]
    )
    source = opened(store, where="id = 'LA_INS_0'", in_context=5)
    assert [turn.question for turn in source[0].turns] == ["What is 2?", "What is 0?"]


def test_held_out_records_are_no_examples_for_their_answers_are_taught(store):
    held_out = "id = 'LA_INS_1' -- and no other"
    data = Data(groups={"all": Group(where="id IN ('LA_INS_0', 'LA_INS_1')", in_context=8)})
    everything = open_mix(data, store.path).parts[0].source
    source = open_mix(data, store.path, without=held_out).parts[0].source

    assert [one.id for one in source] == ["LA_INS_0"]
    assert [turn.question for turn in source[0].turns] == [
        "What is 3?", "What is 2?", "What is 0?",
    ]  # fmt: skip
    assert "LA_INS_1" not in source.snapshot.ids(range(source.snapshot.rows))
    assert source.snapshot.manifest["not_there"] == 1, "it is there, but held out"
    assert source.digest != everything.digest
    # What was frozen of the same selection is not taken for that of other held-out records.
    others = open_mix(data, store.path, without="id IN ('LA_INS_1', 'LA_INS_3')").parts[0].source
    assert [turn.question for turn in others[0].turns] == ["What is 2?", "What is 0?"]
    assert len(freeze(store, where=held_out)) == 1


def test_all_answers_are_taught_and_each_mark_has_its_picture(store):
    source = opened(store, where="id = 'LA_INS_0'", in_context=8)
    processor = otter_processor(source.snapshot, image_size=16)
    encoder = OtterEncoder(processor, Data(max_tokens=400))
    example = Examples(Mix([Part("all", source, 1)]), encoder)[0].example

    text = processor.tokenizer.decode(example.ids_T)
    assert text.count("<image>") == 3 == len(example.pixels_NFCHW)
    assert example.frames_N == (2, 1, 1)
    taught = [label for label in example.labels_T if label >= 0]
    assert processor.tokenizer.decode(taught) == "".join(
        f"It is {n}.<|endofchunk|>" for n in (3, 1, 2, 0)
    )
    alone = opened(store, where="id = 'LA_INS_0'")
    mine = Examples(Mix([Part("alone", alone, 1)]), encoder)[0].example.pixels_NFCHW
    assert torch.equal(example.pixels_NFCHW[2, :1], mine[0])


def test_lengths_count_what_comes_before(store):
    alone = opened(store, where="id IN ('LA_INS_0', 'LA_INS_1')")
    shots = opened(store, where="id IN ('LA_INS_0', 'LA_INS_1')", in_context=8)
    one = len("What is 0?It is 0.")
    assert alone.lengths([1, 0]).tolist() == [one + 400] * 2
    assert shots.lengths([1, 0]).tolist() == [2 * (one + 400), 4 * one + 4 * 400]


def test_a_snapshot_with_examples_is_checked_and_named_by_them(store, tmp_path):
    plain = freeze(store, where="id = 'LA_INS_0'")
    with_them = freeze(store, where="id = 'LA_INS_0'", context=OWN)
    assert plain.digest != with_them.digest
    assert plain.manifest["format"] == 2, "older programs read it"
    with_them.check(pictures=True)
    assert [row.id for row in map(with_them.row, with_them.context(0))] == [
        "LA_INS_3", "LA_INS_1", "LA_INS_2",
    ]  # fmt: skip
    assert len(with_them.table) == 1
    with pytest.raises(IndexError):
        _ = with_them[1]
    again = pickle.loads(pickle.dumps(with_them))
    assert again.row(3) == with_them.row(3)


def test_changed_lists_are_found(tmp_path):
    store = Store.open(tmp_path / "dataset", create=True)
    store.add([record(n, image_ids=(), rel_ins_ids=related(1 - n)) for n in range(2)])
    snapshot = freeze(store, context=OWN)
    path = snapshot.path / "context.arrow"
    data = bytearray(path.read_bytes())
    place = data.index((1).to_bytes(8, "little") + (0).to_bytes(8, "little"))
    data[place] = 0
    path.write_bytes(data)
    with pytest.raises(DatasetError, match=r"'context.arrow' has changed"):
        Snapshot(store.path, snapshot.digest, check=True)
    manifest = json.loads((snapshot.path / "manifest.json").read_text())
    from mimicit.snapshot import file_digest

    manifest["files"]["context.arrow"] = file_digest(path)
    (snapshot.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match="not those of its name"):
        Snapshot(store.path, snapshot.digest, check=True)


def test_turns_of_a_conversation_are_one_example_that_shows_each_picture_once(store):
    source = opened(store, where="task = 'talk'", turns="conversation", pictures="media")
    assert len(source) == 2
    talk = source[0]
    assert [turn.question for turn in talk.turns] == [
        "First <image> and?",
        "Then?",
        "Last <image>?",
    ]
    # As often as there are pictures, the questions say <image>: each stands where it is said.
    assert [pictures(turn) for turn in talk.turns] == [[[png(7)]], [], [[png(8)]]]
    assert [turn.question for turn in source[1].turns] == ["What is 8?"]
    one = len("First <image> and?It is 5.Then?It is 6.Last <image>?It is 7.") + 6 * 400
    assert source.lengths([0]).tolist() == [one]


def test_frames_of_a_conversation_are_shown_once(store):
    talk = opened(store, where="task = 'talk'", turns="conversation")[0]
    assert [pictures(turn) for turn in talk.turns] == [[[png(7), png(8)]], [], []]


def test_records_outside_conversations_are_conversations_of_one_turn(store):
    source = opened(store, turns="conversation")
    assert len(source) == 7
    assert sum(len(source[n].turns) for n in range(7)) == 9
    again = pickle.loads(pickle.dumps(source))
    assert [again[n].id for n in range(7)] == [source[n].id for n in range(7)]


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 65_536])
def test_conversations_do_not_end_where_batches_of_rows_do(tmp_path, monkeypatch, batch):
    monkeypatch.setattr("mimicit.freezing.BATCH_ROWS", batch)
    monkeypatch.setattr("mimicit.snapshot.BATCH_ROWS", batch)
    store = Store.open(tmp_path / "dataset", create=True)
    talks = [None, "A_INS_a", "A_INS_a", "A_INS_a", "A_INS_b", None, None, "A_INS_z", "A_INS_z"]
    store.add([
        record(n, id=f"{talk or 'B_INS'}_{n}", image_ids=(), conversation=talk, turn=talk and n)
        for n, talk in enumerate(talks)
    ])  # fmt: skip
    source = opened(store, turns="conversation")
    sizes = [len(source[n].turns) for n in range(len(source))]
    assert sizes == [3, 1, 2, 1, 1, 1]
    asked = [int(turn.question[8:-1]) for n in range(6) for turn in source[n].turns]
    assert asked == [1, 2, 3, 4, 7, 8, 0, 5, 6]
    assert source.lengths([2, 0]).tolist() == [
        2 * len("What is 7?It is 7."),
        3 * len("What is 7?It is 7."),
    ]


def test_one_row_is_one_conversation(tmp_path):
    store = Store.open(tmp_path / "dataset", create=True)
    store.add([record(0, image_ids=())])
    source = opened(store, turns="conversation")
    assert (len(source), source[0].id) == (1, "LA_INS_0")


@pytest.mark.parametrize(("frames", "chosen"), [(1, [0]), (2, [0, 4]), (3, [0, 2, 4]), (7, [0, 0, 1, 2, 2, 3, 4])])  # fmt: skip
def test_frames_are_chosen_evenly_as_published(tmp_path, frames, chosen):
    store = Store.open(tmp_path / "dataset", create=True)
    store.add_images([measure(png(n), id=f"LA_IMG_{n}", name="it") for n in range(5)])
    store.add(
        [record(0, image_ids=tuple(f"LA_IMG_{n}" for n in range(5))), record(1, image_ids=())]
    )
    source = opened(store, frames=frames)
    [clip] = source[0].turns[0].media
    assert [shown.read() for shown in clip] == [png(n) for n in chosen]
    assert chosen == [int(place) for place in np.linspace(0, 4, frames)]
    assert source[1].turns[0].media == ()


def test_a_description_is_a_function_of_seed_and_record(store):
    texts = ("Describe it.", "Look.", "Answer in short.")

    def drawn(seed):
        data = Data(groups={"all": Group(task_description=texts, where="task = 'la'")})
        source = open_mix(data, store.path, seed=seed).parts[0].source
        found = [source[n].turns[0].question.partition("\n") for n in range(len(source))]
        assert all(rest.startswith("What is") for *_, rest in found)
        return [first for first, *_ in found]

    assert drawn(0) == drawn(0)
    assert set().union(*map(drawn, range(6))) == set(texts)
    assert len({tuple(drawn(seed)) for seed in range(6)}) > 1


def test_marks_that_differ_are_found_before_the_first_step(tmp_path):
    store = Store.open(tmp_path / "dataset", create=True)
    store.add_images([measure(png(0), id="LA_IMG_0", name="it")])
    asked = {0: "Plain?", 1: "<image> one?", 2: "<image> <image>?", 3: "<image>?"}
    shown = {0: 1, 1: 1, 2: 1, 3: 0}
    store.add([
        record(n, instruction=asked[n], image_ids=("LA_IMG_0",) * shown[n]) for n in asked
    ])  # fmt: skip

    def opens(**settings):
        return open_mix(Data(pictures="media", **settings), store.path)

    with pytest.raises(
        TrainingError, match=r"2 records of .* \(LA_INS_2, LA_INS_3\); correct them"
    ):
        opens()
    with pytest.raises(TrainingError, match="2 records"):
        opens(skip_bad=1)
    assert len(opens(skip_bad=2)) == 4
    assert len(opens(where="id < 'LA_INS_2'")) == 2
    assert len(open_mix(Data(), store.path)) == 4, (
        "characters are no mark where pictures are frames"
    )


def test_settings_that_exclude_each_other_are_refused(store):
    with pytest.raises(RecipeError, match="frames are those of one clip"):
        Group(frames=3, pictures="media")
    with pytest.raises(RecipeError, match="frames are those of one clip"):
        open_mix(Data(pictures="media", groups={"a": Group(frames=3)}), store.path)
    with pytest.raises(RecipeError, match="in_context puts records before a single one"):
        Group(in_context=1, turns="conversation")
    with pytest.raises(RecipeError, match="stands in place of groups"):
        Data(yaml="a.yaml", groups={"a": Group()})
    with pytest.raises(RecipeError, match="give each group a where"):
        Data(where="id = 'x'", groups={"a": Group()})
