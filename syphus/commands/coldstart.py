"""`syphus coldstart`."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mimicit.commands.options import Json
from syphus.commands import shared

if TYPE_CHECKING:
    from collections.abc import Callable

    from syphus.coldstart.collect import Collected
    from syphus.coldstart.review import Review
    from syphus.coldstart.session import Desk
    from syphus.coldstart.state import Candidate, State
    from syphus.generate import Job
    from syphus.task import Task

GOOD = 0.8
"""Least score of what `--accept-all-good` accepts, where the user names none."""
LISTED = 10


@dataclass
class Outcome:
    """What a cold start came to; `--json` prints it."""

    task: str
    folder: Path
    """The task folder that examples go into."""
    version: int | None = None
    """Of it, after they were written."""
    accepted: int = 0
    wanted: int = 0
    frozen: list[Path] = field(default_factory=list)
    """Examples that were written now."""
    candidates: int = 0
    open: int = 0
    """Candidates about which nothing was decided."""
    below: int = 0
    """Candidates below --min-score."""
    asked: int = 0
    cost_usd: float = 0.0
    done: bool = False


@dataclass(frozen=True)
class _Ask:
    """What the command line asks for."""

    task: Task
    target: Path
    job: Callable[[], Job]
    """Opens the annotations, which are not needed where all is decided."""
    model: str
    contexts: int
    want: int
    min_score: float
    judge: str | None
    by_score: bool
    as_json: bool


def coldstart(
    task: Annotated[str, typer.Argument(help="A task folder, or a built-in task with --out.")],
    annotations: shared.Annotations,
    model: shared.Model,
    contexts: Annotated[
        int, typer.Option("-n", "--contexts", min=1, help="Ask about so many contexts.")
    ] = 20,
    want: Annotated[int, typer.Option(min=1, help="Examples to collect.")] = 6,
    min_score: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Show no candidate below it; with --accept-all-good, 0.8."),
    ] = None,
    judge: Annotated[
        str | None, typer.Option(help="Another model, which rates the candidates.")
    ] = None,
    accept_all_good: Annotated[
        bool,
        typer.Option("--accept-all-good", help="Ask nobody: accept the best from --min-score on."),
    ] = False,
    format: shared.Format = None,
    by: shared.By = None,
    column: shared.Columns = None,
    boxes: shared.Boxes = None,
    seed: Annotated[int, typer.Option(help="Another seed chooses other contexts.")] = 0,
    state: Annotated[
        Path | None,
        typer.Option(help="Work folder; TASK.coldstart if none.", file_okay=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Task folder that gets the examples: a copy, if there is none yet."),
    ] = None,
    json: Json = False,
) -> None:
    """Collect examples for a task: a model writes without any, you keep the best, and they join the task folder.

    Stopped at any moment and run again, it goes on where it was; nothing is paid twice.

    Example:

        syphus coldstart bird_watching -a birds.jsonl -m openai/gpt-4o -n 20 --want 6
    """
    from syphus.coldstart.freeze import target_of
    from syphus.coldstart.state import State
    from syphus.errors import TaskError
    from syphus.generate import Job
    from syphus.task import load_task

    checked = load_task(task)
    if not checked.makes_records:
        raise TaskError(
            f"the task {checked.name!r} makes no records; its examples are written by hand"
        )
    target = target_of(checked, out)

    def job() -> Job:
        reading = shared.reading(annotations, format, by, column, boxes)
        return Job(checked, reading, None, model, seed, sys.argv[1:])

    least = min_score if min_score is not None else GOOD if accept_all_good else 0.0
    ask = _Ask(checked, target, job, model, contexts, want, least, judge, accept_all_good, json)
    with (
        shared.resumable(),
        State.open(state or Path(f"{checked.name}.coldstart"), checked.name) as opened,
    ):
        code = _run(ask, opened)
    raise typer.Exit(code)


def _run(ask: _Ask, state: State) -> int:
    """Collect, review, freeze; return the exit code."""
    from syphus.coldstart.freeze import frozen_requests
    from syphus.coldstart.review import Review
    from syphus.coldstart.session import Desk
    from syphus.task import load_task

    frozen = frozen_requests(ask.target)
    task = load_task(str(ask.target)) if (ask.target / "task.toml").is_file() else ask.task
    by_key = state.candidates()
    decisions = tuple(one for one in state.decisions() if one.candidate in by_key)
    desk = Desk(task, state, ask.model, by_key, frozen)
    outcome = Outcome(ask.task.name, ask.target, wanted=ask.want)
    review = Review((), ask.want, decisions)
    left = False
    if not review.is_full:
        collected, candidates = _collect(ask, state)
        outcome.asked, outcome.cost_usd = collected.asked, collected.cost_usd
        desk.by_key = {one.key: one for one in candidates}
        review, below = _arrange(ask, collected.keys, candidates, review)
        outcome.candidates, outcome.below = len(review.candidates) + len(below), len(below)
        review, left = _decide(ask, desk, review)
        _list_below(below)
    outcome.accepted, outcome.open = len(review.accepted), len(review.open)
    if review.is_full:
        _freeze(ask, desk, review, outcome)
    return _end(ask, outcome, left=left)


def _collect(ask: _Ask, state: State) -> tuple[Collected, list[Candidate]]:
    """Ask about the sample, rate it if that is wanted, and score all candidates."""
    from mimicit.progress import Progress
    from syphus.coldstart.collect import collect
    from syphus.coldstart.judging import rate
    from syphus.coldstart.score import scored
    from syphus.pacing.endpoints import open_endpoints

    job = ask.job()
    with Progress(f"asking {ask.model}", total=ask.contexts, unit="contexts") as progress:
        collected = collect(
            job,
            ask.contexts,
            state,
            lambda: open_endpoints(ask.model),
            progress=lambda found: progress.update(found.finished, shared.spent(found)),
        )
    known = state.candidates()
    if judge := ask.judge:
        asked = [known[key] for key in collected.keys if key in known]
        with Progress(f"asking {judge}", total=len(asked), unit="candidates") as progress:
            rated = rate(
                ask.task,
                asked,
                judge,
                state,
                lambda: open_endpoints(judge),
                collected,
                arguments=sys.argv[1:],
                progress=progress.update,
            )
        known |= {one.key: one for one in rated}
    candidates = scored(ask.task, list(known.values()))
    state.rewrite(candidates)
    shared.list_problems(collected)
    for problem in collected.first_unusable:
        typer.echo(f"{problem.where}: {problem.reason}", err=True)
    if collected.unusable > len(collected.first_unusable):
        more = collected.unusable - len(collected.first_unusable)
        typer.echo(f"… and {more:,} more rows that the task cannot use", err=True)
    return collected, candidates


def _arrange(
    ask: _Ask, keys: list[str], candidates: list[Candidate], review: Review
) -> tuple[Review, list[Candidate]]:
    """Put what was asked for now, or decided before, into a review; return also what is below the least score."""
    from dataclasses import replace

    decided = review.standing
    wanted = {*keys, *decided}
    found = [one for one in candidates if one.key in wanted]
    shown = tuple(one for one in found if one.score >= ask.min_score or one.key in decided)
    return replace(review, candidates=shown), [one for one in found if one not in shown]


def _decide(ask: _Ask, desk: Desk, review: Review) -> tuple[Review, bool]:
    """Let a person, or the least score, decide; return also whether the person left before the end."""
    from syphus.coldstart.review import accept_good
    from syphus.coldstart.session import Session
    from syphus.coldstart.show import Screen
    from syphus.coldstart.terminal import keys

    if ask.by_score:
        decided = accept_good(review, ask.min_score, desk.is_usable)
        desk.keep(review, decided)
        return decided, False
    if not review.open:
        return review, False
    with keys() as pressed:
        decided = Session(desk, review, pressed, Screen()).run()
    return decided, not decided.is_over


def _list_below(below: list[Candidate]) -> None:
    from syphus.coldstart.show import one_line

    if below:
        typer.echo(f"{_count(len(below), 'candidate')} below --min-score, not shown:", err=True)
    for one in below[:LISTED]:
        reason = one.reasons[0] if one.reasons else ""
        typer.echo(one_line(f"  {one.score:.2f}  {one.context.id}  {reason}", 110), err=True)
    if len(below) > LISTED:
        typer.echo(f"  … and {len(below) - LISTED} more", err=True)


def _freeze(ask: _Ask, desk: Desk, review: Review, outcome: Outcome) -> None:
    from syphus.coldstart.freeze import freeze

    rows = [desk.frozen_row(decision) for decision in review.accepted]
    frozen = freeze(ask.task, ask.target, rows, model=ask.model)
    outcome.version, outcome.frozen, outcome.done = frozen.task.version, list(frozen.files), True


def _end(ask: _Ask, outcome: Outcome, *, left: bool) -> int:
    """Say what came of it; return the exit code."""
    if ask.as_json:
        shared.print_json(outcome)
    else:
        typer.echo(_said(ask, outcome, left=left))
    return 0 if outcome.done else 130 if left else 3


def _said(ask: _Ask, outcome: Outcome, *, left: bool) -> str:
    folder = str(outcome.folder)
    if outcome.frozen:
        return (
            f"{_count(len(outcome.frozen), 'example')} joined {folder!r}, which is version {outcome.version} now; "
            f"look at them with: syphus tasks show {folder}"
        )
    if outcome.done:
        return (
            f"it is done: {_count(outcome.accepted, 'accepted example')} in {folder!r}, "
            f"version {outcome.version}; for more, raise --want"
        )
    so_far = f"{outcome.accepted} of {outcome.wanted} examples are accepted"
    if left:
        return f"{so_far}, {_count(outcome.open, 'candidate')} left; the same command goes on from here"
    open_ = f" ({outcome.open} open)" if outcome.open else ""
    if ask.by_score:
        return (
            f"{so_far}, and no other candidate has a score of {ask.min_score:g} and could be an example: ask about "
            f"more contexts with -n {2 * ask.contexts}, lower --min-score, or choose without --accept-all-good"
        )
    enough = f", or be content with --want {outcome.accepted}" if outcome.accepted else ""
    return (
        f"{so_far}, and the candidates have run out{open_}: ask about more contexts "
        f"with -n {2 * ask.contexts}{enough}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
