"""Ids of a video's frames, as MIMIC-IT has published them: what `data convert` stores, and what `generate` names, is named here.

    DC,  v_abc.mp4, frame 67                                  DC_IMG_v_abc_0067
    E4D, <uid>.mp4, frame 67                                  E4D_IMG_<uid>_00000067
    TVC, castle_frames/castle_s01e01_seg02_clip_00/00012.jpg  TVC_IMG_castle_s01e01_seg02_clip_00_00012
    TVC, bbt_frames/s01e01_seg02_clip_00/00012.jpg            TVC_IMG_bbt_s01e01_seg02_clip_00_00012
    SN,  scene0000_00/color/000100.jpg                        SN_IMG_scene0000_00_color_000100

A clip of TVC has its show's name once, before it, whether the folder that is read is that of all shows or of one.
"""

from __future__ import annotations

import re
from pathlib import Path

DIGITS = {"E4D": 8}
"""Of a frame's number, where they are not four."""
SHOW = "_frames"
"""What the folder of a show of TVC ends with."""
UNNAMED_SHOW = "bbt"
"""Its clips have no show in their names."""
_CLIP = re.compile(r"(?P<show>[a-z]+_)?s\d\de\d\d_seg\d\d_clip_\d\d")


def film(prefix: str, key: str) -> str:
    """Return what the ids of a video's frames begin with; the key is the file's path without its suffix."""
    return f"{prefix}_IMG_{key.replace('/', '_')}"


def digits(film: str) -> int:
    """Return how many digits the numbers of a video's frames have."""
    return DIGITS.get(film.partition("_IMG_")[0], 4)


def film_frame(film: str, number: int) -> str:
    """Return the id of a frame of a video."""
    return f"{film}_{number:0{digits(film)}d}"


def frame_file(prefix: str, key: str) -> str:
    """Return the id of a frame that is a file; the key is the file's path without its suffix."""
    if prefix == "TVC":
        *places, clip, frame = ["", *key.split("/")]
        show = places[-1] if places and places[-1].endswith(SHOW) else None
        named = clip_name(clip, show)
        if show is not None or named != clip or _CLIP.fullmatch(clip):
            return f"{prefix}_IMG_{named}_{frame}"
    return film(prefix, key)


def clip_name(clip: str, show: str | None = None) -> str:
    """Return a clip's name with its show's before it; `show` is the show's folder, if there is one."""
    if show is not None:
        title = show.removesuffix(SHOW)
        return clip if clip.startswith(title) else f"{title}_{clip}"
    known = _CLIP.fullmatch(clip)
    return clip if known is None or known["show"] else f"{UNNAMED_SHOW}_{clip}"


def place(prefix: str, folder: Path, video: str) -> str:
    """Return where a video, or its folder of frames, lies in a folder: a clip of TVC also in that of its show."""
    known = _CLIP.fullmatch(video) if prefix == "TVC" else None
    if known is None or (folder / video).exists():
        return video
    within = f"{(known['show'] or UNNAMED_SHOW).rstrip('_')}{SHOW}/{video}"
    return within if (folder / within).exists() else video
