"""A training run as a value: what a recipe (`trainer/recipes/NAME.toml`) and `--set section.key=value` may say.

Every setting is a field below, with its unit; a key without a field is an error with a suggestion, never ignored. Nothing
here imports torch, so a recipe is checked in milliseconds.
"""

from dataclasses import dataclass, field
from typing import Literal

from mimicit.errors import RecipeError
from trainer.model_config import FuyuModel, IdeficsModel, Model, SavedModel, at_least

Part = Literal["perceiver", "gates", "embeddings", "new_tokens", "vision", "language", "all"]
"""A part of a model that can be trained or left as it is; `trainer.trainable` says what it holds in each family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One part of what is learned, under a name of its own: `[data.groups.NAME]`."""

    where: str = "true"
    """SQL over the view `accepted` of the dataset folder."""
    dataset: str | None = None
    """Another dataset folder than the command's."""
    shards: str | None = None
    """Instead of a dataset: pictures with captions in tar files (WebDataset, img2dataset), as a path with `*` or `{00000..00099}`."""
    documents: str | None = None
    """Instead of a dataset: pages of MMC4, as JSON lines or tar files, as a path with `*` or `{0..9}`."""
    images: str | None = None
    """Of documents that do not hold them: the folder in which pictures lie by `image_name`."""
    weight: float = 1.0
    """How many times an epoch meets this group's records; 0.5: every other epoch."""
    num_samples: int | None = None
    """Records that an epoch takes of this group, in place of `weight`."""
    loss_weight: float = 1.0
    """How much each of its taught tokens counts in the loss."""
    pictures: Literal["frames", "media"] | None = None
    """As `data.pictures`, which it replaces here."""
    frames: int | None = None
    """Frames that are shown of a record's pictures, evenly from the first to the last, some twice where there are fewer; absent: all."""
    in_context: int = 0
    """Records named by `rel_ins_ids` that come before the question as examples, with their own pictures, at most."""
    turns: Literal["single", "conversation"] = "single"
    """`conversation`: the turns of one conversation are one example."""
    task_description: tuple[str, ...] = ()
    """One of these comes before the question, drawn for each record and epoch."""
    min_similarity: float = 0.24
    """Of documents: pictures less like their sentence are left out."""
    max_pictures: int = 6
    """Of one document."""

    def __post_init__(self) -> None:
        at_least(0, self, "data.groups", "weight", "loss_weight", "in_context")
        at_least(1, self, "data.groups", "num_samples", "frames", "max_pictures")
        given = [name for name in ("dataset", "shards", "documents") if getattr(self, name)]
        if len(given) > 1:
            raise RecipeError(f"a group is of one kind, but this one has {' and '.join(given)}")
        if self.images and not self.documents:
            raise RecipeError("images belong to documents; name these, too")


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    where: str = "true"
    """SQL over the view `accepted`: which records are learned."""
    groups: dict[str, Group] = field(default_factory=dict)
    """Parts of a mix, by name; without any, all that `where` selects."""
    yaml: str | None = None
    """In place of groups, a file of the published layout: groups IMAGE_TEXT, TEXT_ONLY, VIDEO_TEXT, IMAGE_TEXT_IN_CONTEXT."""
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
        at_least(1, self, "data", "max_tokens", "max_row_tokens")
        at_least(0, self, "data", "workers", "picture_cache_mb")
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
        at_least(0, self, "lora", "alpha")
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
        at_least(0, self, "optim")
        for name in ("beta1", "beta2"):
            if getattr(self, name) >= 1:
                raise RecipeError(f"optim.{name} is {getattr(self, name)}, but must be below 1")
        if not self.max_grad_norm:
            raise RecipeError("optim.max_grad_norm is 0, so nothing would be learned")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a step makes better. The last four learn from pairs of answers (`rejected`) and hold on to the model that the run started from."""

    kind: Literal["answers", "dpo", "mdpo", "mpo", "kto"] = "answers"
    beta: float = 0.1
    """How closely the trained model stays to the one it started from."""

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise RecipeError(f"objective.beta is {self.beta}, but must be above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """What is looked at while a run goes on, and is never learned."""

    every: int = 0
    """Steps between two looks; 0: none."""
    where: str | None = None
    """SQL over the view `accepted`: the held-out records, which the run does not learn."""
    records: int = 200
    """Of them, at most."""
    answers: int = 3
    """Records of them whose questions are answered and written down."""
    max_new_tokens: int = 64

    def __post_init__(self) -> None:
        at_least(0, self, "evaluate", "every", "answers")
        at_least(1, self, "evaluate", "records", "max_new_tokens")
        if self.every and not self.where:
            raise RecipeError(
                "evaluate.every is set, but evaluate.where names no records; say which are held out"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    every: int = 1
    """Steps of one line on the screen, at least; the log has all."""
    to: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Where figures go beside log.jsonl."""
    project: str = "syphus"
    """Under which name, for wandb and trackio."""

    def __post_init__(self) -> None:
        at_least(1, self, "report", "every")


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
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    """Of activations; weights are kept in float32. `auto`: bf16 on a GPU that has it, else `no`."""
    strategy: Literal["auto", "ddp", "fsdp2", "zero1", "zero2", "zero3"] = "auto"
    """How several devices share the work. `auto`: ddp where the model and its training fit each device, else fsdp2."""
    gradient_checkpointing: bool = False
    """Keep only what enters each layer, and compute the rest again on the way back: less memory, more time."""
    stop_below: float | None = None
    """End early once the loss, averaged over one pass through the data, is lower."""
    max_seconds: float | None = None
    """End early after this much training."""
    save_every: int = 500
    """Steps between checkpoints."""
    keep: int = 2
    """Newest checkpoints that stay."""
    keep_best: bool = False
    """Keep the checkpoint with the lowest held-out loss, too (`evaluate`)."""

    def __post_init__(self) -> None:
        at_least(1, self, "run", "steps", "batch_size", "micro_batch_size", "save_every", "keep")
        at_least(0, self, "run", "seed", "stop_below", "max_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    model: Model | FuyuModel | IdeficsModel | SavedModel
    data: Data = field(default_factory=Data)
    trainable: Trainable = Trainable()
    lora: Lora = Lora()
    optim: Optim
    objective: Objective = Objective()
    evaluate: Evaluate = Evaluate()
    report: Report = Report()
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
        if not isinstance(self.model, Model):
            return
        if self.data.max_tokens > self.model.text.max_position_embeddings:
            raise RecipeError(
                f"data.max_tokens is {self.data.max_tokens}, but the language model has only "
                f"model.text.max_position_embeddings = {self.model.text.max_position_embeddings}"
            )
