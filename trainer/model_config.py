"""The models that a recipe may describe, or name: the section `[model]`.

`family` says which; without it, it is an Otter. `start` in its place names a folder with a model, which is what it is already.
"""

from dataclasses import dataclass
from typing import Any, Literal

from mimicit.errors import RecipeError


def divides(part: int, whole: int, part_name: str, whole_name: str) -> None:
    if part < 1 or whole % part:
        raise RecipeError(f"{part_name} is {part}, which does not divide {whole_name} = {whole}")


def at_least(
    least: int, settings: Any, section: str, *names: str, but: tuple[str, ...] = ()
) -> None:
    """Refuse smaller numbers; without names, in the whole section."""
    for name in names or [name for name in settings.__slots__ if name not in but]:
        value = getattr(settings, name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and value < least:
            raise RecipeError(f"{section}.{name} is {value}, but must be at least {least}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """A part that is there already, in place of sizes: a CLIP, or a causal language model, with its weights."""

    start: str
    """A folder that `save_pretrained` wrote, or a name on the Hugging Face Hub."""

    def __post_init__(self) -> None:
        if not self.start.strip():
            raise RecipeError(
                "start is empty; name a folder, or a model on the Hub, such as openai/clip-vit-large-patch14"
            )


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
        at_least(1, self, "model.vision")
        divides(self.patch_size, self.image_size, "model.vision.patch_size", "image_size")
        divides(
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
        at_least(1, self, "model.perceiver")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossAttention:
    heads: int = 8
    dim_head: int = 64
    ff_mult: int = 4

    def __post_init__(self) -> None:
        at_least(1, self, "model.cross_attention")


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
        at_least(1, self, "model.text", but=("initializer_range",))
        at_least(0, self, "model.text", "initializer_range")
        heads = self.num_attention_heads
        if self.head_dim is None:
            divides(heads, self.hidden_size, "model.text.num_attention_heads", "hidden_size")
        divides(self.kv_heads, heads, "model.text.num_key_value_heads", "num_attention_heads")
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
            divides(
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
    """An Otter with random weights, but for the parts that start from published ones, as OpenFlamingo and Otter did."""

    family: Literal["otter"] = "otter"
    layout: Literal["otter", "flamingo"] = "otter"
    """Whose texts: Otter's, with a mark where an answer begins, or OpenFlamingo's, of bare text, with pictures cut to their middle."""
    tokenizer: str
    """`train`, or a name or folder that transformers' AutoTokenizer knows."""
    vocab_size: int = 1024
    """Tokens, at most, of a trained tokenizer; the special ones come on top."""
    cross_attn_every_n_layers: int = 4
    max_num_frames: int | None = None
    """Pictures of one record, at most, kept in order; absent: any number, without order."""
    gate_init: float = 0.0
    """Where the cross-attention gates start. 0 protects a trained language model."""
    vision: Vision | Published
    perceiver: Perceiver = Perceiver()
    cross_attention: CrossAttention = CrossAttention()
    text: Text | Published

    def __post_init__(self) -> None:
        names = ("vocab_size", "cross_attn_every_n_layers", "max_num_frames")
        at_least(1, self, "model", *names)
        if isinstance(self.text, Published):  # its config.json says more
            return
        if self.cross_attn_every_n_layers > self.text.num_hidden_layers:
            raise RecipeError(
                f"model.cross_attn_every_n_layers is {self.cross_attn_every_n_layers}, but the language model has only "
                f"model.text.num_hidden_layers = {self.text.num_hidden_layers}, so none of them would see a picture"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedModel:
    """A model to go on from, of any family, with all that it is; a recipe says this in place of a description."""

    start: str
    """Folder of a model, as `syphus checkpoint convert` and `save_pretrained` write it, or of a finished run; or a name on the
    Hugging Face Hub."""

    def __post_init__(self) -> None:
        if not self.start.strip():
            raise RecipeError(
                "model.start is empty; name the folder of the model to go on from: --set model.start=DIR"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FuyuModel:
    """A Fuyu with random weights: patches of pictures straight into a decoder."""

    family: Literal["fuyu"]
    tokenizer: str
    """`train`, or a name or folder that transformers' AutoTokenizer knows."""
    vocab_size: int = 1024
    """Tokens, at most, of a trained tokenizer; the special ones come on top."""
    patch_size: int = 30
    """Pixels, of both sides."""
    max_pixels: int | None = None
    """Height times width of a picture at most; larger ones are shrunk, with their aspect."""
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    """Tokens, those of patches among them."""
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        at_least(1, self, "model", but=("initializer_range",))
        at_least(0, self, "model", "initializer_range")
        divides(
            self.num_attention_heads, self.hidden_size, "model.num_attention_heads", "hidden_size"
        )
        head = self.hidden_size // self.num_attention_heads
        if head % 4:
            raise RecipeError(
                f"a head is model.hidden_size / model.num_attention_heads = {head} numbers wide, but must be a multiple of 4, "
                "for half of it is turned by pairs"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdeficsModel:
    """An Idefics with random weights."""

    family: Literal["idefics"]
    tokenizer: str
    """`train`, or a name or folder that transformers' AutoTokenizer knows."""
    vocab_size: int = 1024
    """Tokens, at most, of a trained tokenizer; the special ones come on top."""
    cross_layer_interval: int = 4
    """Before every so manieth layer the text looks at its picture."""
    gate_init: float = 0.0
    """Where the gates of these looks start. 0 protects a trained language model."""
    vision: Vision
    perceiver: Perceiver = Perceiver()
    text: Text
    """A llama, with all its heads."""

    def __post_init__(self) -> None:
        at_least(1, self, "model", "vocab_size", "cross_layer_interval")
        text = self.text
        if self.cross_layer_interval > text.num_hidden_layers:
            raise RecipeError(
                f"model.cross_layer_interval is {self.cross_layer_interval}, but must be at most "
                f"model.text.num_hidden_layers = {text.num_hidden_layers}"
            )
        if self.perceiver.ff_mult != Perceiver().ff_mult:
            raise RecipeError(
                f"model.perceiver.ff_mult is {self.perceiver.ff_mult}, but that of Idefics is always {Perceiver().ff_mult}; leave it out"
            )
        head = text.hidden_size // text.num_attention_heads
        for name, is_its, wanted in (
            ("model_type", text.model_type == "llama", "llama"),
            (
                "num_key_value_heads",
                text.kv_heads == text.num_attention_heads,
                "num_attention_heads",
            ),
            ("head_dim", text.head_dim in (None, head), "hidden_size / num_attention_heads"),
        ):
            if not is_its:
                raise RecipeError(
                    f"model.text.{name} is {getattr(text, name)!r}, but that of Idefics is always {wanted}; leave it out"
                )
