"""A picture as SVG within a page: it follows the page's colours and font, and its marks say their values; no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from gelora_cli.plots.base import Picture
from gelora_cli.plots.style import COLORS, GRID, INK, LIGHT, MIDDLE, LineStyle, figure_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from gelora_cli.report.rows import Row

PAPER, BLACK = "#ffffff", "#000000"

DARK_TWINS: Mapping[str, str] = {
    PAPER: "#14181d",
    INK: "#dfe3e8",
    GRID: "#333a42",
    MIDDLE: "#7d93ad",
    LIGHT: "#3d4c5f",
    **dict(zip(COLORS, ("#d4e9f7", "#d77537", "#94eb83", "#d8a995", "#b9629b", "#16a9ee"), strict=True)),
}
"""What a colour of the pictures is on a dark page. Those of lines keep their hue, and differ as those on white do;
none glares."""

VARIABLES: Mapping[str, str] = {
    PAPER: "--paper",
    INK: "--ink",
    BLACK: "--ink",  # matplotlib's own, of axes and labels
    GRID: "--grid",
    MIDDLE: "--middle",
    LIGHT: "--light",
    **{color: f"--line-{number}" for number, color in enumerate(COLORS)},
}
"""The CSS variable in place of each colour; any other colour is the same on every page."""
SIZES_AND_PLACES = ("d", "x", "y", "transform", "points", "width", "height", "viewBox")
"""Attributes whose numbers are written with at most two decimals, of which 72 points are an inch."""

NUMBER = re.compile(r"-?\d+\.\d+")
COLOR = re.compile(r"#[0-9a-f]{6}\b")
REFERENCE = re.compile(r"url\(#([^)]+)\)")
FONT = re.compile(r"font-family: [^;]*;? ?")
TAG, STYLE = re.compile("<[^<>]+>"), re.compile('style="([^"]*)"')
"""Text between tags has neither sign unescaped, and an attribute no quotes, so that only styles are found."""
NO_ROTATION = re.compile(r"^rotate\(-?0 [^)]*\)$")


class Marks:
    """The marks of a figure that say their values when they are pointed at, for `Picture.tips`.

    Each is an invisible disc over what is drawn, large enough for a finger.
    """

    def __init__(self) -> None:
        self.tips: dict[str, str] = {}

    def add(self, axis: Axes, x: float, y: float, tip: str) -> None:
        """Put a mark at a place in a panel's data, which says `tip`."""
        name = f"mark-{len(self.tips) + 1}"
        look: LineStyle = {"color": INK, "marker": "o", "markersize": 13, "linestyle": "none", "alpha": 0, "zorder": 9}
        (disc,) = axis.plot([x], [y], label="_in no legend", gid=name, **look)
        disc.set_in_layout(False)
        self.tips[name] = tip


def row_tip(row: Row) -> str:
    """Return what a mark of a row says: name, mean, standard deviation, seeds, parameters."""
    spread = "" if row.sd is None else f" \N{PLUS-MINUS SIGN} {row.sd:.{row.digits}f}"
    seeds = "1 seed" if len(row.runs) == 1 else f"{len(row.runs)} seeds"
    return f"{row.name}: {row.metric} {row.mean:.{row.digits}f}{spread}, {seeds}, {row.adapter_params:,} parameters"


def palette(*, dark: bool = False) -> str:
    """Return the CSS variables that pictures are coloured with."""
    colors = {VARIABLES[color]: DARK_TWINS[color] if dark else color for color in DARK_TWINS}
    return " ".join(f"{variable}: {color};" for variable, color in colors.items())


def inline_svg(picture: Picture) -> str:
    """Return a picture as an `<svg>` element for a page that defines `palette`.

    Colours are variables, fonts are the page's, ids begin with the picture's name, and what a page does not need is
    left out. A mark holds its tip as `<title>`, which browsers show without any script. A picture with an image
    inside, as of a heat map, has the class `paper`: an image can't follow the page, so the rest does not either.
    """
    root = ElementTree.fromstring(figure_bytes(picture.figure, "inline", salt=picture.name))
    for element in root.iter():
        _strip_namespaces(element)
    for name in ("metadata", "style"):
        _remove_all(root, name)
    _shorten_ids(root, picture)
    for element in root.iter():
        _follow_page(element)
    _unwrap_groups(root)
    has_image = root.find(".//image") is not None
    classes = "picture paper" if has_image else "picture"
    # Marks are read out one by one; a picture without them is one image.
    attributes = {"class": classes, "viewBox": root.attrib["viewBox"], "aria-label": picture.caption}
    root.attrib = {**attributes, "role": "group" if picture.tips else "img"}
    return ElementTree.tostring(root, encoding="unicode")


def share_styles(elements: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return CSS with a class for each style that pictures repeat, and the pictures with these classes.

    Their styles are few, and more than half of their text.

    Args:
        elements: what `inline_svg` returned, by the names of the pictures.
    """
    classes: dict[str, str] = {}

    def named(tag: re.Match[str]) -> str:
        return STYLE.sub(lambda style: f'class="{classes.setdefault(style[1], f"s{len(classes)}")}"', tag[0])

    shared = {name: TAG.sub(named, text) for name, text in elements.items()}
    css = "\n".join(f".{name} {{{style}}}" for style, name in classes.items())
    return css, shared


def _strip_namespaces(element: ElementTree.Element) -> None:
    """Name an element and its attributes as HTML does, and drop the indentation around it."""
    element.tag = element.tag.rpartition("}")[2]
    element.attrib = {name.rpartition("}")[2]: value for name, value in element.attrib.items()}
    if element.tag != "text":
        element.text = None
    element.tail = None


def _remove_all(root: ElementTree.Element, tag: str) -> None:
    for parent in list(root.iter()):
        for child in parent.findall(tag):
            parent.remove(child)


def _shorten_ids(root: ElementTree.Element, picture: Picture) -> None:
    """Keep the ids that are referred to, under names that no other picture of a page has; give marks their tips."""
    ids = {name: f"{picture.name}.{number}" for number, name in enumerate(sorted(set(_references(root))))}
    for element in root.iter():
        own = element.attrib.pop("id", "")
        if own in ids:
            element.set("id", ids[own])
        if own in picture.tips:
            _make_mark(element, picture.tips[own])
        href = element.get("href", "")
        if href.startswith("#"):
            element.set("href", f"#{ids[href[1:]]}")
        for name, value in element.attrib.items():
            if "url(#" in value:
                element.set(name, REFERENCE.sub(lambda found: f"url(#{ids[found[1]]})", value))


def _references(root: ElementTree.Element) -> Iterator[str]:
    """Yield the ids that elements refer to."""
    for element in root.iter():
        for value in element.attrib.values():
            yield from REFERENCE.findall(value)
        href = element.get("href", "")
        if href.startswith("#"):
            yield href[1:]


def _make_mark(element: ElementTree.Element, tip: str) -> None:
    for part in element.iter():
        part.attrib.pop("style", None)  # the page says when it is seen
    element.set("class", "mark")
    element.set("role", "img")
    title = ElementTree.Element("title")
    title.text = tip
    element.insert(0, title)


def _follow_page(element: ElementTree.Element) -> None:
    """Let colours and font of an element be those of the page, and write its numbers short."""
    for name in SIZES_AND_PLACES:
        if name in element.attrib:
            element.set(name, NUMBER.sub(_short, " ".join(element.attrib[name].split())))
    if NO_ROTATION.match(element.get("transform", "")):
        del element.attrib["transform"]
    style = element.get("style")
    if style is not None:
        style = FONT.sub("", COLOR.sub(_variable, style))
        element.set("style", NUMBER.sub(_short, style).replace(": ", ":").replace("; ", ";"))


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _variable(color: re.Match[str]) -> str:
    return f"var({VARIABLES[color[0]]})" if color[0] in VARIABLES else color[0]


def _unwrap_groups(parent: ElementTree.Element) -> None:
    """Put the children of groups that say nothing into their parents."""
    for child in list(parent):
        _unwrap_groups(child)
        if child.tag == "g" and not child.attrib:
            place = list(parent).index(child)
            parent[place : place + 1] = list(child)
