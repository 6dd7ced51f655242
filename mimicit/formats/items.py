"""What a reader may hand over beside records, pictures and bad rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mimicit.formats.base import BadRow
from mimicit.schema import Instruction, InstructionRow


@dataclass(frozen=True, slots=True)
class At:
    """How far into its file a reader is."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Listed:
    """A record of a list to train on, with what the list gives it as context."""

    record: str
    related: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Thousands of records at once."""

    records: Sequence[Instruction | InstructionRow]
    bad: Sequence[BadRow]
