"""A figure of matplotlib as SVG that stands in a page: small, in the page's colours and type, without a style attribute.

Figures are drawn in the colours of `INK`, which name roles and not colours; here they become classes, so that the page's style
sheet decides what they are in the light and in the dark. A style attribute would need a policy that lets records have some, too;
so each becomes attributes. What a figure says as text stays text.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = {
    "ink": "#010101",
    "muted": "#020202",
    "line": "#030303",
    "paper": "#040404",
    **{f"c{n}": f"#0506{n:02x}" for n in range(8)},
}
"""Role -> the colour that stands for it until the page gives it one. `c0` … `c7` tell series apart."""
_ROLES = {colour: role for role, colour in INK.items()}
_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "font.size": 11.5,
    "font.family": "DejaVu Sans",
    "text.color": INK["ink"],
    "axes.edgecolor": INK["line"],
    "axes.labelcolor": INK["muted"],
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid.axis": "y",
    "grid.color": INK["line"],
    "grid.linewidth": 0.7,
    "xtick.color": INK["line"],
    "ytick.color": INK["line"],
    "xtick.labelcolor": INK["muted"],
    "ytick.labelcolor": INK["muted"],
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "patch.linewidth": 0,
}
_KEPT = frozenset({"opacity", "fill-opacity", "stroke-width", "stroke-dasharray", "stroke-linecap"})
_LONGEST = 200
"""Letters of a label that are looked at."""
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]+")


@contextmanager
def drawing(
    width: float, height: float, *, layout: Literal["constrained"] | None = "constrained"
) -> Iterator[Figure]:
    """Give an empty figure of so many pixels, with the settings that fit the page."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # Letters that its own font lacks are measured roughly; the page's fonts have them.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield Figure(figsize=(width / 72, height / 72), dpi=72, layout=layout)


def label(text: str, pixels: float = 173.0) -> str:
    """Return a text that fits into so many pixels and into XML."""
    plain = _CONTROL.sub(" ", text[:_LONGEST]).strip() or "–"
    if len(text) <= _LONGEST and breadth(plain) <= pixels:
        return plain
    while plain and breadth(plain + "…") > pixels:
        plain = plain[:-1]
    return plain + "…"


def breadth(text: str) -> float:
    """Return about how many pixels a text takes at most; nobody knows here which font the page will have."""
    return sum(map(_breadth, text))


def _breadth(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF" or letter in "WM@%":
        return 11.5
    if letter.isupper():
        return 8.5
    return 0.0 if unicodedata.combining(letter) else 4.5 if letter in "iljtfr.,:; " else 7.2


def written(figure: Figure, prefix: str, title: str) -> str:
    """Write a figure as inline SVG.

    Args:
        figure: In the colours of `INK`, within `drawing`.
        prefix: Unique in the page.
        title: What it shows, for who cannot see it.
    """
    sink = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(sink, format="svg", transparent=True, metadata=nothing)
    root = ET.fromstring(sink.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        _plain(element, prefix)
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "class": "plot",
        "role": "img",
        "aria-label": _CONTROL.sub(" ", title)[:400],
        "width": root.attrib["width"].removesuffix("pt"),
        "height": root.attrib["height"].removesuffix("pt"),
    }
    return ET.tostring(root, encoding="unicode")


def _plain(element: ET.Element, prefix: str) -> None:
    """Turn a style into attributes, and names into those of this figure."""
    element.tag = element.tag.removeprefix(f"{{{_SVG}}}")
    element.tail = None if not (element.tail or "").strip() else element.tail
    if element.text is not None and not element.text.strip():
        element.text = None
    given = element.attrib
    pairs = (one.partition(":") for one in given.pop("style", "").split(";"))
    style = {name.strip(): value.strip() for name, _, value in pairs if value}
    given.pop("id") if "id" in given and element.tag not in ("clipPath", "path") else None
    if "id" in given:
        given["id"] = f"{prefix}-{given['id']}"
    if "clip-path" in given:
        given["clip-path"] = given["clip-path"].replace("url(#", f"url(#{prefix}-")
    if _LINK in given:
        given["href"] = f"#{prefix}-{given.pop(_LINK).removeprefix('#')}"
    for name in ("d", "transform", "x", "y"):
        if name in given:
            given[name] = _NUMBER.sub(lambda found: f"{float(found[0]):.1f}", given[name])
    classes = list(_classes(element.tag, style, given))
    if classes:
        given["class"] = " ".join(classes)
    given.update({name: value for name, value in style.items() if name in _KEPT})
    if element.tag == "text":
        _typeset(given, style)


def _classes(tag: str, style: dict[str, str], given: dict[str, str]) -> Iterator[str]:
    for name, letter in (("fill", "f"), ("stroke", "s")):
        value = style.get(name)
        if value is None:
            continue
        if value in _ROLES:
            yield f"{letter}-{_ROLES[value]}"
        else:
            given[name] = value
    if tag == "text" and "fill" not in style:
        yield "f-ink"


def _typeset(given: dict[str, str], style: dict[str, str]) -> None:
    """Keep a text's size and place; the page has the type."""
    font = style.get("font", "")
    if size := re.search(r"([\d.]+)px", font or style.get("font-size", "")):
        given["font-size"] = size[1]
    if re.search(r"\b(bold|[67]00)\b", font):
        given["font-weight"] = "600"
    if "text-anchor" in style:
        given["text-anchor"] = style["text-anchor"]
