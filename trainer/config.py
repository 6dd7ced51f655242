"""A training run as a value: what a recipe (`trainer/recipes/NAME.toml`) and `--set section.key=value` may say.

Every setting is a field below, with its unit; a key without a field is an error with a suggestion, never ignored. Nothing
here imports torch, so a recipe is checked in milliseconds.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from mimicit.errors import RecipeError

Part = Literal["perceiver", "gates", "embeddings", "new_tokens", "vision", "language", "all"]
"""A part of a model that can be trained or left as it is; `trainer.trainable` says what it holds in each family."""


def _divides(part: int, whole: int, part_name: str, whole_name: str) -> None:
    if part < 1 or whole % part:
        raise RecipeError(f"{part_name} is {part}, which does not divide {whole_name} = {whole}")


def _at_least(
    least: int, settings: Any, section: str, *names: str, but: tuple[str, ...] = ()
) -> None:
    """Refuse smaller numbers; without names, in the whole section."""
    for name in names or [name for name in settings.__slots__ if name not in but]:
        value = getattr(settings, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and value < least:
            raise RecipeError(f"{section}.{name} is {value}, but must be at least {least}")


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
        _at_least(1, self, "model.vision")
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

    def __post_init__(self) -> None:
        _at_least(1, self, "model.perceiver")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossAttention:
    heads: int = 8
    dim_head: int = 64
    ff_mult: int = 4

    def __post_init__(self) -> None:
        _at_least(1, self, "model.cross_attention")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The language model; the names are those of transformers."""

    model_type: Literal["llama", "mistral", "qwen3", "gemma3_text", "gpt_neox", "mpt"] = "llama"
    hidden_size: int
    intermediate_size: int
    """For mpt a multiple of hidden_size."""
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int | None = None
    """Heads that share one head of keys and values make fewer of these; absent: as many as the others. gpt_neox has no such thing."""
    head_dim: int | None = None
    """Width of a head; absent: hidden_size / num_attention_heads, as it always is for gpt_neox and mpt."""
    max_position_embeddings: int
    """Tokens."""
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False
    """The output head is the input embedding; always so for mpt."""

    def __post_init__(self) -> None:
        _at_least(1, self, "model.text", but=("initializer_range",))
        _at_least(0, self, "model.text", "initializer_range")
        heads = self.num_attention_heads
        if self.head_dim is None:
            _divides(heads, self.hidden_size, "model.text.num_attention_heads", "hidden_size")
        _divides(self.kv_heads, heads, "model.text.num_key_value_heads", "num_attention_heads")
        plain = self.model_type in ("gpt_neox", "mpt")
        if plain and self.head_dim not in (None, self.hidden_size // heads):
            raise RecipeError(
                f"model.text.head_dim is {self.head_dim}, but a head of {self.model_type} has hidden_size / "
                f"num_attention_heads = {self.hidden_size // heads}; leave it out"
            )
        if self.model_type == "gpt_neox" and self.kv_heads != heads:
            raise RecipeError(
                f"model.text.num_key_value_heads is {self.kv_heads}, but gpt_neox has as many as "
                f"num_attention_heads = {heads}; leave it out"
            )
        if self.model_type == "mpt":
            _divides(
                self.hidden_size,
                self.intermediate_size,
                "model.text.hidden_size",
                "intermediate_size",
            )

    @property
    def kv_heads(self) -> int:
        return self.num_key_value_heads or self.num_attention_heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """An Otter with random weights."""

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

    def __post_init__(self) -> None:
        names = ("vocab_size", "cross_attn_every_n_layers", "max_num_frames")
        _at_least(1, self, "model", *names)
        if self.cross_attn_every_n_layers > self.text.num_hidden_layers:
            raise RecipeError(
                f"model.cross_attn_every_n_layers is {self.cross_attn_every_n_layers}, but the language model has only "
                f"model.text.num_hidden_layers = {self.text.num_hidden_layers}, so none of them would see a picture"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedModel:
    """An Otter to go on from, with all that it is; a recipe says this in place of `Model`."""

    start: str
    """Folder of a model, as `syphus checkpoint convert` and `save_pretrained` write it, or of a finished run."""

    def __post_init__(self) -> None:
        if not self.start.strip():
            raise RecipeError(
                "model.start is empty; name the folder of the model to go on from: --set model.start=DIR"
            )


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
        _at_least(1, self, "data", "max_tokens", "max_row_tokens")
        _at_least(0, self, "data", "workers", "picture_cache_mb")
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
        _at_least(0, self, "lora", "alpha")
        if self.targets == ():
            raise RecipeError("lora.targets is empty; leave it out for those usual for the model")
        if self.targets is not None and not self.r:
            raise RecipeError(
                f"lora.targets is {', '.join(self.targets)}, but lora.r is 0, so there are no adapters; set lora.r, to 8 say"
            )
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
    """Gradients are made smaller where all of them together are longer."""

    def __post_init__(self) -> None:
        _at_least(0, self, "optim")
        for name in ("beta1", "beta2"):
            if getattr(self, name) >= 1:
                raise RecipeError(f"optim.{name} is {getattr(self, name)}, but must be below 1")
        if not self.max_grad_norm:
            raise RecipeError("optim.max_grad_norm is 0, so nothing would be learned")


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
        _at_least(1, self, "run", "steps", "batch_size", "micro_batch_size", "save_every", "keep")
        _at_least(0, self, "run", "seed", "stop_below", "max_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    model: Model | SavedModel
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
        if isinstance(self.model, SavedModel):
            return
        if self.data.max_tokens > self.model.text.max_position_embeddings:
            raise RecipeError(
                f"data.max_tokens is {self.data.max_tokens}, but the language model has only "
                f"model.text.max_position_embeddings = {self.model.text.max_position_embeddings}"
            )
