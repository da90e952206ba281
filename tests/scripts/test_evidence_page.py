"""docs/what-we-found.md: the numbers choose the sentences, every sentence is carried, and only whole rounds count."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from string import Formatter

import pytest

from scripts.evidence import page
from scripts.evidence.claims import load_texts
from scripts.evidence.findings import Findings, find
from scripts.evidence.page_sections import all_claims, page_text, readme_text
from scripts.evidence.pictures import page_pictures
from scripts.evidence.stages import Job, Scale, Stage, load_scale
from tests.helpers.comparison_runs import take_made_presets, write_jobs

METHODS = ("lora", "gelora", "fisher")
FIRST = Stage(id="first", says="", is_tuning=False, tasks=("sst2", "cola"), methods=METHODS, seeds=(0, 1, 2, 3))
LATER = Stage(id="later", says="", is_tuning=False, tasks=("rte",), methods=METHODS, seeds=(0, 1, 2))


def small_scale(folder: Path) -> Scale:
    """Return a scale of three methods on two tasks, then on a third, with settings of its own."""
    cpu = load_scale("cpu")
    places = {"presets": str(folder / "presets"), "archive": str(folder / "archive")}
    scale = replace(cpu, values=cpu.values | places, stages=(replace(cpu.stages[0], methods=METHODS), FIRST, LATER))
    take_made_presets(scale, folder / "study")
    return scale


def made_findings(folder: Path, right: Callable[[Job], int]) -> Findings:
    """Return what is found of three whole rounds, a fourth that is not whole, and two of a later stage."""
    scale = small_scale(folder)
    first, later = scale.jobs(FIRST), scale.jobs(LATER)
    write_jobs(folder / "runs", first[:20] + [job for job in later if job.values["seed"] < 2], right)
    return find(scale, [folder / "runs"])


def noise(job: Job) -> int:
    """Return a number of right answers that depends on seed, task and method without any order."""
    return 26 + (5 * int(job.values["seed"]) + 3 * len(job.method) + len(job.task)) % 4


@pytest.fixture(scope="module")
def equal(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """Return findings without a difference between the methods."""
    return made_findings(tmp_path_factory.mktemp("equal"), noise)


@pytest.fixture(scope="module")
def different(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    """Return findings in which one method is far above the others."""
    return made_findings(tmp_path_factory.mktemp("different"), lambda job: noise(job) + 9 * (job.method == "fisher"))


@pytest.mark.slow  # it reads and tests every run of the archive
def test_page_and_readme_are_what_the_archive_gives(capsys: pytest.CaptureFixture[str]) -> None:
    assert page.main(["--check"]) == 0, capsys.readouterr().out


def test_the_numbers_choose_the_sentences(equal: Findings, different: Findings) -> None:
    without, with_difference = page_text(equal, {}), page_text(different, {})
    assert "Use none: uniform ranks (`lora`) are the default to beat." in without
    assert "No difference between `gelora` and `lora` is shown over 2 tasks" in without
    assert "is shown above" not in without
    assert "Use `fisher`" in with_difference
    assert re.search(r"`fisher` scored 2\d\.\d\d points above `lora` on average over 2 tasks", with_difference)
    assert "Of the signals, take `fisher` before the intrinsic dimension" in with_difference
    assert "Not answered yet" in without  # no run of AdaLoRA or SoRA


def test_every_sentence_is_carried_by_a_line_of_the_page(different: Findings) -> None:
    text = page_text(different, {})
    anchors = re.findall(r'<a id="([^"]+)"></a>', text)
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= set(anchors)
    claims = all_claims(different)
    assert len(claims) > 15
    assert {claim.carried_by for claim in claims} <= set(anchors)
    assert [claim.id for claim in claims if claim.text not in text] == []


def test_rounds_that_are_not_whole_give_no_number(equal: Findings) -> None:
    assert {run.result.seed for run in equal.evidence.runs} == {0, 1, 2}
    assert {run.result.task for run in equal.evidence.runs} == {"sst2", "cola"}
    assert equal.evidence.incomplete == 2 + 6  # of the fourth round, and of a stage with two rounds
    assert [len(board.tasks) for board in equal.boards] == [2]
    assert "8 finished runs are of rounds that do not count yet" in page_text(equal, {})


def test_the_readme_has_a_table_a_picture_and_the_advice(different: Findings) -> None:
    block = readme_text(different, page_pictures(different))
    assert block.count("| `") == len(METHODS)
    assert "docs/images/found-static.png" in block
    assert "3 seeds" in block
    readme = f"before\n{page.START}old\n{page.END}after\n"
    assert page.with_block(readme, block) == f"before\n{page.START}{block}{page.END}after\n"
    assert block in page.with_block(page.README.read_text(encoding="utf-8"), block)
    with pytest.raises(ValueError, match="expected once"):
        page.with_block("no marks", block)


def test_equal_runs_give_equal_text_and_pictures(equal: Findings) -> None:
    again = find(equal.evidence.scale, [Path(equal.evidence.scale.values["presets"]).parent / "runs"])
    pictures = page_pictures(again)
    assert page_text(again, pictures) == page_text(equal, page_pictures(equal))
    assert set(pictures) == {"placement", "signals", "static"}
    assert pictures["static"].png().startswith(b"\x89PNG")


def test_a_split_that_is_not_glues_is_said_with_its_numbers(equal: Findings) -> None:
    run = equal.evidence.runs[0]
    results = (replace(run.result.results[0], split="validation", examples=1725),)
    evidence = replace(equal.evidence, runs=(replace(run, result=replace(run.result, task="mrpc", results=results)),))
    assert evidence.task_name("mrpc") == "mrpc (MSR's own split)"
    assert equal.evidence.task_name("sst2") == "sst2"


def test_sentences_name_only_what_is_filled_in() -> None:
    texts = load_texts()
    known = {"first", "second", "size", "signed", "tasks", "test", "detectable", "best", "names", "differences"}
    known |= {"direction", "rho", "p", "plans", "w", "cd", "most", "pairs", "task", "low", "high", "method", "flops"}
    known |= {"seconds", "seeds", "rows"}
    entries = [texts.sentences, *texts.questions, *texts.others.values(), *texts.advice.values()]
    sentences = [text for entry in entries for text in entry.values() if isinstance(text, str)]
    named = {name for text in sentences for _, name, _, _ in Formatter().parse(text) if name is not None}
    assert named <= known
    assert {rule["question"] for rule in texts.advice.values() if "question" in rule} <= {
        question["id"] for question in texts.questions
    }
