"""Filters of how an answer is built: an echo of its question, repetition, an end that is missing, an option that is none."""

from __future__ import annotations

from mimicit.curate.base import Field, Sql, quoted
from mimicit.curate.filters.text import DENSE as _DENSE
from mimicit.curate.filters.text import OPTIONS as _OPTIONS
from mimicit.curate.filters.text import normal

_UNIT = rf"[{_DENSE}ー]|[^\p{{P}}\p{{S}}\p{{Z}}\p{{C}}{_DENSE}ー]+"


def _units(field: str) -> str:
    """Return a text's words, and of a script without spaces its letters, as an expression."""
    return f"regexp_extract_all(lower({field}), {quoted(_UNIT)})"


def _grams(units: str, size: int) -> str:
    """Return the distinct sequences of so many units."""
    joined = f"array_to_string({units}[n : n + {size - 1}], ' ')"
    return f"list_distinct(list_transform(range(1, len({units}) - {size - 2}), lambda n: {joined}))"


_ASKS = (
    r"(?i)\b(?:what|which|who|whose|whom|where|when|why|how|was|wer|wen|wem|wo|wohin|woher|wann|warum|wieso|wie|welche[rsmn]?|wieviele?"
    r"|que|quoi|quel(?:le)?s?|qui|quand|pourquoi|comment|combien|cu[aá]nt[oa]s?|cu[aá]l(?:es)?|qui[eé]n(?:es)?)\b|où|qu['’]|qué|dónde|cuándo|cómo"
    "|什么|哪|谁|怎|几|多少|为何|何|誰|どこ|いつ|なぜ|どう|どの|どんな|いくつ|무엇|무슨|뭐|뭘|누구|누가|어디|언제|왜|어떻|어떤|몇|어느"
    "|(?:^|[ ¿])(?:ما|ماذا|من|أين|متى|لماذا|كيف|كم|أي)(?:$| )"
)
"""Words that ask for more than yes or no."""


def question_echo(*, share: float = 0.6, words: int = 5) -> Sql:
    """Drop an answer that begins with its question, or is made of it and brings no word of its own.

    A full sentence takes up most of its question, and one new word is an answer: "Three ducks swim in front of the boy." So is a choice that
    the question offers, and what says yes to "Is the dog asleep?" by saying it. An echo has most of the question, too, and not only of itself.

    Args:
        share: Of the answer's sequences of three words, those of the question; at least half of the question's must be in the answer.
        words: Questions and answers of fewer words are no echo; a letter of a script without spaces counts as one.
    """
    asked, said = normal("instruction"), normal("answer")
    begins = (
        "lower(left(ltrim(answer, ' \"“*«„「'), 6)) = lower(left(ltrim(instruction, ' \"“*«„「'), 6)) "
        f"AND starts_with({said} || ' ', {asked} || ' ') AND len({_units('instruction')}) >= {words:d}"
    )
    q, a = _grams(_units("instruction"), 3), _grams(_units("answer"), 3)
    common = f"len(list_intersect({a}, {q}))"
    alike = (
        "length(answer) BETWEEN 0.5 * length(instruction) AND 2 * length(instruction) "
        "AND jaccard(lower(instruction), lower(answer)) >= 0.7 "
        f"AND NOT regexp_matches(instruction, {quoted(_OPTIONS)}) "
        f"AND (NOT regexp_matches(instruction, '[?？؟]') OR regexp_matches(instruction, {quoted(_ASKS)})) "
        f"AND list_has_all({_units('instruction')}, {_units('answer')}) "
        f"AND len({_units('answer')}) >= {words:d} AND {common} >= {float(share)!r} * len({a}) AND {common} >= 0.5 * len({q}) "
    )
    return Sql(
        f"CASE WHEN {begins} THEN 'the answer begins with the question' "
        f"WHEN {alike} THEN printf('%.0f %% of the answer is the question', 100 * {common} / len({a})) END",
        f"CASE WHEN {alike} THEN {common} / len({a}) END",
    )


_CHARACTERS = 8
_WORDS = 5


def repetition(*, share: float = 0.3, field: Field = "answer") -> Sql:
    """Drop a text that says the same again and again.

    Args:
        share: Of its sequences of five words (eight letters in scripts without spaces), those that were there before.
        field: Which text.
    """
    # A sequence that was there before begins with a word and a pair (of letters, with four) that were there before; those are counted first, being cheaper.
    words = f"string_split(lower({field}), ' ')"
    least = f"{float(share)!r} * (len({words}) - {_WORDS - 1})"
    bound = (
        f"len({words}) >= 12 AND len({words}) - list_unique({words}) >= {least} "
        f"AND len({words}) - list_unique(list_zip({words}, {words}[2:])) >= {least}"
    )
    letters = rf"string_split(regexp_replace({field}, '[\p{{P}}\p{{Z}}\s]+', '', 'g'), '')"
    dense = f"(strlen({field}) > 2 * length({field}) OR length({field}) > 25 * len({words})) AND length({field}) >= 20"
    n, m = _grams(words, _WORDS), _grams(letters, _CHARACTERS)
    by_words = f"(1 - len({n}) / (len({words}) - {_WORDS - 1}))"
    by_letters = f"(1 - len({m}) / (len({letters}) - {_CHARACTERS - 1}))"
    fours = f"list_zip({letters}, {letters}[2:], {letters}[3:], {letters}[4:])"
    seen = f"len({letters}) - list_unique({fours}) >= {float(share)!r} * (len({letters}) - {_CHARACTERS - 1})"
    score = (
        f"CASE WHEN {dense} AND len({letters}) > {_CHARACTERS + 8} THEN CASE WHEN {seen} THEN {by_letters} ELSE 0 END "
        f"WHEN {bound} THEN {by_words} ELSE 0 END"
    )
    return Sql(
        f"CASE WHEN ({score}) >= {float(share)!r} THEN printf('%.0f %% of it is repeated', 100 * ({score})) END",
        score,
    )


_ENDS = r"[.!?…。！？.؟۔।:;)\]}>\"'”’»›」』）】*`~=♪%\p{So}]\s*$"
_OPEN = r"[(\[{“«„「『（【‘¿¡,،、，:：–—]\s*$|[\p{L}]-\s*$"
_LIST = r"(?:^|\n)\s*(?:[-*•·|#]|\d+[.)、])[^\n]*$|\bhttps?://\S+$"
_TIED: dict[str, str] = {
    "en": r"(?i)\s(?:and|or|but|because|the|an|while|which|although)\s*[.…]?\s*$",
    "de": r"(?i)\s(?:und|oder|aber|weil|dass|sowie|während)\s*$",
    "fr": r"(?i)\s(?:et|ou|mais|car|parce que|les|des|une|qui|que)\s*$",
    "es": r"(?i)\s(?:y|o|pero|porque|los|las|una|del|que)\s*$",
    "zh": r"(?:和|与|或者?|但是|因为|以及|而且|并且)\s*$",
    "ja": r"(?:そして|しかし|または|および|ので|けれど|には|では)\s*$",
    "ko": r"(?:그리고|하지만|또는|때문에|에는|에서)\s*$",
    "ar": r"\s(?:و|أو|لكن|لأن|في|من|على|التي|الذي)\s*$",
}
"""Of each language, words that end no sentence."""
_NO_STOP = r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]\s*$"
_HALF = rf"[{_DENSE}]{{2}}|[^\s{_DENSE}]+"
_KOREAN = r"(?:다|요|까|죠|음|함|임)\s*$"


def unfinished(*, words: int = 15, field: Field = "answer") -> str:
    """Drop a text that breaks off: at a comma, an open bracket or quote, a conjunction, or without a final stop.

    Args:
        words: Up to so many words need no final stop: names and short captions have none. Two letters of a script without spaces count as one.
        field: Which text.
    """
    base = "split_part(lower(language), '-', 1)"
    tied = " ".join(
        f"WHEN {base} = '{code}' AND regexp_matches(right({field}, 40), {quoted(pattern)}) THEN 'the {field} ends in a word that ends no sentence'"
        for code, pattern in _TIED.items()
    )
    end, last = f"right({field}, 40)", f"right({field}, 4)"
    count = f"len(regexp_extract_all({field}, {quoted(_HALF)}))"
    many = f"(length({field}) > {2 * words:d} AND {count} > {words:d})"
    bare = (
        f"NOT regexp_matches({last}, {quoted(_ENDS)}) AND {many} AND NOT regexp_matches({end}, {quoted(_NO_STOP)}) "
        f"AND NOT regexp_matches({end}, {quoted(_KOREAN)}) AND NOT regexp_matches({field}, {quoted(_LIST)})"
    )
    return (
        f"CASE WHEN regexp_matches({last}, {quoted(_OPEN)}) AND length({field}) > 2 "
        f"THEN printf('the {field} breaks off: %s', right({field}, 20)) {tied} "
        f"WHEN {bare} THEN printf('the {field} has no end: %s', right({field}, 20)) END"
    )


_MARK = r"(?:^|[\s(（\[])([A-H])\s?[.):：、）\]]"
_NAMED = (
    r"(?:^|[^\p{L}\p{N}'’])([B-H])(?:$|[^\p{L}\p{N}'’])",
    r"(?:^\W*|[(（\[\"“*]|(?i:is|option|answer|choice|choose|correct|答案|选项?|正解|は|ist|antwort|réponse|respuesta|opci[oó]n|est|es|정답은?|الإجابة|هو|هي)\s*[:：是为]?\s*)(A)(?:$|[.):：、）\]\"”*,，。]|\s*$)",
)

_ALONE = r"(?i)^\W*(?:option|answer|choice)?\W*([a-h])\W*$"
"""A letter, large or small, and no more."""


def no_valid_option() -> str:
    """Drop an answer to a multiple-choice question (A. … B. …) that names none of its options.

    It may name the letter, or repeat an option's words.
    """
    letters = f"regexp_extract_all(instruction, {quoted(_MARK)}, 1)"
    small = f"upper(regexp_extract(answer, {quoted(_ALONE)}, 1))"
    named = f"list_contains({letters}, {small}) OR " + " OR ".join(
        f"list_has_any(regexp_extract_all(answer, {quoted(pattern)}, 1), {letters})"
        for pattern in _NAMED
    )
    texts = r"regexp_split_to_array(instruction, '(?:^|[\s(（\[])[A-H]\s?[.):：、）\]]\s*')[2:]"
    worded = (
        rf"len(list_filter(list_transform({texts}, lambda o: {normal('o')}), "
        f"lambda o: o <> '' AND (contains(' ' || {normal('answer')} || ' ', ' ' || o || ' ') OR "
        f"o = {normal('answer')} OR (strlen(o) > length(o) AND contains({normal('answer')}, o))))) > 0"
    )
    return (
        f"CASE WHEN regexp_matches(instruction, {quoted(_OPTIONS)}) AND NOT ({named}) AND NOT ({worded}) "
        f"THEN printf('it names none of the options %s', array_to_string(list_sort(list_distinct({letters})), ', ')) END"
    )
