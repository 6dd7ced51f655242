"""The demo's training, `syphus train otter_tiny`, beside a plain script for Hugging Face's Trainer: taught tokens a second.

Both teach the same model (same class, same sizes, weights from the same file) the same records with the same batch size, learning
rate and number of steps. The script is what a good engineer writes first: a map-style dataset that opens each picture with Pillow and
lays out text and labels with the processor, a collator that pads, `Trainer` with its defaults (fused AdamW, dataloader workers
where they help: the better of none and two is reported). Steps beyond the first few count, by the wall clock, with all that happens
between them. The losses of both stand in the table: they must fall alike.

    python benchmarks/train/hf_trainer.py [--quick]
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

from common import save  # noqa: E402

PHOTOS = HERE.parent.parent / "examples" / "photos"
WARM = 5
"""Steps that do not count."""
QUESTIONS = ("What does the picture show?", "Describe it.", "What is the main thing in it?", "Where was it taken?")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer steps, one round")
    parser.add_argument("--client", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        way, folder, steps, extra = options.client
        print(json.dumps(CLIENTS[way](Path(folder), int(steps), extra)))
        return
    steps, rounds = (12, 1) if options.quick else (40, 3)
    with tempfile.TemporaryDirectory(prefix="hf-trainer-") as name:
        folder = Path(name)
        write(folder, records=280)
        child("start", folder, 1, "")
        ways = {
            "Trainer, no workers": ("trainer", "0"),
            "Trainer, 2 workers": ("trainer", "2"),
            "ours, padded": ("ours", "data.max_row_tokens=0"),
            "ours, packed": ("ours", ""),  # as the recipe says
            "ours, packed, 1 worker": ("ours", "data.workers=1"),
        }
        found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, (client, extra) in ways.items():
                found[way].append(child(client, folder, steps, extra))
        best = max(median(one["rate"] for one in found[way]) for way in ways if "Trainer" in way)
        table: list[dict[str, object]] = []
        for way, runs in found.items():
            rate = median(one["rate"] for one in runs)
            table.append(
                {
                    "way": way,
                    "taught tokens a second": f"{rate:,.0f}",
                    "beside the better Trainer": f"{rate / best:.2f}x",
                    "bar": ">= 1.5x" if way == "ours, packed" else "",
                    "loss": f"{runs[0]['first']:.3f} -> {runs[0]['last']:.3f}",
                    "waiting for data": f"{median(one['waited'] for one in runs):.1%}" if "ours" in way else "",
                }
            )  # fmt: skip
        save("train_hf_trainer", table)


def child(way: str, folder: Path, steps: int, extra: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--client", way, str(folder), str(steps), extra]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{way} failed:\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def write(folder: Path, *, records: int) -> None:
    """Write records about the demo's photographs, with answers as long as people's, for both: a dataset folder, and JSON with files."""
    from mimicit.media.picture import measure
    from mimicit.schema import Instruction
    from mimicit.store import Store

    subprocess.run([sys.executable, str(PHOTOS / "fetch.py")], check=True, capture_output=True)
    photos = sorted((PHOTOS / "images").iterdir())
    said = [one for entry in json.loads((PHOTOS / "annotations.json").read_text()) for one in words(entry)]  # fmt: skip
    draw = random.Random(0)
    store = Store.open(folder / "dataset", create=True)
    store.add_images([measure(p.read_bytes(), id=f"LA_IMG_{p.stem}", name=p.name) for p in photos])
    rows = []
    for n in range(records):
        photo = photos[n % len(photos)]
        length = min(120, max(3, int(draw.lognormvariate(3.0, 0.7))))
        answer = " ".join(draw.choice(said) for _ in range(length)).capitalize() + "."
        rows.append(
            Instruction(
                id=f"LA_INS_{n:05d}",
                task="photos",
                instruction=draw.choice(QUESTIONS),
                answer=answer,
                image_ids=(f"LA_IMG_{photo.stem}",),
            )
        )
    store.add(rows)
    (folder / "records.json").write_text(
        json.dumps(
            [
                {"question": r.instruction, "answer": r.answer, "picture": str(photos[n % len(photos)])}
                for n, r in enumerate(rows)
            ]
        )
    )  # fmt: skip


def words(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [word for word in entry.split() if word.isalpha()]
    if isinstance(entry, dict):
        return [word for value in entry.values() for word in words(value)]
    return [word for one in entry for word in words(one)] if isinstance(entry, list) else []


# In the child


def start(folder: Path, _steps: int, _extra: str) -> dict[str, float]:
    """Make the model that both start from: one step of our own, with a learning rate of nothing."""
    train_ours(folder, folder / "start", 1, ["optim.lr=0.0"])
    return {"rate": 0.0}


def train_ours(folder: Path, out: Path, steps: int, overrides: list[str]) -> list[dict[str, Any]]:
    import io

    from trainer.report import Progress
    from trainer.train import train

    train(
        recipe="otter_tiny",
        dataset=folder / "dataset",
        out=out,
        overrides=[f"run.steps={steps}", "run.save_every=100000", "run.stop_below=0.0", *overrides],
        progress=Progress(io.StringIO()),
    )
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def ours(folder: Path, steps: int, extra: str) -> dict[str, float]:
    recipe = folder / "tune.toml"
    text = (HERE.parent.parent / "trainer" / "recipes" / "otter_tiny.toml").read_text()
    model = text[text.index("[model]") : text.index("[data]")]
    recipe.write_text(text.replace(model, f'[model]\nstart = "{folder / "start" / "model"}"\n\n'))
    with tempfile.TemporaryDirectory() as out:
        import io

        from trainer.report import Progress
        from trainer.train import train

        run = Path(out) / "run"
        times: list[float] = []

        class Clock(Progress):
            def step(self, entry: Any, *, steps: int) -> None:
                times.append(time.perf_counter())
                super().step(entry, steps=steps)

        train(
            recipe=str(recipe),
            dataset=folder / "dataset",
            out=run,
            overrides=[
                f"run.steps={steps}",
                "run.save_every=100000",
                "run.stop_below=0.0",
                *extra.split(),
            ],
            progress=Clock(io.StringIO()),
        )
        log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    taught = sum(one["taught"] for one in log[WARM:])
    seconds = times[-1] - times[WARM - 1]
    waited = sum(one["waited"] * one["seconds"] for one in log[WARM:])
    return {
        "rate": taught / seconds,
        "first": log[0]["loss"],
        "last": sum(one["loss"] for one in log[-5:]) / 5,
        "waited": waited / seconds,
    }


def trainer(folder: Path, steps: int, workers: str) -> dict[str, float]:
    import torch
    from PIL import Image
    from torch.nn.utils.rnn import pad_sequence
    from torch.utils.data import Dataset
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from trainer.models.otter import Otter
    from trainer.models.otter_processor import OtterProcessor

    processor = OtterProcessor.from_pretrained(folder / "start" / "model")
    model = Otter.from_pretrained(folder / "start" / "model")
    taught: list[int] = []

    class Records(Dataset[dict[str, Any]]):
        rows = json.loads((folder / "records.json").read_text())

        def __len__(self) -> int:
            return len(self.rows)

        def __getitem__(self, index: int) -> dict[str, Any]:
            row = self.rows[index]
            with Image.open(row["picture"]) as opened:
                pixels = processor.pixels(opened.convert("RGB"))
            prompt = processor.prompt(row["question"], picture=True)
            answer = processor.reply(row["answer"])
            ids = (prompt + answer)[:256]
            labels = ([-100] * len(prompt) + answer)[:256]
            return {"ids": torch.tensor(ids), "labels": torch.tensor(labels), "pixels": pixels}

    def collate(examples: list[dict[str, Any]]) -> dict[str, Any]:
        ids = pad_sequence(
            [one["ids"] for one in examples], batch_first=True, padding_value=processor.pad_id
        )
        labels = pad_sequence(
            [one["labels"] for one in examples], batch_first=True, padding_value=-100
        )
        mask = pad_sequence([torch.ones_like(one["ids"]) for one in examples], batch_first=True)
        pixels = torch.stack([one["pixels"] for one in examples])[:, None, None]
        return {"input_ids": ids, "labels": labels, "attention_mask": mask, "pixel_values": pixels}

    class Times(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ends.append(time.perf_counter())

    class Counting(Trainer):
        def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            taught.append(int((inputs["labels"] != -100).sum()))
            return super().training_step(model, inputs, *args, **kwargs)

    times = Times()
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            out,
            max_steps=steps,
            per_device_train_batch_size=28,
            learning_rate=1.2e-3,
            lr_scheduler_type="cosine",
            warmup_steps=10,
            weight_decay=0.0,
            adam_beta2=0.95,
            dataloader_num_workers=int(workers),
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            remove_unused_columns=False,
            use_cpu=True,
            disable_tqdm=True,
        )
        run = Counting(
            model, arguments, train_dataset=Records(), data_collator=collate, callbacks=[times]
        )
        run.train()
    losses = [entry["loss"] for entry in run.state.log_history if "loss" in entry]
    return {
        "rate": sum(taught[WARM:]) / (times.ends[-1] - times.ends[WARM - 1]),
        "first": losses[0],
        "last": sum(losses[-5:]) / 5,
        "waited": 0.0,
    }


CLIENTS = {"start": start, "ours": ours, "trainer": trainer}

if __name__ == "__main__":
    main()
