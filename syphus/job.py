"""What a run is asked to do: a task, contexts, and how both become requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mimicit.schema import ImageRecord
from syphus.annotations.context import Context, Problem
from syphus.asking import SAMPLES
from syphus.fit import Cuts, Fitted, fit_queries, query_limit
from syphus.pairing import paired
from syphus.pictures import seen
from syphus.prices import facts_of
from syphus.render import render_prompt, render_request
from syphus.request import Prompt, Request
from syphus.task import Task


@dataclass(frozen=True)
class Job:
    """What a run is asked to do."""

    task: Task
    contexts: Iterable[Context | Problem]
    images: Path | None
    """Folder of the pictures; None stores records without them."""
    model: str
    seed: int = 0
    arguments: Sequence[str] = ()
    """The command line, for the ledger."""
    as_json: bool | None = None
    """Whether replies are wanted as JSON of a schema; None leaves it to what the model can do."""
    see: bool = False
    """Whether the model is shown the pictures themselves."""
    limit: int | None = None
    """Contexts, at most."""
    similar: str = "tfidf"
    """By what pictures are paired, for tasks of two pictures."""
    tries: int = SAMPLES
    """How often a context is asked about until its reply can be read."""
    also: Sequence[str] = ()
    """Other models that share the work with `model`."""

    retry_refused: bool = False
    """Whether to ask once more what a provider has said it will not answer."""

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model, *self.also)

    @cached_property
    def wants_json(self) -> bool:
        if self.as_json is not None:
            return self.as_json
        return all(facts_of(model).has_schema for model in self.models)

    def prompt(self) -> Prompt:
        """Render what all its requests begin with."""
        return render_prompt(self.task, as_json=self.wants_json)

    def fitted(self, prompt: Prompt, cuts: Cuts) -> Iterator[Context | Problem]:
        """Pass its contexts on, cut to size, as many as it is limited to.

        Raises:
            TaskError: the task is too long for the model.
        """
        for item in self.rendered(prompt, cuts):
            yield item.context if isinstance(item, Fitted) else item

    def rendered(self, prompt: Prompt, cuts: Cuts) -> Iterator[Fitted | Problem]:
        """Pass its contexts on, cut to size and each with its query, as many as it is limited to.

        Raises:
            TaskError: the task is too long for the model.
        """
        count = 0
        limit = min(query_limit(self.task, prompt, model) for model in self.models)
        contexts = paired(self.task, self.contexts, self.similar)
        for item in fit_queries(self.task, contexts, limit, cuts, seed=self.seed):
            if isinstance(item, Fitted):
                if count == self.limit:
                    return
                count += 1
            yield item

    def request(
        self,
        prompt: Prompt,
        context: Context,
        images: Sequence[ImageRecord] = (),
        *,
        query: str | None = None,
    ) -> Request:
        """Render one context's request; `query` is its text, where that is rendered already."""
        return render_request(
            self.task,
            prompt,
            context,
            model=self.model,
            seed=self.seed,
            as_json=self.wants_json,
            pictures=tuple(seen(image) for image in images) if self.see else (),
            query=query,
        )
