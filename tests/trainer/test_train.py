import io
import json

import pytest

torch = pytest.importorskip("torch")

from mimicit.errors import PictureError, RecipeError  # noqa: E402
from mimicit.snapshot import freeze  # noqa: E402
from mimicit.store import Store  # noqa: E402
from tests.trainer.stopping import StopAfter  # noqa: E402
from trainer.chat import answer  # noqa: E402
from trainer.errors import (  # noqa: E402
    NonFiniteLossError,
    RunFolderError,
    TrainingError,
)
from trainer.models.otter import Otter  # noqa: E402
from trainer.models.otter_processor import OtterProcessor  # noqa: E402
from trainer.recipe import read_recipe  # noqa: E402
from trainer.report import Progress  # noqa: E402
from trainer.run_folder import RunFolder  # noqa: E402

from .lessons import lessons_of  # noqa: E402
from .runs import losses, run  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory):
    """The losses of a run that nothing happens to."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run(dataset, out)
    return losses(out)


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """Train until the squares are known by heart."""
    out = tmp_path_factory.mktemp("runs") / "squares"
    result = run(dataset, out, "run.steps=120", "run.stop_below=0.02")
    return out, result


def test_the_loss_falls_and_training_stops_when_it_is_low_enough(trained):
    out, result = trained

    assert result.last_loss < result.first_loss / 10
    assert result.steps < 120
    assert losses(out)[-1] == result.last_loss


def test_a_trained_model_answers_the_same_question_by_the_picture(trained, square):
    out, _ = trained

    for colour in ("red", "green", "blue", "white"):
        assert answer(out, square(colour), "What colour is it?") == f"It is {colour}."


def test_a_finished_run_leaves_a_model_a_curve_and_a_summary(trained):
    out, result = trained
    summary = json.loads((out / "run.json").read_text())

    Otter.from_pretrained(out / "model")
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert summary["first_loss"] == result.first_loss
    assert summary["records"] == 7
    assert summary["config"]["optim"]["lr"] == 5e-3
    assert summary["versions"]["torch"] == torch.__version__


def test_a_finished_run_is_left_alone(dataset, trained):
    out, result = trained
    log = (out / "log.jsonl").read_bytes()

    again = run(dataset, out, "run.steps=120", "run.stop_below=0.02")

    assert again.was_finished
    assert again.last_loss == result.last_loss
    assert (out / "log.jsonl").read_bytes() == log


def test_a_run_that_died_between_checkpoints_takes_those_steps_again(dataset, whole, tmp_path):

    class PowerCut(BaseException):
        pass

    class Dying(Progress):
        def step(self, entry, *, steps):
            if entry.step == 5:
                raise PowerCut

    with pytest.raises(PowerCut):
        run(dataset, tmp_path / "cut", "run.save_every=2", progress=Dying(io.StringIO()))
    assert len(losses(tmp_path / "cut")) == 5
    run(dataset, tmp_path / "cut", "run.save_every=2")

    assert losses(tmp_path / "cut") == whole


@pytest.mark.parametrize("micro", [1, 2])
def test_micro_batch_size_does_not_change_what_is_learned(dataset, whole, tmp_path, micro):
    run(dataset, tmp_path / "parts", f"run.micro_batch_size={micro}")

    assert losses(tmp_path / "parts") == pytest.approx(whole, abs=1e-5)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_workers_do_not_change_what_is_learned(dataset, whole, tmp_path):
    run(dataset, tmp_path / "alone", "data.picture_cache_mb=0")
    run(dataset, tmp_path / "helped", "data.workers=2")

    assert losses(tmp_path / "helped") == losses(tmp_path / "alone") == whole


def test_only_answers_are_taught(dataset, trained):
    out, _ = trained
    processor = OtterProcessor.from_pretrained(out / "model")
    snapshot = freeze(Store.open(dataset))
    examples = lessons_of(snapshot, processor, max_tokens=256)

    for index in range(len(examples)):
        example = examples[index].example
        taught = [label for label in example.labels_T if label >= 0]
        assert taught[-1] == processor.end_id
        assert processor.decode(taught) == snapshot[index].answer


def test_a_long_answer_is_cut_and_its_end_is_not_taught(dataset, trained):
    out, _ = trained
    processor = OtterProcessor.from_pretrained(out / "model")
    example = lessons_of(freeze(Store.open(dataset)), processor, max_tokens=8)[0].example

    assert len(example.ids_T) == 8
    assert processor.end_id not in example.labels_T


def test_an_unreadable_picture_names_its_record(dataset, trained, monkeypatch):
    out, _ = trained
    processor = OtterProcessor.from_pretrained(out / "model")
    snapshot = freeze(Store.open(dataset))
    monkeypatch.setattr(snapshot, "read", lambda _: b"not a picture")

    with pytest.raises(PictureError, match=snapshot[0].id):
        lessons_of(snapshot, processor, max_tokens=64)[0]


def test_a_loss_that_is_not_finite_stops_and_names_the_records(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(
        torch.nn.functional, "cross_entropy", lambda logits, *_, **__: logits.sum() * torch.nan
    )

    with pytest.raises(NonFiniteLossError, match="LA_INS_") as error:
        run(dataset, tmp_path / "nan")

    assert len(error.value.record_ids) == 4


def test_another_runs_folder_is_not_touched(dataset, trained, tmp_path):
    out, _ = trained
    with pytest.raises(RunFolderError, match=r"optim\.lr is 0\.005 there and 0\.1 here"):
        run(dataset, out, "run.steps=120", "run.stop_below=0.02", "optim.lr=0.1")

    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(RunFolderError, match="not a training run"):
        run(dataset, tmp_path)


def test_a_run_begun_before_a_setting_existed_goes_on(dataset, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(dataset, tmp_path / "old", progress=StopAfter(3))
    settings = tmp_path / "old" / "settings.json"
    written = json.loads(settings.read_text())
    del written["lora"], written["trainable"], written["data"]["pictures"]
    del written["model"]["text"]["head_dim"], written["run"]["gradient_checkpointing"]
    settings.write_text(json.dumps(written))

    with pytest.raises(
        RunFolderError, match=r"trainable\.parts is \['all'\] there and \['gates'\]"
    ):
        run(dataset, tmp_path / "old", "trainable.parts=gates")
    run(dataset, tmp_path / "old", resume=True)

    assert losses(tmp_path / "old") == whole


def test_runs_in_one_process_have_each_the_precision_that_they_ask_for(dataset, tmp_path):
    for name, precision in (("first", "no"), ("half", "bf16"), ("again", "no")):
        run(dataset, tmp_path / name, f"run.precision={precision}", "run.steps=3")

    first, half, again = (losses(tmp_path / name) for name in ("first", "half", "again"))
    assert first == again != half
    assert half == pytest.approx(first, abs=0.05)


def test_processes_that_do_not_know_each_other_do_not_train_in_one_folder(
    dataset, tmp_path, monkeypatch
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(TrainingError, match="2 processes were started, but each trains for itself"):
        run(dataset, tmp_path / "two")
    assert not (tmp_path / "two").exists()


def test_a_run_that_would_teach_nothing_stops_after_one_pass(dataset, tmp_path):
    with pytest.raises(TrainingError, match=r"no answer of 7 records begins within .* = 5"):
        run(dataset, tmp_path / "cut", "data.max_tokens=5")


def test_resume_demands_something_to_resume(dataset, tmp_path):
    with pytest.raises(RunFolderError, match="nothing to resume"):
        run(dataset, tmp_path / "new", resume=True)
    assert not (tmp_path / "new").exists()


def test_asking_a_run_that_has_no_model_says_so(tmp_path, square):
    with pytest.raises(RunFolderError, match="is not a training run"):
        answer(tmp_path, square("red"), "What is it?")
    RunFolder(tmp_path).settings.write_text("{}")
    with pytest.raises(RunFolderError, match="has not finished training"):
        answer(tmp_path, square("red"), "What is it?")


def test_asking_about_a_picture_that_cannot_be_read_says_so(trained, tmp_path):
    out, _ = trained
    with pytest.raises(PictureError, match=r"none\.png"):
        answer(out, tmp_path / "none.png", "What is it?")
    (tmp_path / "bad.png").write_text("not a picture")
    with pytest.raises(PictureError, match=r"bad\.png"):
        answer(out, tmp_path / "bad.png", "What is it?")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("optim.lrr=1", r"there is no setting 'optim\.lrr'; did you mean 'optim\.lr'"),
        ("optim.lr=fast", r"'optim\.lr' must be a number, not 'fast'"),
        ("run.steps=1.5", r"'run\.steps' must be a whole number, not 1\.5"),
        ("run.steps=true", r"'run\.steps' must be a whole number, not True"),
        ("run.precision=int4", r"must be one of 'auto', 'no', 'bf16', 'fp16', not 'int4'"),
        ("run.steps=0", r"run\.steps is 0, but must be at least 1"),
        ("model.vision.patch_size=30", r"patch_size is 30, which does not divide image_size = 64"),
        ("data.max_tokens=999", r"data\.max_tokens is 999, but the language model has only"),
        ("model=5", r"'model' is a section, not the value 5"),
        ("data.max_tokens=0", r"data\.max_tokens is 0, but must be at least 1"),
        ("data.workers=-1", r"data\.workers is -1, but must be at least 0"),
        ("optim.lr=-1", r"optim\.lr is -1\.0, but must be at least 0"),
        ("optim.lr=nan", r"'optim\.lr' must be a number, not nan"),
        ("model.gate_init=inf", r"'model\.gate_init' must be a number, not inf"),
        ("optim.beta2=1", r"optim\.beta2 is 1\.0, but must be below 1"),
        ("optim.max_grad_norm=0", r"so nothing would be learned"),
        ("run.seed=-1", r"run\.seed is -1, but must be at least 0"),
        ("run.max_seconds=-1", r"run\.max_seconds is -1\.0, but must be at least 0"),
        ("model.vocab_size=0", r"model\.vocab_size is 0, but must be at least 1"),
        ("model.vision.num_hidden_layers=0", r"model\.vision\.num_hidden_layers is 0, but"),
        ("model.perceiver.num_latents=0", r"model\.perceiver\.num_latents is 0, but"),
        ("model.cross_attention.heads=0", r"model\.cross_attention\.heads is 0, but"),
        ("model.text.num_hidden_layers=0", r"model\.text\.num_hidden_layers is 0, but"),
        ("model.cross_attn_every_n_layers=9", r"has only model\.text\.num_hidden_layers = 4"),
        ("lora.targets=q_proj", r"but lora\.r is 0, so there are no adapters"),
        ("optim.lr.x=5", r"goes below a value that is not a section"),
        ("data.decode=fast", r"'data\.decode' must be one of 'good', 'exact', not 'fast'"),
        ("nonsense", r"not of the form section\.key=value"),
    ],
)
def test_a_wrong_setting_is_a_sentence(override, sentence):
    with pytest.raises(RecipeError, match=sentence):
        read_recipe("otter_tiny", [override])


def test_a_wrong_recipe_names_file_and_line(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[model]\ntokenizer = "train"\nvocabsize = 3\n')
    with pytest.raises(RecipeError, match=r"mine\.toml, line 3: .* 'model\.vocab_size'"):
        read_recipe(str(recipe))


def test_an_incomplete_recipe_says_what_is_missing(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[model]\ntokenizer = "train"\n')
    with pytest.raises(
        RecipeError, match=r"mine\.toml, line 1: the setting 'model\.vision' is missing"
    ):
        read_recipe(str(recipe))


def test_an_unknown_recipe_lists_the_known_ones():
    with pytest.raises(RecipeError, match="otter_tiny"):
        read_recipe("otter_huge")


def test_overrides_are_typed_and_reach_the_settings():
    config = read_recipe(
        "otter_tiny", ["optim.lr=1", "data.where=task = 'la'", "run.max_seconds=9"]
    )

    assert config.optim.lr == 1.0
    assert config.data.where == "task = 'la'"
    assert config.run.max_seconds == 9.0
