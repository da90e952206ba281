"""`gelora report`: the same numbers everywhere, nothing from elsewhere, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from gelora_cli.commands import main as cli
from gelora_cli.config.files import read_config, write_config
from gelora_cli.config.schema import MethodConfig, RunConfig
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import RunResult
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.done import mark_done
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import REPORT_PICTURES
from gelora_cli.report.analysis import PairTests
from gelora_cli.report.build import write_report
from gelora_cli.report.groups import RowGroup, group_rows
from gelora_cli.report.published import FIELDS, read_published
from gelora_cli.report.rows import make_rows
from gelora_cli.report.runs import collect
from gelora_cli.report.tables import task_tables
from tests.helpers.report_runs import TASK, _write_lines, score_on_holdout, write_whole


def unfinish(directory: Path, status: str, error: str | None) -> None:
    (directory / run_files.DONE).unlink()
    manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
    write_artifact(replace(manifest, status=status, error=error), directory)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Write two methods of three seeds, one of which collapsed; one of one seed; a failed and a damaged one beside."""
    root = tmp_path / "runs"
    for seed, right in enumerate((30, 32, 31)):
        write_whole(root, "gelora", seed, right)
        write_whole(root, "lora", seed, 5 if seed == 0 else right - 1, collapsed=seed == 0)
    write_whole(root, "adalora", 0, 33)
    unfinish(write_whole(root, "adalora", 1, 33), "failed", "the loss is <not> finite & so on")
    (write_whole(root, "lora", 7, 40) / run_files.PREDICTIONS).write_text("{}\n")
    return root


class Page(HTMLParser):
    """The tables of a page and everything that it could load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.text: list[str] = []
        self.rows: list[list[str]] = []
        self.cell: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [
            value or "" for name, value in attrs if name in ("src", "srcset", "data", "poster", "xlink:href")
        ]
        self.loads += [value or "" for name, value in attrs if name == "href" and tag != "a"]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self.cell is not None:
            self.rows[-1].append("".join(self.cell))
            self.cell = None

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.cell is not None:
            self.cell.append(data)


def read(output: Path) -> tuple[Page, list[dict[str, str]], str, str]:
    page = Page((output / "report.html").read_text(encoding="utf-8"))
    rows = list(csv.DictReader(io.StringIO((output / "table.csv").read_text(encoding="utf-8"))))
    markdown, latex = ((output / name).read_text(encoding="utf-8") for name in ("table.md", "table.tex"))
    return page, rows, markdown, latex


def test_four_formats_hold_the_same_numbers(runs: Path, tmp_path: Path) -> None:
    write_report([runs], tmp_path / "out", figures=None)
    page, rows, markdown, latex = read(tmp_path / "out")
    assert [row["method"] for row in rows] == ["gelora", "lora", "adalora"]
    lora = rows[1]
    mean, sd = f"{np.mean([5, 31, 30]) / 40:.4f}", f"{np.std([5, 31, 30], ddof=1) / 40:.4f}"
    assert (lora["mean"], lora["sd"], lora["mean without collapsed"]) == (mean, sd, f"{61 / 80:.4f}")
    assert (lora["seeds"], lora["collapsed"], lora["notes"]) == ("3", "1", "1 collapsed, 1 damaged")
    assert rows[2]["notes"] == "one seed, 1 failed"
    assert lora["accuracy_mismatched mean"] == f"{np.mean([4, 30, 29]) / 40:.4f}"
    for row in rows:
        # No row's is known, so only the CSV has these columns.
        for column in ("stability of the plan (agreement)", "trials", "mean before training"):
            assert row.pop(column) == ""
        wanted = [value or "-" for key, value in list(row.items())[1:20]]
        assert wanted in [_plain(line.strip("| \n").split(" | ")) for line in markdown.splitlines()]
        assert wanted in [_plain(re.sub(r"\\([_%])", r"\1", line)[:-3].split(" & ")) for line in latex.splitlines()]
        assert [wanted[2], wanted[3], *wanted[5:]] in [_plain(cells) for cells in page.rows]


def test_values_before_training_stand_beside_the_mean(tmp_path: Path) -> None:
    write_whole(tmp_path / "runs", "lora", 0, 30)
    (run,) = collect([tmp_path / "runs"]).runs
    before = replace(run.result.results[0], metrics={"accuracy": 0.125})
    result = replace(run.result, train=replace(run.result.train, before=(before,)))
    (row,) = make_rows([replace(run, result=result)])
    (table,) = task_tables([row])
    assert table.lines[0][table.titles.index("mean before training")] == "0.1250"
    (without,) = task_tables(make_rows([run]))
    assert "mean before training" not in without.titles


def _plain(cells: list[str]) -> list[str]:
    return [cell.replace(",", "") if re.fullmatch(r"[\d,]+", cell) else cell for cell in cells]


def test_the_page_needs_nothing_from_elsewhere(runs: Path, tmp_path: Path) -> None:
    write_report([runs], tmp_path / "out", title="<b>& _mine_")
    page, _, markdown, _ = read(tmp_path / "out")
    kinds = ("value", "idim", "ranks", "curves", "course")
    wanted = {f"{kind}-1.{end}" for kind in kinds for end in ("png", "svg")}
    assert {path.name for path in (tmp_path / "out").iterdir()} > wanted
    assert page.loads and all(text.startswith(("#", "data:image/png;base64,")) for text in page.loads)
    assert not page.tags & {"link", "iframe", "object", "embed", "b"}
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"@import|url\((?!#)|https?:|<script [^>]*src", text) and "@media print" in text
    assert "<b>& _mine_" in "".join(page.text)
    assert "the loss is <not> finite & so on" in "".join(page.text) and "the loss is &lt;not&gt; finite" in markdown


def test_damaged_and_unfinished_runs_are_named_and_give_no_number(runs: Path, tmp_path: Path) -> None:
    found = write_report([runs], tmp_path / "out", figures=None)
    assert found.runs == 7
    assert sorted((run.status, run.directory.name) for run in found.unused) == [
        ("damaged", "s7-0.1"),
        ("failed", "s1-0.1"),
    ]
    assert "predictions.jsonl is damaged or was changed" in (tmp_path / "out" / "report.html").read_text()


def test_what_the_summary_says_first(runs: Path, tmp_path: Path) -> None:
    lines = write_report([runs], tmp_path / "out", figures=None).summary
    assert lines[0].startswith("7 finished runs: 3 methods (gelora, lora, adalora), 1 task (mnli), 3 seeds (0, 1, 2)")
    assert lines[1] == "2 more runs gave no number; see the list below."
    assert lines[2].startswith("1 run collapsed")
    assert "of 3 rows adalora has the highest mean, accuracy 0.8250 (1 seed, others up to 3)." in lines[3]
    assert "Uniform LoRA has 0.5500: no verdict: 1 shared seed, 3 are needed" in lines[3]


def with_trials(directory: Path, trials: int | None) -> None:
    """Write into a run how many trials are behind its settings."""
    config = read_config(directory / run_files.CONFIG)
    write_config(replace(config, preset_trials=trials), directory / run_files.CONFIG)
    mark_done(directory)


def test_the_trials_behind_each_row_are_named_and_unequal_ones_are_not_compared(tmp_path: Path) -> None:
    trials: dict[str, list[int | None]] = {"gelora": [16, 16, 16], "lora": [16, 3, 16], "adalora": [16, None, 16]}
    for method, counts in trials.items():
        for seed, count in enumerate(counts):
            with_trials(write_whole(tmp_path / "runs", method, seed, 38 if method == "gelora" else 5 + seed), count)
    lines = write_report([tmp_path / "runs"], tmp_path / "out", figures=None).summary
    page, rows, markdown, _ = read(tmp_path / "out")
    assert [row["trials"] for row in rows] == ["16", "3", ""]
    assert "trials" in page.text and "| trials |" in markdown
    assert any(line.startswith("Several numbers of trials, or unknown ones, are behind") for line in lines)
    assert lines[-1].endswith("not comparable: 16 trials behind gelora against 3 trials behind lora.")
    assert "not comparable: 16 trials behind gelora against an unknown number of trials behind adalora" in markdown
    ignored = PairTests(ignore_trials=True)
    lines = write_report([tmp_path / "runs"], tmp_path / "out", figures=None, testing=ignored).summary
    assert any(line.startswith("Trials are ignored (ignore_trials=true)") for line in lines)
    assert "Uniform LoRA has 0.1500: gelora above lora by 0.8" in lines[-1]


def test_pairs_with_one_method_are_corrected_for_these_alone(tmp_path: Path) -> None:
    for method, right in (("gelora", 30), ("lora", 24), ("adalora", 25)):
        for seed in range(3):
            write_whole(tmp_path / "runs", method, seed, right + seed)
    every = write_report([tmp_path / "runs"], tmp_path / "out", figures=None)
    assert not any("alone: p-values" in line for line in every.summary)
    against = PairTests(against=("lora",))
    lines = write_report([tmp_path / "runs"], tmp_path / "out", figures=None, testing=against).summary
    assert "Pairs are tested against lora alone: p-values are corrected over 2 tests." in lines
    pairs = list(csv.DictReader((tmp_path / "out/pairs.csv").read_text().splitlines()))
    assert [(pair["first"], pair["second"]) for pair in pairs] == [("gelora", "lora"), ("lora", "adalora")]
    wrong = PairTests(against=("lora", "lroa", "full"))
    with pytest.raises(GeloraError, match=r"against=lroa,full: no row of this name; accepted: .*adalora"):
        write_report([tmp_path / "runs"], tmp_path / "out", testing=wrong)


def test_trials_are_left_out_beside_other_runs(tmp_path: Path) -> None:
    for seed in range(2):
        score_on_holdout(write_whole(tmp_path / "runs" / "trials", "gelora", seed, 30))
    write_whole(tmp_path / "runs", "lora", 0, 30)
    lines = write_report([tmp_path / "runs"], tmp_path / "out", figures=None).summary
    assert lines[0].startswith("1 finished run: 1 method (lora)")
    assert lines[1].startswith("2 runs scored on held-out training rows")
    assert lines[1].endswith("left out: held_out=true shows them.")
    lines = write_report([tmp_path / "runs"], tmp_path / "out", figures=None, held_out=True).summary
    assert lines[0].startswith("3 finished runs: 2 methods (gelora, lora)")
    lines = write_report([tmp_path / "runs" / "trials"], tmp_path / "out", figures=None).summary
    assert lines[0].startswith("2 finished runs: 1 method (gelora)")


def test_rows_that_are_equal_at_the_top_are_all_named(tmp_path: Path) -> None:
    for seed in (0, 1):
        for method, right in (("gelora", 30 + seed), ("random", 31 - seed), ("lora", 20)):
            write_whole(tmp_path, method, seed, right)
    (line,) = write_report([tmp_path], tmp_path / "out", figures=None).summary[1:]
    assert "of 3 rows gelora and random have the highest mean, accuracy 0.7625 (sd 0.0177, 2 seeds)" in line
    assert line.endswith("Uniform LoRA has 0.5000: no verdict: 2 shared seeds, 3 are needed.")


def test_controls_that_are_merged_are_counted_and_listed(tmp_path: Path) -> None:
    for method in ("gelora", "lora"):
        directory = write_whole(tmp_path, method, 0, 30)
        plan = read_artifact(RankPlan, directory / RankPlan.FILE)
        write_artifact(replace(plan, gelora_ranks=plan.ranks), directory)
        mark_done(directory)
    lines = write_report([tmp_path], tmp_path / "out", figures=None).summary
    assert lines[0].startswith("2 finished runs: 2 methods (gelora, lora)")
    assert lines[1].startswith("1 run of controls with GeLoRA's plan")
    assert str(tmp_path / "lora" / "s0-0.1") in (tmp_path / "out" / "report.html").read_text()


def test_only_equal_bounds_and_modules_are_compared(tmp_path: Path) -> None:
    # A rank on other modules is another bound, and so is auto where GeLoRA's own ranks cost more; exempt rows
    # stand with each.
    for method, modules, auto, budget in (
        ("gelora", "attention", None, "rank:5"),
        ("lora", "attention", None, "rank:5"),
        ("random", "all", None, "rank:5"),
        ("shuffled", "attention", 900, "auto"),
        ("reversed", "attention", 901, "auto"),
        ("adalora", "attention", 901, "auto"),
        ("houlsby", None, None, "rank:5"),
        ("full", None, None, "exempt"),
    ):
        change_budget(write_whole(tmp_path, method, 0, 30), modules, auto, budget)
    groups = group_rows(make_rows(collect([tmp_path]).runs))
    assert list(map(row_names, groups)) == [
        ["shuffled", "full"],
        ["reversed", "adalora", "full"],
        ["gelora", "lora", "houlsby", "full"],
        ["random", "houlsby", "full"],
    ]
    assert len({group.name for group in groups}) == 4
    assert "parameters=901" in groups[1].name and "modules=attention" in groups[2].name


def row_names(group: RowGroup) -> list[str]:
    return [row.name for row in group.rows]


def test_a_saved_plan_is_a_row_of_its_own_on_its_own_modules(tmp_path: Path) -> None:
    # Its configuration does not say the modules; it is compared with other methods on the same.
    write_whole(tmp_path, "lora", 0, 30)
    for number in "ab":
        directory = write_whole(tmp_path / number, "gelora", 0, 30)
        config = read_config(directory / run_files.CONFIG)
        write_config(replace(config, ranks=replace(config.ranks, path="plan")), directory / run_files.CONFIG)
        manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
        write_artifact(replace(manifest, fingerprints={"plan": number * 8}), directory)
        mark_done(directory)
    found = collect([tmp_path])
    (group,) = group_rows(make_rows(found.runs))
    assert not found.unused
    assert [row.name for row in group.rows] == [
        "gelora (ranks.plan=aaaaaaaa)",
        "gelora (ranks.plan=bbbbbbbb)",
        "lora",
    ]


def change_budget(directory: Path, modules: str | None, auto: int | None, budget: str) -> None:
    """Give a run another budget; `auto` is what auto costs: a bound of rivals, not of those that follow the profile."""
    config = read_config(directory / run_files.CONFIG)
    if modules:
        config = replace(config, method=replace(config.method, modules=modules))
    elif budget != "exempt":
        config = replace(config, budget="40000", method=replace(config.method, modules="all"))
    write_config(config, directory / run_files.CONFIG)
    plan = read_artifact(RankPlan, directory / RankPlan.FILE)
    if auto:
        bound = auto if config.method.name == "adalora" else None
        plan = replace(plan, budget_params=bound, auto_params=0 if bound else auto)
    write_artifact(plan, directory)
    write_artifact(replace(read_artifact(RunResult, directory / RunResult.FILE), budget=budget), directory)
    mark_done(directory)


def test_protocols_are_not_mixed_unless_told(tmp_path: Path) -> None:
    for protocol in ("last", "dev"):
        write_whole(tmp_path / protocol, "gelora", 0, 30, protocol=protocol)
    both = [tmp_path / "last", tmp_path / "dev"]
    with pytest.raises(GeloraError, match=r"(?s)2 protocols.*dev: 1 .*last: 1 .*mix_protocols=true"):
        write_report(both, tmp_path / "out", figures=None)
    assert not (tmp_path / "out").exists()
    write_report(both, tmp_path / "out", mix_protocols=True, figures=None)
    page, rows, markdown, latex = read(tmp_path / "out")
    assert [row["protocol"] for row in rows] == ["dev", "last"]
    assert "Protocol dev: the best epoch" in "".join(page.text)
    assert markdown.count("\nProtocol ") == 2 and latex.count("\\caption{Protocol") == 2


def test_exempt_methods_stand_in_every_budget(tmp_path: Path) -> None:
    write_whole(tmp_path, "gelora", 0, 30)
    full = write_whole(tmp_path, "full", 0, 30)
    result = read_artifact(RunResult, full / RunResult.FILE)
    write_artifact(replace(result, budget="exempt"), full)
    mark_done(full)
    budget = read_artifact(RankPlan, full / RankPlan.FILE).budget
    change_budget(write_whole(tmp_path, "houlsby", 0, 30), None, None, budget)
    (group,) = group_rows(make_rows(collect([tmp_path]).runs))
    assert [row.name for row in group.rows] == ["gelora", "houlsby", "full"]
    assert "budget" in group.name and "modules" not in group.name


def test_a_run_that_is_given_twice_or_copied_counts_once(tmp_path: Path) -> None:
    first = write_whole(tmp_path / "a", "gelora", 0, 30)
    copy = write_whole(tmp_path / "b", "gelora", 0, 30)
    found = collect([tmp_path / "a", first, tmp_path / "b"])
    assert [run.directory for run in found.runs] == [first]
    assert [(run.status, run.directory) for run in found.unused] == [("copy", copy)]
    assert collect([tmp_path / "b", tmp_path / "a", first]) == found  # the order of the command line decides nothing
    assert make_rows(found.runs, found.unused)[0].notes == "one seed, 1 copy left out"
    assert make_rows(found.runs, found.unused * 2)[0].notes == "one seed, 2 copies left out"


def test_a_run_with_another_result_than_its_copy_is_named_with_both_values(tmp_path: Path) -> None:
    first = write_whole(tmp_path / "a", "gelora", 0, 30)
    copy = write_whole(tmp_path / "b", "gelora", 0, 30)
    other = write_whole(tmp_path / "c", "gelora", 0, 21)
    report = write_report([tmp_path / "c", tmp_path / "b", tmp_path / "a"], tmp_path / "out", figures=None)
    assert [(run.status, run.directory) for run in report.unused] == [("copy", copy), ("contradiction", other)]
    reason = f"accuracy 0.525 here, but 0.75 in {first}, which has equal settings and seed and counts, as the first"
    assert reason in str(report.unused[1])
    assert "1 run with another result than a run of equal settings and seed that counts" in " ".join(report.summary)
    found = collect([tmp_path])
    (row,) = make_rows(found.runs, found.unused)
    assert row.notes == "one seed, 1 with another result left out, 1 copy left out"


def test_results_differ_also_in_a_metric_that_is_not_reported(tmp_path: Path) -> None:
    write_whole(tmp_path / "a", "gelora", 0, 30)
    other = write_whole(tmp_path / "b", "gelora", 0, 30)
    result = read_artifact(RunResult, other / RunResult.FILE)
    part = replace(result.results[0], metrics={**result.results[0].metrics, "f1": 0.1})
    write_artifact(replace(result, results=(part, *result.results[1:])), other)
    mark_done(other)
    (unused,) = collect([tmp_path]).unused
    assert unused.status == "contradiction" and "f1 0.1 on validation" in unused.reason
    assert "here, but missing in" in unused.reason


def test_the_second_half_of_a_split_is_named_after_the_split(tmp_path: Path) -> None:
    (run,) = collect([write_whole(tmp_path, "gelora", 0, 30)]).runs
    halves = tuple(replace(part, split=f"{part.split} (reported half)") for part in run.result.results)
    (row,) = make_rows([replace(run, result=replace(run.result, results=halves))])
    assert list(row.metrics) == ["accuracy", "accuracy_mismatched"]


def test_uniform_lora_is_not_charged_with_a_profile(runs: Path, tmp_path: Path) -> None:
    write_report([runs], tmp_path / "out", figures=None)
    page, rows, markdown, latex = read(tmp_path / "out")
    assert {row["method"]: row["before the first step, s"] for row in rows} == {
        "gelora": "2.5",
        "lora": "0.5",
        "adalora": "2.5",
    }
    assert all("before the first step, s" in text for text in (markdown, latex, "".join(page.text)))


def test_a_second_report_leaves_no_picture_of_the_first(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(REPORT_PICTURES, "names", lambda: ("idim",))
    out = tmp_path / "out"
    write_report([runs], out)
    (out / "mine.png").write_bytes(b"")
    names = {path.name for path in out.iterdir()}
    wanted = {"idim-1.png", "idim-1.svg"}
    assert wanted < names
    before = {name: (out / name).read_bytes() for name in names}
    write_report([runs], out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    write_report([runs], out, figures=None)
    assert {path.name for path in out.iterdir()} == {"mine.png", *(names - wanted - {"mine.png"})}


def published(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([",".join(FIELDS), *lines]) + "\n", encoding="utf-8")
    return path


def test_published_figures_stand_apart_with_the_gap(runs: Path, tmp_path: Path) -> None:
    lines = (
        "mnli,,gelora,,,,accuracy,0.9000,5,dev,A paper",
        "mnli,minilm,lora,attention,rank:5,,accuracy_mismatched,0.5000,5,dev,A paper",
        "mnli,minilm,lora,attention,9.9M,,accuracy,0.5000,5,dev,Another budget",
        "mnli,minilm,lora,all,,,accuracy,0.9500,5,dev,Other modules",
        "cola,,lora,,,,matthews_correlation,0.7,,dev,Another task",
    )
    write_report([runs], tmp_path / "out", figures=None, published=published(tmp_path / "p.csv", *lines))
    page, rows, _, _ = read(tmp_path / "out")
    others = ("Another budget", "Other modules", "Another task")
    found = [cells for cells in page.rows if cells[-1] in ("A paper", *others)]
    assert [(cells[7], cells[10], cells[12]) for cells in found] == [
        ("0.9000", "0.7750", "-0.1250"),
        ("0.5000", "0.5250", "+0.0250"),
        ("0.5000", "-", "-"),
        ("0.9500", "-", "-"),
    ]
    assert not [row for row in rows if "paper" in str(row)]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mnli,,lora,,,,accuracy,high,5,dev,x", "line 2: value high "),
        ("mnli,,lora,,,,accuracy,nan,5,dev,x", "line 2: value nan "),
        ("mnli,,lora,,,,accuracy,-inf,5,dev,x", "line 2: value -inf "),
        ("mnli,,lora,,,,accuracy,0.5,5,dev,", "line 2: source is empty"),
        ("mnli,,lora,,,,accuracy,0.5,5,dev,a, b", "line 2: 11 fields are needed"),
        ("mnli,,lora", "line 2: 11 fields are needed"),
    ],
)
def test_wrong_published_figures(line: str, message: str, runs: Path, tmp_path: Path) -> None:
    with pytest.raises(GeloraError, match=message):
        write_report([runs], tmp_path / "out", published=published(tmp_path / "p.csv", line))
    assert not (tmp_path / "out").exists()


def test_published_figures_of_a_spreadsheet(tmp_path: Path) -> None:
    plain = published(tmp_path / "p.csv", "mnli,,gelora,,,,accuracy,0.9000,5,dev,A paper")
    marked = tmp_path / "marked.csv"
    marked.write_text(plain.read_text(encoding="utf-8"), encoding="utf-8-sig")  # begins with a byte order mark
    assert read_published(marked) == read_published(plain) != []


def test_published_figures_that_are_not_there(runs: Path, tmp_path: Path) -> None:
    with pytest.raises(GeloraError, match=r"nowhere.csv .*No such file.*accepted: .*task,"):
        write_report([runs], tmp_path / "out", published=tmp_path / "nowhere.csv")


def test_wrong_places_are_named_together(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GeloraError, match=r"(?s)nowhere: no such directory.*output=.*file"):
        write_report([tmp_path / "nowhere"], tmp_path / "file")
    with pytest.raises(GeloraError, match="no finished run at or below"):
        write_report([tmp_path], tmp_path / "out")
    unfinish(write_whole(tmp_path / "runs", "gelora", 0, 30), "failed", "disk full")
    with pytest.raises(GeloraError, match=r"(?s)no finished run.*s0-0.1: disk full"):
        write_report([tmp_path], tmp_path / "out")


def test_a_metric_without_a_test_is_said_and_the_rest_goes_on(runs: Path, tmp_path: Path) -> None:
    odd = write_whole(tmp_path / "odd", "gelora", 0, 30, task="mine")
    config = RunConfig(task=replace(TASK, name="mine", metric="own"), method=MethodConfig.of("gelora"))
    write_config(config, odd / run_files.CONFIG)
    mark_done(odd)
    write_report([runs, tmp_path / "odd"], tmp_path / "out", figures=None)
    text = "".join(read(tmp_path / "out")[0].text)
    assert "no test for own's accuracy" in text and "no difference shown" in text


def test_the_command(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["report", "runs/gelora", "runs/lora", "figures.draw=false", "title='Mine, and yours'"]
    assert cli.command_line(words) == 0
    shown = capsys.readouterr()
    assert "report/report.html" in shown.out and "6 finished runs" in shown.out
    assert "not used: damaged" in shown.err
    assert "Mine, and yours" in (tmp_path / "report" / "report.html").read_text()
    assert cli.command_line(["report"]) == 2
    assert "gelora report takes DIR..." in capsys.readouterr().err
    assert cli.command_line(["report", "runs", "outptu=x"]) == 2
    assert "did you mean output" in capsys.readouterr().err
    assert cli.command_line(["report", "runs", "output="]) == 2
    assert "output= is empty" in capsys.readouterr().err and not (tmp_path / "report.html").exists()


def test_the_report_says_whether_its_tests_draw_examples_or_groups(tmp_path: Path) -> None:
    # Runs whose predictions name no groups are those of earlier versions, too.
    runs = [
        write_whole(tmp_path / "runs", method, seed, 30 + seed) for method in ("gelora", "lora") for seed in range(3)
    ]
    write_report([tmp_path / "runs"], tmp_path / "old", figures=None)
    assert "40 examples, taken as independent" in (tmp_path / "old" / "report.html").read_text()
    for directory in runs:
        path = directory / run_files.PREDICTIONS
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        _write_lines(path, [line | {"group": f"author {line['id'] % 8}"} for line in lines])
        mark_done(directory)
    write_report([tmp_path / "runs"], tmp_path / "new", figures=None)
    for name in ("report.html", "table.md", "table.tex"):
        assert "40 examples of 8 groups, drawn as whole groups" in (tmp_path / "new" / name).read_text()
