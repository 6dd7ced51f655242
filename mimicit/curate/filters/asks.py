"""Records by the kind of question that they ask."""

from __future__ import annotations

from collections.abc import Sequence

from mimicit.curate.asks.kinds import KINDS
from mimicit.curate.base import quoted


def question_kind(
    *, only: Sequence[str] = (), without: Sequence[str] = (), verbs_without: Sequence[str] = ()
) -> str:
    """Drop a record that asks what is not to be asked.

    Args:
        only: The kinds of question that may stay (see `mimicit.curate.asks.kinds.KINDS`); left out, all of them.
        without: Kinds that go.
        verbs_without: Verbs of an English question whose records go, such as "write".
    """
    for kind in (*only, *without):
        if kind not in KINDS:
            raise ValueError(
                f"there is no kind of question {kind!r}; there are: {', '.join(KINDS)}"
            )
    cases = ""
    if only:
        cases += (
            f"WHEN asks_kind NOT IN ({', '.join(map(quoted, only))}) THEN 'it asks: ' || asks_kind "
        )
    if without:
        cases += (
            f"WHEN asks_kind IN ({', '.join(map(quoted, without))}) THEN 'it asks: ' || asks_kind "
        )
    if verbs_without:
        listed = ", ".join(quoted(verb.lower()) for verb in verbs_without)
        cases += f"WHEN asks_verb IN ({listed}) THEN 'it asks to ' || asks_verb "
    if not cases:
        raise ValueError("say which kinds are to stay (`only`) or go (`without`, `verbs_without`)")
    return f"CASE {cases}END"
