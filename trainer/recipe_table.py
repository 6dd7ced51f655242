"""The table of what each recipe needs, in docs/recipes.md: `python -m trainer.recipe_table docs/recipes.md` writes it anew."""

import sys
from pathlib import Path

import trainer  # noqa: F401 - before torch
from mimicit.errors import MimicitError
from trainer import trainable
from trainer.memory import GIB, need_of
from trainer.outline import outline
from trainer.recipe import read_recipe
from trainer.recipe_text import shipped

BEGIN, END = "<!-- memory: begin -->\n", "<!-- memory: end -->\n"
DEVICE = 80 * GIB
"""Of memory, for what `run.strategy = "auto"` is."""
SIZES = (1, 8)
"""Devices."""


def table() -> str:
    """Return the table, of the recipes whose model is known."""
    head = "| recipe | parameters | trained | weights | gradients, AdamW | activations | one GPU | each of 8 GPUs |"
    lines = [head, "| --- " + "| ---: " * 7 + "|"]
    for name, _ in shipped():
        if "_tiny" in name:
            continue
        try:
            config = read_recipe(name)
        except MimicitError:  # it names no model before it is told one
            continue
        model = outline(config)
        whole = trainable.table(model)[-1]
        one, many = (need_of(model, config, kind="cuda", devices=n, memory=DEVICE) for n in SIZES)
        cells = [
            f"`{name}`",
            f"{whole.parameters / 1e9:,.2f} G",
            f"{whole.trained / 1e9:,.2f} G",
            _gib(one.weights),
            _gib(one.gradients + one.optimizer),
            _gib(one.activations + one.copies),
            _gib(one.whole),
            _gib(many.whole),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def written(page: str) -> str:
    """Return a page with the table of today in it."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


def _gib(count: int) -> str:
    return f"{count / GIB:,.1f}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
