"""Our preference losses beside TRL's own trainers, on the same model and batch; and Otter in TRL's trainers."""

import io
from dataclasses import replace

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from syphus.cli import app
from trainer.models.otter_processor import OtterProcessor
from trainer.objectives import make_objective
from trainer.objectives.reference import log_probs
from trainer.recipe import read_recipe
from trainer.sources.base import Conversation, Said
from trainer.sources.mix import Mix, Part
from trainer.trl import TrlProcessor, for_trl

from .comparisons import pairs
from .conftest import SMALL
from .family_lessons import make, png, shown
from .test_objectives import Source, encoded

trl = pytest.importorskip("trl")
datasets = pytest.importorskip("datasets")
torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings(
    "ignore::FutureWarning", "ignore::UserWarning", "ignore::DeprecationWarning"
)

RECORDS = [
    Conversation(
        f"record{nth}",
        (Said(question, chosen, ((shown(nth),),)),),
        rejected=rejected,
    )
    for nth, (question, chosen, rejected) in enumerate(
        [
            ("What colour is it?", "It is red.", "It is blue, I think."),
            ("And here?", "It is blue, I think, and red.", "No."),
            ("Really?", "Yes.", "It is red. It is blue."),
        ]
    )
]
SETTINGS = {
    "report_to": [], "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "save_strategy": "no",
    "dataloader_pin_memory": False, "disable_tqdm": True, "logging_steps": 1, "learning_rate": 1e-3, "seed": 0,
}  # fmt: skip


def message(role, text):
    return [{"role": role, "content": text}]


def rows_of(records):
    """Return records as TRL's preference data."""
    return [
        {
            "images": [Image.open(io.BytesIO(png(*shown_key(record)))).convert("RGB")],
            "prompt": message("user", record.turns[-1].question),
            "chosen": message("assistant", record.turns[-1].answer),
            "rejected": message("assistant", record.rejected),
        }
        for record in records
    ]


def shown_key(record):
    return record.turns[-1].media[0][0].key


class Models:
    """A model, another one as its reference, and what both of ours and TRL's way need."""

    def __init__(self):
        self.made = make("otter", seed=1)
        self.model = for_trl(self.made.model)
        self.reference = for_trl(make("otter", seed=2).model)
        self.processor = TrlProcessor.of(self.made.processor)

    def ours(self, records, *overrides):
        """Return the loss of our objective, and the gradients."""
        settings = ("data.max_tokens=120", "data.decode=exact", "objective.beta=0.3", *overrides)
        config = read_recipe("otter_tiny", (*SMALL, *settings))
        objective = make_objective(config)
        mix = objective.mix(Mix([Part("all", Source(*records), len(records))]))
        encoder = objective.encoder(self.made.encoder(max_tokens=120, decode="exact"))
        (rows,) = encoder.lay(encoded(encoder, mix))

        def reference(_model, rows):
            with torch.no_grad():
                return log_probs(self.reference, rows)

        objective.reference = reference
        objective.begin(Alone(), self.model, [rows])
        self.model.zero_grad()
        loss = objective.loss(self.model, rows, whole=objective.amount(rows))
        loss.total.backward()
        figures = {name: value.item() for name, value in loss.figures.items()}
        return loss.total.item(), self.gradients(), figures

    def theirs(self, trainer, batch):
        self.model.zero_grad()
        loss = trainer.compute_loss(self.model, batch)
        loss.backward()
        return loss.item(), self.gradients()

    def gradients(self):
        return {
            name: weight.grad.clone()
            for name, weight in self.model.named_parameters()
            if weight.grad is not None
        }


class Alone:
    """As much of an accelerator as a process alone needs."""

    device = "cpu"

    def gather(self, value):
        return value

    reduce = gather


@pytest.fixture
def models():
    return Models()


def dpo_trainer(models, folder, **settings):
    return trl.DPOTrainer(
        models.model,
        ref_model=models.reference,
        args=trl.DPOConfig(
            output_dir=str(folder), beta=0.3, max_length=None, **SETTINGS | settings
        ),
        processing_class=models.processor,
        train_dataset=datasets.Dataset.from_list(rows_of(RECORDS)),
    )


def assert_same(ours, theirs):
    loss, gradients = ours[:2]
    assert loss == pytest.approx(theirs[0], abs=1e-5)
    assert gradients.keys() == theirs[1].keys()
    assert len(gradients) > 20
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, theirs[1][name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["sigmoid", "hinge", "ipo"])
def test_dpo_has_the_loss_and_gradients_of_trls_trainer(models, tmp_path, kind):
    trainer = dpo_trainer(models, tmp_path, loss_type=[kind])
    ours = models.ours(RECORDS, "objective.kind=dpo", f"objective.loss={kind}")
    theirs = models.theirs(trainer, trainer.data_collator(rows_of(RECORDS)))

    assert_same(ours, theirs)
    logged = {name: value[-1] for name, value in trainer._metrics["eval"].items()}
    for name, theirs in (
        ("chosen", "chosen"),
        ("rejected", "rejected"),
        ("margin", "margins"),
        ("accuracy", "accuracies"),
    ):
        assert ours[2][f"rewards/{name}"] == pytest.approx(logged[f"rewards/{theirs}"], abs=1e-4)


def test_mpo_has_the_loss_and_gradients_of_trls_trainer_pair_by_pair(models, tmp_path):
    """TRL's third term is a mean over the tokens of a batch, the paper's one over each answer's own."""
    trainer = dpo_trainer(
        models, tmp_path, loss_type=["sigmoid", "bco_pair", "sft"], loss_weights=[0.8, 0.2, 1.0]
    )
    each = [models.theirs(trainer, trainer.data_collator(rows_of([one]))) for one in RECORDS]
    names = each[0][1]
    theirs = sum(loss for loss, _ in each) / 3, {n: sum(g[n] for _, g in each) / 3 for n in names}

    assert_same(models.ours(RECORDS, "objective.kind=mpo"), theirs)


def test_kto_has_the_loss_and_gradients_of_trls_trainer(models, tmp_path):
    def unpaired(answers, labels):
        return [
            {
                "images": row["images"],
                "prompt": message("user", record.turns[-1].question),
                "completion": message("assistant", answer),
                "label": label,
            }
            for record, row, answer, label in zip(
                RECORDS * 2, rows_of(RECORDS) * 2, answers, labels, strict=True
            )
        ]

    chosen = [record.turns[-1].answer for record in RECORDS]
    rejected = [record.rejected for record in RECORDS]
    labels = [True] * 3 + [False] * 3
    trainer = trl.KTOTrainer(
        models.model,
        ref_model=models.reference,
        args=trl.KTOConfig(
            output_dir=str(tmp_path),
            beta=0.3,
            max_length=None,
            desirable_weight=1.5,
            undesirable_weight=0.75,
            per_device_train_batch_size=6,
            train_sampling_strategy="sequential",
            **SETTINGS,
        ),
        processing_class=models.processor,
        train_dataset=datasets.Dataset.from_list(unpaired(chosen + rejected, labels)),
    )
    batch = trainer.data_collator(unpaired(chosen + rejected, labels))
    # The answers of the next records, by which we measure the distance.
    strange = trainer.data_collator(unpaired((chosen[1:] + chosen[:1]) * 2, labels))
    for name in ("input_ids", "attention_mask", "completion_mask"):
        batch[f"KL_{name}"] = strange[name]
    theirs = models.theirs(trainer, batch)
    weights = ("objective.desirable_weight=1.5", "objective.undesirable_weight=0.75")
    ours = models.ours(RECORDS, "objective.kind=kto", *weights)

    assert_same(ours, theirs)
    logged = {name: value[-1] for name, value in trainer._metrics["eval"].items()}
    assert ours[2]["kl"] == pytest.approx(logged["kl"], abs=1e-4)
    for name in ("chosen", "rejected"):
        assert ours[2][f"rewards/{name}"] == pytest.approx(logged[f"rewards/{name}"], abs=1e-4)


def test_otter_learns_in_trls_dpo_trainer_from_its_pictures(models, tmp_path):
    models.reference.load_state_dict(models.model.state_dict())
    trainer = dpo_trainer(models, tmp_path, max_steps=4, per_device_train_batch_size=3)
    first, second = rows_of(RECORDS[:1]), rows_of(RECORDS[:1])
    second[0]["images"] = rows_of(RECORDS[1:2])[0]["images"]
    seen = [
        trainer.compute_ref_log_probs(models.reference, trainer.data_collator(one))
        for one in (first, second)
    ]
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    assert all(abs(a - b).item() > 1e-4 for a, b in zip(*seen, strict=True))
    assert losses[0] == pytest.approx(0.693147, abs=1e-5)
    assert losses[-1] < losses[0]
    trainer.save_model(str(tmp_path / "model"))
    again = type(models.made.model).from_pretrained(tmp_path / "model")
    for name, weight in models.model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight)
    kept = OtterProcessor.from_pretrained(tmp_path / "model")
    assert kept.tokenizer.eos_token == models.made.processor.tokenizer.eos_token


def test_an_exported_dataset_is_what_trls_trainer_takes(models, tmp_path):
    """As docs/preference.md says: `syphus data export -f trl`, then TRL."""
    dataset = pairs(tmp_path / "dataset", records=4)
    arguments = ["data", "export", "-d", dataset, "-f", "trl", "-o", tmp_path / "exported"]
    assert CliRunner().invoke(app, list(map(str, arguments))).exit_code == 0
    files = sorted(map(str, (tmp_path / "exported").rglob("*.parquet")))
    rows = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache")
    )
    models.reference.load_state_dict(models.model.state_dict())
    trainer = trl.DPOTrainer(
        models.model,
        ref_model=models.reference,
        args=trl.DPOConfig(
            output_dir=str(tmp_path / "out"), max_length=None, max_steps=2, **SETTINGS
        ),
        processing_class=models.processor,
        train_dataset=rows,
    )
    trainer.train()

    assert len(rows) == 4
    assert trainer.state.log_history[0]["loss"] == pytest.approx(0.693147, abs=1e-5)


def test_otter_learns_in_trls_grpo_trainer(models, tmp_path):
    heard = []

    def reward(completions, **_):
        heard.append(completions)
        return [float(nth % 2) for nth in range(len(completions))]

    rows = [
        {"image": row["images"][0], "prompt": row["prompt"]}
        for row in rows_of([*RECORDS, RECORDS[0]])
    ]
    before = {name: weight.clone() for name, weight in models.model.named_parameters()}
    trainer = trl.GRPOTrainer(
        models.model,
        reward_funcs=reward,
        args=trl.GRPOConfig(
            output_dir=str(tmp_path),
            per_device_train_batch_size=4,
            num_generations=2,
            max_completion_length=6,
            max_steps=2,
            **SETTINGS,
        ),
        processing_class=models.processor,
        train_dataset=datasets.Dataset.from_list(rows),
    )
    trainer.train()

    assert [len(completions) for completions in heard] == [4, 4]
    assert trainer.state.log_history[0]["grad_norm"] > 0
    changed = {n for n, w in models.model.named_parameters() if not torch.equal(w, before[n])}
    assert any("gated_cross_attn_layer" in name for name in changed)
    assert any("vision_encoder" in name for name in changed)


def test_prompts_for_trl_are_lists_without_padding(models):
    talks = [message("user", "Why?"), message("user", "What colour is it, and here?")]
    made = models.processor.apply_chat_template(talks, tokenize=True, return_dict=True, tools=None)
    plain = [
        models.made.processor.apply_chat_template(one, tokenize=True)[0].tolist() for one in talks
    ]

    assert made["input_ids"] == plain
    assert [len(mask) for mask in made["attention_mask"]] == [len(ids) for ids in plain]
    with pytest.raises(ValueError, match="no tools"):
        models.processor.apply_chat_template(talks, tools=[lambda: None])


def test_a_model_that_scales_its_logits_is_refused():
    made = make("otter")
    text = made.model.config.text_config
    model = made.model
    model.config.text_config = replace_type(text)
    with pytest.raises(ValueError, match="scales its logits"):
        for_trl(model)
    model.config.text_config = text


def replace_type(text):
    from types import SimpleNamespace

    return SimpleNamespace(model_type="mpt", logit_scale=0.5)


def test_records_with_one_answer_are_liked_ones(models):
    lone = [replace(one, rejected=None) for one in RECORDS[:2]]
    loss, _, figures = models.ours([*lone, RECORDS[2]], "objective.kind=kto")
    only, _, _ = models.ours(lone, "objective.kind=kto")

    assert 0 < only < 1
    assert 0 < loss < 1
    assert figures["rewards/rejected"] != 0
