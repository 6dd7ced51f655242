"""A checkpoint is whole, or is not there; and what is in it."""

import json
import os
import resource
import shutil
import signal
import sys

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file  # noqa: E402

from tests.trainer.runs import state_of  # noqa: E402
from trainer import checkpoint  # noqa: E402
from trainer.checkpoint import Checkpoint  # noqa: E402
from trainer.config import Lora, Optim  # noqa: E402
from trainer.errors import CheckpointError  # noqa: E402
from trainer.lora import add_adapters  # noqa: E402
from trainer.optim import make_optimizer  # noqa: E402
from trainer.state import Frozen, State, kept  # noqa: E402
from trainer.trainable import choose  # noqa: E402

from . import families  # noqa: E402

torch.set_num_threads(1)
SAID: list[str] = []


@pytest.fixture
def parts():
    model = torch.nn.Linear(2, 2)
    return model, torch.optim.AdamW(model.parameters())


@pytest.fixture
def said():
    SAID.clear()
    return SAID


def save(folder, parts, step, **settings):
    model, optimizer = parts
    state = state_of(model, {"optimizer": optimizer.state_dict()})
    return checkpoint.save(folder, state, step=step, **({"keep": 2} | settings))


def newest(folder):
    return checkpoint.newest(folder, say=SAID.append)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_save_that_dies_leaves_the_one_before(parts, tmp_path, monkeypatch):
    model, _ = parts
    save(tmp_path, parts, 1)
    before = model.weight.detach().clone()
    torch.nn.init.zeros_(model.weight)

    def die(*_):
        raise KeyboardInterrupt

    for function in ("torch.save", "trainer.checkpoint.sync", "pathlib.Path.rename"):
        with monkeypatch.context() as patch:
            patch.setattr(function, die)
            with pytest.raises(KeyboardInterrupt):
                save(tmp_path, parts, 2)
        found = newest(tmp_path)
        found.load_weights(model)
        assert found.step == 1
        assert torch.equal(model.weight, before)
    save(tmp_path, parts, 2)
    assert names(tmp_path) == ["latest", "step-000001", "step-000002"]


OPERATIONS = {
    "open",
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.symlink",
    "shutil.rmtree",
}


def save_and_die(folder, parts, at):
    """Save in another process, which gets SIGKILL before the nth thing that it does to the folder; tell whether it came so far."""
    process = os.fork()
    if process == 0:
        seen = 0

        def audit(event, args):
            nonlocal seen
            if event in OPERATIONS and str(args[0]).startswith(str(folder)):
                seen += 1
                if seen == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(audit)
        save(folder, parts, 2, keep=1, keep_best=True, held_out=1.0)
        os._exit(0)
    _, status = os.waitpid(process, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_kill_9_before_anything_that_a_save_does_leaves_a_whole_one(parts, tmp_path, said):
    """The one before or the new one, bit for bit, and the next save clears up; whatever the moment."""
    model, _ = parts
    found_steps = []
    for at in range(1, 200):
        folder = tmp_path / str(at)
        torch.nn.init.ones_(model.weight)
        save(folder, parts, 1, keep=1, keep_best=True, held_out=2.0)
        torch.nn.init.zeros_(model.weight)
        died = save_and_die(folder, parts, at)

        found = newest(folder)
        assert found.damage() is None
        found.load_weights(model)
        assert bool((model.weight == {1: 1.0, 2: 0.0}[found.step]).all())
        found_steps.append(found.step)
        save(folder, parts, 2, keep=1, keep_best=True, held_out=1.0)
        assert names(folder) == ["best", "latest", "step-000002"]
        if not died:
            break

    assert found_steps == sorted(found_steps)
    assert found_steps.count(1) > 8
    assert found_steps.count(2) > 5
    assert not died
    assert not said


def test_only_the_newest_are_kept(parts, tmp_path):
    for step in (1, 2, 10):
        save(tmp_path, parts, step)

    assert names(tmp_path) == ["latest", "step-000002", "step-000010"]
    assert (tmp_path / "latest").resolve() == (tmp_path / "step-000010").resolve()


def test_the_best_is_kept_beside_the_newest(parts, tmp_path):
    for step, held_out in ((1, 3.0), (2, 1.5), (3, None), (4, 1.5), (5, 2.0), (6, float("nan"))):
        save(tmp_path, parts, step, keep=1, keep_best=True, held_out=held_out)

    assert names(tmp_path) == ["best", "latest", "step-000004", "step-000006"]
    assert (tmp_path / "best").readlink().name == "step-000004"
    save(tmp_path, parts, 7, keep=1, keep_best=True, held_out=1.0)
    assert names(tmp_path) == ["best", "latest", "step-000007"]


def test_where_there_are_no_links_a_file_says_which_is_the_newest(parts, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    save(tmp_path, parts, 1)
    save(tmp_path, parts, 2)

    assert (tmp_path / "latest").read_text() == "step-000002\n"
    assert newest(tmp_path).step == 2


def test_a_copy_that_made_folders_of_the_links_or_left_them_out_goes_on(parts, tmp_path, said):
    """`cp -rL`, `rsync -L` and most clouds follow links; others drop them. A run must not begin anew in silence."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for step in (1, 2):
        save(ours, parts, step, keep_best=True, held_out=step)
    shutil.copytree(ours, theirs)
    assert not (theirs / "latest").is_symlink()

    assert newest(theirs).step == 2
    save(theirs, parts, 3, keep_best=True, held_out=3)
    assert (theirs / "latest").readlink().name == "step-000003"
    assert (theirs / "best").readlink().name == "step-000001"
    (theirs / "latest").unlink()
    assert newest(theirs).step == 3
    assert not said


def test_a_checkpoint_of_an_older_version_is_read(parts, tmp_path):
    model, _ = parts
    path = save(tmp_path, parts, 3)
    (path / "state.json").write_text('{"step": 3}\n')
    (tmp_path / "latest").unlink()
    (tmp_path / "latest").write_text("step-000003\n")

    found = newest(tmp_path)
    found.load_weights(model)
    assert found.step == 3


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "file", "why"),
    [
        (cut, "training.pt", "bytes"),
        (flip, "training.pt", "changed"),
        (cut, "model.safetensors", "bytes"),
        (flip, "model.safetensors", "changed"),
        (os.unlink, "model.safetensors", "cannot be read"),
        (cut, "state.json", "state.json is missing or cannot be read"),
        (lambda file: shutil.rmtree(file.parent), "state.json", "missing"),
    ],
)
def test_a_damaged_checkpoint_is_told_of_and_the_one_before_is_taken(
    parts, tmp_path, said, harm, file, why
):
    save(tmp_path, parts, 1)
    harm(save(tmp_path, parts, 2) / file)

    assert newest(tmp_path).step == 1

    [sentence] = said
    assert "checkpoint of step 2 is damaged" in sentence
    assert why in sentence
    assert "going on from that of step 1" in sentence
    assert newest(tmp_path).step == 1
    assert len(said) == 1
    save(tmp_path, parts, 2)
    assert newest(tmp_path).step == 2


def test_when_all_are_damaged_nothing_is_touched(parts, tmp_path):
    for step in (1, 2):
        flip(save(tmp_path, parts, step) / "model.safetensors")
    before = names(tmp_path)

    with pytest.raises(CheckpointError, match=r"that of step 2: .*; that of step 1: .*start over"):
        newest(tmp_path)
    assert names(tmp_path) == before


def test_a_checkpoint_of_another_model_is_named(parts, tmp_path):
    save(tmp_path, parts, 1)

    with pytest.raises(CheckpointError, match=r"another model.* the first is 'bias'"):
        newest(tmp_path).load_weights(torch.nn.Linear(2, 2, bias=False))
    with pytest.raises(CheckpointError, match=r"another model.* the first is 'bias'"):
        newest(tmp_path).load_weights(torch.nn.Linear(2, 3))
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(3))])
    with pytest.raises(CheckpointError, match="cannot be read"):
        newest(tmp_path).load_training(optimizer.load_state_dict)


def test_a_pickle_in_a_checkpoint_is_not_run(parts, tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    path = save(tmp_path, parts, 1)
    torch.save({"optimizer": Harm()}, path / "training.pt")

    with pytest.raises(CheckpointError, match="cannot be read"):
        Checkpoint(path, 1).load_training(print)
    assert not (tmp_path / "harm").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MiB, or a limit on the size of files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.system(f"mount -t tmpfs -o size=2m tmpfs {folder} 2>/dev/null") == 0:
        yield folder
        os.system(f"umount {folder}")
    else:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
        yield folder
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def of_size(count):
    return State({"weight": torch.ones(count // 4)}, {"optimizer": {}})


def test_a_full_disk_is_a_sentence_and_the_one_before_stays_whole(small_disk, said):
    checkpoint.save(small_disk, of_size(500_000), step=1, keep=3)

    with pytest.raises(
        CheckpointError, match=r"after step 2 \(.*\); that of step 1 is whole; free room where"
    ):
        checkpoint.save(small_disk, of_size(3_000_000), step=2, keep=3)

    assert names(small_disk) == ["latest", "step-000001"]
    assert newest(small_disk).step == 1
    assert not said


@pytest.mark.parametrize("file", ["model.safetensors", "training.pt"])
def test_a_disk_that_fills_while_writing_is_a_sentence(small_disk, monkeypatch, file):
    monkeypatch.setattr(checkpoint, "_need_room", lambda *_: None)
    checkpoint.save(small_disk, of_size(400_000), step=1, keep=3)
    weights, averages = (3_000_000, 4) if file.startswith("model") else (4, 3_000_000)
    state = State({"weight": torch.ones(weights)}, {"optimizer": {"average": torch.ones(averages)}})

    with pytest.raises(CheckpointError, match="no checkpoint was written after step 2"):
        checkpoint.save(small_disk, state, step=2, keep=3)

    assert names(small_disk) == ["latest", "step-000001"]
    assert newest(small_disk).damage() is None


def test_room_is_made_by_those_that_it_takes_the_place_of(small_disk):
    """Two of three are kept, and there is only room for three."""
    for step in range(1, 6):
        checkpoint.save(small_disk, of_size(600_000), step=step, keep=3)

    assert names(small_disk)[-1] == "step-000005"
    assert newest(small_disk).step == 5


@pytest.mark.parametrize("name", ["llama", "mpt", "fuyu", "idefics"])
def test_frozen_weights_that_began_in_files_are_left_out(name, tmp_path):
    def begin(seed=0):
        model = families.make(name, seed=seed)
        add_adapters(model, Lora(r=2))
        choose(model, ["embeddings"])
        frozen = {key for key, weight in model.named_parameters() if not weight.requires_grad}
        return model, make_optimizer(model, Optim(lr=1e-2)), Frozen.of(model, frozen)

    model, optimizer, frozen = begin()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight))
    state = state_of(model, {"optimizer": optimizer.state_dict()}, frozen)
    path = checkpoint.save(tmp_path, state, step=1, keep=1)

    held = load_file(path / "model.safetensors")
    assert not held.keys() & frozen.names
    assert any(".lora_A." in key for key in held)
    again, _, same = begin()
    assert same.digest == frozen.digest
    newest(tmp_path).load_weights(again, same)
    there = again.state_dict()
    assert all(torch.equal(value, there[key]) for key, value in model.state_dict().items())

    other, _, changed = begin(seed=5)
    with pytest.raises(CheckpointError, match="put back the model from which this run began"):
        newest(tmp_path).load_weights(other, changed)


def test_a_tied_weight_is_stored_once_and_stays_tied(tmp_path):
    model = torch.nn.ModuleDict({"inlet": torch.nn.Embedding(3, 2), "out": torch.nn.Linear(2, 3)})
    model["out"].weight = model["inlet"].weight
    assert kept(model) == {"inlet.weight", "out.bias"}
    checkpoint.save(tmp_path, state_of(model, {"optimizer": {}}), step=1, keep=1)
    wanted = model["inlet"].weight.detach().clone()
    torch.nn.init.zeros_(model["inlet"].weight)

    newest(tmp_path).load_weights(model)

    assert torch.equal(model["out"].weight, wanted)
    assert model["out"].weight is model["inlet"].weight


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", ["llama", "mpt", "fuyu", "idefics"])
def test_names_stay_when_a_model_is_compiled_or_has_adapters_merged(name):
    """T11: what is saved has the plain model's names, whatever was done to it on the way."""
    from accelerate.utils import extract_model_from_parallel

    from trainer.lora import merge

    plain = set(families.make(name).state_dict())
    model = families.make(name)
    compiled = torch.compile(model)
    assert (
        set(extract_model_from_parallel(compiled, keep_torch_compile=False).state_dict()) == plain
    )
    add_adapters(model, Lora(r=2))
    assert set(model.state_dict()) != plain
    merge(model)
    assert set(model.state_dict()) == plain


def test_the_state_says_what_it_is(parts, tmp_path):
    path = save(tmp_path, parts, 4, held_out=0.5)
    said = json.loads((path / "state.json").read_text())

    assert (said["step"], said["held_out"], said["frozen"]) == (4, 0.5, "")
    assert sorted(said["files"]) == ["model.safetensors", "training.pt"]
