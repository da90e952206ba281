"""What the page says, and what carries it: sentences from `questions.yaml`, chosen by the numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from gelora_cli.report.questions import AcrossTasks, Answer, Contrast, Question

QUESTIONS = Path(__file__).resolve().parent / "questions.yaml"

Values = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """A sentence of the page.

    Attributes:
        id: its name.
        text: the sentence.
        carried_by: the anchor of the line of a table that carries it; a test holds that the page has it.
    """

    id: str
    text: str
    carried_by: str

    def markdown(self) -> str:
        """Return the sentence with a link to what carries it."""
        return f"{self.text} [\N{RIGHTWARDS ARROW}](#{self.carried_by})"


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The questions with the sentences of every outcome, as they were written before the numbers."""

    level: float
    sentences: Mapping[str, str]
    questions: tuple[Values, ...]
    others: Mapping[str, Values]
    advice: Mapping[str, Values]

    def asked(self) -> list[Question]:
        """Return the questions that contrasts answer."""
        questions = []
        for values in self.questions:
            contrasts = tuple(Contrast(first, second) for first, second in values["contrasts"])
            questions.append(Question(id=values["id"], text=values["text"], contrasts=contrasts))
        return questions


def load_texts() -> Texts:
    """Return the content of `questions.yaml`."""
    values = cast(Values, yaml.safe_load(QUESTIONS.read_text(encoding="utf-8")))
    return Texts(
        level=values["level"],
        sentences=values["sentences"],
        questions=tuple(values["questions"]),
        others={entry["id"]: entry for entry in values["others"]},
        advice={entry["id"]: entry for entry in values["advice"]},
    )


def points(value: float) -> str:
    """Return a difference in points, with its sign."""
    return f"{round(value, 2) + 0.0:+.2f}"  # 0.0 is added since -0.0 would be a difference with a sign


def probability(p: float) -> str:
    """Return a p-value as it is read."""
    return "below 0.001" if p < 0.001 else f"{p:.3f}"


def line_id(answer: Answer, across: AcrossTasks) -> str:
    """Return the anchor of the line of a contrast: question and methods, and a number for all boards but the first."""
    boards = list(dict.fromkeys(one.board for one in answer.across))
    number = boards.index(across.board)
    words = [answer.question.id, across.first, across.second] + ([str(number + 1)] if number else [])
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower())


def question_line(question: str) -> str:
    """Return the anchor of the table of a question."""
    return f"answers-{question}"


def test_text(across: AcrossTasks, tests: int) -> str:
    """Return interval, p, number of contrasts and seeds in words; why there is no test where there is none."""
    if across.problem or across.p_corrected is None or across.low is None or across.high is None:
        return across.problem.removeprefix("no verdict: ") or "nothing to test with"
    corrected = f", corrected for {tests} contrasts" if tests > 1 else ""
    return (
        f"95 % interval {points(across.low)} to {points(across.high)}, p {probability(across.p_corrected)}{corrected}, "
        f"{across.seeds} seeds"
    )


def outcome(across: AcrossTasks) -> str:
    """Return `above` or `below` where a difference is shown, else `none`."""
    if not across.is_shown:
        return "none"
    return "above" if across.difference > 0 else "below"


def contrast_claim(texts: Texts, answer: Answer, across: AcrossTasks, detectable: float | None) -> Claim:
    """Return the sentence of a contrast over tasks, with its budget and modules where the question has several."""
    tasks = "one task" if len(across.tasks) == 1 else f"{len(across.tasks)} tasks"
    if len({one.board for one in answer.across}) > 1:
        tasks += f" ({across.board})"
    tests = sum(one.p is not None for one in answer.across)
    sentence = texts.sentences[outcome(across) if is_tested(across) else "untested"].format(
        first=across.first,
        second=across.second,
        size=f"{abs(across.difference):.2f}",
        signed=points(across.difference),
        tasks=tasks,
        test=test_text(across, tests),
    )
    if is_tested(across) and outcome(across) == "none" and detectable is not None:
        sentence += " " + texts.sentences["power"].format(detectable=f"{detectable:.1f}")
    anchor = line_id(answer, across)
    return Claim(anchor, sentence, anchor)


def is_answered(answer: Answer) -> bool:
    """Return whether a contrast of the question has a test."""
    return any(is_tested(across) for across in answer.across)


def is_tested(across: AcrossTasks) -> bool:
    """Return whether a contrast has a verdict."""
    return across.p is not None and not across.problem


def headline(texts: Texts, answer: Answer) -> Claim:
    """Return the answer of a question in a sentence."""
    values = next(values for values in texts.questions if values["id"] == answer.question.id)
    identity = answer.question.id
    if not is_answered(answer):
        return Claim(f"headline-{identity}", texts.sentences["unanswered"], question_line(identity))
    differences = []
    for across in answer.across:
        if across.is_shown:
            sentence = texts.sentences[f"shown_{outcome(across)}"]
            size = f"{abs(across.difference):.2f}"
            differences.append(sentence.format(first=across.first, second=across.second, size=size))
    text = values["shown"].format(differences="; ".join(differences)) if differences else values["none"]
    return Claim(f"headline-{identity}", text, question_line(identity))


def advice_claims(texts: Texts, answers: Sequence[Answer]) -> list[Claim]:
    """Return which allocator to use when, and when none: every rule says one of its sentences.

    A rule whose question has no tested contrast says nothing.
    """
    by_id = {answer.question.id: answer for answer in answers}
    claims = []
    for identity, values in texts.advice.items():
        if "always" in values:
            anchor = question_line("tuning") if identity == "tune" else "how-it-was-made"
            claims.append(Claim(f"advice-{identity}", values["always"], anchor))
            continue
        answer = by_id.get(values["question"])
        if answer is not None and is_answered(answer):
            claims += _rule(identity, values, answer)
    return claims


def _rule(identity: str, values: Values, answer: Answer) -> list[Claim]:
    """Return the sentences of a rule: `above` and `below` where contrasts are shown so, `none` where neither is."""
    above = [across for across in answer.across if outcome(across) == "above"]
    below = [across for across in answer.across if outcome(across) == "below"]
    anchor = question_line(answer.question.id)
    claims = []
    if "above" in values and above:
        best = max(above, key=lambda across: across.difference)
        text = values["above"].format(best=best.first, size=f"{best.difference:.2f}")
        claims.append(Claim(f"advice-{identity}-above", text, line_id(answer, best)))
    if "below" in values and below:
        names = ", ".join(f"`{across.first}`" for across in below)
        claims.append(Claim(f"advice-{identity}-below", values["below"].format(names=names), anchor))
    return claims or [Claim(f"advice-{identity}", values["none"], anchor)]
