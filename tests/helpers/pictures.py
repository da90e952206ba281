"""Pictures of whole runs, which take a third of a tiny run to render."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from matplotlib.figure import Figure

from gelora_cli.plots import base, style

PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
"""A PNG of one pixel."""


def one_pixel(figure: Figure, kind: str, *, salt: str = "gelora") -> bytes:
    """Return one pixel as the PNG of a figure."""
    return PIXEL if kind == "png" else style.figure_bytes(figure, kind, salt=salt)


@pytest.fixture(scope="package", autouse=True)
def unrendered_pictures() -> Iterator[None]:
    """Let the runs of a package's tests draw each figure and write its file, but not render it.

    What a rendered picture looks like is tested in `tests/plots/`. Runs in other processes render theirs.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "figure_bytes", one_pixel)
        yield


@pytest.fixture
def rendered_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Render them in this test."""
    monkeypatch.setattr(base, "figure_bytes", style.figure_bytes)
