"""What a run leaves when it has ended: the model, adapters, the curve, and run.json with its figures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from mimicit.progress import duration
from trainer import lora, report, trainable
from trainer.config import TrainConfig
from trainer.curve import Curve
from trainer.errors import RunFolderError
from trainer.evaluate import Look
from trainer.measure import CONVENTIONS, Meter
from trainer.quiet import quiet
from trainer.run_folder import RunFolder, left_out, whole_folder, write_json
from trainer.sources.mix import Mix

PACKAGES = ("torch", "transformers", "accelerate", "tokenizers", "safetensors")
"""Whose versions are noted."""


@dataclass(frozen=True, slots=True)
class TrainResult:
    run: Path
    steps: int
    first_loss: float
    last_loss: float
    seconds: float
    """Of training, over all sessions."""
    was_finished: bool = False
    """The folder held this very run, finished; nothing was done."""
    held_out: float | None = None
    """The loss of all held-out records (`evaluate.where`) at the end."""

    @classmethod
    def of(cls, folder: RunFolder, *, was_finished: bool = False) -> "TrainResult":
        """Read it from the summary of a finished run."""
        summary = folder.read_summary()
        figures = {key: summary[key] for key in ("steps", "first_loss", "last_loss", "seconds")}
        held_out = (summary.get("held_out") or {}).get("loss")
        return cls(run=folder.path, was_finished=was_finished, held_out=held_out, **figures)

    def json(self) -> str:
        """Return it as one line, with the places of what it made."""
        run = str(self.run)
        places = {"run": run, "model": f"{run}/model", "curve": f"{run}/loss.png"}
        return json.dumps(asdict(self) | places)

    def __str__(self) -> str:
        held_out = "" if self.held_out is None else f" · held-out loss {self.held_out:.3g}"
        return (
            f"learned in {self.steps:,} steps, {duration(self.seconds)} · "
            f"loss {self.first_loss:.3g} → {self.last_loss:.3g}{held_out} · model in {str(self.run / 'model')!r}"
        )


def finish(
    folder: RunFolder,
    config: TrainConfig,
    mix: Mix,
    model: PreTrainedModel,
    processor: Any,
    *,
    log: Sequence[report.StepLog],
    meter: Meter,
    held_out: Mapping[int, float],
    final: Look | None,
) -> None:
    """Write what was learned and how; `run.json` comes last, for it says that the rest is whole.

    Args:
        folder: Of the run.
        config: Of the run.
        mix: What it learned from.
        model: With what it learned; adapters are merged into it.
        processor: Of the model.
        log: All steps.
        meter: Of the run.
        held_out: Losses of held-out records at each look, by the steps that were learned before.
        final: The look at all of them.
    """
    parts = trainable.table(model)
    if lora.has_adapters(model):
        with whole_folder(folder.path / "adapters") as staged:
            lora.save_adapters(model, staged)
        lora.merge(model)
    # Of Idefics' additional words transformers says that they are none.
    with whole_folder(folder.model) as staged, quiet():
        model.save_pretrained(staged)
        processor.save_pretrained(staged)
    if not log:
        raise RunFolderError(
            f"{str(folder.log)!r} is gone, and with it the figures of the run; the model is in {str(folder.model)!r}"
        )
    with left_out(folder.curve):
        Curve(folder.curve).draw(log, held_out)
    write_json(
        folder.summary,
        {
            "steps": log[-1].step,
            "first_loss": log[0].loss,
            "last_loss": log[-1].loss,
            "seconds": round(sum(entry.seconds for entry in log), 2),
            "records": len(mix),
            "snapshot": mix.digest,
            "speed": {
                **report.means(log),
                "peak_flops": meter.peak,
                "why_no_mfu": meter.why_no_mfu,
            },
            "conventions": CONVENTIONS,
            "aside": report.asides(log, meter.clock.lap()[1]),
            "held_out": final and asdict(final),
            "parameters": sum(p.numel() for p in model.parameters()),
            "trained_parameters": parts[-1].trained,
            "parts": [asdict(row) for row in parts],
            "device": str(model.device),
            "versions": {package: version(package) for package in PACKAGES},
            "config": asdict(config),
        },
    )
