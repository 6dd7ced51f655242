"""A training run as a value: what a recipe (`trainer/recipes/NAME.toml`) and `--set section.key=value` may say.

Every setting is a field below, with its unit; a key without a field is an error with a suggestion, never ignored. Nothing
here imports torch, so a recipe is checked in milliseconds.
"""

from dataclasses import dataclass, field, fields
from typing import Literal

from mimicit.errors import RecipeError
from trainer.group_config import Group
from trainer.model_config import (
    FuyuModel,
    IdeficsModel,
    Model,
    Published,
    SavedModel,
    at_least,
)

Part = Literal["perceiver", "gates", "embeddings", "new_tokens", "vision", "language", "all"]
"""A part of a model that can be trained or left as it is; `trainer.trainable` says what it holds in each family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    where: str = "true"
    """SQL over the view `accepted`: which records are learned."""
    groups: dict[str, Group] = field(default_factory=dict)
    """Parts of a mix, by name; without any, all that `where` selects."""
    yaml: str | None = None
    """In place of groups, a file of the published layout: groups IMAGE_TEXT, TEXT_ONLY, VIDEO_TEXT, IMAGE_TEXT_IN_CONTEXT."""
    video_frames: int = 32
    """Of such a file: frames that are shown of each record of VIDEO_TEXT."""
    max_tokens: int = 512
    """Tokens of one example; what is longer is cut."""
    max_row_tokens: int | None = None
    """Tokens of one row, at most, into which a micro batch's examples are packed, none seeing another; absent, or 0: every example has
    a row of its own, and padding. What is learned is the same."""
    loss_mean: Literal["tokens", "groups"] = "tokens"
    """Of what the loss is a mean. `tokens`: of all taught tokens of a step, each counted with its group's loss_weight. `groups`: each
    group has a mean over its own taught tokens of a step, and the loss is the sum of these, each times its group's loss_weight."""
    pictures: Literal["frames", "media"] = "frames"
    """What several pictures of one record are. `frames`: of one clip, shown together by one <image>; for videos and for telling
    pictures apart. `media`: each has an <image> of its own, where the question says <image>, else before it."""
    workers: int = 0
    """Processes that prepare examples; with 0 a thread does, beside the model."""
    worker_timeout: float = 600.0
    """Seconds without data from these processes after which the run stops, for one of them hangs; 0: it waits for ever."""
    sides: tuple[int, ...] = ()
    """Of Fuyu alone: pixels. One of these is drawn for each record, and its pictures are shown, with their aspect, as large as a square
    of that side; empty: as they come."""
    decode: Literal["good", "exact"] = "good"
    """`exact`: Pillow's values; `good`: the fastest way there, where JPEGs shrink some values are a step of 255 off."""
    picture_cache_mb: int = 16
    """MiB of decoded and resized pictures kept in memory, per process; more pays where all of them then fit."""
    skip_bad: int = 0
    """Records of a run that may be left out because they cannot be taught: an unreadable picture, marks for other pictures than there
    are. They are listed in skipped.jsonl, nothing takes their place, and above this number the run stops."""

    def __post_init__(self) -> None:
        if (
            self.max_row_tokens == 0
        ):  # an override can take packing from a recipe, for it cannot take a line away
            object.__setattr__(self, "max_row_tokens", None)
        at_least(1, self, "data", "max_tokens", "max_row_tokens", "video_frames")
        at_least(0, self, "data", "workers", "worker_timeout", "picture_cache_mb", "skip_bad")
        if self.yaml and self.groups:
            raise RecipeError("data.yaml stands in place of groups; leave one of them out")
        if self.where != "true" and (self.yaml or self.groups):
            raise RecipeError(
                "data.where selects for a run without groups; give each group a where of its own"
            )
        if any(side < 1 for side in self.sides):
            raise RecipeError(
                f"data.sides is {', '.join(map(str, self.sides))}; pixels are at least 1"
            )
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
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How it goes after warm-up: it falls along a cosine or in a line, or stays."""
    min_lr_ratio: float = 0.1
    """What is left of it at the last step; with a constant one nothing is taken."""
    warmup_steps: int = 0
    """In which it rises in a line."""
    warmup_ratio: float = 0.0
    """In place of warmup_steps, the share of all steps."""
    weight_decay: float = 0.1
    decay: Literal["maps", "published"] = "maps"
    """Which trained weights it makes smaller: `maps`, those of linear maps and convolutions; `published`, as with the published models,
    those in gated cross-attention alone, so nothing of Fuyu."""
    beta1: float = 0.9
    beta2: float = 0.95
    max_grad_norm: float = 1.0
    """Gradients are made smaller where all of them together are longer."""
    max_bad_steps: int = 10
    """Steps in a row whose gradient is not finite, though their loss is: they move no weight and are logged; one more stops the run."""

    def __post_init__(self) -> None:
        at_least(0, self, "optim")
        if self.warmup_steps and self.warmup_ratio:
            raise RecipeError(
                f"optim.warmup_steps is {self.warmup_steps} and optim.warmup_ratio is {self.warmup_ratio}; say only one of them"
            )
        if self.warmup_ratio > 1:
            raise RecipeError(
                f"optim.warmup_ratio is {self.warmup_ratio}, but must be at most 1, for it is a share of the steps"
            )
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
    loss: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    """Of dpo."""
    label_smoothing: float = 0.0
    """Of dpo: the chance that people's choice was noted the wrong way round."""
    crop: float = 0.2
    """Of mdpo: the share of a picture that is left, at most, where the model is to find an answer less likely."""
    anchor_margin: float = 0.0
    """Of mdpo: how large the reward of a chosen answer should be in itself."""
    preference_weight: float = 0.8
    """Of mpo: how much it counts that one answer is better than the other,"""
    quality_weight: float = 0.2
    """that each is good or bad in itself,"""
    generation_weight: float = 1.0
    """and that the chosen one is likely."""
    desirable_weight: float = 1.0
    """Of kto: how much answers count that people liked,"""
    undesirable_weight: float = 1.0
    """and those that they did not."""

    def __post_init__(self) -> None:
        at_least(0, self, "objective")
        if self.beta <= 0:
            raise RecipeError(f"objective.beta is {self.beta}, but must be above 0")
        if not 0 < self.crop <= 1:
            raise RecipeError(f"objective.crop is {self.crop}, but must be above 0 and at most 1")
        if self.label_smoothing >= 0.5:
            raise RecipeError(
                f"objective.label_smoothing is {self.label_smoothing}, but must be below 0.5: a half says nothing, and more the opposite"
            )
        mine = {name: getattr(self, name) for name in _KINDS.get(self.kind, ())}
        weights = [value for name, value in mine.items() if name.endswith("_weight")]
        if weights and not any(weights):
            raise RecipeError(
                f"all weights of objective.kind = {self.kind!r} are 0, so nothing would be learned"
            )
        for setting in fields(self):
            if getattr(self, setting.name) == setting.default:
                continue
            if setting.name == "beta" and self.kind == "answers":
                raise RecipeError(
                    "objective.beta is of the kinds that compare answers, and objective.kind is 'answers'"
                )
            of = next((kind for kind, names in _KINDS.items() if setting.name in names), None)
            if of and of != self.kind:
                raise RecipeError(
                    f"objective.{setting.name} belongs to objective.kind = {of!r}, and here it is {self.kind!r}"
                )
        if self.label_smoothing and self.loss != "sigmoid":
            raise RecipeError(
                f"objective.label_smoothing is of objective.loss = 'sigmoid', and here that is {self.loss!r}"
            )

    @property
    def together(self) -> int:
        """Answers of one record that are learned in the same forward."""
        return {"answers": 1, "mdpo": 3}.get(self.kind, 2)


_KINDS = {
    "dpo": ("loss", "label_smoothing"),
    "mdpo": ("crop", "anchor_margin"),
    "mpo": ("preference_weight", "quality_weight", "generation_weight"),
    "kto": ("desirable_weight", "undesirable_weight"),
}
"""Settings of one kind of objective only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """What is looked at while a run goes on, and is never learned."""

    every: int = 0
    """Steps between two looks; 0: one at the end alone."""
    where: str | None = None
    """SQL over the view `accepted`: the held-out records. No group of a dataset, nor a set of data.yaml, learns what it selects or shows it
    as an example; what is looked at is of the command's dataset. It does not apply to shards and documents."""
    records: int = 200
    """Of them, at most, in a look; at the end all are."""
    answers: int = 3
    """Records of them whose questions are answered at each look and written down."""
    max_new_tokens: int = 64
    """Of an answer, at most."""

    def __post_init__(self) -> None:
        at_least(0, self, "evaluate", "every", "answers")
        at_least(1, self, "evaluate", "records", "max_new_tokens")
        if self.every and not self.where:
            raise RecipeError(
                "evaluate.every is set, but evaluate.where names no records; say which are held out"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    every: int = 0
    """Steps of one line on the screen; 0: a line that renews itself on a terminal, and one every ten seconds elsewhere. The log has all."""
    to: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()
    """Where figures go beside log.jsonl."""
    project: str = "syphus"
    """Under which name, for wandb and trackio."""

    def __post_init__(self) -> None:
        at_least(0, self, "report", "every")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    steps: int = 0
    """Optimizer updates, at most; 0: as many as `epochs` take."""
    epochs: float | None = None
    """In place of steps, passes through what an epoch takes of the data; 1.5 ends in the middle of the second."""
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
    frozen: Literal["float32", "bf16"] = "float32"
    """Of weights that are not trained, in memory; `bf16`: half of it, and sums are those of run.precision = "bf16"."""
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
        at_least(1, self, "run", "batch_size", "micro_batch_size", "save_every", "keep")
        at_least(0, self, "run", "steps", "seed", "stop_below", "max_seconds")
        if self.epochs is not None and self.epochs <= 0:
            raise RecipeError(f"run.epochs is {self.epochs}, but must be above 0")
        if self.epochs is not None and self.steps:
            raise RecipeError(
                f"run.steps is {self.steps} and run.epochs is {self.epochs}; say only one of them (run.steps=0 says none)"
            )
        if self.epochs is None and not self.steps:
            raise RecipeError(
                "run.steps is 0, but must be at least 1, or 0 beside run.epochs, which says how long the run is"
            )


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
        if self.run.keep_best and not self.evaluate.every:
            raise RecipeError(
                "run.keep_best keeps the checkpoint with the lowest held-out loss, but none is measured; set evaluate.every and evaluate.where"
            )
        full = {"all", "language"} & set(self.trainable.parts)
        if self.lora.r and full:
            raise RecipeError(
                f"lora.r is {self.lora.r}, but trainable.parts trains the language model in full ({full.pop()}); "
                'name what else is trained beside the adapters, such as trainable.parts = ["perceiver", "gates"]'
            )
        together = self.objective.together * self.data.max_tokens
        if self.data.max_row_tokens is not None and self.data.max_row_tokens < together:
            raise RecipeError(
                f"data.max_row_tokens is {self.data.max_row_tokens}, but the {self.objective.together} answers of a record share a row "
                f"with objective.kind = {self.objective.kind!r}, and each may have data.max_tokens = {self.data.max_tokens}; "
                f"set at least {together}"
            )
        if self.data.loss_mean == "groups" and self.objective.kind != "answers":
            raise RecipeError(
                f"data.loss_mean = 'groups' belongs to objective.kind = 'answers', and here it is {self.objective.kind!r}"
            )
        if not self.lora.r and not self.trainable.parts:
            raise RecipeError(
                "trainable.parts is empty and lora.r is 0, so nothing would be trained"
            )
        if self.run.frozen == "bf16" and self.run.precision != "bf16":
            raise RecipeError(
                f'run.frozen is bf16, but run.precision is {self.run.precision}; weights in bf16 need run.precision = "bf16"'
            )
        model = self.model
        if isinstance(model, SavedModel):
            return
        if self.data.sides and not isinstance(model, FuyuModel):
            raise RecipeError(
                f"data.sides says how large Fuyu is shown pictures, but this model is of the family {model.family!r}; leave it out"
            )
        sizes = model if isinstance(model, FuyuModel) else model.text
        if isinstance(sizes, Published):  # its own config.json says more
            return
        if self.data.max_tokens > sizes.max_position_embeddings:
            where = "model" if isinstance(model, FuyuModel) else "model.text"
            raise RecipeError(
                f"data.max_tokens is {self.data.max_tokens}, but the language model has only "
                f"{where}.max_position_embeddings = {sizes.max_position_embeddings}"
            )
