"""Words by which `mimicit.curate.meaning.guard` tells texts apart, and those that it looks through."""

from __future__ import annotations

from mimicit.curate.asks.closed import (
    ADVERBS,
    AUXILIARY,
    BE,
    DETERMINERS,
    DO,
    HAVE,
    JOINING,
    PREPOSITIONS,
    PRONOUNS,
    WH,
    words_of,
)

NEGATIONS = words_of("not no never none nobody nothing nowhere neither nor without hardly barely")
_COUNTED = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
NUMBERS = {word: str(n) for n, word in enumerate(_COUNTED)} | {
    "dozen": "12", "couple": "2", "pair": "2", "both": "2", "once": "1", "twice": "2", "single": "1",
}  # fmt: skip
COLORS = {
    color: color
    for color in words_of(
        "red blue green yellow black white gray brown orange purple pink violet gold silver beige turquoise maroon tan "
        "blond teal cyan magenta crimson navy"
    )
} | {
    "golden": "gold",
    "blonde": "blond",
    "reddish": "red",
    "bluish": "blue",
    "greenish": "green",
    "brownish": "brown",
}
PERSONS = {
    "man": "man", "men": "man", "gentleman": "man", "guy": "man", "male": "man", "father": "man", "husband": "man",
    "woman": "woman", "women": "woman", "lady": "woman", "ladies": "woman", "female": "woman", "mother": "woman",
    "wife": "woman", "boy": "boy", "boys": "boy", "girl": "girl", "girls": "girl", "he": "he", "his": "he", "him": "he",
    "she": "she", "her": "she", "hers": "she",
}  # fmt: skip
OPPOSITES = """
left | right
above over on onto ontop atop | under below beneath underneath
up upward upwards upstairs | down downward downwards downstairs
on | off
infront front | behind back rear
in into inside indoors indoor | outside outdoors outdoor
open opened opens opening | closed close closes shut closing
young younger | old older elderly aged
small smaller little tiny | large larger big bigger huge
long longer | short shorter
tall taller | short shorter
high higher | low lower
near nearer close | far farther distant
hot warm warmer | cold cool colder chilly
full filled | empty
wet | dry
day daytime daylight morning | night nighttime evening
before | after
first | last second third
win wins winning won | lose loses losing lost
happy smiling cheerful joyful glad | sad unhappy crying upset angry
arrive arrives arriving arrived enter enters entering entered come comes coming | leave leaves leaving exit exits exiting go goes going depart departs departing
more | less fewer
many lots | few
same | different
fast quickly quick | slow slowly
dark darker | bright light lighter
begin beginning begins start starts starting | end ends ending finish finishes
buy buys buying bought | sell sells selling sold
sit sits sitting seated sat | stand stands standing stood | lie lies lying lay | walk walks walking walked | run runs running ran | jump jumps jumping | fly flies flying | swim swims swimming | kneel kneels kneeling
push pushes pushing | pull pulls pulling
give gives giving gave | take takes taking took
clean | dirty messy
true | false
calm quiet | loud noisy
crowded busy | deserted
real | fake
north | south | east | west
spring | summer | autumn fall | winter
"""
"""A line is a group; what stands on two sides of a bar cannot both be meant."""
RELATING = words_of(
    "left right above over under below beneath underneath infront front behind before after than to from inside on ontop "
    "at by of"
)
"""About these the order of things matters."""
ORDER_FREE = words_of("and or with")
CLOSED = (
    ADVERBS | AUXILIARY | BE | DETERMINERS | DO | HAVE | JOINING | PREPOSITIONS | PRONOUNS | WH
    | words_of("yes no s infront ontop picture image photo photograph video scene")
)  # fmt: skip
"""What says nothing of the picture."""

GROUPS: list[int] = []
"""Of each line of `OPPOSITES`, its bits."""
BITS: dict[str, int] = {}
"""Word -> its bit in each line where it stands."""


def _number_opposites() -> None:
    first = 0
    for line in OPPOSITES.strip().splitlines():
        sides = [side.split() for side in line.split("|")]
        GROUPS.append(sum(1 << first + n for n in range(len(sides))))
        for n, side in enumerate(sides):
            for word in side:
                BITS[word] = BITS.get(word, 0) | 1 << first + n
        first += len(sides)


_number_opposites()
