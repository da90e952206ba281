"""docs/what-we-found.md: the numbers choose the sentences, every sentence is carried, and only whole rounds count."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gelora_cli.config.files import read_config, write_config
from gelora_cli.core import run_files
from gelora_cli.core.artifacts.manifest import RunManifest
from gelora_cli.core.codec import read_artifact, write_artifact
from gelora_cli.core.done import mark_done
from gelora_cli.core.errors import GeloraError
from gelora_cli.plots.style import has_title
from gelora_cli.report.comparison import LEVEL
from gelora_cli.report.questions import SAME_RUNS, AcrossTasks, Answer
from gelora_cli.report.relations import PlanGain, relate
from scripts.evidence import page
from scripts.evidence.answer_sections import other_answers, verdict_answer
from scripts.evidence.cautions import cautions
from scripts.evidence.claims import advice_claims, contrast_claim, headline, load_texts
from scripts.evidence.findings import Findings, find, seed_dependence
from scripts.evidence.page_sections import README_CAPTION, all_claims, page_text, readme_text
from scripts.evidence.pictures import page_pictures
from scripts.evidence.plan import Job, Scale, Stage, load_scale
from scripts.evidence.rates import cost_of_factor
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
    write_jobs(scale, folder / "runs", first[:20] + [job for job in later if job.values["seed"] < 2], right)
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


def test_page_and_readme_are_what_the_archive_gives(capsys: pytest.CaptureFixture[str]) -> None:
    assert page.main(["--check"]) == 0, capsys.readouterr().out


def test_the_numbers_choose_the_sentences(equal: Findings, different: Findings) -> None:
    without, with_difference = page_text(equal, {}), page_text(different, {})
    assert "Use none: uniform ranks (`lora`) are the default to beat." in without
    assert "Not told apart from uniform ranks: `gelora`, `fisher`." in without
    assert "is shown above" not in without
    assert "Use `fisher`" in with_difference
    assert re.search(r"`fisher` scored 2\d\.\d\d points above `lora` on average over 2 tasks", with_difference)
    assert "Of the signals, take `fisher` before the intrinsic dimension" in with_difference
    assert "Not answered yet" in without  # no run of AdaLoRA or SoRA


def made_contrast(first: str, second: str, difference: float, **changes: Any) -> AcrossTasks:
    """Return a contrast over two tasks, whose difference is shown where it is above a point either way."""
    p = 0.01 if abs(difference) > 1 else 0.6
    values: dict[str, Any] = {"low": difference - 1, "high": difference + 1, "p": p, "p_corrected": p}
    values |= {"seeds": 5, "most_seeds": 5, "board": "minilm"}
    return AcrossTasks(
        first=first, second=second, tasks=("sst2", "cola"), differences=(difference,) * 2, difference=difference,
        **values | changes,
    )  # fmt: skip


def said(question: str, *across: AcrossTasks) -> tuple[str, list[str], str]:
    """Return headline, sentences and advice of a question with these contrasts."""
    texts = load_texts()
    answer = Answer(question=texts.questions[question].asked(), comparisons=(), across=across, verdict="")
    sentences = [contrast_claim(texts, answer, one).text for one in across]
    advice = " ".join(
        claim.text for claim in advice_claims(texts, [answer], {}) if claim.carried_by != "how-it-was-made"
    )
    return headline(texts, answer).text, sentences, advice


UNTESTED: dict[str, Any] = {"low": None, "high": None, "p": None, "p_corrected": None}


def test_a_headline_says_no_more_than_its_tests() -> None:
    up, level, down = (
        made_contrast(name, "lora", size) for name, size in (("sora", 2), ("adalora", 0.2), ("sora", -2))
    )
    both, _, advice = said("adaptive", up, level)
    assert both == "Yes: `sora` above `lora` by 2.00 points. Not told apart: `adalora`."
    assert "try `sora`" in advice
    only_below, _, advice = said("adaptive", down)
    assert only_below == "Shown to be worse: `sora` below `lora` by 2.00 points."
    assert "leave out `sora`: shown to be below uniform ranks" in advice and "times as long" not in advice
    one_of_two, _, advice = said("adaptive", level)
    assert one_of_two == "Not shown. Not told apart from uniform ranks: `adalora`."
    assert "(tested: `adalora`)" in advice
    shown, not_shown = made_contrast("gelora", "random", 2), made_contrast("gelora", "shuffled", 0.1)
    headline_text, _, _ = said("placement", shown, not_shown)
    assert headline_text == "A difference is shown: `gelora` above `random` by 2.00 points. Not told apart: `shuffled`."
    corrected_away = made_contrast("adalora", "lora", 3, p=0.04, p_corrected=0.08)
    nearly, _, advice = said("adaptive", corrected_away, level)
    assert nearly == (
        "Not shown. Not told apart from uniform ranks: `adalora`, `adalora`. Alone, the interval of `adalora` - `lora` "
        "excludes 0 (+3.00, +2.00 to +4.00); corrected, p is 0.080."
    )
    assert "No method that moves rank during training is shown to be better" in advice


def test_a_recommendation_says_what_is_to_be_held_against_it(
    different: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    advice = next(claim.text for claim in all_claims(different, []) if claim.id == "advice-default-above")
    assert re.search(r"On sst2, on which all were tuned, the difference is \+\d+\.\d\d ", advice)
    scale = load_scale("cpu")  # of its rate trials: with half of the rate `lora` lost on MRPC what it gained on STS-B
    cost = cost_of_factor(scale, "lora")
    assert cost is not None and cost[0] == pytest.approx(5.15, abs=0.01) and cost[1] == "mrpc"
    assert cost_of_factor(scale, "adalora") is None
    shown = next(
        across for answer in different.answers for across in answer.across if across.id.startswith("fisher-lora,")
    )
    monkeypatch.setattr("scripts.evidence.cautions.peak_ratios", lambda _: {"fisher": 3.0})
    assert "`fisher` trains up to 3.0 times the parameters it keeps" in cautions(different, shown)


def test_contrasts_without_a_test_say_why() -> None:
    few = made_contrast("gelora", "lora", 1, problem="no verdict: sst2, cola: 2 shared seeds, 3 are needed", **UNTESTED)
    headline_text, (sentence,), advice = said("static", few)
    assert headline_text.startswith("Not answered yet") and "Use" not in advice
    assert sentence.endswith("over 2 tasks, without a test: sst2, cola: 2 shared seeds, 3 are needed.")
    same = made_contrast("gelora", "reversed", 0, problem=SAME_RUNS, **UNTESTED)
    other = made_contrast("gelora", "random", 0.3, same_ranks=("cola",), collapsed_second=2, most_seeds=7)
    headline_text, (same_text, other_text), _ = said("placement", same, other)
    assert headline_text.endswith("from `random`. One plan, and so the same runs: `gelora` and `reversed`.")
    assert "nothing to test" in same_text and "+0.00" not in same_text
    assert "corrected" not in other_text and "5 to 7 seeds" in other_text  # the same runs are no test
    assert "0 of `gelora` and 2 of `random` collapsed. On cola both have the same ranks" in other_text


def test_budgets_are_named_where_there_are_several() -> None:
    first, second = made_contrast("depth", "lora", -2), made_contrast("depth", "lora", 3, board="minilm, budget 0.3M")
    headline_text, sentences, advice = said("static", first, second)
    assert "`depth` above `lora` by 3.00 points (minilm, budget 0.3M)" in headline_text
    assert "over 2 tasks (minilm)" in sentences[0]
    assert "Use `depth` (minilm, budget 0.3M):" in advice and "Leave out `depth` (minilm):" in advice


def test_every_sentence_is_carried_by_a_line_of_the_page(different: Findings) -> None:
    text = page_text(different, {})
    anchors = re.findall(r'<a id="([^"]+)"></a>', text)
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= set(anchors)
    claims = all_claims(different, other_answers(different))
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
    assert "3 seeds of 4 (provisional)" in block
    readme = f"before\n{page.START}old\n{page.END}after\n"
    assert page.with_block(readme, block) == f"before\n{page.START}{block}{page.END}after\n"
    assert block in page.with_block(page.README.read_text(encoding="utf-8"), block)
    with pytest.raises(GeloraError, match="expected once"):
        page.with_block("no marks", block)


def test_the_readme_waits_for_the_first_test(different: Findings, tmp_path: Path) -> None:
    scale = small_scale(tmp_path)
    write_jobs(scale, tmp_path / "runs", scale.jobs(FIRST)[:6], noise)
    one_round = find(scale, [tmp_path / "runs"])
    assert one_round.has_rounds and not one_round.has_tests
    text = page_text(one_round, {})
    assert "Not answered yet, since none of their contrasts has a test: [Does it matter" in text
    assert "**Provisional.**" not in text and "**Provisional.**" in page_text(different, {})
    assert different.has_tests


def test_seeds_that_tasks_share_are_seen(equal: Findings, different: Findings) -> None:
    # Right answers of these runs depend on the seed alike on every task: by T = 2 as much as on independent ones.
    for findings in (equal, different):
        assert seed_dependence(findings.boards[0]) == pytest.approx(2, abs=0.6)
    assert "vary between seeds" in page_text(equal, {})
    board = equal.boards[0]
    few = replace(board, entries=tuple(entry for entry in board.entries if entry.name == "lora"))
    assert seed_dependence(few) is None


def test_equal_runs_give_equal_text_and_pictures(equal: Findings) -> None:
    again = find(equal.evidence.scale, [Path(equal.evidence.scale.values["presets"]).parent / "runs"])
    pictures = page_pictures(again)
    assert page_text(again, pictures) == page_text(equal, page_pictures(equal))
    assert set(pictures) == {"signals", "static"}
    assert pictures["static"].png().startswith(b"\x89PNG")


def test_a_title_stands_above_its_picture_and_a_caption_below(equal: Findings) -> None:
    pictures = page_pictures(equal)
    assert not any(has_title(picture.figure) for picture in pictures.values())
    text, block = page_text(equal, pictures), readme_text(equal, pictures)
    assert len({picture.caption for picture in pictures.values()}) == 1  # of contrasts: said once for all of them
    for picture in pictures.values():
        assert f"### {picture.title}\n" in text
        assert f"![{picture.title}](images/{picture.name}.png)\n" in text
        assert text.count(picture.caption) == 1
        assert picture.title not in picture.caption
    main = pictures["static"]
    assert f"**{main.title}**\n\n![{main.title}](docs/images/found-static.png)\n\n{README_CAPTION}" in block


def test_a_split_that_is_not_glues_is_said_with_its_numbers(equal: Findings) -> None:
    run = equal.evidence.runs[0]
    results = (replace(run.result.results[0], split="validation", examples=1725),)
    evidence = replace(equal.evidence, runs=(replace(run, result=replace(run.result, task="mrpc", results=results)),))
    assert evidence.task_name("mrpc") == "mrpc (MSR's own split)"
    assert equal.evidence.task_name("sst2") == "sst2"


def test_what_a_plans_agreement_can_not_show_is_said(equal: Findings) -> None:
    gains = tuple(PlanGain(task="sst2", method=name, agreement=1.0, gain=ord(name) / 10) for name in "abcde")
    few, alike = verdict_answer(replace(equal, gains=gains[:4])), verdict_answer(replace(equal, gains=gains))
    assert few.claim.text.startswith("Nothing can be shown yet: it takes five methods") and "and 4 of" in few.claim.text
    assert alike.claim.text.endswith("gains, differ between the 5 methods.")
    for count, can_show in ((4, False), (5, True)):
        perfect = [
            PlanGain(task=task, method=name, agreement=number / 10, gain=float(number))
            for task in ("sst2", "cola", "mrpc", "stsb")
            for number, name in enumerate("abcde"[:count])
        ]
        relation = relate(perfect)
        assert relation is not None and (relation.p < LEVEL) == can_show


def change_run(directory: Path, key: str, value: Any) -> None:
    """Give a finished run another setting, or a fingerprint of other data."""
    if key == "validation":
        manifest = read_artifact(RunManifest, directory / RunManifest.FILE)
        write_artifact(replace(manifest, fingerprints=manifest.fingerprints | {key: value}), directory)
    else:
        config = read_config(directory / run_files.CONFIG)
        write_config(replace(config, train=replace(config.train, **{key: value})), directory / run_files.CONFIG)
    mark_done(directory)


@pytest.mark.parametrize(
    ("method", "key", "value", "said"),
    [
        ("gelora", "validation", "f" * 64, "data.validation=ffffffff in place of"),
        ("fisher", "weight_decay", 0.5, "train.weight_decay=0.5 in place of"),
    ],
)
def test_rounds_on_other_data_or_with_other_settings_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    method: str,
    key: str,
    value: Any,
    said: str,
) -> None:
    scale = small_scale(tmp_path)
    write_jobs(scale, tmp_path / "runs", scale.jobs(FIRST)[:12], noise)
    (changed,) = (tmp_path / "runs" / "cola" / "minilm").glob(f"{method}/s1-*")
    change_run(changed, key, value)
    with pytest.raises(GeloraError, match="is a round of one comparison") as problem:
        find(scale, [tmp_path / "runs"])
    assert said in str(problem.value) and str(changed) in str(problem.value)
    assert len(str(problem.value).splitlines()) == 2
    monkeypatch.setattr(page, "load_scale", lambda _: scale)
    assert page.main(["--runs", str(tmp_path / "runs"), "--check"]) == 2
    assert said in capsys.readouterr().err
