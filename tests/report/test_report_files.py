"""What else a report writes: pictures without titles and as PDF, the paper's table, every pair."""

from __future__ import annotations

import csv
import io
import shutil
import subprocess
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.core.registries import REPORT_PICTURES
from gelora_cli.report.comparison import Comparison
from gelora_cli.report.formats import pairs_csv
from gelora_cli.report.groups import group_rows
from gelora_cli.report.rows import make_rows
from gelora_cli.report.runs import collect
from gelora_cli.report.tables import PAIRS, comparison_tables
from tests.helpers.report_runs import write_whole

TASKS = ("cola", "mrpc", "rte", "sst2", "stsb")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write two methods of one seed."""
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


def test_the_table_of_a_paper_has_the_columns_that_are_asked_for(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["report", str(runs), f"output={tmp_path / 'out'}", "figures.draw=false"]
    assert command_line([*words, "columns=means,seeds"]) == 0
    text = (tmp_path / "out" / "paper.md").read_text(encoding="utf-8")
    assert "| method | mnli | seeds |" in text and "| lora | **77.50** | 1 |" in text
    assert r"lora & \textbf{77.50} & 1 \\" in (tmp_path / "out" / "paper.tex").read_text(encoding="utf-8")
    capsys.readouterr()
    assert command_line([*words, "columns=means,seed"]) == 2
    assert "columns=seed: not known; did you mean seeds?" in capsys.readouterr().err
    assert command_line([*words, "columns=means,seeds,means"]) == 2
    assert "columns=[means,seeds,means]: means twice; name a column once" in capsys.readouterr().err


def test_what_a_killed_report_was_writing_goes_with_the_next_one(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["report", str(runs), f"output={out}"]
    assert command_line([*words, "figures.draw=false", "columns=seeds"]) == 0
    ended = subprocess.Popen(["true"])
    ended.wait()
    for name in ("report.html", "report.json", "table.csv"):
        (out / f".{name}.{ended.pid}.tmp").write_text("half")
    assert command_line([*words, "figures.draw=false"]) == 0
    assert not [*out.glob(".*")]


def _pair(first: int, second: int) -> Comparison:
    """Return a tested pair; of `m3` and `m4` a difference is shown."""
    corrected = 0.01 if (first, second) == (3, 4) else 0.9
    return Comparison(
        group="group",
        first=f"m{first}",
        second=f"m{second}",
        metric="accuracy",
        difference=0.125,
        p=corrected,
        p_corrected=corrected,
        seeds=3,
        collapsed_first=0,
        collapsed_second=0,
        verdict="=1+1",
    )


def test_many_pairs_are_folded_and_a_file_has_all(runs: Path) -> None:
    (run, *_) = collect([runs / "lora"]).runs
    (row,) = make_rows([run])
    (group,) = group_rows([row])
    rows = [replace(row, name="lora" if number == 0 else f"m{number}") for number in range(10)]
    group = replace(group, name="group", rows=tuple(rows))
    pairs = [_pair(*pair) for pair in combinations(range(10), 2)]
    named = [replace(pair, first="lora") if pair.first == "m0" else pair for pair in pairs]
    (table,) = comparison_tables([group], named)
    assert [line[:2] for line in table.lines] == [*(("lora", f"m{number}") for number in range(1, 10)), ("m3", "m4")]
    assert f"the other 35 of 45 are in {PAIRS}" in table.caption
    few = [pair for pair in named if pair.second != "m9"]
    (whole,) = comparison_tables([group], few)
    assert len(whole.lines) == len(few) == 36 and PAIRS not in whole.caption
    lines = list(csv.DictReader(io.StringIO(pairs_csv(named))))
    assert len(lines) == 45 and lines[0]["difference"] == "0.125" and lines[0]["low"] == ""
    assert lines[0]["verdict"] == "'=1+1", "no spreadsheet takes it for a formula"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_the_tables_compile(tmp_path: Path) -> None:
    for task in TASKS:
        for number, method in enumerate(("gelora", "lora", "shuffled", "adalora")):
            for seed in range(3):
                write_whole(tmp_path / "runs" / task, method, seed, 25 + 2 * number - seed, task=task)
    words = ["report", str(tmp_path / "runs"), f"output={tmp_path / 'out'}", "figures.draw=false"]
    assert command_line(words) == 0
    document = (
        r"\documentclass[twocolumn]{article}\usepackage{booktabs,graphicx}\begin{document}"
        r"\input{out/paper.tex}\input{out/table.tex}\end{document}"
    )
    (tmp_path / "document.tex").write_text(document, encoding="utf-8")
    run = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "document.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:]
    assert "Overfull \\hbox" not in run.stdout
    assert "resizebox" not in (tmp_path / "out" / "paper.tex").read_text(encoding="utf-8")
