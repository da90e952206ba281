"""Mistakes in the plan and the questions of the comparison are found at once, before any work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from gelora_cli.core.errors import GeloraError
from scripts.evidence import __main__ as evidence
from scripts.evidence import page, plan
from scripts.evidence.claims import QUESTIONS
from scripts.evidence.plan import PLAN
from scripts.evidence.plan_checks import plan_problems, question_problems, read_values

Values = dict[str, Any]


def rename(values: Values, old: str, new: str) -> None:
    values[new] = values.pop(old)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: rename(values, "commit", "comit"), "the plan has 'comit'"),
        (lambda values: rename(values["scales"]["cpu"], "says", "sayz"), "scale cpu lacks says"),
        (lambda values: values["scales"]["cpu"]["stages"][1]["methods"].append("shufled"), "did you mean shuffled"),
        (lambda values: values["scales"]["cpu"]["stages"][1]["methods"].append("lora"), "methods has lora twice"),
        (lambda values: values["scales"]["cpu"]["stages"][1]["tasks"].append("rtee"), "tasks has 'rtee'"),
        (lambda values: values["scales"]["cpu"]["stages"][1].update(seeds=[0, 0, 1]), "each once"),
        (lambda values: values["scales"]["cpu"]["stages"][1].update(seeds=5), "a list of whole numbers"),
        (lambda values: rename(values["scales"]["cpu"]["stages"][1], "seeds", "seed"), "has 'seed'"),
        (lambda values: values["scales"]["cpu"]["stages"][1].pop("seeds"), "either tune: true, for studies, or seeds"),
        (lambda values: values["scales"]["cpu"]["stages"][3].update(id="eight"), "the stage eight stands there twice"),
        (lambda values: values["scales"]["cpu"]["examples_per_second"].pop("rte"), "the task rte needs its number"),
        (
            lambda values: rename(values["scales"]["cpu"]["tasks"]["cola"], "train.epochs", "train.epcohs"),
            "epochs is missing",
        ),
        (lambda values: values["scales"]["cpu"]["tasks"]["cola"].update({"train.epochs": "five"}), "epochs='five'"),
    ],
)
def test_mistakes_in_the_plan_are_named(change: Callable[[Values], object], said: str) -> None:
    values = read_values(PLAN)
    assert not list(plan_problems(values))
    change(values)
    assert said in "\n".join(plan_problems(values))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values["questions"][0]["contrasts"].append(["gelora"]), "the names of two methods"),
        (lambda values: values["questions"][0]["contrasts"].append(["lora", "lora"]), "the names of two methods"),
        (lambda values: values["questions"][0]["contrasts"].append(["shuffled", "gelora"]), "contrasted twice"),
        (lambda values: values["questions"][0]["contrasts"].append(["gelorra", "lora"]), "did you mean gelora"),
        (lambda values: values["questions"][1].update(id="placement"), "the question placement stands there twice"),
        (lambda values: values["questions"][1].update(id="order"), "the question order stands there twice"),
        (lambda values: rename(values["questions"][0], "above", "abve"), "question placement lacks above"),
        (lambda values: values["questions"][0].update(above="{diferences}"), "{diferences} is filled in by nothing"),
        (lambda values: values["sentences"].update(rest="{names"), "sentences, rest: "),
        (lambda values: values["sentences"].pop("nearly"), "sentences lacks nearly"),
        (lambda values: values.pop("others"), "the file lacks others"),
        (lambda values: values["others"].pop(0), "others: verdict is missing"),
        (lambda values: values["advice"][0].update(question="statik"), "did you mean static"),
    ],
)
def test_mistakes_in_the_questions_are_named(change: Callable[[Values], object], said: str) -> None:
    values = read_values(QUESTIONS)
    assert not list(question_problems(values))
    change(values)
    assert said in "\n".join(question_problems(values))


@pytest.mark.parametrize("text", ["", "a: [1", "- 1"])
def test_a_file_that_holds_no_keys_is_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(GeloraError, match=r"plan\.yaml: "):
        read_values(path)
    monkeypatch.setattr(plan, "PLAN", path)
    assert evidence.main(["cpu", "--dry"]) == 2 and page.main(["--check"]) == 2
    assert capsys.readouterr().err.count("evidence: plan.yaml: ") == 2


def test_all_mistakes_are_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = read_values(PLAN)
    rename(values, "commit", "comit")
    values["scales"]["paper"]["stages"][0]["methods"].append("shufled")
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    monkeypatch.setattr(plan, "PLAN", tmp_path / "plan.yaml")
    assert evidence.main(["cpu", "--dry"]) == 2
    printed = capsys.readouterr().err
    assert "lacks commit" in printed and "'comit'" in printed and "'shufled'" in printed


def test_places_that_are_not_there_do_not_empty_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = page.PAGE.read_bytes()
    assert page.main(["--runs", str(tmp_path / "typo.jsonl.zst")]) == 2
    assert "typo.jsonl.zst: not there" in capsys.readouterr().err
    assert page.PAGE.read_bytes() == before


def test_a_readme_without_the_marks_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text("# gelora\n", encoding="utf-8")
    monkeypatch.setattr(page, "README", tmp_path / "README.md")
    monkeypatch.setattr(page, "find", None)  # not reached
    assert page.main([]) == 2
    assert "expected once each" in capsys.readouterr().err
