"""What else a report writes: pictures without titles and as PDF, the paper's table, every pair."""

from __future__ import annotations

from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.core.registries import REPORT_PICTURES
from tests.helpers.report_runs import write_whole


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two methods of one seed."""
    root = tmp_path_factory.mktemp("report-files") / "runs"
    for right, method in enumerate(("gelora", "lora"), start=30):
        write_whole(root, method, 0, right)
    return root


def test_pictures_without_titles_and_as_pdf(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REPORT_PICTURES, "names", lambda: ("idim",))
    with_titles, without = tmp_path / "with", tmp_path / "without"
    assert command_line(["report", str(runs), f"output={with_titles}"]) == 0
    assert command_line(["report", str(runs), f"output={without}", "figures.title=false", "figures.pdf=true"]) == 0
    assert not (with_titles / "idim-1.pdf").exists()
    assert (without / "idim-1.pdf").read_bytes().startswith(b"%PDF")
    assert (without / "idim-1.svg").read_bytes() != (with_titles / "idim-1.svg").read_bytes()


def test_the_earlier_name_of_a_key_is_accepted_with_a_warning(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line(["report", str(runs), f"output={tmp_path / 'out'}", "figures=false"]) == 0
    assert "figures=false is called figures.draw=false now" in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("*.svg"))
