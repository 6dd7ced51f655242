"""Groups of a recipe: their shares, their weights in the loss, two of one dataset, several datasets."""

import dataclasses
import io
import json

import pytest

torch = pytest.importorskip("torch")

from mimicit.errors import QueryError, RecipeError  # noqa: E402
from mimicit.media.picture import measure  # noqa: E402
from mimicit.schema import Instruction  # noqa: E402
from mimicit.store import Store  # noqa: E402
from trainer.config import Data, Group  # noqa: E402
from trainer.data import Examples, Told, laid  # noqa: E402
from trainer.families.otter import OtterEncoder  # noqa: E402
from trainer.recipe import read_recipe  # noqa: E402
from trainer.sources.base import Conversation, Said  # noqa: E402
from trainer.sources.mix import Mix, Part  # noqa: E402
from trainer.sources.opening import draws_of, open_mix  # noqa: E402
from trainer.train import train  # noqa: E402

from .conftest import COLOURS, SMALL  # noqa: E402
from .lessons import otter_processor  # noqa: E402
from .processes import losses  # noqa: E402
from .stopping import StopAfter  # noqa: E402

torch.set_num_threads(1)


class Letters:
    """Records that say their own name."""

    def __init__(self, letter, count):
        self.letter, self.count, self.digest = letter, count, f"{letter}{count}"

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return Conversation(f"{self.letter}{index}", (Said("?", f"{self.letter}{index}"),))

    def lengths(self, indices):
        import numpy as np

        return np.asarray(indices) + 100 * ord(self.letter)


def test_records_are_numbered_one_part_behind_the_other():
    parts = [Part(letter, Letters(letter, n), n, w) for letter, n, w in (("a", 3, 1.0), ("b", 1, 2.0), ("c", 2, 0.5))]  # fmt: skip
    mix = Mix(parts)
    assert [(mix[n][0].id, mix[n][1]) for n in range(len(mix))] == [
        ("a0", 1.0), ("a1", 1.0), ("a2", 1.0), ("b0", 2.0), ("c0", 0.5), ("c1", 0.5),
    ]  # fmt: skip
    assert mix.lengths([5, 3, 0]).tolist() == [1 + 9900, 9800, 9700]
    assert len(list(mix.texts())) == 12


def test_whatever_changes_what_is_learned_changes_the_name():
    def named(*parts):
        return Mix([Part(*part) for part in parts]).digest

    a, b = Letters("a", 3), Letters("b", 2)
    names = [
        named(("x", a, 3)),
        named(("x", a, 2)),
        named(("x", a, 3), ("y", b, 2)),
        named(("x", a, 3), ("y", b, 2, 0.5)),
        named(("y", b, 2), ("x", a, 3)),
    ]
    assert names[0] == "a3"
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("settings", "draws"),
    [
        ({}, 7), ({"weight": 0.5}, 4), ({"weight": 2.5}, 18), ({"weight": 0.01}, 1), ({"weight": 0}, 0),
        ({"num_samples": 3}, 3), ({"num_samples": 20, "weight": 0.5}, 20),
    ],
)  # fmt: skip
def test_an_epoch_takes_a_share(settings, draws):
    assert draws_of(Group(**settings), 7) == draws


def test_groups_of_one_dataset_may_overlap(dataset):
    groups = {
        "colours": Group(where="instruction LIKE '%colour%'", weight=2.5, loss_weight=0.5),
        "red": Group(where="id LIKE '%red%'", num_samples=1),
        "none": Group(weight=0),
    }
    mix = open_mix(Data(groups=groups), dataset)
    assert [(part.name, len(part.source), part.draws) for part in mix.parts] == [
        ("colours", 4, 10),
        ("red", 2, 1),
    ]
    ids = [mix[number][0].id for number in range(len(mix))]
    assert ids.count("LA_INS_red_00") == 2


def test_several_datasets_do_not_take_pictures_for_each_other(dataset, tmp_path):
    """Pictures of two datasets may lie at the same place of files of the same name."""
    other = Store.open(tmp_path / "other", create=True)
    from PIL import Image

    pictures = []
    for name, colour in COLOURS.items():
        png = io.BytesIO()
        Image.new("RGB", (24, 20), tuple(255 - value for value in colour)).save(png, "PNG")
        pictures.append(measure(png.getvalue(), id=f"LA_IMG_{name}", name=name))
    other.add_images(pictures)
    texts = {"task": "t", "instruction": "Which?", "answer": "That."}
    other.add([Instruction(id=f"LA_INS_{n}", image_ids=(f"LA_IMG_{n}",), **texts) for n in COLOURS])
    groups = {"here": Group(where="id LIKE '%_00'"), "there": Group(dataset=str(other.path))}
    mix = open_mix(Data(groups=groups), dataset)

    processor = otter_processor(mix.parts[0].source.snapshot, image_size=16)
    encoder = OtterEncoder(processor, Data(max_tokens=64))
    examples = Examples(mix, encoder, cache_bytes=1 << 20)
    here = [examples[n].example.pixels_NFCHW for n in range(4)]
    there = [examples[n].example.pixels_NFCHW for n in range(4, 8)]
    assert all(not torch.equal(one, two) for one, two in zip(here, there, strict=True))
    shown = [mix[number][0].turns[0].media[0][0] for number in range(8)]
    assert len({one.key for one in shown}) == 8


def test_rows_of_one_weight_lie_together(dataset):
    groups = {
        "a": Group(where="id LIKE '%_00'", loss_weight=2.0),
        "b": Group(where="id LIKE '%_01'"),
    }
    mix = open_mix(Data(groups=groups), dataset)
    processor = otter_processor(mix.parts[0].source.snapshot, image_size=16)
    encoder = OtterEncoder(processor, Data(max_tokens=64))
    told = Told(Examples(mix, encoder)).__getitems__([0, 5, 1, 4])
    rows = laid(told, encoder=encoder)
    assert {one.weight: len(one.record_ids) for one in rows} == {2.0: 2, 1.0: 2}


def test_held_out_records_are_in_no_group(dataset):
    groups = {"a": Group(where="true -- all"), "b": Group(where="id LIKE '%red%'")}
    mix = open_mix(Data(groups=groups), dataset, without="id LIKE '%_00' -- held out")
    ids = [mix[number][0].id for number in range(len(mix))]
    assert sorted(ids) == ["LA_INS_blue_01", "LA_INS_green_01", "LA_INS_red_01", "LA_INS_red_01"]


def test_a_recipe_says_groups_and_trains_on_them(dataset, tmp_path):
    recipe = tmp_path / "mine.toml"
    with_groups = "\n[data.groups.all]\nweight = 0.5\n\n[data.groups.red]\nwhere = \"id LIKE '%red%'\"\nnum_samples = 5\nloss_weight = 0.1\n"
    from trainer.recipe import RECIPES

    recipe.write_text((RECIPES / "otter_tiny.toml").read_text() + with_groups)
    config = read_recipe(str(recipe), SMALL)
    assert dataclasses.asdict(config.data.groups["red"])["num_samples"] == 5
    out = tmp_path / "run"
    train(recipe=str(recipe), dataset=dataset, out=out, overrides=[*SMALL, "run.steps=4"])
    assert json.loads((out / "run.json").read_text())["records"] == 9


def test_shares_of_groups_go_on_where_a_run_was_stopped(dataset, tmp_path):
    """Of one group an epoch takes less than all, of another more: both are in the middle of a pass when the run stops."""
    groups = [
        "data.groups.some.weight=0.6",
        "data.groups.red.where=\"id LIKE '%red%'\"",
        "data.groups.red.num_samples=3",
        "data.groups.red.loss_weight=0.5",
    ]
    settings = {"recipe": "otter_tiny", "dataset": dataset, "overrides": [*SMALL, *groups]}
    train(**settings, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(**settings, out=tmp_path / "run", progress=StopAfter(5))
    train(**settings, out=tmp_path / "run")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert len(set(losses(tmp_path / "whole"))) == 8


def test_nothing_to_learn_is_said(dataset):
    with pytest.raises(RecipeError, match="each group has a weight of 0"):
        open_mix(Data(groups={"a": Group(weight=0)}), dataset)
    with pytest.raises(QueryError, match="the selection 'colour' fails"):
        open_mix(Data(groups={"a": Group(where="colour")}), dataset)


@pytest.mark.parametrize("override", ["data.groups.a.wheight=2", "data.groups.a.weight=-1", "data.groups.a.turns=all"])  # fmt: skip
def test_an_impossible_group_is_refused(override):
    with pytest.raises(RecipeError, match=r"a\.wheight|weight is -1|turns"):
        read_recipe("otter_tiny", [override])
