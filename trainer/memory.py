"""Whether a run fits into memory, told before anything is loaded, and if it does not, what would.

    recipe ─outline─► model without weights ─► weights, gradients, AdamW, activations ─► one device's share ─► beside what is there

Weights, gradients and AdamW's averages are counted; activations are estimated (`footprint`) for examples as long as the recipe lets
them be. A run is refused only where it cannot work: if not even examples of a quarter of that length would fit. Between that and
what is estimated it starts, and says that memory may run out.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PreTrainedModel

from mimicit.errors import MimicitError
from trainer.config import TrainConfig
from trainer.errors import TrainingError
from trainer.footprint import Shown, footprint
from trainer.group_config import Group
from trainer.machine import ROOM
from trainer.outline import outline

SHORTEST = 0.25
"""Of the length that a recipe allows, examples are taken to have at least this."""
TAUGHT = 0.5
"""Of an example's tokens, those that are taken to be taught."""
SHARED = ("fsdp2", "zero1", "zero2", "zero3")
HELD = {"cpu": 1.4, "cuda": 1.1}
"""What activations take of memory, beside their own size: what was given back, and does not fit what is asked for next. Measured for
the CPU (tests/trainer/test_memory.py), assumed for CUDA, whose allocator gives out again what it has."""
WORLDS = (2, 4, 8, 16, 32, 64, 128)
NAMED = 2
"""Ways out by settings that a refusal names."""
GIB = 2**30
WORKER = 150 << 20
"""Bytes of a process that prepares examples."""

Kind = Literal["cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a run takes on one device, at most."""

    weights: int
    gradients: int
    optimizer: int
    """AdamW's averages, and the float32 weights that ZeRO keeps beside 16-bit ones."""
    exchange: int
    """Gradients on their way to other devices, or weights that are whole for a moment."""
    copies: int
    activations: int
    stepping: int
    """What AdamW computes with, when activations are gone."""
    host: int
    """On the machine's own memory: weights on their way to the devices, workers, pictures."""

    @property
    def state(self) -> int:
        """What is certain, and stays from the second step on."""
        return self.weights + self.gradients + self.optimizer

    @property
    def whole(self) -> int:
        return self._with(self.activations)

    @property
    def least(self) -> int:
        return self._with(int(self.activations * SHORTEST))

    def _with(self, activations: int) -> int:
        return self.state + self.exchange + max(self.stepping, self.copies + activations)

    def __str__(self) -> str:
        parts = {
            "weights": self.weights,
            "gradients": self.gradients,
            "AdamW": self.optimizer,
            "exchange": self.exchange,
            "activations": max(self.stepping, self.activations + self.copies),
        }
        return ", ".join(f"{name} {size(value)}" for name, value in parts.items() if value)


@dataclass(frozen=True, slots=True)
class There:
    """What there is to compute with."""

    kind: Kind
    memory: int
    """Free bytes of one device; of a machine without GPUs, what is available to each process."""
    devices: int = 1
    host: int | None = None
    """Free bytes of the machine, for each of its processes; None: not known."""

    @classmethod
    def found(cls, device: torch.device, devices: int) -> "There":
        """Look at this process's share."""
        here = max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
        host = available() // here
        if device.type == "cuda":
            return cls("cuda", torch.cuda.mem_get_info(device)[0], devices, host)
        return cls("cpu", host, devices, host)


def need(config: TrainConfig, *, kind: Kind, devices: int = 1, memory: int | None = None) -> Need:
    """Return what each of so many devices needs.

    `memory` of a device decides what the strategy `auto` is; None: each has the whole model.

    Raises:
        MimicitError: the recipe's model is not there.
    """
    return need_of(outline(config), config, kind=kind, devices=devices, memory=memory)


def need_of(
    model: PreTrainedModel, config: TrainConfig, *, kind: Kind, devices: int, memory: int | None
) -> Need:
    half = config.run.precision in ("bf16", "fp16") or (
        config.run.precision == "auto" and kind == "cuda"
    )
    found = footprint(model, shown(config), half=half)
    weights = sum(weight.nbytes for weight in model.parameters())
    numbers = sum(weight.numel() for weight in model.parameters())
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    workers = config.data.workers * WORKER + max(1, config.data.workers) * (
        config.data.picture_cache_mb << 20
    )
    plain = Need(
        weights=weights,
        gradients=4 * trained,
        optimizer=8 * trained,
        exchange=0,
        copies=found.copies,
        activations=int(found.activations * HELD[kind]),
        # On a GPU AdamW works on all weights at once, on a CPU on one after the other.
        stepping=4 * trained if kind == "cuda" else 0,
        host=workers + (weights if kind == "cuda" else 0),
    )
    name: str = config.run.strategy
    if name == "auto":
        is_large = memory is not None and kind == "cuda" and plain.state > ROOM * memory
        name = "fsdp2" if is_large and devices > 1 else "ddp"
    narrow = 2 if half else 4
    if name == "ddp" or (devices == 1 and name == "fsdp2"):
        return replace(plain, exchange=4 * trained if devices > 1 else 0)
    # The layer that is computed and the next one are whole.
    whole_layers = 2 * found.largest * narrow
    if name == "fsdp2":
        return replace(
            plain,
            weights=weights // devices,
            gradients=4 * trained // devices,
            optimizer=8 * trained // devices,
            exchange=whole_layers + found.largest * 4,
            copies=0,
            stepping=plain.stepping // devices,
        )
    stage = int(name[-1])
    return replace(
        plain,
        weights=narrow * numbers // (devices if stage == 3 else 1),
        gradients=narrow * trained // (devices if stage >= 2 else 1),
        optimizer=12 * trained // devices,
        exchange=whole_layers if stage == 3 else 0,
        copies=0,
        stepping=plain.stepping // devices,
    )


def shown(config: TrainConfig) -> Shown:
    """Return what is shown to the model at once, at most: text to the limit, and as many pictures as the recipe's groups say."""
    data = config.data
    groups = list(data.groups.values())
    longest = max(
        (min(group.max_tokens or data.max_tokens, data.max_tokens) for group in groups),
        default=data.max_tokens,
    )
    examples = config.run.micro_batch_size * config.objective.together
    pictures = max((_pictures(group) for group in groups), default=1)
    media = max((_media(group) for group in groups), default=1)
    tokens = examples * longest
    if data.max_row_tokens is not None and tokens > data.max_row_tokens:
        tokens = data.max_row_tokens
        # Short ones fill a row with more pictures.
        examples = min(examples, max(1, int(tokens / (longest * SHORTEST))))
    return Shown(
        tokens=tokens,
        taught=max(1, int(tokens * TAUGHT)),
        frames=examples * pictures,
        media=examples * media,
    )


def _pictures(group: Group) -> int:
    return group.max_pictures if group.documents else max(group.frames or 1, 1 + group.in_context)


def _media(group: Group) -> int:
    return group.max_pictures if group.documents else 1 + int(group.in_context)


def require(config: TrainConfig, there: There, *, recipe: str | None = None) -> str:
    """Say in a line what a run needs of what there is.

    Args:
        config: The run.
        there: What it has to compute with.
        recipe: Its name, for presets of the same model.

    Raises:
        TrainingError: it cannot fit; says what would.
    """
    wanted = need(config, kind=there.kind, devices=there.devices, memory=there.memory)
    where = "each GPU" if there.kind == "cuda" and there.devices > 1 else "the GPU"
    where = where if there.kind == "cuda" else "the machine"
    said = f"about {size(wanted.whole)} of memory ({wanted}); {where} has {size(there.memory)} free"
    if _fits(wanted, there):
        if wanted.whole <= there.memory:
            return f"needs {said}"
        return f"may need {said}: if it runs out, lower data.max_tokens or run.micro_batch_size, or set run.gradient_checkpointing=true"
    ways = list(alternatives(config, there, recipe=recipe))
    instead = (
        "What would fit: " + "; or ".join(ways)
        if ways
        else "No setting that is known would make it fit; choose a smaller model, or more devices"
    )
    if wanted.least <= there.memory:
        said = f"about {size(wanted.host)} of the machine's own memory, through which weights go; {size(there.host or 0)} are free"
    raise TrainingError(f"the model does not fit: training it takes {said}. {instead}")


def _fits(wanted: Need, there: There) -> bool:
    return wanted.least <= there.memory and (there.host is None or wanted.host <= there.host)


def alternatives(config: TrainConfig, there: There, *, recipe: str | None = None) -> Iterator[str]:
    """Yield what would fit and what it would take, each computed: cheaper ways first, then other models and more devices."""
    named: list[int] = []
    for overrides, changed in _ways(config):
        try:
            wanted = need(changed, kind=there.kind, devices=there.devices, memory=there.memory)
        except MimicitError:  # not for this model
            continue
        is_less = not named or wanted.whole < named[-1]
        if wanted.whole <= there.memory and _fits(wanted, there) and is_less:
            yield f"{' '.join(f'--set {one}' for one in overrides)} ({size(wanted.whole)})"
            named.append(wanted.whole)
            if len(named) == NAMED:
                break
    yield from _presets(config, there, recipe)
    if there.kind == "cuda":
        yield from _more_devices(config, there)


def _ways(config: TrainConfig) -> Iterator[tuple[list[str], TrainConfig]]:
    """Yield settings that take less memory, with the run as it would be; what changes least comes first."""
    small: dict[str, Any] = {"run.micro_batch_size": 1}
    again: dict[str, Any] = {"run.gradient_checkpointing": True}
    half: dict[str, Any] = {"run.precision": "bf16", "run.frozen": "bf16"}
    lora: dict[str, Any] = {} if config.lora.r else {"lora.r": 16}
    adapted: list[dict[str, Any]] = [
        {**lora, "trainable.parts": parts, **small, **again}
        for parts in (("perceiver", "gates"), ("perceiver",), ())
    ]
    seen: list[TrainConfig] = []
    for way in (
        small,
        again,
        small | again,
        *(one | more for one in adapted for more in ({}, half)),
    ):
        try:
            changed = _changed(config, way)
        except MimicitError:  # settings that cannot go together
            continue
        if changed != config and changed not in seen:
            seen.append(changed)
            yield (
                [_text(key, value) for key, value in way.items() if _of(config, key) != value],
                changed,
            )


def _changed(config: TrainConfig, settings: Mapping[str, Any]) -> TrainConfig:
    sections: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = value
    made = {name: replace(getattr(config, name), **values) for name, values in sections.items()}
    return replace(config, **made)


def _of(config: TrainConfig, key: str) -> Any:
    section, name = key.split(".")
    return getattr(getattr(config, section), name)


def _text(key: str, value: Any) -> str:
    """Write a setting as the command line takes it."""
    if isinstance(value, tuple):
        return f"{key}={','.join(value) or '[]'}"
    return f"{key}={str(value).lower() if isinstance(value, bool) else value}"


def _presets(config: TrainConfig, there: There, recipe: str | None) -> Iterator[str]:
    from trainer.recipe import RECIPES, read_recipe

    name = Path(recipe or "").stem
    for path in sorted(RECIPES.glob(f"{name}_*.toml")) if name else ():
        try:
            wanted = need(
                read_recipe(path.stem),
                kind=there.kind,
                devices=there.devices,
                memory=there.memory,
            )
        except MimicitError:
            continue
        if wanted.whole <= there.memory:
            yield f"the recipe {path.stem} ({size(wanted.whole)})"


def _more_devices(config: TrainConfig, there: There) -> Iterator[str]:
    shared = config
    if config.run.strategy not in ("fsdp2", "zero3"):
        shared = replace(config, run=replace(config.run, strategy="fsdp2"))
    model = outline(shared)
    for devices in WORLDS:
        wanted = need_of(model, shared, kind=there.kind, devices=devices, memory=None)
        if devices > there.devices and wanted.whole <= there.memory:
            yield f"run.strategy={shared.run.strategy} over {devices} such GPUs ({size(wanted.whole)} each)"
            return


def available() -> int:
    """Return the bytes of memory that a new process could have: the machine's, or less where a container's limit is nearer."""
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    free = int(fields.get("MemAvailable", fields["MemFree"]).split()[0]) << 10
    return min([free, *_containers()])


def _containers(root: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Yield what is left below the limits of control groups, of version 2 and 1; what can be given back at once counts as free."""
    for limit, used, kept in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            most = int((root / limit).read_text())
            now = int((root / used).read_text())
            stat = ((root / used).parent / "memory.stat").read_text().split()
        except (OSError, ValueError):  # none, or "max"
            continue
        values = dict(zip(stat[::2], stat[1::2], strict=False))
        yield most - now + int(values.get(kept, 0))


def size(count: int) -> str:
    return f"{count / GIB:,.1f} GiB" if count >= GIB / 10 else f"{count / 2**20:,.0f} MiB"
