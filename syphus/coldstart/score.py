"""How good a candidate is, 0 to 1, by rules that can be read. Pure.

Each part looks at one thing and gives 0 to 1 with a reason for what it takes off, or None where it does not apply; a candidate's
score is their mean by weight. To add a part, write its function and a row of PARTS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from syphus.annotations.context import Context
from syphus.coldstart.state import Candidate
from syphus.coldstart.words import content_stems, latin, words
from syphus.forms import Pair
from syphus.render import render_query
from syphus.task import Task

GROUNDED_ENOUGH = 0.5
"""Of an answer's content words, the share that is also in the query and earns full marks: good answers say things in their own words."""
OTHER_SCRIPT = 0.5
"""Share of Latin letters by which a text in another script differs."""
SHOWN_WORDS = 6
BEST_RATING = 5


@dataclass(frozen=True)
class Look:
    """What a part may look at."""

    task: Task
    context: Context
    pairs: tuple[Pair, ...]
    query: str
    """What the model was told."""
    usual_words: float
    """Median length of an answer, over all candidates."""
    rating: float | None = None

    @property
    def questions(self) -> list[str]:
        return [pair.question for pair in self.pairs if pair.question]


Found = tuple[float, str]
"""0 to 1, and why not 1."""


@dataclass(frozen=True)
class Part:
    name: str
    weight: float
    look: Callable[[Look], Found | None]


def pair_count(look: Look) -> Found:
    count, shape = len(look.pairs), look.task.shape
    if shape.min_pairs <= count <= shape.max_pairs:
        return 1.0, ""
    near = shape.min_pairs if count < shape.min_pairs else shape.max_pairs
    value = min(count, near) / max(count, near)
    return value, f"{count} pairs; the task asks for {shape.min_pairs} to {shape.max_pairs}"


def kept_rules(look: Look) -> Found:
    rules = look.task.rules
    names = rules.names_in(look.context)
    broken = [said for pair in look.pairs if (said := rules.broken(pair, names))]
    value = _share(len(look.pairs) - len(broken), len(look.pairs))
    if not rules.speaks_in_person(look.pairs):
        return value / 2, "fewer than half of the pairs are said in the first person"
    return (
        value,
        f"{len(broken)} of {len(look.pairs)} pairs break a rule: {broken[0]}" if broken else "",
    )


def no_repeats(look: Look) -> Found:
    """Count questions once; texts, which answer the same question, by what they say."""
    said = Counter(
        (pair.conversation, " ".join(words(pair.question or pair.answer))) for pair in look.pairs
    )
    if len(said) == len(look.pairs):
        return 1.0, ""
    (_, text), count = said.most_common(1)[0]
    return _share(len(said), len(look.pairs)), f"it asks {count} times: {text}"


def usual_length(look: Look) -> Found:
    """Give full marks up to half and double the usual length."""
    if not look.usual_words or not look.pairs:
        return 1.0, ""
    lengths = [len(words(pair.answer)) for pair in look.pairs]
    shares = [min(1.0, 2 * min(n, look.usual_words) / max(n, look.usual_words, 1)) for n in lengths]
    value = sum(shares) / len(shares)
    odd = lengths[shares.index(min(shares))]
    return (
        value,
        f"an answer has {odd} words, usual are {look.usual_words:.0f}" if value < 1 else "",
    )


def grounding(look: Look) -> Found | None:
    """Look for each answer's content words in what the model was told; of a translation, nothing can be said."""
    told = set(content_stems(look.query))
    text = " ".join(pair.answer for pair in look.pairs)
    if not told or abs(latin(text) - latin(look.query)) > OTHER_SCRIPT:
        return None
    shares: list[float] = []
    worst, untold = 0, ""
    for number, pair in enumerate(look.pairs, start=1):
        said = content_stems(pair.answer)
        if not said:
            continue
        new = [word for stem, word in said.items() if stem not in told]
        share = 1 - len(new) / len(said)
        if not shares or share < min(shares):
            listed = ", ".join(new[:SHOWN_WORDS]) + (", …" if len(new) > SHOWN_WORDS else "")
            worst, untold = (
                number,
                f"{share:.0%} of its words are in what the model was told, not: {listed}",
            )
        shares.append(share)
    if not shares:
        return None
    value = sum(min(1.0, share / GROUNDED_ENOUGH) for share in shares) / len(shares)
    return value, f"answer {worst}: {untold}" if value < 1 else ""


def question_marks(look: Look) -> Found | None:
    questions = look.questions
    if not questions:
        return None
    bare = [question for question in questions if not question.rstrip().endswith(("?", "？", "؟"))]
    value = _share(len(questions) - len(bare), len(questions))
    return value, f"no question mark: {bare[0]}" if bare else ""


def variety(look: Look) -> Found | None:
    """Give full marks where every second question begins with another word."""
    firsts = Counter(said[0] for question in look.questions if (said := words(question)))
    count = sum(firsts.values())
    if count < 2:
        return None
    value = min(1.0, len(firsts) / ((count + 1) // 2))
    word, times = firsts.most_common(1)[0]
    return value, f"{times} of {count} questions begin with {word!r}" if value < 1 else ""


def judged(look: Look) -> Found | None:
    if look.rating is None:
        return None
    value = max(0.0, min(1.0, look.rating / BEST_RATING))
    return value, f"the judge gives {look.rating:g} of {BEST_RATING}" if value < 1 else ""


PARTS = (
    Part("count", 1.0, pair_count),
    Part("rules", 3.0, kept_rules),
    Part("repeats", 1.0, no_repeats),
    Part("length", 1.0, usual_length),
    Part("grounding", 3.0, grounding),
    Part("marks", 0.5, question_marks),
    Part("variety", 0.5, variety),
    Part("judge", 4.0, judged),
)


@dataclass(frozen=True)
class Score:
    total: float
    parts: dict[str, float]
    reasons: tuple[str, ...]


def score(look: Look) -> Score:
    """Weigh what the parts say."""
    found = [(part, said) for part in PARTS if (said := part.look(look)) is not None]
    weight = sum(part.weight for part, _ in found)
    total = sum(part.weight * value for part, (value, _) in found) / weight
    return Score(
        round(total, 3),
        {part.name: round(value, 3) for part, (value, _) in found},
        tuple(f"{part.name}: {reason}" for part, (_, reason) in found if reason),
    )


def scored(task: Task, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Score candidates among each other; best first."""
    usual = usual_words(candidates)
    found = [score_one(task, candidate, usual) for candidate in candidates]
    return sorted(found, key=lambda candidate: (-candidate.score, candidate.key))


def score_one(task: Task, candidate: Candidate, usual: float) -> Candidate:
    context = candidate.context.context("")
    query = render_query(task, context)
    said = score(Look(task, context, candidate.pairs, query, usual, candidate.rating))
    return candidate.model_copy(
        update={"score": said.total, "parts": said.parts, "reasons": said.reasons}
    )


def usual_words(candidates: Iterable[Candidate]) -> float:
    """Return the median length of an answer, in words."""
    lengths = [len(words(pair.answer)) for one in candidates for pair in one.pairs]
    return float(median(lengths)) if lengths else 0.0


def _share(some: int, count: int) -> float:
    return some / count if count else 0.0
