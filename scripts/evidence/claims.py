"""What the page says, and what carries it: sentences from `questions.yaml`, chosen by the numbers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gelora_cli.report.questions import AcrossTasks, Answer, Contrast, Question
from scripts.evidence.markdown import listed
from scripts.evidence.plan_checks import check, question_problems, read_values

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
class QuestionTexts:
    """A question that contrasts answer, with the beginnings of its answer.

    Attributes:
        id: its name.
        title: its heading.
        text: the question in words.
        contrasts: what is tested for it.
        above: the beginning where contrasts are shown to be above 0.
        below: the beginning where they are shown to be below 0.
        none: the answer where none is shown either way.
    """

    id: str
    title: str
    text: str
    contrasts: Sequence[Sequence[str]]
    above: str
    below: str
    none: str

    def asked(self) -> Question:
        """Return what the runs are asked."""
        contrasts = tuple(Contrast(first, second) for first, second in self.contrasts)
        return Question(id=self.id, text=self.text, contrasts=contrasts)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The questions with the sentences of every outcome, as they were written before the numbers.

    Attributes:
        sentences: of a contrast, by their names.
        questions: those that contrasts answer, by their ids.
        others: those that no contrast answers, by their ids.
        board: of the tables of the methods.
        advice: the rules, by their ids.
    """

    sentences: Mapping[str, str]
    questions: Mapping[str, QuestionTexts]
    others: Mapping[str, Values]
    board: Mapping[str, str]
    advice: Mapping[str, Values]


def load_texts() -> Texts:
    """Return the content of `questions.yaml`.

    Raises:
        GeloraError: the file is not as it has to be; the message has all that is wrong.
    """
    values = read_values(QUESTIONS)
    check(question_problems(values), QUESTIONS)
    return Texts(
        sentences=values["sentences"],
        questions={entry["id"]: QuestionTexts(**entry) for entry in values["questions"]},
        others={entry["id"]: entry for entry in values["others"]},
        board=values["board"],
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
        return across.reason or "nothing to test with"
    corrected = f", corrected for {tests} contrasts" if tests > 1 else ""
    return (
        f"95 % interval {points(across.low)} to {points(across.high)}, p {probability(across.p_corrected)}{corrected}, "
        f"{seeds_text(across)} seeds"
    )


def seeds_text(across: AcrossTasks) -> str:
    """Return how many seeds a contrast has: the fewest and the most of any task, where tasks differ."""
    return str(across.seeds) if across.most_seeds <= across.seeds else f"{across.seeds} to {across.most_seeds}"


def outcome(across: AcrossTasks) -> str:
    """Return `above` or `below` where a difference is shown, else `none`."""
    if not across.is_shown:
        return "none"
    return "above" if across.difference > 0 else "below"


def contrast_claim(texts: Texts, answer: Answer, across: AcrossTasks) -> Claim:
    """Return the sentence of a contrast over tasks, with its budget and modules where the question has several."""
    tasks = "one task" if len(across.tasks) == 1 else f"{len(across.tasks)} tasks"
    tasks += board_note(answer, across)
    tests = tested_contrasts(answer)
    kind = outcome(across) if is_tested(across) else "untested"
    sentence = texts.sentences["same_runs" if across.is_same_runs else kind].format(
        first=across.first,
        second=across.second,
        size=f"{abs(across.difference):.2f}",
        signed=points(across.difference),
        tasks=tasks,
        test=test_text(across, tests),
    )
    sentence += remarks(texts, across)
    anchor = line_id(answer, across)
    return Claim(anchor, sentence, anchor)


def remarks(texts: Texts, across: AcrossTasks) -> str:
    """Return what a reader must know of the runs of a contrast: collapsed ones, and equal ranks."""
    text = ""
    if across.collapsed_first or across.collapsed_second:
        text += " " + texts.sentences["collapsed"].format(
            first=across.first,
            second=across.second,
            first_collapsed=across.collapsed_first,
            second_collapsed=across.collapsed_second,
        )
    if across.same_ranks and not across.is_same_runs:
        text += " " + texts.sentences["same_ranks"].format(tasks=listed(across.same_ranks))
    return text


def tested_contrasts(answer: Answer) -> int:
    """Return how many contrasts of a question have a test, for which each is corrected."""
    return sum(across.p is not None for across in answer.across)


def is_answered(answer: Answer) -> bool:
    """Return whether a contrast of the question has a test."""
    return any(is_tested(across) for across in answer.across)


def is_tested(across: AcrossTasks) -> bool:
    """Return whether a contrast has a verdict."""
    return across.p is not None and not across.problem


def headline(texts: Texts, answer: Answer) -> Claim:
    """Return the answer of a question in a sentence."""
    identity = answer.question.id
    question = texts.questions[identity]
    parts = []
    for kind, start in (("above", question.above), ("below", question.below)):
        differences = [_difference(texts, answer, across) for across in with_outcome(answer, kind)]
        if differences:
            parts.append(start.format(differences="; ".join(differences)))
    not_shown = names_of(answer, with_outcome(answer, "none"))
    if not_shown:
        parts.append((texts.sentences["rest"] if parts else question.none).format(names=not_shown))
    parts += [_nearly(texts, across) for across in with_outcome(answer, "none") if _excludes_zero(across)]
    same_runs = [f"`{across.first}` and `{across.second}`" for across in answer.across if across.is_same_runs]
    if same_runs:
        parts.append(texts.sentences["one_plan"].format(names="; ".join(dict.fromkeys(same_runs))))
    return Claim(f"headline-{identity}", " ".join(parts) or texts.sentences["unanswered"], question_line(identity))


def _excludes_zero(across: AcrossTasks) -> bool:
    return across.low is not None and across.high is not None and (across.low > 0 or across.high < 0)


def _nearly(texts: Texts, across: AcrossTasks) -> str:
    """Return what is to be said of a difference that only the correction does not show."""
    assert across.low is not None and across.high is not None and across.p_corrected is not None
    return texts.sentences["nearly"].format(
        first=across.first,
        second=across.second,
        signed=points(across.difference),
        low=points(across.low),
        high=points(across.high),
        p=probability(across.p_corrected),
    )


def _difference(texts: Texts, answer: Answer, across: AcrossTasks) -> str:
    sentence = texts.sentences[f"shown_{outcome(across)}"]
    size = f"{abs(across.difference):.2f}"
    return sentence.format(first=across.first, second=across.second, size=size) + board_note(answer, across)


def board_note(answer: Answer, across: AcrossTasks) -> str:
    """Return the board of a contrast in parentheses; nothing where the question has one board."""
    return f" ({across.board})" if len({one.board for one in answer.across}) > 1 else ""


def with_outcome(answer: Answer, kind: str) -> list[AcrossTasks]:
    """Return the tested contrasts with an outcome: `above`, `below` or `none`."""
    return [across for across in answer.across if is_tested(across) and outcome(across) == kind]


def names_of(answer: Answer, contrasts: Sequence[AcrossTasks]) -> str:
    """Return what sets contrasts of a question apart: their second methods where all of it share the first."""
    is_second = len({contrast.first for contrast in answer.question.contrasts}) == 1
    names = []
    for across in contrasts:
        name = across.second if is_second else across.first
        names.append(f"`{name}`{board_note(answer, across)}")
    return ", ".join(names)


def advice_claims(
    texts: Texts,
    answers: Sequence[Answer],
    tuning: Mapping[str, object],
    cautions: Callable[[AcrossTasks], str] = lambda _: "",
) -> list[Claim]:
    """Return which allocator to use when, and when none: every rule says one of its sentences.

    A rule whose question has no tested contrast says nothing, nor does that of tuning without a study.

    Args:
        texts: the rules.
        answers: of the questions that contrasts answer.
        tuning: what the sentence about tuning is filled with; empty without a study.
        cautions: gives what is to be held against a contrast that a recommendation rests on.
    """
    by_id = {answer.question.id: answer for answer in answers}
    claims = []
    for identity, values in texts.advice.items():
        if identity == "tune":
            sentences = [values["always"].format(**tuning)] if tuning else []
            claims += [Claim("advice-tune", sentence, question_line("tuning")) for sentence in sentences]
            continue
        if "always" in values:
            claims.append(Claim(f"advice-{identity}", values["always"], "how-it-was-made"))
            continue
        answer = by_id.get(values["question"])
        if answer is not None and is_answered(answer):
            claims += _rule(identity, values, answer, cautions)
    return claims


def _rule(identity: str, values: Values, answer: Answer, cautions: Callable[[AcrossTasks], str]) -> list[Claim]:
    """Return the sentences of a rule: `above` and `below` where contrasts are shown so, `none` where neither is."""
    above, below = with_outcome(answer, "above"), with_outcome(answer, "below")
    anchor = question_line(answer.question.id)
    claims = []
    if "above" in values and above:
        best = max(above, key=lambda across: across.difference)
        text = values["above"].format(best=f"`{best.first}`{board_note(answer, best)}", size=f"{best.difference:.2f}")
        text += cautions(best)
        claims.append(Claim(f"advice-{identity}-above", text, line_id(answer, best)))
    if "below" in values and below:
        text = values["below"].format(names=names_of(answer, below))
        claims.append(Claim(f"advice-{identity}-below", text, anchor))
    if claims:
        return claims
    tested = [across for across in answer.across if is_tested(across)]
    return [Claim(f"advice-{identity}", values["none"].format(names=names_of(answer, tested)), anchor)]
