"""Candidates on a screen. What a model wrote is printed as text: it can neither style nor move anything."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import groupby
from string import ascii_uppercase

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from syphus.coldstart.review import Review
from syphus.coldstart.state import Candidate
from syphus.forms import Pair

KEYS = {
    "a": "accept it as an example",
    "e": "edit it in your editor (EDITOR), and accept what you save",
    "r": "reject it",
    "s": "skip it; the next review shows it again",
    "u": "undo the last decision",
    "b": "go back to the candidate before; a new decision replaces its old one",
    "?": "show these keys",
    "q": "quit; the same command goes on from here",
}
SHORT = "a accept · e edit · r reject · s skip · u undo · b back · ? help · q quit"
STANDS = {"accept": "accepted", "edit": "edited and accepted", "reject": "rejected"}


class Screen:
    def __init__(self, console: Console | None = None) -> None:
        """Show on standard error, or on another console."""
        self.console = console or Console(stderr=True, highlight=False)

    def show(self, review: Review, query: str) -> None:
        """Show the candidate at which a review stands."""
        candidate = review.current
        assert candidate is not None
        if self.console.is_terminal:
            self.console.clear()
        place = f"{review.at + 1} of {len(review.candidates)}"
        done = f"{len(review.accepted)} of {review.want} accepted"
        self._print(Rule(Text(f"{place} · score {candidate.score:.2f} · {done}", "bold")))
        decision = review.standing.get(candidate.key)
        if decision:
            self._print(Text(f"You have {STANDS[decision.action]} it.", "yellow"))
        title = Text(f"What {plain(candidate.model)} was told", "dim")
        self._print(Panel(Text(plain(query)), title=title, title_align="left", border_style="dim"))
        self._pairs(candidate.pairs)
        self._score(candidate)
        self._print(Text(SHORT, "dim"))

    def say(self, text: str) -> None:
        self._print(Text(plain(text), "yellow"))

    def wrong(self, problems: Sequence[str]) -> None:
        """Say what keeps something from being an example."""
        self._print(Text("This cannot be an example:", "red"))
        for problem in problems:
            self._print(Padding(Text(f"- {plain(problem)}"), (0, 0, 0, 2)))

    def help(self) -> None:
        for key, meaning in KEYS.items():
            self._print(Text.assemble((f"  {key}  ", "bold"), meaning))

    def _pairs(self, pairs: Iterable[Pair]) -> None:
        for _, conversation in groupby(pairs, key=lambda pair: pair.conversation):
            for number, pair in enumerate(conversation, start=1):
                if number == 1 and (pair.topic or pair.role):
                    about = " · ".join(filter(None, (pair.topic, pair.role, pair.reason)))
                    self._print(Text(plain(about), "bold magenta"))
                self._pair(number, pair)

    def _pair(self, number: int, pair: Pair) -> None:
        said = Text()
        if pair.question:
            said.append(f"{plain(pair.question)}\n", "bold cyan")
        for letter, option in zip(ascii_uppercase, pair.options, strict=False):
            said.append(f"{letter}. {plain(option)}\n")
        said.append(plain(pair.answer), "green" if pair.options else "")
        self._print(Text(f"{number}.", "dim"), end=" ")
        self._print(said)

    def _score(self, candidate: Candidate) -> None:
        parts = " · ".join(f"{name} {value:.2f}" for name, value in candidate.parts.items())
        self._print(Text.assemble((f"\nscore {candidate.score:.2f}", "bold"), f" = {parts}"))
        for reason in candidate.reasons:
            self._print(Padding(Text(f"- {plain(reason)}"), (0, 0, 0, 2)))

    def _print(self, what: object, end: str = "\n") -> None:
        self.console.print(what, end=end, soft_wrap=False)


def plain(text: str) -> str:
    """Take out control characters, which a terminal would obey."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) != "Cc" else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )


def one_line(text: str, width: int) -> str:
    flat = " ".join(plain(text).split())
    return flat if len(flat) <= width else flat[: width - 1] + "…"
