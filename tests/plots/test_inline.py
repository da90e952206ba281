"""Pictures within a page: they follow its colours, need nothing, and their marks say their values."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from gelora_cli.plots.base import Picture
from gelora_cli.plots.inline import DARK_TWINS, PAPER, VARIABLES, Marks, inline_svg, palette
from gelora_cli.plots.style import COLORS, new_figure
from tests.helpers.vision import VISIONS, contrast, smallest_distance

TIP = "lora <r=8> & 'more': accuracy 0.8421"


@pytest.fixture(scope="module")
def picture() -> Picture:
    figure, (axis,) = new_figure(3.0, (1,))
    for number, color in enumerate(COLORS):
        axis.plot([0, 1], [number, 2], color=color, marker="o")
    axis.set_title("a & b <script>alert(1)</script>")
    marks = Marks()
    marks.add(axis, 1, 2, TIP)
    return Picture("value-1", "Values", "All values", figure, marks.tips)


def test_a_picture_follows_the_page_and_loads_nothing(picture: Picture) -> None:
    text = inline_svg(picture)
    assert text == inline_svg(picture)
    assert not re.search(r"xmlns|http|font-family|metadata|<style|@import|url\((?!#)", text)
    assert not re.findall(r"#[0-9a-f]{6}\b", text)
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", text))
    for dark in (True, False):
        assert used <= set(re.findall(r"(--[a-z0-9-]+):", palette(dark=dark)))


def test_ids_belong_to_their_picture_and_every_reference_is_there(picture: Picture) -> None:
    root = ElementTree.fromstring(inline_svg(picture))
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(set(ids)) == len(ids) and all(name.startswith("value-1.") for name in ids)
    references = set(re.findall(r"(?:href=\"#|url\(#)([^\")]+)", inline_svg(picture)))
    assert references == set(ids)


def test_a_mark_says_its_value_without_a_script(picture: Picture) -> None:
    root = ElementTree.fromstring(inline_svg(picture))
    (mark,) = [element for element in root.iter() if element.get("class") == "mark"]
    assert mark[0].tag == "title" and mark[0].text == TIP
    assert any("<script>" in (element.text or "") for element in root.iter("text")), "text of data stays text"
    assert root.attrib["role"] == "group" and root.attrib["aria-label"] == "All values"


def test_a_picture_with_an_image_stays_as_on_paper() -> None:
    figure, (axis,) = new_figure(2.0, (1,))
    axis.pcolormesh([[0, 1], [1, 0]], rasterized=True)
    assert 'class="picture paper"' in inline_svg(Picture("course-1", "Ranks", "Ranks", figure))


@pytest.mark.parametrize("vision", VISIONS)
def test_lines_on_a_dark_page_differ_however_they_are_seen(vision: str) -> None:
    twins = tuple(DARK_TWINS[color] for color in COLORS)
    assert smallest_distance(twins, vision) >= 18
    assert all(contrast(twin, DARK_TWINS[PAPER]) >= 4 for twin in twins)


def test_every_colour_of_pictures_has_a_dark_twin() -> None:
    assert {VARIABLES[color] for color in DARK_TWINS} == set(VARIABLES.values())
