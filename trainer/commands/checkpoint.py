"""`syphus checkpoint`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mimicit.commands.options import Json, print_result
from mimicit.errors import MissingExtraError

if TYPE_CHECKING:
    from trainer.published.convert import Converted
    from trainer.published.describe import Description
    from trainer.published.sources import Beside

checkpoint = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Look at published checkpoints, and turn them into folders that load.",
)

Base = Annotated[
    Path | None,
    typer.Option(help="Folder of the whole model that a file of trained tensors goes over."),
]
Vision = Annotated[Path | None, typer.Option(help="Folder of a CLIP, for OpenFlamingo.")]
Language = Annotated[
    Path | None, typer.Option(help="Folder of a language model, for OpenFlamingo.")
]
Tokenizer = Annotated[
    Path | None, typer.Option(help="Folder of the tokenizer, if it is not beside the weights.")
]
Sizes = Annotated[
    list[str] | None,
    typer.Option("--set", help="A size that no file says: perceiver.heads=8. May be repeated."),
]
NAMES = {"otter": "an Otter", "openflamingo": "an OpenFlamingo", "fuyu": "a Fuyu"}
SETTABLE = {
    "perceiver": ("heads", "dim_head"),
    "cross_attention": ("heads", "dim_head"),
    "lora_config": ("r", "lora_alpha"),
}


@checkpoint.command()
def convert(
    source: Annotated[
        Path, typer.Argument(help="Folder of a checkpoint, or a file of trained tensors.")
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The new folder.")],
    base: Base = None,
    vision: Vision = None,
    language: Language = None,
    tokenizer: Tokenizer = None,
    dtype: Annotated[
        Literal["keep", "bf16", "fp32"], typer.Option(help="Of the written weights.")
    ] = "keep",
    shard_gb: Annotated[float, typer.Option(min=0.001, help="GB of one file, at most.")] = 4.0,
    set_: Sizes = None,
    json: Json = False,
) -> None:
    """Turn a published checkpoint into a folder that `from_pretrained` loads.

    Otter's and Fuyu's folders, OpenFlamingo's `checkpoint.pt`, and files of trained tensors over a base. Nothing in them is run, and
    no more than one tensor is in memory at a time. What is missing or unknown is refused by name.

    Example:

        syphus checkpoint convert OTTER-Image-MPT7B -o otter-mpt7b --dtype bf16

        syphus checkpoint convert checkpoint.pt -o flamingo-9b --vision clip-vit-large-patch14 --language mpt-7b
    """
    _need_torch()
    from mimicit.progress import Progress
    from trainer.published.convert import convert as convert_checkpoint

    with Progress("converting", total=None, unit="MB") as progress:

        def written(done: int, total: int) -> None:
            progress.total = total // 10**6
            progress.update(done // 10**6)

        result = convert_checkpoint(
            source,
            out,
            _beside(base, vision, language, tokenizer),
            dtype=dtype,
            shard_bytes=int(shard_gb * 1e9),
            overrides=_sizes(set_ or []),
            progress=written,
        )
    print_result(json, result, _said(result))


@checkpoint.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="Folder of a checkpoint, or one of its files.")],
    base: Base = None,
    vision: Vision = None,
    language: Language = None,
    tokenizer: Tokenizer = None,
    set_: Sizes = None,
    json: Json = False,
) -> None:
    """Say what a checkpoint is, and what it lacks; no tensor is read, and nothing in it is run.

    Exit code 1 if it could not be converted as it is.

    Example:

        syphus checkpoint inspect OTTER-Image-MPT7B
    """
    _need_torch()
    from trainer.published.describe import describe

    found = describe(path, _beside(base, vision, language, tokenizer), _sizes(set_ or []))
    print_result(json, found, _described(found))
    raise typer.Exit(0 if found.complete else 1)


def _need_torch() -> None:
    if find_spec("torch") is None:
        raise MissingExtraError("torch", "train")


def _beside(
    base: Path | None, vision: Path | None, language: Path | None, tokenizer: Path | None
) -> Beside:
    from trainer.published.sources import Beside

    return Beside(base=base, vision=vision, language=language, tokenizer=tokenizer)


def _sizes(settings: list[str]) -> dict[str, dict[str, int]]:
    """Read PART.NAME=NUMBER."""
    found: dict[str, dict[str, int]] = {}
    for setting in settings:
        place, _, number = setting.partition("=")
        part, _, name = place.partition(".")
        if (
            name not in SETTABLE.get(part, ())
            or not number.isascii()
            or not number.isdigit()
            or int(number) < 1
        ):
            known = ", ".join(
                f"{part}.{name}" for part, names in SETTABLE.items() for name in names
            )
            raise typer.BadParameter(f"{setting!r} is none of {known} with =NUMBER")
        found.setdefault(part, {})[name] = int(number)
    return found


def _said(result: Converted) -> str:
    return "\n".join(
        [
            *(f"note: {note}" for note in result.notes),
            f"{result.folder!r} is {NAMES[result.family]} on {result.backbone}: {result.parameters:,} parameters in "
            f"{result.tensors:,} tensors, {_size(result.bytes)}",
        ]
    )


def _described(found: Description) -> str:
    from trainer.published.reading import some

    dtypes = ", ".join(f"{name} ({count:,})" for name, count in found.dtypes.items())
    words = "" if found.words is None else f", {found.words:,} words"
    lines = [
        f"{found.path}: {NAMES[found.family]} on {found.backbone or 'a language model that is not in it'}",
        f"  {found.parameters:,} parameters in {found.tensors:,} tensors, {_size(found.bytes)} in {found.files} files; {dtypes}",
        f"  language model: {found.layers} layers{words}",
    ]
    if found.sizes:
        sizes = found.sizes
        frames = "none" if sizes.frames is None else str(sizes.frames)
        lines += [
            f"  width {sizes.text_width}; cross-attention before every {_ordinal(sizes.every)} layer ({len(sizes.looking_layers)} in all), {sizes.cross_inner} wide",
            f"  perceiver: {sizes.depth} rounds, {sizes.latents} latents, {sizes.perceiver_inner} wide; frame embeddings: {frames}",
        ]
    if found.adapters:
        lines.append(f"  LoRA adapters of {found.adapters:,} weights, which are merged")
    for what, names in (
        ("missing", found.missing),
        ("unknown", found.unknown),
        ("of another shape", found.misshapen),
    ):
        if names:
            lines.append(f"  {what}: {some(names)}")
    lines += [f"  note: {note}" for note in found.notes]
    if found.problem:
        lines.append(f"  {found.problem}")
    lines.append("  can be converted" if found.complete else "  cannot be converted as it is")
    return "\n".join(lines)


def _size(count: int) -> str:
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _ordinal(number: int) -> str:
    return "single" if number == 1 else f"{number}{({2: 'nd', 3: 'rd'}).get(number, 'th')}"
