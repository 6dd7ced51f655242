"""The `syphus` command: the only place where the three packages meet.

Everything heavy is imported by the command that needs it, and a command by who calls it: its help text and its options take
longer to put together than a short one takes to run. Exit codes: 0 done · 1 a sentence on standard error says what is
wrong · 2 wrong usage · 3 finished, but some records failed (they are listed) · 130 interrupted, run again to go on.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from mimicit.errors import MimicitError
from mimicit.progress import duration
from syphus.commands import shared

COMMANDS = {
    "annotate": "Let a vision model write captions and boxes for pictures that have none.",
    "generate": "Ask a model for question–answer pairs about annotated pictures.",
    "attach": "Put what people annotated beside pictures that a dataset holds.",
    "translate": "Translate the accepted records into other languages, as records of their own.",
    "judge": "Let a model rate records from 1 to 5 against the annotations that they were made from.",
    "coldstart": "Collect examples for a task: a model writes without any, you keep the best, and they join the task folder.",
    "replay": "Read all stored replies again, as the runs of this dataset asked for them; no model is called.",
    "sql": "Ask the dataset in SQL; nothing can be changed.",
    "train": "Train a model on the accepted records of a dataset.",
    "chat": "Ask a trained model about a picture.",
    "checkpoint": "Look at published checkpoints, and turn them into folders that load.",
    "tasks": "List, show, write and check tasks: what models are asked for.",
    "runs": "See what was run on a dataset: what it asked, got and cost, and what went wrong.",
    "data": "Import, look at, curate and export a dataset folder.",
}
"""What the list of commands says of each: the first sentence of its own help."""
_ELSEWHERE = {
    "sql": "mimicit.cli",
    "data": "mimicit.cli",
    "train": __name__,
    "chat": __name__,
    "checkpoint": "trainer.commands.checkpoint",
}
_FULL = ("no space left on device", "disk is full", "disk quota exceeded")
GARBAGE = 20_000
"""Objects more than were freed, after which Python looks for cycles while it starts: there are none in what is imported."""


def application(*names: str, listed: bool = False) -> typer.Typer:
    """Return the program with some of its commands.

    Args:
        names: Of COMMANDS; none means all.
        listed: Only what their list needs.
    """
    program = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        add_completion=False,
        help="From annotated pictures to a trained vision-language model, with every step in SQL.",
    )
    program.callback()(_options)  # else one command alone would be the program
    for name in names or COMMANDS:
        if listed:
            program.command(name, help=COMMANDS[name])(_unused)
            continue
        found: Any = getattr(import_module(_ELSEWHERE.get(name, f"syphus.commands.{name}")), name)
        if isinstance(found, typer.Typer):
            program.add_typer(found, name=name)
        else:
            program.command(name)(found)
    return program


def _say_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"syphus {version('mimicit')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_say_version),
    ] = False,
) -> None:
    pass


def _unused() -> None:
    pass


def __getattr__(name: str) -> typer.Typer:
    """Return `app`, the program with all of its commands, to who asks for it: Typer's tools, the tests."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return application()


def __dir__() -> list[str]:
    return [*globals(), "app"]


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A shipped recipe, such as otter_tiny (--list), or a TOML file."),
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option("-d", "--dataset", help="The dataset folder.")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder of the run.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a setting: optim.lr=1e-4; --print-config shows all."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Demand that there is a run to go on.")
    ] = False,
    print_config: Annotated[
        bool,
        typer.Option("--print-config", help="Print all settings as a recipe, and train nothing."),
    ] = False,
    list_: Annotated[
        bool, typer.Option("--list", help="Print the shipped recipes, and train nothing.")
    ] = False,
    devices: Annotated[
        int | None,
        typer.Option(min=1, help="GPUs, or processes on a CPU; without it, all GPUs there are."),
    ] = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="How devices share the work: auto, ddp, fsdp2, zero1, zero2, zero3; as --set run.strategy=…."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write the result as a line of JSON.")
    ] = False,
) -> None:
    """Train a model on the accepted records of a dataset.

    Stopped and run again, it goes on from its last checkpoint. A model that does not fit into memory is refused before anything
    is loaded, with what would fit.

    Example:

        syphus train otter_tiny -d demo -o runs/demo

        syphus train otter_tiny -d demo -o runs/seen --set "evaluate.where=hash(id) % 10 = 0" --set evaluate.every=20
    """
    overrides = [*(set_ or []), *([f"run.strategy={strategy}"] if strategy else [])]
    if list_ or print_config:
        _print_recipes() if list_ else _print_settings(recipe, overrides)
        return
    missing = {"RECIPE": recipe, "-d": dataset, "-o": out}
    if names := [name for name, given in missing.items() if given is None]:
        raise typer.BadParameter(
            f"{' and '.join(names)} missing; as in: syphus train otter_tiny -d DATASET -o RUN"
        )
    assert recipe is not None
    assert dataset is not None
    assert out is not None
    shared.need("torch", "train")
    from trainer import launch

    if processes := launch.how_many(devices):
        from trainer.recipe import read_recipe

        read_recipe(recipe, overrides)  # what is wrong with it is told before anything is started
        raise typer.Exit(launch.spread(processes, sys.argv[1:]))
    launch.end_with_parent()
    from trainer.train import train

    with shared.resumable() if launch.leads() else launch.quietly():
        result = train(recipe=recipe, dataset=dataset, out=out, overrides=overrides, resume=resume)
    if not launch.leads():
        return
    if as_json:
        typer.echo(result.json())
        return
    done = "was trained already" if result.was_finished else "is trained"
    typer.echo(
        f"{str(out / 'model')!r} {done}: {result.steps:,} steps in {duration(result.seconds)}, "
        f"loss {result.first_loss:.3f} -> {result.last_loss:.3f}; the curve is {str(out / 'loss.png')!r}"
    )


def _print_recipes() -> None:
    from trainer.recipe_text import shipped

    for name, said in shipped():
        typer.echo(f"{name:24}{said}")


def _print_settings(recipe: str | None, overrides: list[str]) -> None:
    from trainer.recipe import read_recipe
    from trainer.recipe_text import as_toml

    if recipe is None:
        raise typer.BadParameter("--print-config needs a recipe, such as otter_tiny")
    typer.echo(as_toml(read_recipe(recipe, overrides)), nl=False)


def chat(
    run: Annotated[Path, typer.Argument(help="Folder of a training run, or of a model.")],
    question: Annotated[
        str | None, typer.Argument(help="What to ask; without it, each line of standard input.")
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option("--image", help="Picture; may be repeated.")
    ] = None,
    video: Annotated[Path | None, typer.Option(help="Video, instead of pictures.")] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Of the video, evenly from its first to its last.")
    ] = None,
    each: Annotated[
        bool,
        typer.Option("--each", help="Ask about each picture by itself, not about all as one clip."),
    ] = False,
    max_new_tokens: Annotated[int, typer.Option(help="Tokens of the answer, at most.")] = 128,
    temperature: Annotated[
        float, typer.Option(help="0: the likeliest words; above, words are drawn.")
    ] = 0.0,
    top_p: Annotated[
        float, typer.Option(help="Draw only from the likeliest words that together are so likely.")
    ] = 1.0,
    beams: Annotated[int, typer.Option(help="Beginnings of an answer, side by side.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the words that are drawn.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write a line of JSON for each answer.")
    ] = False,
) -> None:
    """Ask a trained model about a picture.

    Without a question it answers each line of standard input, and remembers what was said before.

    Example:

        syphus chat runs/demo --image cat.png "What does the picture show?"
    """
    shared.need("torch", "train")
    from trainer.chat import Sampling, start

    sampling = Sampling(max_new_tokens, temperature, top_p, beams, seed)
    chats = start(run, image or (), video=video, frames=frames, each=each, sampling=sampling)
    for asked in _questions() if question is None else [question]:
        for one in chats:
            if as_json:
                typer.echo(one.ask(asked).json())
            else:
                one.ask(asked, _write)
                typer.echo()


def _write(answer: str) -> None:
    """Write a piece of an answer; a terminal must not obey what a model says."""
    if sys.stdout.isatty():
        from mimicit.inline import plain

        answer = plain(answer)
    typer.echo(answer, nl=False)


def _questions() -> Iterator[str]:
    """Yield the lines of standard input that say something; ask for them where a person types."""
    while True:
        if sys.stdin.isatty():
            sys.stderr.write("> ")
            sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def main() -> None:
    """Run the command, and end."""
    try:
        _run()
    finally:
        # Only `train` has loaded this; one of several processes ends in a way of its own.
        if launch := sys.modules.get("trainer.launch"):
            launch.end(sys.exception())


def _run() -> None:
    """Run the command; say what is wrong in one sentence, and keep the traceback of a bug."""
    gc.set_threshold(GARBAGE, *gc.get_threshold()[1:])
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # it reads about every installed package
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # its own keeps what was freed
    try:
        _called(sys.argv[1:])()
    except MimicitError as error:
        _fail(str(error))
    except OSError as error:
        where = f": {error.filename!r}" if error.filename else ""
        _fail(_kept(f"{error.strerror or error}{where}"))
    except KeyboardInterrupt:
        sys.stderr.write("syphus: interrupted\n")
        sys.exit(130)
    except Exception as error:
        if not isinstance(error, _database_errors()):
            raise
        _fail(_kept(str(error).splitlines()[0]))
    finally:
        gc.freeze()  # the end of the process looks for cycles in all that was ever imported


def _called(arguments: list[str]) -> typer.Typer:
    """Return as much of the program as a command line asks for."""
    if arguments in ([], ["--help"], ["--version"]):
        return application(listed=True)
    return application(*(name for name in arguments[:1] if name in COMMANDS))


def _database_errors() -> tuple[type[Exception], ...]:
    """Return what databases raise on a full disk, say; those that are loaded: help needs none."""
    found = []
    if sqlite := sys.modules.get("sqlite3"):
        found.append(sqlite.OperationalError)
    if duckdb := sys.modules.get("duckdb"):
        found.append(duckdb.Error)
    return tuple(found)


def _kept(said: str) -> str:
    """Say what an error of the system's means for the work; each library says in its own way that a disk is full."""
    if any(words in said.lower() for words in _FULL):
        return f"the disk is full ({said}); what was finished before is kept: free some space, and run the same command again"
    return f"{said}; what was finished before is kept"


def _fail(sentence: str) -> None:
    sys.stderr.write(f"syphus: {sentence}\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
