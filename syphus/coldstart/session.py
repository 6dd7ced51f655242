"""A person at the keys: what each key does to a review, and to the work folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syphus.coldstart.editing import edit, run_editor
from syphus.coldstart.examples import example_row, problems
from syphus.coldstart.review import Review
from syphus.coldstart.score import score_one, usual_words
from syphus.coldstart.show import Screen
from syphus.coldstart.state import Candidate, Decision, State
from syphus.coldstart.terminal import END, RESIZED, Keys
from syphus.errors import TaskError
from syphus.render import render_query
from syphus.task import Example, Task


@dataclass
class Desk:
    """What a review works with."""

    task: Task
    """With the examples that it has already."""
    state: State
    model: str
    by_key: dict[str, Candidate] = field(default_factory=dict)
    """All candidates, those of earlier commands too."""
    frozen: frozenset[str] = frozenset()
    """Requests of candidates that are in the task folder already."""

    def row(self, decision: Decision) -> dict[str, Any]:
        """Return what was accepted, as data of an example's YAML."""
        return decision.example or self.candidate_row(self.by_key[decision.candidate])

    def candidate_row(self, candidate: Candidate) -> dict[str, Any]:
        return example_row(self.task.reply.form, candidate.context, candidate.pairs)

    def frozen_row(self, decision: Decision) -> dict[str, Any]:
        """Return what was accepted, with where it comes from."""
        candidate = self.by_key[decision.candidate]
        origin = {
            "model": candidate.model,
            "request": candidate.request,
            "score": decision.score,
            "accepted": decision.time[:10],
            "edited": decision.example is not None,
        }
        return {**self.row(decision), "origin": origin}

    def problems(self, review: Review, example: Example) -> list[str]:
        """Say what keeps an example out of the task, beside those that are accepted."""
        others = [
            Example.model_validate(self.row(decision))
            for decision in review.accepted
            if self.by_key[decision.candidate].request not in self.frozen
            and decision.candidate != (review.current.key if review.current else None)
        ]
        return problems(self.task, others, example, model=self.model)

    def candidate_problems(self, review: Review, candidate: Candidate) -> list[str]:
        return self.problems(review, Example.model_validate(self.candidate_row(candidate)))

    def is_usable(self, review: Review, candidate: Candidate) -> bool:
        return not self.candidate_problems(review, candidate)

    def keep(self, before: Review, after: Review) -> None:
        """Write down what was decided."""
        for decision in after.decisions[len(before.decisions) :]:
            self.state.decide(decision)


class Session:
    """One sitting: it ends when there are enough examples, when no candidate is left, or when the person leaves."""

    def __init__(
        self,
        desk: Desk,
        review: Review,
        keys: Keys,
        screen: Screen,
        *,
        editor: Callable[..., bool] = run_editor,
    ) -> None:
        self.desk = desk
        self.review = review.begin()
        self.keys = keys
        self.screen = screen
        self.editor = editor
        self.actions: dict[str, Callable[[], Review]] = {
            "a": self._accept,
            "e": self._edit,
            "r": lambda: self.review.reject(),
            "s": lambda: self.review.skip(),
            "u": self._undo,
            "b": self._back,
            "?": self._help,
        }

    def run(self) -> Review:
        """Obey keys until the review is over or the person leaves; return where it stands."""
        shown = False
        while not self.review.is_over:
            if not shown:
                self._show()
            key = self.keys.read()
            if key in (END, "q"):
                break
            before = self.review
            if key in self.actions:
                self.review = self.actions[key]()
                self.desk.keep(before, self.review)
            elif key != RESIZED:
                self.screen.say("There is no such key; ? shows them.")
            shown = self.review is before and key != RESIZED
        return self.review

    def _show(self) -> None:
        current = self.review.current
        assert current is not None
        self.screen.show(self.review, render_query(self.desk.task, current.context.context("")))

    def _accept(self) -> Review:
        assert self.review.current is not None
        wrong = self.desk.candidate_problems(self.review, self.review.current)
        if not wrong:
            return self.review.accept()
        self.screen.wrong(wrong)
        self.screen.say("e edits it, r rejects it.")
        return self.review

    def _edit(self) -> Review:
        current = self.review.current
        assert current is not None
        standing = self.review.standing.get(current.key)
        row = (standing and standing.example) or self.desk.candidate_row(current)
        try:
            changed = edit(
                row,
                self.desk.task,
                self.desk.state.draft,
                run=self._open_editor,
                problems=lambda example: self.desk.problems(self.review, example),
                again=self._again,
            )
        except TaskError as error:
            self.screen.say(str(error))
            return self.review
        if changed is None:
            self.screen.say("Nothing was changed; a accepts it as it is.")
            return self.review
        return self.review.edit(changed, self._score(current, changed))

    def _open_editor(self, path: Path) -> bool:
        with self.keys.paused() as stdin:
            return self.editor(path, stdin=stdin)

    def _again(self, wrong: Sequence[str]) -> bool:
        self.screen.wrong(wrong)
        self.screen.say("e opens the editor again, any other key gives the changes up.")
        while (key := self.keys.read()) == RESIZED:
            pass
        return key == "e"

    def _score(self, candidate: Candidate, row: dict[str, Any]) -> float:
        """Score what was edited; a judge has not seen it."""
        example = Example.model_validate(row)
        changes = {"context": example.context, "pairs": example.pairs, "rating": None}
        usual = usual_words(self.desk.by_key.values())
        return score_one(self.desk.task, candidate.model_copy(update=changes), usual).score

    def _undo(self) -> Review:
        last = self.review.last
        if last is None:
            self.screen.say("Nothing was decided yet.")
            return self.review
        request = self.desk.by_key[last.candidate].request
        if last.action != "reject" and request in self.desk.frozen:
            self.screen.say(
                "That one is in the task folder already; remove its file there instead."
            )
            return self.review
        return self.review.undo()

    def _back(self) -> Review:
        if self.review.at == 0:
            self.screen.say("This is the first one.")
            return self.review
        return self.review.back()

    def _help(self) -> Review:
        self.screen.help()
        return self.review
