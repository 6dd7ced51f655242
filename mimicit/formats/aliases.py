"""Ids of pictures that differ between the releases of MIMIC-IT, in the form of the last one.

    DC_04_IMG_v_N1c3C_Npr-E_0000                      DC_IMG_v_N1c3C_Npr-E_0000           the first releases counted data sets
    E4D_08_IMG_<video>_00000000                       E4D_IMG_<video>_00000000            so do parts of E4D, beside the last form
    CSD_IMG_000000377944                              CGD_IMG_000000377944                the set's working name
    TVC_IMG_<clip>_<clip>_00012                       TVC_IMG_<clip>_00012                the clip's name twice
    TVC_IMG_s01e01_seg01_clip_00_bbt_00012            TVC_IMG_bbt_s01e01_seg01_clip_00_00012   the show behind the clip

Records of one release so find the pictures of another. Only ids of pictures are brought to one form: what follows `_IMG_` says what is
to be seen. An instruction's number was given anew in each release, and in E4D's three forms (`E4D_INS_000135_879499`,
`E4D_04_INS_00390970`, `E4D_08_INS_00728879`) nothing says that equal numbers mean one text, so those ids stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

STORES = {"CSD": "CGD"}
"""Early name of a set of pictures -> the last one."""
SHOWS = ("bbt", "castle", "friends", "grey", "house", "met")
"""Of TVC; clips of `bbt` have no show in their name."""

_NUMBERED = re.compile(r"(?P<store>[A-Za-z0-9]+(?:_[A-Z0-9]+)*?)_\d\d")
_TVC = re.compile(r"(?P<names>.+)_(?P<frame>\d+)")
_CLIP = re.compile(r"s\d\de\d\d_seg\d\d_clip_\d\d")


def picture_id(id_: str) -> str:
    """Return the last release's form of a picture's id; any other id as it is."""
    store, found, key = id_.partition("_IMG_")
    if not found:
        return id_
    store = _store(store)
    if store == "TVC":
        key = _tvc(key)
    return f"{store}_IMG_{key}"


def are_old(ids: Sequence[str]) -> bool:
    """Say whether some of many ids may have another form; hardly any do."""
    if not ids:
        return False
    start = ids[0].partition("_IMG_")[0] + "_IMG_"
    if begin_with(ids, start):
        return picture_id(start) != start or start == "TVC_IMG_"
    return any(picture_id(id_) != id_ for id_ in ids)


def begin_with(ids: Sequence[str], start: str) -> bool:
    """Say whether all of many ids begin alike, in one look at them."""
    return ("\n" + "\n".join(ids)).count("\n" + start) == len(ids)


@lru_cache(4096)
def _known_store(store: str) -> str:
    numbered = _NUMBERED.fullmatch(store)
    plain = numbered["store"] if numbered else store
    return STORES.get(plain, plain)


def _store(store: str) -> str:
    return _known_store(store) if len(store) <= 16 else store


def _tvc(key: str) -> str:
    """Name show and clip once each: `friends_s01e01_seg01_clip_00_00012`."""
    whole = _TVC.fullmatch(key)
    if whole is None:
        return key
    clips = set(_CLIP.findall(whole["names"]))
    shows = {word for word in _CLIP.sub("", whole["names"]).split("_") if word}
    if len(clips) != 1 or len(shows) > 1 or not shows <= set(SHOWS):
        return key
    show = shows.pop() if shows else "bbt"
    return f"{show}_{clips.pop()}_{whole['frame']}"
