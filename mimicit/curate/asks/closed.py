"""English words of closed classes, as `mimicit.curate.asks` takes them."""

from __future__ import annotations


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


WH = words_of("what which who whom whose where when why how")
BE = words_of("is are was were am be been being")
DO = words_of("do does did done doing")
HAVE = words_of("have has had having")
AUXILIARY = words_of("can could will would shall should may might must cannot")
DETERMINERS = words_of(
    "a an the this that these those my your his her its our their any some each every all both another other no "
    "one two three four five six seven eight nine ten several many few more most enough different various such"
)
PRONOUNS = words_of(
    "i me you he him she they them we us it myself yourself himself herself themselves itself someone somebody "
    "anyone anybody everyone everybody something anything everything nothing nobody there here mine yours"
)
PREPOSITIONS = words_of(
    "in on at of to from with without by for about into onto over under above below behind beside besides between among "
    "around near against along across through during before after since until within toward towards inside outside off up down "
    "out as per via like than upon beneath underneath next based given according regarding"
)
JOINING = words_of("and or but if whether because so while although though since that then unless")
ADVERBS = words_of(
    "not please also just only very really quite currently now then still already ever never always often usually most likely "
    "probably possibly together away back again too well exactly clearly briefly carefully else first instead actually mainly "
    "primarily today tonight tomorrow yesterday soon nearby indoors outdoors upstairs downstairs visibly visible present approximately roughly about"
) - words_of("about")
PARTS = words_of(
    "kind type sort number lot couple variety piece pair group set list part amount series style bit form bunch example range "
    "rest half majority total"
) - words_of("group part")
"""Nouns that only measure what comes after "of"."""
DESCRIBE = words_of(
    "describe explain summarize summarise caption narrate depict elaborate discuss characterize characterise outline paraphrase "
    "description explanation summary caption overview account narration analysis analyze analyse interpret recount detail"
)
TELLING = words_of(
    "tell give provide write offer generate create make share talk present compose supply produce say"
)
SEEING = words_of("see notice spot find tell detect observe recognize")
