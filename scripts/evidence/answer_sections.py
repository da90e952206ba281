"""The sections of the page that answer a question: its sentence, its table, and a sentence for each contrast."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gelora_cli.report.comparison import LEVEL
from gelora_cli.report.power import Power, power_of
from gelora_cli.report.questions import AcrossTasks, Answer
from gelora_cli.report.ranking import Ranking
from gelora_cli.report.relations import SignalCost, relate, signal_costs
from gelora_cli.report.runs import UNIFORM
from scripts.evidence.claims import (
    Claim,
    Texts,
    contrast_claim,
    headline,
    is_tested,
    line_id,
    outcome,
    points,
    probability,
    question_line,
    remarks,
    seeds_text,
    tested_contrasts,
)
from scripts.evidence.findings import Findings
from scripts.evidence.markdown import NONE, Line, anchored, table
from scripts.evidence.pictures import study_names, tuned_methods

FEWEST_METHODS = 5
"""With four methods even a perfect relation has a p of 2 in 24: of their orders the reversed one is as extreme."""


def answer_section(findings: Findings, answer: Answer) -> str:
    """Return a question with its answer, the table of its contrasts, and a sentence for each."""
    question = findings.texts.questions[answer.question.id]
    parts = [f"### {question.title}\n", f"{question.text}\n", f"**{headline(findings.texts, answer).text}**\n"]
    if answer.across:
        parts.append(contrast_table(findings, answer))
        parts.append("".join(f"- {claim.markdown()}\n" for claim in contrast_claims(findings.texts, answer)))
    else:
        parts.append(f"{anchored(question_line(answer.question.id))}\n")
    return "\n".join([*parts, *_missing_lines(findings, answer)])


def _missing_lines(findings: Findings, answer: Answer) -> list[str]:
    """Return which contrasts were not run, and why others are not compared on a task or on any.

    A board on which one of both has no row at all is not planned for the contrast, and nothing is said of it.
    """
    unrun: list[str] = []
    others: list[str] = []
    for contrast in answer.question.contrasts:
        name = f"`{contrast.first}` - `{contrast.second}`"
        boards = [board.title for board in findings.boards if board.has_all(contrast)]
        problems = [text for board in boards for text in answer.problems.get((contrast, board), ())]
        if not boards:
            unrun.append(name)
        elif problems:
            others.append(f"Not compared: {name}: {'; '.join(problems)}.\n")
    return [f"Not run yet: {', '.join(unrun)}.\n", *others] if unrun else others


def contrast_table(findings: Findings, answer: Answer) -> str:
    """Return a line for each contrast: its difference on every task, and over them with interval and p."""
    tasks = list(dict.fromkeys(task for across in answer.across for task in across.tasks))
    names = [findings.evidence.task_name(task) for task in tasks]
    boards = {across.board for across in answer.across}
    lines = []
    for across in answer.across:
        by_task = dict(zip(across.tasks, across.differences, strict=True))
        cells = [points(by_task[task]) if task in by_task else NONE for task in tasks]
        name = f"`{across.first}` - `{across.second}`" + (f" ({across.board})" if len(boards) > 1 else "")
        lines.append(Line((name, *cells, *_test_cells(across)), line_id(answer, across)))
    titles = ("contrast", *names, "over the tasks", "95 % interval", "p", "p, corrected", "seeds")
    return table(titles, lines, anchor=question_line(answer.question.id))


def _test_cells(across: AcrossTasks) -> tuple[str, ...]:
    if across.low is None or across.high is None or across.p is None or across.p_corrected is None:
        return points(across.difference), NONE, NONE, NONE, seeds_text(across)
    interval = f"{points(across.low)} to {points(across.high)}"
    p, corrected = probability(across.p), probability(across.p_corrected)
    return (
        points(across.difference),
        interval,
        p,
        f"**{corrected}**" if across.is_shown else corrected,
        seeds_text(across),
    )


def contrast_claims(texts: Texts, answer: Answer) -> list[Claim]:
    """Return the sentences of contrasts that are shown, lack a test or need a remark: of others the table says all."""
    return [
        contrast_claim(texts, answer, across)
        for across in answer.across
        if not is_tested(across) or outcome(across) != "none" or remarks(texts, across)
    ]


@dataclass(frozen=True)
class OtherAnswer:
    """The answer of a question that no contrast answers: its title, its sentences, its text and its table."""

    id: str
    title: str
    claim: Claim
    text: str
    table: str

    def section(self) -> str:
        """Return the part of the page."""
        return f"### {self.title}\n\n{self.text}\n\n**{self.claim.text}**\n\n{self.table}"


def other_answers(findings: Findings) -> list[OtherAnswer]:
    """Return the answers of the questions that no contrast answers."""
    answers = (verdict_answer, order_answer, tuning_answer, cost_answer, seeds_answer)
    return [answer(findings) for answer in answers]


def verdict_answer(findings: Findings) -> OtherAnswer:
    """Return whether plans that agree with themselves gain more."""
    values = findings.texts.others["verdict"]
    relation = relate(findings.gains)
    methods = len({gain.method for gain in findings.gains})
    if methods < FEWEST_METHODS:
        sentence = values["few"].format(methods=methods)
    elif relation is None:
        sentence = values["equal"].format(methods=methods)
    else:
        sentence = values["shown" if relation.p < LEVEL else "none"].format(
            direction="more" if relation.rho > 0 else "less",
            rho=f"{relation.rho:.2f}",
            p=probability(relation.p),
            plans=relation.count,
            methods=relation.methods,
        )
    boards = {gain.board for gain in findings.gains}
    lines = []
    for gain in findings.gains:
        name = f"`{gain.method}`" + (f" ({gain.board})" if len(boards) > 1 else "")
        task = findings.evidence.task_name(gain.task)
        lines.append(Line((name, task, gain.verdict, f"{gain.agreement:.2f}", points(gain.gain))))
    titles = ("plan", "task", "verdict", "agreement", "gain over uniform")
    return _answer(values, sentence, table(titles, lines, anchor="answers-verdict", numbers_from=3))


def tuning_answer(findings: Findings) -> OtherAnswer:
    """Return by how much each method's own best trial lies above the setting that is best for all."""
    values = findings.texts.others["tuning"]
    sentences, lines = [], []
    studies = findings.evidence.studies
    tasks = [findings.evidence.task_name(study.task) for study in studies]
    for study, task, name in zip(studies, tasks, study_names(studies, tasks), strict=True):
        tuned = tuned_methods(study)
        if not tuned:
            continue
        gains = [method.best - method.common for method in tuned]
        sentences.append(values["shown"].format(task=name, low=f"{min(gains):.1f}", high=f"{max(gains):.1f}"))
        for method, gain in zip(tuned, gains, strict=True):
            lines.append(
                Line((f"`{method.method}`", task, f"{method.common:.1f}", f"{method.best:.1f}", f"{gain:.1f}"))
            )
    titles = ("method", "task", "common setting", "best trial", "difference")
    body = table(titles, lines, anchor="answers-tuning", numbers_from=2)
    return _answer(values, " ".join(sentences) or values["none"], body)


def tuning_values(findings: Findings) -> dict[str, object]:
    """Return what the advice to tune is filled with: which method gained most by its own settings; empty if none."""
    gains = []
    for study in findings.evidence.studies:
        task = findings.evidence.task_name(study.task)
        gains += [(method.best - method.common, method.method, task) for method in tuned_methods(study)]
    if not gains:
        return {}
    size, method, task = max(gains)
    zero = sum(gain == 0 for gain, _, _ in gains)
    return {"method": method, "task": task, "size": f"{size:.1f}", "count": len(gains), "zero": zero}


def cost_answer(findings: Findings) -> OtherAnswer:
    """Return what measuring the signals takes."""
    values = findings.texts.others["cost"]
    # By operations, which no other work on the machine changes.
    costs = sorted(signal_costs(findings.groups), key=lambda cost: -(cost.flops or 0.0))
    lines = []
    for cost in costs:
        flops = NONE if cost.flops is None else f"{100 * cost.flops:.1f} %"
        lines.append(Line((f"`{cost.method}`", flops, f"{100 * cost.seconds:.1f} %"), f"cost-{cost.method}"))
    sentence = values["none"]
    if costs:
        # That of GeLoRA, whose rank the other questions are about, and the dearest.
        told = next((cost for cost in costs if cost.method == "gelora"), costs[0])
        sentence = values["shown"].format(**_cost_words(told))
        if told is not costs[0]:
            sentence += " " + values["most"].format(**_cost_words(costs[0]))
    titles = ("method", "operations, of one training", "seconds, of one training")
    return _answer(values, sentence, table(titles, lines, anchor="answers-cost"))


def _cost_words(cost: SignalCost) -> dict[str, str]:
    flops = "an unrecorded share" if cost.flops is None else f"{100 * cost.flops:.1f} %"
    return {"method": cost.method, "flops": flops, "seconds": f"{100 * cost.seconds:.1f} %"}


def order_answer(findings: Findings) -> OtherAnswer:
    """Return whether the tasks of a board order the methods alike, and whether the averages of the boards do."""
    values = findings.texts.others["order"]
    sentences, lines = [], []
    for title, ranking in findings.rankings.items():
        for name, rank in ranking.mean_ranks.items():
            lines.append(Line((f"`{name}`", title, f"{rank:.2f}")))
        if ranking.concordance is None or ranking.p is None:
            continue
        sentence = values["shown" if ranking.p < LEVEL else "none"]
        board = f"; {title}" if len(findings.rankings) > 1 else ""
        sentences.append(
            sentence.format(
                w=f"{ranking.concordance:.2f}",
                p=probability(ranking.p),
                methods=len(ranking.mean_ranks),
                blocks=len(ranking.blocks),
                board=board,
            )
        )
        pairs = [f"`{better}` before `{worse}`" for better, worse in ranking.shown_pairs]
        most = len(ranking.mean_ranks) - 1
        critical = values["critical"].format(
            cd=f"{ranking.critical_difference:.2f}", most=most, pairs=", ".join(pairs) or "no two do"
        )
        sentences.append(critical)
        if ranking.left_out:
            lines.append(Line((", ".join(f"`{name}`" for name in ranking.left_out), title, "lacks a task")))
    sentences.append(_order_of_budgets(values, findings.over_budgets))
    body = table(("method", "over the tasks of", "mean rank"), lines, anchor="answers-order", numbers_from=2)
    return _answer(values, " ".join(sentences), body)


def _order_of_budgets(values: dict[str, str], ranking: Ranking | None) -> str:
    """Say whether boards order the methods alike by their averages; that there is but one, where it is so."""
    if ranking is None or ranking.concordance is None:
        return values["one_budget"]
    return values["budgets"].format(
        blocks=len(ranking.blocks), methods=len(ranking.mean_ranks), w=f"{ranking.concordance:.2f}"
    )


def seeds_answer(findings: Findings) -> OtherAnswer:
    """Return how many seeds would show half a point, for each contrast that has a test."""
    values = findings.texts.others["seeds"]
    powers: dict[tuple[str, str, str], Power] = {}
    for answer in findings.answers:
        for across in answer.across:
            power = power_of(across, tested_contrasts(answer))
            if power is not None:
                powers[answer.question.id, across.id, across.board] = power
    boards = {power.board for power in powers.values()}
    lines = []
    for (question, _, _), power in powers.items():
        lines.append(_power_line(question, power, f" ({power.board})" if len(boards) > 1 else ""))
    titles = (
        "contrast",
        "question",
        "fewest seeds now",
        "shown four times in five, points",
        "with ten times the seeds",
        "seeds for half a point",
    )
    sentence = (
        _seeds_sentence(values, _main_power(powers.values())) if powers else findings.texts.sentences["unanswered"]
    )
    return _answer(values, sentence, table(titles, lines, anchor="answers-seeds", numbers_from=2))


def _main_power(powers: Collection[Power]) -> Power:
    """Return that of GeLoRA against uniform ranks, or else the first."""
    main = [power for power in powers if (power.first, power.second) == ("gelora", UNIFORM)]
    return next(iter(main or powers))


def _seeds_sentence(values: dict[str, str], power: Power) -> str:
    return values["shown" if power.for_half_a_point is not None else "more"].format(
        first=power.first,
        second=power.second,
        tests=power.tests,
        seeds=power.half_a_point_takes,
        most=power.most_seeds,
        points=f"{power.detectable_with_most:.1f}",
    )


def _power_line(question: str, power: Power, board: str) -> Line:
    contrast = f"`{power.first}` - `{power.second}`{board}"
    with_most = f"{power.detectable_with_most:.2f}"
    return Line((contrast, question, str(power.seeds), f"{power.detectable:.2f}", with_most, power.half_a_point_takes))


def _answer(values: dict[str, str], sentence: str, body: str) -> OtherAnswer:
    claim = Claim(f"headline-{values['id']}", sentence, question_line(values["id"]))
    return OtherAnswer(values["id"], values["title"], claim, values["text"], body)
