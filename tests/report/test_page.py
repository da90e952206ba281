"""The page: its headline, its leaderboard first, what its filters ask of each part, and all of it without a script."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gelora_cli.plots.base import Picture
from gelora_cli.plots.style import figure_head, head, new_figure, titles
from gelora_cli.report.analysis import Analysis, analyse
from gelora_cli.report.content import ReportContent
from gelora_cli.report.headline import headline
from gelora_cli.report.page import breakable, page
from gelora_cli.report.runs import collect
from tests.helpers.report_runs import write_whole

LONG = "gelora (method.dropout=0.1, method.scaling=0.832, train.learning_rate=0.00578)"
RIGHT = {"gelora": (30, 31, 30), "lora": (29, 30, 30), "sora": (8, 9, 8)}
ODD = "<i>\x1b\u202e"
CHROMIUM = shutil.which("chromium")

CLICKS = """
<script>
const heading = document.querySelectorAll("#leaderboard thead th")[0];
heading.querySelector("button").click();
document.documentElement.dataset.order = [...document.querySelectorAll("#leaderboard .table:first-of-type tbody tr")]
  .map((row) => row.cells[0].textContent).join(" ");
document.documentElement.dataset.sorted = heading.getAttribute("aria-sort");
const task = document.querySelector("select[name=task]");
task.value = "cola";
document.querySelector("input[value=sora]").checked = false;
task.dispatchEvent(new Event("input", { bubbles: true }));
document.documentElement.dataset.hidden = document.querySelectorAll("#results .table[hidden]").length;
document.documentElement.dataset.shown = document.querySelector("output").value;
document.querySelector(".mark").dispatchEvent(new PointerEvent("pointerenter"));
document.documentElement.dataset.tip = document.getElementById("tip").textContent;
</script>
"""


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """Compare three methods on two tasks."""
    root = tmp_path_factory.mktemp("page")
    for task in ("cola", "rte"):
        for method, counts in RIGHT.items():
            for seed, right in enumerate(counts):
                write_whole(root / task, method, seed, right, task=task)
    return analyse(collect([root]))


@pytest.fixture(scope="module")
def text(analysis: Analysis) -> str:
    """Return a page with a picture of each task."""
    pictures = tuple(
        Picture(f"value-{task}", task, task, new_figure(2.0, (1,))[0], task=task) for task in ("cola", "rte")
    )
    mark = '<svg class="picture"><g class="mark"><title>lora: 0.75</title><use href="#a" style="fill:none" /></g></svg>'
    content = ReportContent(title="Mine", analysis=analysis, unused=(), pictures=pictures, published=None)
    return page(content, {picture.name: mark for picture in pictures})


def test_the_headline_says_what_differs_over_the_tasks(analysis: Analysis) -> None:
    text = headline(analysis)
    assert text.startswith("1 of 2 comparisons with uniform LoRA over 2 tasks shows a difference. Below it: sora.")
    assert text.endswith("The highest average is that of gelora, 75.83 points.")
    (board,) = analysis.boards
    tied = replace(board, entries=(board.entries[0], replace(board.entries[0], name="lora")))
    assert "that of gelora and lora, 75.83 points" in headline(replace(analysis, boards=(tied,)))


def test_the_headline_of_one_task_and_of_no_difference(analysis: Analysis) -> None:
    pairs = tuple(pair for pair in analysis.comparisons if "sora" not in (pair.first, pair.second))
    single = replace(analysis, answers=(), boards=(), comparisons=pairs)
    assert headline(single) == "No method is shown to differ from uniform LoRA on cola, rte (2 comparisons)."
    undecided = tuple(replace(pair, verdict="no verdict: 1 shared seed, 3 are needed") for pair in pairs)
    assert headline(replace(single, comparisons=undecided)).endswith("uniform LoRA: 1 shared seed, 3 are needed.")
    untested = [
        replace(test, problem="no verdict: cola: 1 shared seed, 3 are needed") for test in analysis.answers[0].across
    ]
    over_tasks = replace(analysis, answers=(replace(analysis.answers[0], across=tuple(untested)),))
    assert headline(over_tasks).startswith(
        "No verdict yet on what differs from uniform LoRA: cola: 1 shared seed, 3 are"
    )
    others = tuple(row for row in analysis.rows if row.method != "lora")
    assert headline(replace(analysis, rows=others)) == "There is no uniform LoRA to compare with here."


def test_leaderboard_and_pictures_come_before_the_tables_of_tasks(text: str) -> None:
    places = [text.index(f'<section id="{name}">') for name in ("leaderboard", "pictures", "differences", "results")]
    assert places == sorted(places)
    assert text.index('class="headline"') < places[0]


def test_filters_know_what_each_part_is_of(text: str) -> None:
    assert set(re.findall(r'data-task="([^"]*)"', text)) == {"cola", "rte"}
    assert {"gelora", "lora", "gelora lora"} <= set(re.findall(r'data-methods="([^"]*)"', text))
    assert re.search(r'<figure id="value-cola" data-task="cola">', text)
    assert re.search(r'<th scope="col" data-task="rte" class="number', text), "a column of the leaderboard"


def test_without_a_script_all_is_open_and_no_control_is_dead(text: str) -> None:
    static = text[: text.index("<script>")]
    assert '<form id="filters" aria-label="Filters" hidden>' in static
    assert static.count('<details class="fold"') == static.count('<details class="fold" open>') > 0
    visible = re.sub(r'<form id="filters".*?</form>', "", static, flags=re.S)
    assert "<button" not in visible and " hidden" not in visible.replace('role="status" hidden', "")


def test_a_title_stands_in_the_picture_or_above_it(analysis: Analysis) -> None:
    titled, untitled = new_figure(2.0, (1,)), new_figure(2.0, (1,))
    figure_head(titled[0], "Value of each row", "cola")
    with titles(False):
        head(untitled[1][0], "Value of each row", "cola")
    pictures = tuple(
        Picture(name, f"Value: {name}", "", figure) for name, (figure, _) in (("in", titled), ("out", untitled))
    )
    content = ReportContent(title="Mine", analysis=analysis, unused=(), pictures=pictures, published=None)
    text = page(content, {"in": "<svg></svg>", "out": "<svg></svg>"})
    assert '<h3 class="unseen">Value: in</h3>' in text and "<h3>Value: out</h3>" in text


def test_styles_of_pictures_are_classes_of_the_page(text: str) -> None:
    assert ".s0 {fill:none}" in text and '<use href="#a" class="s0" />' in text


def test_long_names_have_room_to_wrap(analysis: Analysis) -> None:
    rows = (replace(analysis.rows[0], name=LONG), *analysis.rows[1:])
    content = ReportContent(title="Mine", analysis=replace(analysis, rows=rows), unused=(), pictures=(), published=None)
    text = page(content, {})
    assert f'<th scope="row" class="long">{LONG}</th>' in text.replace("<wbr>", "")
    assert "(method.<wbr>dropout=<wbr>0.<wbr>1,<wbr> method." in text, "and no line ends within a word"
    assert breakable("a<b>/c") == "a&lt;b&gt;/<wbr>c"


def test_names_with_odd_characters_are_shown_and_chosen(analysis: Analysis) -> None:
    named = {"cola": ODD, "rte": "my own  task "}
    rows = tuple(replace(row, key=row.key._replace(task=named[row.task])) for row in analysis.rows)
    content = ReportContent(title=ODD, analysis=replace(analysis, rows=rows), unused=(), pictures=(), published=None)
    text = page(content, {})
    assert '<option value="my own  task ">' in text, "a browser would shorten the text between the tags"
    assert "<i>" not in text and "\x1b" not in text and "<h1>&lt;i&gt;\\u001b\\u202e</h1>" in text


def test_the_headline_does_not_repeat_a_very_long_name(analysis: Analysis) -> None:
    groups = tuple(replace(group, key=group.key._replace(task="long " * 20)) for group in analysis.groups)
    text = headline(replace(analysis, answers=(), boards=(), groups=groups))
    assert "long" not in text and "with uniform LoRA on this task" in text


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_sorting_filters_and_tips_in_a_browser(text: str, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text(text.replace("</body>", f"{CLICKS}</body>"), encoding="utf-8")
    states = dict(_data_of_root(path, tmp_path))
    assert states["order"] == "gelora lora sora" and states["sorted"] == "ascending"
    assert states["hidden"] == "1" and states["shown"] == "2 of 6 rows"
    assert states["tip"] == "lora: 0.75"


def _data_of_root(path: Path, profile: Path) -> Iterator[tuple[str, str]]:
    """Yield what the script left at the root of the page."""
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    command = [str(CHROMIUM), *options, f"--user-data-dir={profile / 'browser'}", "--dump-dom", path.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    root = re.search(r"<html[^>]*>", dom)
    assert root is not None
    yield from re.findall(r'data-([a-z]+)="([^"]*)"', root[0])
