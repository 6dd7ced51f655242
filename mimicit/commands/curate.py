"""`syphus data curate`."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

import typer

from mimicit.commands.options import Dataset, Json, print_result
from mimicit.inline import one_line, short

if TYPE_CHECKING:
    from mimicit.curate import Funnel, Said
    from mimicit.progress import Progress

PATIENCE = 1.0
"""Seconds that something takes before it is worth a line."""


def curate(
    recipe: Annotated[
        str, typer.Argument(help="A shipped recipe (starter), or a TOML or YAML file.")
    ],
    dataset: Dataset,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take the recipe's last opinion back.")
    ] = False,
    explain: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Say what each filter makes of one record; nothing is written."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Judge every record by a recipe, and print what each filter dropped.

    Nothing is deleted: verdicts are written beside the records, and curating again replaces them. Only new records are looked at anew.

    Example:

        syphus data curate starter -d demo

        syphus data curate starter -d demo --explain LACONV_INS_000000000042_00

        syphus data curate starter -d demo --undo
    """
    from dataclasses import asdict

    from mimicit import curate as curating
    from mimicit.curate.recipe import load_recipe
    from mimicit.store import Store

    checked, store = load_recipe(recipe), Store.open(dataset)
    if explain is not None:
        said = curating.explain(store, checked, explain)
        print_result(json, [asdict(one) for one in said], _said(said))
    elif undo:
        before = curating.undo(store, checked.name)
        none = f"{checked.name!r} says nothing any more"
        print_result(json, asdict(before) if before else None, _funnel(before) if before else none)
    else:
        with Stages() as stages:
            funnel = curating.curate(store, checked, stages.tell)
        print_result(json, asdict(funnel), _funnel(funnel))


class Stages:
    """Show the progress of one stage after another, of those that take their time."""

    def __init__(self) -> None:
        """Begin with none."""
        self._what = ""
        self._begun = 0.0
        self._progress: Progress | None = None
        self._shown = ExitStack()
        self._is_shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._shown.close()

    def tell(self, what: str, done: int, total: int) -> None:
        """Show how far a stage is; nothing is shown of what is over soon."""
        from mimicit.progress import Progress

        if what != self._what:
            self._shown.close()
            self._what, self._is_shown, self._begun = what, False, time.monotonic()
            self._progress = Progress(what, total=total or None, unit="records")
        assert self._progress
        if not self._is_shown and self._is_long(done, total):
            self._shown.enter_context(self._progress)
            self._is_shown = True
        if self._is_shown:
            self._progress.update(done)

    def _is_long(self, done: int, total: int) -> bool:
        return done < total and time.monotonic() - self._begun > PATIENCE


def _funnel(funnel: Funnel) -> str:
    lines = [f"{funnel.records:>9,}  records"]
    for stage in funnel.stages:
        lines.append(f"{-stage.dropped:>9,}  {stage.filter}")
        lines += [
            f"{'':11}  {row['id']}: {one_line(row['reason'])} — {short(row['instruction'])} | {short(row['answer'])}"
            for row in stage.examples
        ]
    lines.append(f"{funnel.accepted:>9,}  accepted by {funnel.recipe!r}")
    return "\n".join(lines)


def _said(said: list[Said]) -> str:
    width = max(len(one.filter) for one in said) if said else 0
    return "\n".join(
        f"{'drops' if one.drops else '    -'}  {one.filter:{width}}  {one_line(one.reason)}".rstrip()
        for one in said
    )
