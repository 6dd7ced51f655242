"""Words of English that tell names and codes from ordinary text."""

from __future__ import annotations


def _set(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


NAMED_ELSEWHERE = _set(
    "AC AD AIDS AM BC BCE CE DC DNA EU GMT HIV ID NATO OK PM RNA TV UFO UK UN US USA USSR UAE VAT VIP WHO WW WWI WWII",
)
"""Short forms that many languages have their own word for."""

STRESSED = _set(
    "ALL ALSO ALWAYS AN AND ANY ARE AS AT BE BIG BUT BUY BY CAN CLOSED DID DO DOES DON DOWN EXIT FOR FREE FROM GO HAD",
    "HAS HAVE HE HELP HER HIS HOT HOW HUGE IF IN IS IT ITS JUST LEFT LOVE MANY ME MORE MOST MUCH MUST MY NEVER NEW NO",
    "NONE NOT NOW OF OFF ON ONE ONLY OPEN OR OUR OUT OVER PLEASE PUSH PULL REALLY RIGHT SALE SHE SHOP SLOW SO SOME SOON",
    "STOP TAXI THAN THAT THE THEIR THEM THEN THERE THESE THEY THIS TO TOO TWO UP VERY WAS WE WERE WHAT WHEN WHERE WHY",
    "WILL WITH WOW YES YOU YOUR",
)
"""Words in capitals for stress, or on signs."""

SHORT_ANSWERS = _set(
    "yes no none maybe true false red blue green yellow black white brown gray grey orange pink purple left right one",
    "two three four five six seven eight nine ten man woman boy girl dog cat people person daytime night outside inside",
    "outdoors indoors nothing sunny cloudy",
)
"""Words that are a whole answer, and no names."""

FUNCTION_WORDS = _set(
    "a an the yes no it he she they i we you there this that these those in on at by with is are and or of to",
)
"""A text that begins with one of these is no name, for all its capitals."""
