"""Runs of the recipe otter_tiny on small sizes, and what they leave."""

import io
import json

from trainer.report import Progress
from trainer.state import NOTHING, State, kept
from trainer.train import train

from .conftest import SMALL


def run(dataset, out, *overrides, progress=None, **options):
    return train(
        recipe="otter_tiny",
        dataset=dataset,
        out=out,
        overrides=[*SMALL, *overrides],
        progress=progress or Progress(io.StringIO()),
        **options,
    )


def log_of(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def losses(out):
    return [step["loss"] for step in log_of(out)]


def state_of(model, training, frozen=NOTHING):
    """Return the state of a bare model and of what its optimizer remembers."""
    names = kept(model, without=frozen.names)
    weights = {name: weight for name, weight in model.state_dict().items() if name in names}
    return State(weights, training, frozen)
