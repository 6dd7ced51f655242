"""A training run as a value: what a recipe (`trainer/recipes/NAME.toml`) and `--set section.key=value` may say.

Every setting is a field below, with its unit; a key without a field is an error with a suggestion, never ignored. Nothing
here imports torch, so a recipe is checked in milliseconds.
"""

import dataclasses
import difflib
import re
import tomllib
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mimicit.errors import RecipeError

RECIPES = Path(__file__).parent / "recipes"

Part = Literal["perceiver", "gates", "embeddings", "new_tokens", "vision", "language", "all"]
"""A part of a model that can be trained or left as it is; `trainer.trainable` says what it holds in each family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vision:
    """A CLIP vision tower; the names are those of transformers."""

    image_size: int
    """Pixels, of both sides."""
    patch_size: int
    """Pixels, of both sides."""
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int

    def __post_init__(self) -> None:
        _divides(self.patch_size, self.image_size, "model.vision.patch_size", "image_size")
        _divides(
            self.num_attention_heads,
            self.hidden_size,
            "model.vision.num_attention_heads",
            "hidden_size",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Perceiver:
    depth: int = 6
    heads: int = 8
    dim_head: int = 64
    num_latents: int = 64
    ff_mult: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossAttention:
    heads: int = 8
    dim_head: int = 64
    ff_mult: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The language model; the names are those of transformers."""

    model_type: Literal["llama"] = "llama"
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int
    """Tokens."""
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    def __post_init__(self) -> None:
        _divides(
            self.num_attention_heads,
            self.hidden_size,
            "model.text.num_attention_heads",
            "hidden_size",
        )
        _divides(
            self.num_key_value_heads,
            self.num_attention_heads,
            "model.text.num_key_value_heads",
            "num_attention_heads",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    tokenizer: str
    """`train`, or a name or folder that transformers' AutoTokenizer knows."""
    vocab_size: int = 1024
    """Tokens, at most, of a trained tokenizer; the special ones come on top."""
    cross_attn_every_n_layers: int = 4
    max_num_frames: int | None = None
    """Pictures of one record, at most, kept in order; absent: any number, without order."""
    gate_init: float = 0.0
    """Where the cross-attention gates start. 0 protects a trained language model."""
    vision: Vision
    perceiver: Perceiver = Perceiver()
    cross_attention: CrossAttention = CrossAttention()
    text: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    where: str = "true"
    """SQL over the view `accepted`: which records are learned."""
    max_tokens: int = 512
    """Tokens of one example; what is longer is cut."""
    max_row_tokens: int | None = None
    """Tokens of one row, at most, into which a micro batch's examples are packed, none seeing another; absent: every example has a
    row of its own, and padding. What is learned is the same."""
    pictures: Literal["frames", "media"] = "frames"
    """What several pictures of one record are. `frames`: of one clip, shown together by one <image>; for videos and for telling
    pictures apart. `media`: each has an <image> of its own, where the question says <image>, else before it."""
    workers: int = 0
    """Processes that prepare examples; 0 prepares them between steps."""
    decode: Literal["good", "exact"] = "good"
    """`exact`: Pillow's values; `good`: the fastest way there, where JPEGs shrink some values are a step of 255 off."""
    picture_cache_mb: int = 256
    """MiB of decoded and resized pictures kept in memory, per process."""

    def __post_init__(self) -> None:
        if self.max_row_tokens is not None and self.max_row_tokens < self.max_tokens:
            raise RecipeError(
                f"data.max_row_tokens is {self.max_row_tokens}, but an example may have data.max_tokens = {self.max_tokens}, and "
                "none is cut to fit a row"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainable:
    """Otter was published with perceiver, gates and embeddings; OpenFlamingo with perceiver, gates and new_tokens."""

    parts: tuple[Part, ...] = ("all",)
    """What is trained in full. What is not named here keeps its weights, bit for bit."""

    def __post_init__(self) -> None:
        if "all" in self.parts and len(self.parts) > 1:
            raise RecipeError(
                f"trainable.parts is {', '.join(self.parts)}; all means every part, so name it alone"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) in the language model, beside `trainable.parts`."""

    r: int = 0
    """The rank of an adapter; 0: no adapters."""
    alpha: float = 32.0
    """What an adapter says is scaled by alpha / r."""
    dropout: float = 0.05
    targets: tuple[str, ...] | None = None
    """Names of linear layers, such as q_proj; absent: those usual for the language model."""

    def __post_init__(self) -> None:
        if self.r < 0:
            raise RecipeError(f"lora.r is {self.r}, but must be at least 1, or 0 for no adapters")
        if self.targets == ():
            raise RecipeError("lora.targets is empty; leave it out for those usual for the model")
        if not 0 <= self.dropout < 1:
            raise RecipeError(f"lora.dropout is {self.dropout}, but must be at least 0 and below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Optim:
    lr: float
    """The highest learning rate, reached after warm-up."""
    min_lr_ratio: float = 0.1
    """What is left of it at the last step, after a cosine."""
    warmup_steps: int = 0
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    max_grad_norm: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    steps: int
    """Optimizer updates, at most."""
    batch_size: int
    """Examples of one step, over all devices."""
    micro_batch_size: int
    """Examples per device per forward, or, with data.max_row_tokens, those that are packed together. Lower this first when memory
    runs out; what is learned stays the same."""
    seed: int = 0
    precision: Literal["no", "bf16", "fp16"] = "no"
    """Of activations; weights are kept in float32."""
    gradient_checkpointing: bool = False
    """Keep only what enters each layer, and compute the rest again on the way back: less memory, more time."""
    stop_below: float | None = None
    """End early once the loss, averaged over one pass through the data, is lower."""
    max_seconds: float | None = None
    """End early after this much training."""
    save_every: int = 500
    """Steps between checkpoints."""
    keep: int = 2
    """Checkpoints that stay."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "micro_batch_size", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise RecipeError(f"run.{name} is {getattr(self, name)}, but must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    model: Model
    data: Data = field(default_factory=Data)
    trainable: Trainable = Trainable()
    lora: Lora = Lora()
    optim: Optim
    run: Run

    def __post_init__(self) -> None:
        full = {"all", "language"} & set(self.trainable.parts)
        if self.lora.r and full:
            raise RecipeError(
                f"lora.r is {self.lora.r}, but trainable.parts trains the language model in full ({full.pop()}); "
                'name what else is trained beside the adapters, such as trainable.parts = ["perceiver", "gates"]'
            )
        if not self.lora.r and not self.trainable.parts:
            raise RecipeError(
                "trainable.parts is empty and lora.r is 0, so nothing would be trained"
            )
        if self.data.max_tokens > self.model.text.max_position_embeddings:
            raise RecipeError(
                f"data.max_tokens is {self.data.max_tokens}, but the language model has only "
                f"model.text.max_position_embeddings = {self.model.text.max_position_embeddings}"
            )


def read_recipe(recipe: str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a recipe, by name or path, and apply overrides such as `optim.lr=1e-3`.

    Raises:
        RecipeError: no such recipe, an unknown key, a value of the wrong type, or an impossible combination.
    """
    path = find_recipe(recipe)
    source = path.read_text(encoding="utf-8")
    try:
        table = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{str(path)!r} is not TOML: {error}") from None
    from_command_line = {_override(table, text) for text in overrides}

    def place(key: str) -> str:
        if key in from_command_line:
            return "--set"
        line = _line_of(source, key)
        return f"{path.name}, line {line}" if line else path.name

    return _build(TrainConfig, table, (), place)  # type: ignore[no-any-return]


def find_recipe(recipe: str) -> Path:
    path = Path(recipe) if recipe.endswith(".toml") else RECIPES / f"{recipe}.toml"
    if not path.is_file():
        names = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
        raise RecipeError(
            f"there is no recipe {recipe!r}; give the path of a .toml file, or one of: {names}"
        )
    return path


def _build(cls: Any, table: dict[str, Any], above: tuple[str, ...], place: Any) -> Any:
    """Turn a TOML table into a dataclass, checking every key and type on the way."""
    hints = typing.get_type_hints(cls)
    values = {}
    for name, value in table.items():
        key = ".".join((*above, name))
        if name not in hints:
            raise RecipeError(f"{place(key)}: there is no setting {key!r}{_suggest(key)}")
        if dataclasses.is_dataclass(hints[name]):
            if not isinstance(value, dict):
                raise RecipeError(f"{place(key)}: {key!r} is a section, not the value {value!r}")
            values[name] = _build(hints[name], value, (*above, name), place)
        else:
            values[name] = _checked(hints[name], value, key, place)
    for missing in dataclasses.fields(cls):
        if missing.name not in values and _is_required(missing):
            key = ".".join((*above, missing.name))
            raise RecipeError(f"{place('.'.join(above))}: the setting {key!r} is missing")
    return cls(**values)


def _checked(hint: Any, value: Any, key: str, place: Any) -> Any:
    """Return a value of the hinted type; a whole number may stand for a float."""
    arms = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for arm in arms:
        if typing.get_origin(arm) is tuple:
            if isinstance(value, str) and place(key) == "--set":
                value = [part.strip() for part in value.split(",") if part.strip()]
            if isinstance(value, list):
                return tuple(_checked(typing.get_args(arm)[0], item, key, place) for item in value)
            continue
        if typing.get_origin(arm) is Literal:
            if value in typing.get_args(arm):
                return value
        elif arm is float and type(value) is int:
            return float(value)
        elif type(value) is arm:
            return value
    wanted = " or ".join(_describe(arm) for arm in arms if arm is not types.NoneType)
    raise RecipeError(f"{place(key)}: {key!r} must be {wanted}, not {value!r}")


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is tuple:
        return f"a list, each {_describe(typing.get_args(hint)[0])}"
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(hint))
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[hint]


def _override(table: dict[str, Any], text: str) -> str:
    """Set one `a.b=value` in the table, and return its key."""
    key, equals, raw = (part.strip() for part in text.partition("="))
    if not (key and equals):
        raise RecipeError(f"--set {text!r} is not of the form section.key=value")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw  # a text does not need quotes on the command line
    *sections, name = key.split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise RecipeError(
                f"--set: {key!r} goes below a value that is not a section{_suggest(key)}"
            )
    table[name] = value
    return key


def _line_of(source: str, key: str) -> int | None:
    """Find where a recipe writes a key, or opens a section."""
    section = ""
    for number, line in enumerate(source.splitlines(), start=1):
        if header := re.match(r"\s*\[([^\]]+)\]", line):
            section = header[1].strip()
            found = section == key
        else:
            name = line.partition("=")[0].strip()
            found = bool(name) and f"{section}.{name}".lstrip(".") == key
        if found:
            return number
    return None


def _suggest(key: str) -> str:
    close = difflib.get_close_matches(key, list(_keys(TrainConfig)), n=2)
    return f"; did you mean {' or '.join(map(repr, close))}?" if close else ""


def _keys(cls: Any, above: str = "") -> Iterator[str]:
    for name, hint in typing.get_type_hints(cls).items():
        yield above + name
        if dataclasses.is_dataclass(hint):
            yield from _keys(hint, f"{above}{name}.")


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _divides(part: int, whole: int, part_name: str, whole_name: str) -> None:
    if part < 1 or whole % part:
        raise RecipeError(f"{part_name} is {part}, which does not divide {whole_name} = {whole}")
