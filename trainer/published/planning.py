"""Each tensor of our model and where it comes from, or what stands in the way."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trainer.errors import CheckpointError
from trainer.published.lora import Adapter
from trainer.published.reading import Reader, Stored, some
from trainer.published.sources import Sources
from trainer.published.writing import Planned


@dataclass(frozen=True, slots=True)
class Target:
    """The tensors of our model, without any memory for them."""

    shapes: dict[str, tuple[int, ...]]
    tied: dict[str, str]
    """Names of tensors that are others, as an output head may be the embedding; files do not need them."""
    word_tables: frozenset[str]
    """Those with a row for each word: the embedding, and the output head."""

    @classmethod
    def of(cls, model: Any) -> "Target":
        """Look at a model on the meta device."""
        tied = dict(model.all_tied_weights_keys)
        shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
        tables: list[nn.Module | None] = [
            model.get_input_embeddings(), model.get_output_embeddings()
        ]  # fmt: skip
        modules = {module: name for name, module in model.named_modules()}
        names = {f"{modules[table]}.weight" for table in tables if table is not None}
        return cls(
            {name: shape for name, shape in shapes.items() if name not in tied},
            tied,
            frozenset(names),
        )


@dataclass(frozen=True, slots=True)
class Fit:
    """How well tensors and a model go together."""

    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    misshapen: tuple[str, ...]
    """Sentences."""

    def check(self, where: str) -> None:
        """Refuse what does not fit.

        Raises:
            CheckpointError: something is missing, unknown, or of another shape.
        """
        reasons = []
        if self.missing:
            reasons.append(f"it lacks {some(self.missing)}")
        if self.unknown:
            reasons.append(f"it has tensors that the model has not: {some(self.unknown)}")
        if self.misshapen:
            reasons.append(f"sizes differ from what its config says: {some(self.misshapen)}")
        if reasons:
            raise CheckpointError(f"{where} does not fit: {'; '.join(reasons)}")


def fit(sources: Sources, adapters: Mapping[str, Adapter], target: Target) -> Fit:
    """Compare what there is with what the model has; names are ours, with the file's where they differ."""
    top = sources.top
    unknown = {n for n in top if n not in target.shapes and n not in target.tied}
    odd = []
    for name, shape in target.shapes.items():
        if name not in top:
            continue
        stored = top[name]
        has_rows = name in target.word_tables and len(stored.shape) == 2
        seen = (shape[0], *stored.shape[1:]) if has_rows else stored.shape
        if seen != shape or (has_rows and stored.shape[0] > shape[0]):
            odd.append(f"{name} is {_sides(stored.shape)} and should be {_sides(shape)}")
        elif not stored.dtype.is_floating_point:
            odd.append(f"{name} holds {stored.dtype} and not numbers with a fraction")
    for name, adapter in adapters.items():
        made = (adapter.b.shape[0], adapter.a.shape[-1])
        if name not in target.shapes:
            unknown |= {adapter.a.name, adapter.b.name}
        elif made != target.shapes[name]:
            odd.append(
                f"the adapter of {name} is {_sides(made)} and should be {_sides(target.shapes[name])}"
            )
    return Fit(
        tuple(sorted(target.shapes.keys() - top.keys())),
        tuple(sorted(top[name].name if name in top else name for name in unknown)),
        tuple(sorted(odd)),
    )


def plan(
    sources: Sources,
    adapters: Mapping[str, Adapter],
    target: Target,
    *,
    dtype: torch.dtype | None,
) -> list[Planned]:
    """Say of each tensor of the model how it is made; `dtype` None keeps what there is.

    Raises:
        CheckpointError: a second copy of a tied tensor differs from the first.
    """
    _check_tied(sources, target)
    planned = []
    for name, shape in target.shapes.items():
        stack = sources.stacks[name]
        make = (
            partial(_word_table, stack, shape[0])
            if name in target.word_tables
            else partial(_copy, stack)
        )
        if name in adapters:
            make = partial(_adapted, make, adapters[name])
        planned.append(Planned(name, shape, dtype or stack[-1].dtype, stack[-1], make))
    return planned


def _copy(stack: list[Stored], reader: Reader) -> Tensor:
    return reader.tensor(stack[-1])


def _word_table(stack: list[Stored], rows: int, reader: Reader) -> Tensor:
    """Return a row for each word: those of the newest table, then what older ones have beyond it, then the mean row.

    A word that nothing is known of gets the mean, so that it does not stand out (https://nlp.stanford.edu/~johnhew/vocab-expansion.html).
    """
    table = reader.tensor(stack[-1])
    for older in reversed(stack[:-1]):
        if older.shape[0] > len(table) and older.shape[1:] == table.shape[1:]:
            table = torch.cat([table, reader.tensor(older)[len(table) : rows].to(table.dtype)])
    if len(table) < rows:
        mean = table.float().mean(dim=0, keepdim=True).to(table.dtype)
        table = torch.cat([table, mean.expand(rows - len(table), -1)])
    return table


def _adapted(make: Any, adapter: Adapter, reader: Reader) -> Tensor:
    return adapter.merged(reader, make(reader))


def _check_tied(sources: Sources, target: Target) -> None:
    reader = Reader()
    for name, other in target.tied.items():
        for copy, original in zip(
            sources.stacks.get(name, ()), sources.stacks.get(other, ()), strict=False
        ):
            if copy.shape != original.shape or not torch.equal(
                reader.tensor(copy).clone(), reader.tensor(original)
            ):
                raise CheckpointError(
                    f"{sources.where} says that {copy.name} and {original.name} are one tensor (tie_word_embeddings), but they differ"
                )


def _sides(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "one number"
