"""The reproduction targets: every job composes, costs are told, tables hold what runs hold; and published figures."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from gelora_cli.commands.main import command_line
from gelora_cli.config.checks import value_problems
from gelora_cli.config.complete import complete
from gelora_cli.config.schema import RunConfig
from gelora_cli.core.artifacts.result import EvalResult, ReloadCheck, RunResult, TrainResult
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import write_artifact
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import METHODS
from gelora_cli.data.squad import load_questions
from scripts import figure3
from scripts import figures as theory
from scripts.reproduce.__main__ import figures, finish, main
from scripts.reproduce.costs import cost_text, job_costs
from scripts.reproduce.made_questions import made_counts, made_rows, write_questions
from scripts.reproduce.sweeps import (
    SCALES,
    Request,
    Sweep,
    composed,
    composing,
    given_values,
    load_plan,
    override,
    target_sweeps,
)
from scripts.reproduce.tables import (
    all_seconds,
    beside_published,
    cost_notes,
    cost_row,
    mean_rows,
    published,
    published_notes,
    task_score,
)
from scripts.reproduce.work import Work
from tests.helpers.plans import PLAN as RANKS
from tests.helpers.plans import PROFILE

PLAN = load_plan()
WRITTEN = ["protocol=dev", "train.epochs=1,2", "task.eval_splits=[test]"]
PUBLISHED = Path(__file__).resolve().parents[2] / "scripts" / "published.csv"


def representatives(sweep: Sweep) -> list[dict[str, Any]]:
    """Return jobs in which every value of every list stands once."""
    lists = {key: value for key, value in sweep.values.items() if isinstance(value, list)}
    jobs = []
    for number in range(max(map(len, lists.values()))):
        chosen = {key: values[min(number, len(values) - 1)] for key, values in lists.items()}
        jobs.append(sweep.values | chosen)
    return jobs


COMPOSED: dict[tuple[tuple[str, str], ...], RunConfig] = {}
"""What `composed` gave for the values of a job: Hydra takes a tenth of a second, and targets have jobs in common."""


def composed_once(job: dict[str, Any]) -> RunConfig:
    values = {key: value for key, value in job.items() if key not in ("seed", "runs_dir")}
    key = tuple((name, str(value)) for name, value in values.items())
    if key not in COMPOSED:
        COMPOSED[key] = composed(values)
    return COMPOSED[key]


def test_every_job_of_every_target_is_a_whole_configuration() -> None:
    seen: set[tuple[str, str, str]] = set()
    with composing():
        for target in PLAN["targets"]:
            for scale in SCALES:
                for sweep in target_sweeps(PLAN, Request(target, scale, Path("runs"))):
                    for job in representatives(sweep):
                        aside = ("seed", "runs_dir")
                        new = {(job["model"], key, str(value)) for key, value in job.items() if key not in aside} - seen
                        if not new:
                            continue  # nothing in it that another job on this model did not have
                        seen |= new
                        config = composed_once(job)
                        assert not value_problems(config), job
                        assert complete(config).train.epochs
    assert len(seen) > 80, len(seen)


@pytest.mark.parametrize("target", PLAN["targets"])
def test_paper_jobs_beside_adaloras_table_adapt_all_six_matrices(target: str) -> None:
    for sweep in target_sweeps(PLAN, Request(target, "paper", Path("runs"))):
        if target in ("glue", "squad") and "adalora" in sweep.values["method"]:
            assert sweep.values["method.modules"] == "all"
        if target not in ("figures", "ablations", "plans"):
            assert sweep.values["seed"] == [0, 1, 2, 3, 4]


def test_a_sweep_is_a_command_that_anyone_can_give(capsys: pytest.CaptureFixture[str]) -> None:
    given = given_values(WRITTEN)
    sweep = Sweep({"task": ["cola", "rte"], "seed": [0, 1], "data.glue": "/a b/c=d"} | given)
    assert sweep.words({}) == ["run", "-m", "task=cola,rte", "seed=0,1", 'data.glue="/a b/c=d"', *WRITTEN]
    assert [job["seed"] for job in sweep.jobs()] == [0, 0, 1, 1, 0, 0, 1, 1]
    (cost,) = target_sweeps(PLAN, Request("cost", "smoke", Path("runs")))
    methods = [job["method"] for job in cost.jobs()]
    assert methods == ["gelora", "lora", "adalora", "sora"] * 3, "the methods take turns"
    later = Sweep({"task": ["rte"], "init_from": "@first"})
    assert "init_from=/runs/x" in later.words({"@first": "/runs/x"})
    assert command_line([*sweep.words({}), "train.nonsense=1"]) == 2
    assert "train.nonsense=1: unknown key" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["growth+1", "rank:2", "0.08%", "/a b", 'quote"d', "a,b", "x=y", 3e-4, 32])
def test_an_override_is_read_back_as_it_was(value: Any) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    assert str(OverridesParser.create().parse_override(override("key", value)).value()) == str(value)


def test_data_that_is_given_is_used_and_what_it_lacks_is_named(
    glue_dir: Path, squad_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cola").symlink_to(glue_dir / "cola")
    request = Request("glue", "smoke", tmp_path / "runs", glue=tmp_path)
    (sweep,) = target_sweeps(PLAN, request)
    assert sweep.values["task"] == ["cola"]
    assert sweep.values["data.glue"] == str(tmp_path)
    assert "has no rte: left out" in capsys.readouterr().err
    with pytest.raises(GeloraError, match="holds none of cola, rte"):
        target_sweeps(PLAN, replace(request, glue=tmp_path / "cola"))
    sweeps = target_sweeps(PLAN, Request("squad", "cpu", tmp_path, squad=squad_dir))
    assert sweeps[0].values["data.squad_v2"] == sweeps[0].values["data.squad"] == str(squad_dir)
    assert "data.squad" not in target_sweeps(PLAN, Request("squad", "paper", tmp_path))[0].values


def test_the_cost_counts_rows_steps_and_shared_profiles(glue_dir: Path) -> None:
    request = Request(
        "controls", "smoke", Path("runs"), glue=glue_dir, given={"train.epochs": 3, "train.batch_size": 30}
    )
    text = cost_text(PLAN, request, target_sweeps(PLAN, request))
    assert "10 runs, 30 optimizer steps, 1 profile: about" in text, "smoke takes one epoch, whatever is given"
    assert "seen with minilm" in text
    assert "\nbudget=0.05M: gelora, lora, shuffled, random, reversed\n" in text


def test_the_cost_counts_drawn_evaluation_rows() -> None:
    scale = PLAN["scales"]["smoke"]
    seconds = []
    for values in ({"smoke": True}, {"smoke": True, "data.max_eval_examples": 1}, {"data.max_train_examples": 128}):
        sweep = Sweep({"task": ["mnli"], "model": "minilm", "method": "lora", "budget": "rank:2"} | values)
        (cost,) = job_costs(PLAN, scale, [sweep])
        seconds.append((cost.seconds - scale["seconds_per_run"]) * scale["examples_per_second"]["text"])
    assert seconds[0] == pytest.approx(128 + 2 * 64 / 3)  # a forward pass is three times as fast as a step
    assert seconds[1] == pytest.approx(128 + 2 * 1 / 3)
    assert seconds[2] > 19647 / 3


def test_smoke_targets_are_smoke_runs_and_profile_ablations_differ() -> None:
    for target in PLAN["targets"]:
        for sweep in target_sweeps(PLAN, Request(target, "smoke", Path("runs"))):
            with composing():
                configs = [complete(composed_once(job)) for job in representatives(sweep)]
            assert all(config.smoke for config in configs)
            swept = [
                key for key, value in sweep.values.items() if key.startswith("profile.") and isinstance(value, list)
            ]
            assert len({str(config.profile) for config in configs}) == (2 if swept else 1), sweep.values


def run_of(method: str, seed: int, profile: float, train: float) -> RunResult:
    trained = TrainResult(1, 1, 1, 1, {}, 1, 1, 1, 0.0, 0.0, train, 0.0, ())
    check = ReloadCheck(1, 0.0, 1.0, 1.0, True)
    head = ("cola", "minilm", method, "rank2", seed, "last", "", "accuracy", 0.5)
    return RunResult(*head, (), 0.5, 0.5, 1, (), {}, 1, 1, 1, False, check, trained, profile, False, 0.5, train)


WITHIN = "within 13.5 to 64.2 %"


def test_the_cost_table_compares_seed_by_seed() -> None:
    gelora = {seed: run_of("gelora", seed, 10.0, 89.5 + seed) for seed in (0, 1, 2)}
    sora = {seed: run_of("sora", seed, 0.0, 199.5) for seed in (0, 1)}
    assert [all_seconds(run) for run in gelora.values()] == [100.0, 101.0, 102.0]
    assert all_seconds(run_of("lora", 0, 10.0, 89.5)) == 90.0, "uniform ranks need no profile"
    row = [cell.strip() for cell in cost_row("cola", "sora", sora, gelora).split("|")]
    assert row[1:] == ["cola", "sora (adaptive)", "2", "0.0", "0.5", "199.5", "200.0", "+49.8 %", "+54.8 %", WITHIN, ""]
    assert cost_row("cola", "gelora", gelora, gelora).endswith("| - | - | - |")
    assert cost_row("cola", "lora", {0: run_of("lora", 0, 0.0, 199.5)}, gelora).endswith("| +50.0 % | +55.0 % | - |")
    assert (beside_published(5.0), beside_published(70.0)) == (
        "8.5 below 13.5 to 64.2 %",
        "5.8 above 13.5 to 64.2 %",
    )
    note = cost_notes({"minilm"})[-1]
    assert note.startswith("Published, of deberta_v3_base: 13.5 to 64.2 % less")
    assert note.endswith("ours is of minilm.")


def test_the_script_says_of_what_nothing_is_published() -> None:
    runs = [replace(run_of("lora", 0, 0.0, 1.0), task=task) for task in ("demo", "cola", "cola")]
    assert published_notes(runs) == [
        "published figures for cola are of deberta_v3_base: no gap to minilm is told",
        "no published figure for demo",
    ]
    assert not published_notes([replace(runs[1], model="deberta_v3_base")])


@pytest.mark.parametrize("target", ["cost", "glue"])
def test_sweeps_that_a_table_would_mix_are_refused(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["budget=0.1M,0.2M", "train.learning_rate=0.001,0.002"]
    assert main([target, "--runs", str(tmp_path), *given]) == 2
    shown = capsys.readouterr().err
    assert all(f"{one}: the table of reproduce-{target}" in shown for one in given)
    values = given_values(["seed=0,1", "method=gelora,lora", "budget=0.1M"])
    assert target_sweeps(PLAN, Request(target, "smoke", tmp_path, given=values))
    assert target_sweeps(PLAN, Request("controls", "smoke", tmp_path, given=given_values(given)))


def test_means_stand_beside_the_published_ones() -> None:
    values = [[0.9, 0.7], [0.8], [0.8], [0.8], [0.8], [0.8]]
    here = "deberta_v3_base"
    (row,) = mean_rows("glue6", (here, "gelora", "auto", "attention"), values, published("glue6"))
    assert row.startswith(f"| glue6 | {here} | gelora | auto | attention | 1 | 0.8000 | 0.8792 | -0.0792 | Ed-dib")
    (row,) = mean_rows("glue6", (here, "lora", "auto", "attention"), values, published("glue6"))
    assert "| 0.8000 | 0.8695 | - | Ed-dib" in row, "under which budget is not said, so there is no gap"
    (row,) = mean_rows("glue8", (here, "adalora", "rank8", "all"), values, published("glue8"))
    assert "| 0.8000 | 0.8931 | -0.0931 |" in row
    (row,) = mean_rows("glue8", (here, "full", "exempt", ""), values, published("glue8"))
    assert "| 0.8000 | 0.8809 | -0.0809 |" in row
    for other in ((here, "adalora", "rank8", "attention"), ("minilm", "adalora", "rank8", "all")):
        (row,) = mean_rows("glue8", other, values, published("glue8"))
        assert row.endswith("| - | - | - |"), "AdaLoRA's rows are of all six matrices of one model"
    two = EvalResult("validation", 9, {"accuracy": 0.9, "f1": 0.7}, "accuracy", False, 1.0)
    qqp = replace(run_of("lora", 0, 0.0, 1.0), task="qqp", value=0.9, results=(two,))
    assert task_score(qqp) == pytest.approx(0.8)
    assert task_score(replace(qqp, task="mnli", results=(two, replace(two, metrics={"accuracy": 0.6})))) == 0.75


def test_a_run_that_is_missing_is_named_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    work = Work()
    work.do(Sweep({"task": ["rte"], "init_from": "@intermediate"}))
    assert work.code == 1
    assert "@intermediate left no run to start from" in capsys.readouterr().err
    work.found.append((Sweep({}, name="intermediate"), [Path("/runs/a"), Path("/runs/b")]))
    assert work.named == {"@intermediate": "/runs/a"}


def test_figures_are_drawn_into_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write_artifact(PROFILE, run)
    write_artifact(RANKS, run)
    request = Request("figures", "smoke", tmp_path / "runs")
    assert not request.output.exists()
    work = InProcess([(Sweep({}), [run]), (Sweep({}, name="pattern"), [run])])
    figures(request, work)
    assert work.code == 0
    assert {"figure3.png", "figure-5.svg", "figure-4.png"} <= {path.name for path in request.output.iterdir()}


class InProcess(Work):
    """Runs the scripts here, but for figures 1 and theorem, which take long."""

    def call(self, shown: str, start: Sequence[str], words: Sequence[str]) -> list[str]:
        script = {"figure3.py": figure3, "figures.py": theory}[Path(start[0]).name]
        if not {"1", "theorem"} & set(words):
            self.code = max(self.code, script.main(words))
        return []


def test_made_questions_are_squad_without_a_fault(tmp_path: Path) -> None:
    write_questions(tmp_path)
    with composing():
        task = composed({"task": "squad"}).task
    splits = [load_questions(tmp_path, task, split) for split in ("train", "validation")]
    assert [len(split) for split in splits] == made_counts() == [240, 60]
    assert not set(splits[0].titles or ()) & set(splits[1].titles or ())
    assert list(made_rows("train", 2)) == list(made_rows("train", 2))


def every_published() -> list[dict[str, str]]:
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_published_figures_have_a_source_and_a_place() -> None:
    rows = every_published()
    columns = "task,model,method,modules,budget,params,metric,value,seeds,protocol,source"
    assert all(",".join(row) == columns and row["method"] in METHODS for row in rows)
    keys = map(itemgetter("task", "model", "method", "modules", "budget", "metric"), rows)
    assert len(set(keys)) == len(rows)
    assert all(re.search(r"arXiv \d{4}\.\d{5}", row["source"]) for row in rows)
    readings = [row for row in rows if row["task"].startswith("squad") and row["budget"].startswith("rank")]
    assert len(readings) == 32
    for row in readings:
        share = 100 * int(row["budget"].removeprefix("rank:")) * 12 * 18 * 768 / 184e6
        assert f"is our reading of it, here {share:.2f} % of 184M" in row["source"]
    assert {row["modules"] for row in rows if "AdaLoRA" in row["source"] and "lora" in row["method"]} == {"all"}
    for row in rows:
        if row["budget"]:
            parse_budget(row["budget"])
        high = 100 if row["task"] in ("squad", "squad_v2", "time") else 1
        assert 0.13 * high < float(row["value"]) < high


def test_published_means_are_those_of_their_rows() -> None:
    # Every value is as printed: their mean, with both figures of MNLI and of QQP averaged, is the printed mean.
    rows = [row for row in every_published() if row["seeds"] == "5" and row["protocol"] == "dev"]
    for mean in (row for row in rows if row["task"] == "glue8"):
        mine = [row for row in rows if (row["method"], row["params"]) == (mean["method"], mean["params"])]
        by_task: dict[str, list[float]] = {}
        for row in mine:
            if row["task"] != "glue8":
                by_task.setdefault(row["task"], []).append(float(row["value"]))
        assert len(by_task) == 8
        assert fmean(map(fmean, by_task.values())) == pytest.approx(float(mean["value"]), abs=2e-4), mean["method"]


def test_make_has_and_shows_every_target() -> None:
    makefile = (PUBLISHED.parent.parent / "Makefile").read_text(encoding="utf-8")
    listed = re.search(r"^REPRODUCE := \$\(addprefix reproduce-,(.*)\)$", makefile, re.MULTILINE)
    assert listed
    assert listed[1].split() == list(PLAN["targets"])
    assert all(re.search(rf"^reproduce-{target}:  ## \S", makefile, re.MULTILINE) for target in PLAN["targets"])


def test_a_dry_call_shows_cost_and_commands_and_wrong_overrides_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["cost", "--scale", "smoke", "--runs", str(tmp_path), "--dry"]
    assert main([*start, "protocol=split"]) == 0
    shown = capsys.readouterr().out
    assert "12 runs, 96 optimizer steps, 1 profile: about" in shown
    assert "gelora run -m task=demo model=minilm budget=0.05M" in shown
    assert "method=gelora,lora,adalora,sora protocol=split" in shown
    assert main([*start, "protocl=split", "seed=-1"]) == 2
    assert "did you mean protocol?" in capsys.readouterr().err
    assert main([*start, "train.epochs=0"]) == 2
    assert "train.epochs=0: accepted is a number" in capsys.readouterr().err
    assert main(["squad", *start[1:]]) == 0
    shown = capsys.readouterr().out
    assert f"data.squad={tmp_path}" in shown
    assert "about 2 min" in shown, "of the few questions that it makes"
    assert not list(tmp_path.iterdir()), "a dry call writes nothing"


PAGE = (PUBLISHED.parent.parent / "docs" / "how-to" / "reproduce.md").read_text(encoding="utf-8")
LIGHT = [("cpu", "figures"), ("cpu", "squad"), ("paper", "figures")]


@pytest.mark.parametrize(
    ("scale", "target"),
    [
        pytest.param(*pair, marks=[] if pair in LIGHT else pytest.mark.slow)
        for pair in itertools.product(("cpu", "paper"), PLAN["targets"])
    ],
)
def test_the_docs_say_the_cost_that_the_target_tells(scale: str, target: str) -> None:
    (row,) = re.findall(rf"^\| `{scale}` \| .*", PAGE, re.MULTILINE)
    told = re.findall(rf"`{target}` ([\d,]+ (?:min|h))", row)
    request = Request(target, scale, Path("runs"))
    assert told == re.findall(r"about ([\d,]+ (?:min|h)),", cost_text(PLAN, request, target_sweeps(PLAN, request)))


def test_the_docs_name_the_methods_of_each_scale() -> None:
    (row,) = re.findall(r"^\| `reproduce-glue` \| .*", PAGE, re.MULTILINE)
    for scale in SCALES:
        for sweep in target_sweeps(PLAN, Request("glue", scale, Path("runs"))):
            assert " ".join(f"`{method}`" for method in sweep.values["method"]) in row, (scale, sweep)


def test_a_target_ends_in_its_table_a_report_that_names_it_and_what_is_not_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [tmp_path / method for method in ("gelora", "sora")]
    for place, seconds in zip(runs, (89.5, 199.5), strict=True):
        place.mkdir()
        write_artifact(replace(run_of(place.name, 0, 0.0, seconds), task="demo"), place)
    work, request = Shown([(Sweep({}), runs)]), Request("cost", "smoke", tmp_path)
    finish(request, work)
    table = (request.output / "cost.md").read_text(encoding="utf-8")
    assert f"| demo | sora (adaptive) | 1 | 0.0 | 0.5 | 199.5 | 200.0 | +55.0 % | +55.0 % | {WITHIN} |" in table
    assert "reproduce: no published figure for demo" in capsys.readouterr().out
    finish(replace(request, target="squad"), work)
    assert [word for words in work.words for word in words if word.startswith("title=")] == [
        'title="reproduce-cost, SCALE=smoke; beside this page: cost.md"',
        'title="reproduce-squad, SCALE=smoke"',
    ]


class Shown(Work):
    """Keeps what would be called."""

    def __init__(self, found: list[tuple[Sweep, list[Path]]]) -> None:
        super().__init__(found)
        self.words: list[Sequence[str]] = []

    def call(self, shown: str, start: Sequence[str], words: Sequence[str]) -> list[str]:
        self.words.append(words)
        return []


@pytest.mark.slow
def test_a_target_ends_in_a_report_and_does_nothing_twice(
    glue_dir: Path, tiny_models: dict[str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["cost", "--runs", str(tmp_path), "--glue", str(glue_dir), f"model.path={tiny_models['bert']}"]
    words += ["seed=0,1", "method=gelora,sora", "budget=rank:3", "train.epochs=1", "precision=float32"]
    assert main(words) == 0
    output = tmp_path / "smoke" / "report-cost"
    assert {"cost.md", "report.html", "table.md"} <= {path.name for path in output.iterdir()}
    table = (output / "cost.md").read_text(encoding="utf-8")
    assert "| cola | gelora | 2 |" in table
    assert "| cola | sora (adaptive) | 2 |" in table
    capfd.readouterr()
    assert main(words) == 0
    assert capfd.readouterr().out.count("done before") == 4
    assert main([*words, "train.learning_rate=1e30", "train.max_grad_norm=1e30", "train.log_steps=1"]) == 1
    assert "no run ended well" in capfd.readouterr().err
