"""The filters that a recipe may name, and the measures that they need.

An expression runs over millions of rows in seconds, and any DuckDB client can try it. To add a filter, write one function
that returns such an expression, and add a row to FILTERS. Parameters come from a recipe, which is not ours: text reaches the
expression only through `quoted`, and numbers only as numbers.
"""

from mimicit.curate.asks.question import ASKS
from mimicit.curate.base import Filter, Measure, Table, group, row
from mimicit.curate.filters import (
    asks,
    benchmark,
    damage,
    diverse,
    duplicates,
    grounded,
    judged,
    language,
    mix,
    near,
    pictures,
    safety,
    says,
    semantic,
    shape,
    text,
    translations,
)
from mimicit.curate.looks import VERSION, attach
from mimicit.curate.meaning.vectors import MEANING

FILTERS: dict[str, Filter] = {
    "empty": row(text.empty),
    "too_short": row(text.too_short),
    "too_long": row(text.too_long),
    "mentions": row(text.mentions),
    "coordinates": row(text.coordinates),
    "echo": row(text.echo),
    "refusal": row(says.refusal),
    "boilerplate": row(says.boilerplate),
    "annotation_talk": row(says.annotation_talk),
    "question_echo": row(shape.question_echo),
    "repetition": row(shape.repetition),
    "unfinished": row(shape.unfinished),
    "no_valid_option": row(shape.no_valid_option),
    "encoding_damage": row(damage.encoding_damage),
    "mixed_script": row(damage.mixed_script),
    "wrong_language": row(language.wrong_language, "language"),
    "toxic": row(safety.toxic),
    "toxic_by_model": row(safety.toxic_by_model, "profanity"),
    "personal_data": row(safety.personal_data),
    "source_rule": row(safety.source_rule),
    "undecodable": group(pictures.undecodable, "looks"),
    "missing_picture": group(pictures.missing_picture),
    "too_small": group(pictures.too_small, "looks"),
    "aspect": group(pictures.aspect, "looks"),
    "blank": group(pictures.blank, "looks"),
    "dark": group(pictures.dark, "looks"),
    "blurred": group(pictures.blurred, "looks"),
    "text_only": group(pictures.text_only, "looks"),
    "picture_count": row(pictures.picture_count),
    "picture_mismatch": group(pictures.picture_mismatch),
    "near_duplicate_picture": group(pictures.near_duplicate_picture, "looks"),
    "unsupported_object": group(grounded.unsupported_object),
    "contradicted_count": group(grounded.contradicted_count),
    "wrong_colour": group(grounded.wrong_colour),
    "wrong_side": group(grounded.wrong_side),
    "judge_score": group(judged.judge_score),
    "judges_disagree": group(judged.judges_disagree),
    "unjudged": group(judged.unjudged),
    "translations_differ": group(translations.translations_differ),
    "exact_duplicate": group(duplicates.exact_duplicate, "same"),
    "near_duplicate": group(near.near_duplicate),
    "repeated_question": group(duplicates.repeated_question, "same"),
    "in_benchmark": group(benchmark.in_benchmark),
    "semantic_duplicate": group(semantic.semantic_duplicate),
    "question_kind": row(asks.question_kind, "asks"),
    "diverse": group(diverse.diverse),
    "mix": group(mix.mix),
}
MEASURES: dict[str, Measure | Table] = {
    "language": language.LANGUAGE,
    "profanity": safety.PROFANITY,
    "looks": Table(attach, VERSION),
    **grounded.TABLES,
    "same": duplicates.SAME,
    **near.SKETCHES,
    "asks": ASKS,
    "meaning": MEANING,
}
