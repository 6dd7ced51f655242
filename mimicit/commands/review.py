"""`syphus data review`."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from mimicit.commands.options import Dataset, Json, as_text

if TYPE_CHECKING:
    from mimicit.review.opinions import Agreement, Vote
    from mimicit.review.server import Server
    from mimicit.store import Store

SHOWN = 20
"""Disagreements that are printed."""
LONGEST = 600
"""Characters of a reason that are."""


def review(
    dataset: Dataset,
    reviewer: Annotated[
        str | None, typer.Option(help="Whose decisions these are; else the name of your account.")
    ] = None,
    where: Annotated[
        str,
        typer.Option(
            help="An SQL predicate over `instructions`; without, what no filter rejects is shown."
        ),
    ] = "",
    order: Annotated[
        str, typer.Option(help="random, id, or score: what filters and judges scored lowest first.")
    ] = "random",
    seed: Annotated[
        int, typer.Option(min=0, max=2**62, help="Another one gives another random order.")
    ] = 0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Print the address, and open nothing.")
    ] = False,
    agreement: Annotated[
        bool, typer.Option("--agreement", help="Say how far reviewers agree; serve nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Show records beside their pictures in a browser, and keep what people think of them as verdicts.

    The page is for this machine only. Decisions are on disk at once, and become verdicts in batches; nothing is deleted.

    Example:

        syphus data review -d demo

        syphus data review -d demo --reviewer ann --where "task = 'la_detail' AND length(answer) > 400"

        syphus data review -d demo --agreement
    """
    from mimicit.review.deck import ORDERS, Wanted
    from mimicit.review.serving import serve
    from mimicit.store import Store

    store = Store.open(dataset)
    if agreement:
        _print_agreement(store, json=json)
        return
    chosen = next((one for one in ORDERS if one == order), None)
    if chosen is None:
        raise typer.BadParameter(f"--order {order!r} is none of {', '.join(ORDERS)}")

    def ready(server: Server) -> None:
        line = _json({"url": server.url}) if json else server.url
        typer.echo(line)
        sys.stdout.flush()
        if not no_browser:
            _open(server.url_once)
        typer.echo("Ctrl-C ends it; everything is saved as you go", err=True)

    serve(
        store,
        reviewer=reviewer or _account(),
        wanted=Wanted(where, chosen, seed),
        port=port,
        ready=ready,
        say=lambda sentence: typer.echo(sentence, err=True),
    )


def _account() -> str:
    """Return a name for who did not give one."""
    import getpass
    import re

    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):
        name = ""
    return re.sub(r"\W+", "_", name).strip("_")[:40] or "reviewer"


def _open(url: str) -> None:
    """Open a browser that has a window; one in the terminal would take it from the command."""
    import webbrowser

    if sys.platform == "linux" and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))):
        return
    with suppress(webbrowser.Error):
        webbrowser.open(url)


def _print_agreement(store: Store, *, json: bool) -> None:
    from dataclasses import asdict

    from mimicit.review.journal import journals
    from mimicit.review.opinions import agreement

    found = agreement(journals(store.path))
    typer.echo(_json(asdict(found)) if json else _said(found))


def _said(found: Agreement) -> str:
    if not found.pairs:
        return "there are not two reviewers yet"
    rows = [("reviewers", "records", "agreement", "kappa")]
    rows += [
        (f"{pair.first}, {pair.second}", f"{pair.records:,}", _share(pair.agreement), _number(pair.kappa))
        for pair in found.pairs
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([first.ljust(widths[0]), *(one.rjust(w) for one, w in zip(rest, widths[1:], strict=True))])
        for first, *rest in rows
    ]  # fmt: skip
    lines += ["", f"{len(found.disagreements):,} records on which they disagree"]
    for one in found.disagreements[:SHOWN]:
        lines.append(f"  {_line(one.record)}")
        lines += [f"    {_vote(vote)}" for vote in one.said]
    if len(found.disagreements) > SHOWN:
        lines.append("  … --json lists all of them")
    return "\n".join(lines)


def _vote(vote: Vote) -> str:
    return f"{vote.by}: {vote.do}" + (f" ({_line(vote.reason)})" if vote.reason else "")


def _line(text: str) -> str:
    """Return what a stranger's journal says as one line that no terminal obeys."""
    from mimicit.inline import plain

    line = " ".join(plain(text).split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} …"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _json(value: object) -> str:
    return as_text(value)
