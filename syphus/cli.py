"""The `syphus` command: the only place where the three packages meet.

Everything heavy is imported by the command that needs it. Exit codes: 0 done · 1 a sentence on standard error says what is
wrong · 2 wrong usage · 3 finished, but some records failed (they are listed) · 130 interrupted, run again to go on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mimicit.cli import Dataset, data, sql
from mimicit.errors import MimicitError
from mimicit.progress import duration
from syphus.commands import shared
from syphus.commands.annotate import annotate
from syphus.commands.coldstart import coldstart
from syphus.commands.generate import generate
from syphus.commands.judge import judge
from syphus.commands.tasks import tasks
from syphus.commands.translate import translate

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
    help="From annotated pictures to a trained vision-language model, with every step in SQL.",
)
app.command(name="annotate")(annotate)
app.command(name="generate")(generate)
app.command(name="translate")(translate)
app.command(name="judge")(judge)
app.command(name="coldstart")(coldstart)
app.add_typer(tasks, name="tasks")
app.add_typer(data, name="data")
app.command(name="sql")(sql)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe (otter_tiny), or a TOML file.")],
    dataset: Dataset,
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the run.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting: optim.lr=1e-4")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Demand that there is a run to go on.")
    ] = False,
) -> None:
    """Train a model on the accepted records of a dataset.

    Stopped and run again, it goes on from its last checkpoint.

    Example:

        syphus train otter_tiny -d demo -o runs/demo
    """
    shared.need("torch", "train")
    from trainer.train import train

    with shared.resumable():
        result = train(recipe=recipe, dataset=dataset, out=out, overrides=set_ or [], resume=resume)
    done = "was trained already" if result.was_finished else "is trained"
    typer.echo(
        f"{str(out / 'model')!r} {done}: {result.steps:,} steps in {duration(result.seconds)}, "
        f"loss {result.first_loss:.3f} -> {result.last_loss:.3f}; the curve is {str(out / 'loss.png')!r}"
    )


@app.command()
def chat(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    question: Annotated[str, typer.Argument(help="What to ask.")],
    image: Annotated[list[Path], typer.Option("--image", help="Picture; may be repeated.")],
    max_new_tokens: Annotated[int, typer.Option(help="Tokens of the answer, at most.")] = 128,
) -> None:
    """Ask a trained model about a picture.

    Example:

        syphus chat runs/demo --image cat.png "What does the picture show?"
    """
    shared.need("torch", "train")
    from trainer.chat import answer

    typer.echo(answer(run, image, question, max_new_tokens=max_new_tokens))


def main() -> None:
    """Run the command; say what is wrong in one sentence, and keep the traceback of a bug."""
    try:
        app()
    except MimicitError as error:
        _fail(str(error))
    except OSError as error:
        where = f": {error.filename!r}" if error.filename else ""
        _fail(f"{error.strerror or error}{where}; what was finished before is kept")
    except KeyboardInterrupt:
        sys.stderr.write("syphus: interrupted\n")
        sys.exit(130)
    except Exception as error:
        if not isinstance(error, _database_errors()):
            raise
        _fail(f"{str(error).splitlines()[0]}; what was finished before is kept")


def _database_errors() -> tuple[type[Exception], ...]:
    """Return what databases raise on a full disk, say; those that are loaded: help needs none."""
    found = []
    if sqlite := sys.modules.get("sqlite3"):
        found.append(sqlite.OperationalError)
    if duckdb := sys.modules.get("duckdb"):
        found.append(duckdb.Error)
    return tuple(found)


def _fail(sentence: str) -> None:
    sys.stderr.write(f"syphus: {sentence}\n")
    sys.exit(1)
