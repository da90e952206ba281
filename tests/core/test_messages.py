"""Names and texts of others, where they are shown: nothing in them is obeyed by a terminal, a page or a spreadsheet."""

from __future__ import annotations

import io
import json
import logging
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.commands.streams import TolerantStream
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.logs import LOGGER, setup_logging
from gelora_cli.core.messages import (
    escape_controls,
    escape_formula,
    escape_markdown,
    join_names,
    join_texts,
    markdown_code,
    suggest,
)
from gelora_cli.pipeline.card import model_card
from gelora_cli.pipeline.card_facts import CardFacts
from gelora_cli.report.build import write_report
from gelora_cli.report.formats import csv_text, latex, markdown
from gelora_cli.report.runs import read_run
from gelora_cli.report.tables import Table
from gelora_cli.report.text_table import format_table
from tests.helpers.written_runs import write_run

CLEAR = "\x1b[2J\x1b]0;title\x07"


@pytest.mark.parametrize("text", [CLEAR, "\x9b31m", "\x7f", "a\rb", "\u202eevil", "\u2066x", "\ud800", "\x00"])
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    shown = escape_controls(text)
    assert shown.isprintable() and shown.isascii()
    assert escape_controls(shown) == shown


@pytest.mark.parametrize("text", ["plain", "über \N{SNOWMAN} 日本語", "two\nlines\tand tabs\r\n", "\N{NO-BREAK SPACE}"])
def test_what_people_write_stays(text: str) -> None:
    assert escape_controls(text) == text


def test_json_stays_json() -> None:
    line = json.dumps({"label": "a\x9b\x7f\u202e\x1b"}, ensure_ascii=False)
    assert json.loads(escape_controls(line)) == json.loads(line)


def test_a_cell_of_a_listing_is_one_line() -> None:
    shown = format_table(("run", "error"), [(f"a{CLEAR}", "first\nsecond\u2028third")])
    assert len(shown.split("\n")) == 2
    assert shown.replace("\n", "").isprintable()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_standard_output_obeys_no_name_on_a_terminal_and_is_exact_in_a_pipe() -> None:
    for stream, wanted in ((Terminal(), "a\\u001b[2Jb\n"), (io.StringIO(), "a\x1b[2Jb\n")):
        print("a\x1b[2Jb", file=TolerantStream(stream, is_output=True))
        assert stream.getvalue() == wanted


def test_messages_and_log_hold_no_escape_sequence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line(["ls", str(tmp_path / f"no{CLEAR}")]) == 2
    setup_logging(tmp_path / "log.txt")
    LOGGER.info("run directory %s", tmp_path / CLEAR)
    logging.getLogger("gelora").warning("%s", CLEAR)
    for text in (capsys.readouterr().err, (tmp_path / "log.txt").read_text()):
        assert "\\u001b[2J" in text
        assert "\x1b" not in text
    setup_logging()


def test_names_of_runs_and_errors_reach_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "runs", "lora", 0, 0.5)
    run.rename(run.parent / f"x{CLEAR}")
    failed = write_run(tmp_path / "runs", "gelora", 0, 0.5)
    manifest = read_artifact(RunManifest, failed / RunManifest.FILE)
    write_artifact(replace(manifest, status="failed", error=f"a{CLEAR}\nb"), failed)
    assert command_line(["ls", str(tmp_path / "runs")]) == 0
    assert command_line(["report", str(tmp_path / "runs"), f"output={tmp_path / 'out'}", "figures.draw=false"]) == 0
    shown = capsys.readouterr()
    assert "x\\u001b[2J" in shown.out
    assert "\x1b" not in shown.err + shown.out.splitlines()[1]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("-0.25", "-0.25"),
        ("+3", "+3"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_a_spreadsheet_takes_no_cell_for_a_formula(text: str, wanted: str) -> None:
    assert escape_formula(text) == wanted


def test_tables_show_names_as_they_are(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)> | [a](javascript:b) `c` \x1b[2J\n& \\"
    table = Table(name, ("=method",), ((name,),))
    shown = markdown(table)
    assert "<img" not in shown and "[a]" not in shown and "\x1b" not in shown
    assert len(shown.splitlines()) == 5
    assert "\\u001b" not in latex(table) and "\x1b" not in latex(table)
    # A line that began with a bracket or a star would be an argument of the \\ that ends the line above.
    starts = latex(Table("names", ("label",), (("[a] b",), ("*",))))
    assert "\n{[}a] b \\\\\n{*} \\\\\n" in starts
    run = write_run(tmp_path, "lora", 0, 0.5)
    row = read_run(run)
    from gelora_cli.report.rows import make_rows

    odd = replace(row, result=replace(row.result, task="=HYPERLINK(1)", model="@x"))
    cells = csv_text(make_rows([odd])).splitlines()[1].split(",")
    assert cells[1:3] == ["'=HYPERLINK(1)", "'@x"]


def test_a_reports_markdown_holds_no_html_of_others(tmp_path: Path) -> None:
    write_run(tmp_path / "runs", "lora", 0, 0.5)
    failed = write_run(tmp_path / "runs", "gelora", 0, 0.5)
    manifest = read_artifact(RunManifest, failed / RunManifest.FILE)
    write_artifact(replace(manifest, status="failed", error="<script>alert(1)</script>"), failed)
    write_report([tmp_path / "runs"], tmp_path / "out", title="<b>mine</b>", figures=None)
    shown = (tmp_path / "out" / "table.md").read_text()
    assert "<script>" not in shown and "<b>" not in shown
    assert "&lt;b&gt;mine&lt;/b&gt;" in shown


def test_a_card_holds_no_html_or_code_of_names(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, "lora", 0, 0.5))
    task = replace(
        run.config.task, name="demo", labels=["<script>x</script>", "a\nb"], source="text", metric="accuracy"
    )
    data = replace(run.config.data, text="/data/`<u>`")
    config = replace(run.config, task=task, data=data, preset_source="mine")
    base = '/models/x")\nimport os; os.system("touch hacked") #'
    facts = CardFacts(config, "gelora run data.text='/data/`<u>`'", base, True)
    said = replace(run.result.results[0], remark="one text, '<script>', for all prompts")
    card = model_card(replace(run.result, results=(said,)), run.plan, facts)
    text = "".join(card.split("---")[2:])
    assert "one text, '&lt;script&gt;', for all prompts" in text.lower()
    assert "<script>" not in text and "&lt;u&gt;" in text
    assert "`` gelora run 'data.text=`<u>`' ``" in text
    code = card.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert not any(line.startswith("import os") for line in card.splitlines())


def test_code_and_text_of_markdown() -> None:
    assert markdown_code("a") == "`a`"
    assert markdown_code("a ``b`` c") == "``` a ``b`` c ```"
    assert escape_markdown("a_b*c") == "a_b*c"
    assert escape_markdown("*b* _c_ $x_1$ ~~d~~") == r"\*b\* \_c\_ \$x_1\$ \~\~d\~\~"


def test_an_error_with_an_escape_sequence_is_shown_escaped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise GeloraError(f"no such thing: {CLEAR}")

    monkeypatch.setattr("gelora_cli.commands.main._dispatch", fail)
    assert command_line(["ls"]) == 2
    assert "\x1b" not in capsys.readouterr().err
    assert sys.stderr is not None


def test_a_list_counts_what_it_does_not_name() -> None:
    assert join_names(["a", "b", "c"], most=2) == "a, b and 1 more"
    assert join_names(["a", "b"], most=2) == "a, b"
    assert join_texts([], most=1) == ""
    long = "x" * 150
    assert join_texts([long, long, "c"], most=3) == f"{long} and 2 more"
    assert join_texts([2 * long, "b"]) == f"{2 * long} and 1 more"  # the first is named, however long


def test_a_suggestion_says_where_nothing_is_accepted() -> None:
    assert suggest("moodd", ["text", "mood"]) == "did you mean mood? accepted: mood, text"
    assert suggest("mood", []) == "accepted: none"
