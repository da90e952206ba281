"""Pictures of a report: the same bytes on any number of cores, and whatever becomes of the other processes."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest
from matplotlib.figure import Figure

from gelora_cli.plots.base import Picture
from gelora_cli.report import rendering


def pictures() -> list[Picture]:
    made = []
    for number in range(3):
        figure = Figure(figsize=(2, 1), layout="constrained")
        figure.subplots().plot([0, number])
        made.append(Picture(f"picture-{number}", "title", "caption", figure))
    return made


@pytest.fixture(scope="module")
def on_one_core() -> rendering.Renderings:
    return rendering._render(pictures())


def end_at_once(*_: object) -> None:
    os._exit(1)


def end_in_the_middle(_: object, sender: Connection, *__: object) -> None:
    os.write(sender.fileno(), b"\x00\x01\x00\x00half")  # fewer bytes than announced
    os._exit(1)


def refuse(*_: object) -> None:
    raise AssertionError("daemonic processes are not allowed to have children")


@pytest.mark.parametrize("send", [None, end_at_once, end_in_the_middle])
def test_the_bytes_do_not_depend_on_the_processes(
    on_one_core: rendering.Renderings, monkeypatch: pytest.MonkeyPatch, send: Callable[..., None] | None
) -> None:
    monkeypatch.setattr(rendering, "FEWEST_PICTURES", 1)
    monkeypatch.setattr(rendering, "usable_cores", lambda: 2)
    if send is not None:
        monkeypatch.setattr(rendering, "_send_files", send)
    assert rendering.render_pictures(pictures()) == on_one_core


def test_pictures_are_drawn_here_where_no_process_can_start(
    on_one_core: rendering.Renderings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "FEWEST_PICTURES", 1)
    monkeypatch.setattr(rendering, "usable_cores", lambda: 2)
    monkeypatch.setattr(multiprocessing.get_context("fork").Process, "start", refuse)
    assert rendering.render_pictures(pictures()) == on_one_core


def test_a_picture_that_cannot_be_drawn_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "FEWEST_PICTURES", 1)
    monkeypatch.setattr(rendering, "usable_cores", lambda: 3)
    broken = pictures()
    monkeypatch.setattr(Figure, "draw", fail_where(broken[2].figure, Figure.draw))
    with pytest.raises(ValueError, match="no such glyph"):
        rendering.render_pictures(broken)


def fail_where(broken: Figure, draw: Callable[..., None]) -> Callable[..., None]:
    def drawn(figure: Figure, renderer: object) -> None:
        if figure is broken:
            raise ValueError("no such glyph")
        draw(figure, renderer)

    return drawn
