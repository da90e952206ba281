"""The pictures of the page: differences for each question, the order of methods, verdicts, what tuning changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from gelora_cli.core.artifacts.study import Study
from gelora_cli.core.registries import METRICS
from gelora_cli.plots.base import Picture
from gelora_cli.plots.critical_difference import critical_difference_picture
from gelora_cli.plots.differences import differences_picture
from gelora_cli.plots.style import titles
from gelora_cli.plots.tuning_ranges import TunedMethod, tuning_picture
from gelora_cli.plots.verdicts import verdicts_picture
from gelora_cli.tuning.common_point import common_point
from scripts.evidence.findings import Findings

MAIN = "static"
"""The question whose picture the README shows."""


def page_pictures(findings: Findings) -> dict[str, Picture]:
    """Return the pictures by the id of the question that they belong to, as far as there are runs for them.

    They have no titles inside: the question is the heading above, and the caption below says the rest.
    """
    with titles(False):
        return {picture.name.removeprefix("found-"): picture for picture in _drawn(findings) if picture is not None}


def file_name(picture: Picture) -> str:
    """Return the name of a picture's file."""
    return f"{picture.name}.png"


def picture_line(picture: Picture, images: str) -> str:
    """Return a picture in Markdown; `images` leads to the files."""
    alternative = picture.title.replace("[", "(").replace("]", ")")
    return f"![{alternative}]({images}/{file_name(picture)})"


def picture_lines(picture: Picture, images: str) -> str:
    """Return a picture with its caption below, in Markdown."""
    return f"{picture_line(picture, images)}\n\n{picture.caption}\n"


def _drawn(findings: Findings) -> Iterator[Picture | None]:
    titles_of_questions = {question.id: question.title for question in findings.texts.questions.values()}
    titles_of_others = {identity: values["title"] for identity, values in findings.texts.others.items()}
    questions = titles_of_questions | titles_of_others
    for answer in findings.answers:
        identity = answer.question.id
        boards = [across.board for across in answer.across]
        first = [across for across in answer.across if across.board == boards[0]]
        yield differences_picture(f"found-{identity}", questions[identity], first)
    boards = [gain.board for gain in findings.gains]
    gains = [gain for gain in findings.gains if gain.board == boards[0]]
    yield verdicts_picture("found-verdict", questions["verdict"], gains)
    if findings.rankings:
        yield critical_difference_picture("found-order", questions["order"], next(iter(findings.rankings.values())))
    studies = findings.evidence.studies
    names = study_names(studies, [study.task for study in studies])
    studies_by_name = {name: tuned_methods(study) for name, study in zip(names, studies, strict=True)}
    yield tuning_picture("found-tuning", questions["tuning"], studies_by_name, findings.evidence.scale.trials)


def study_names(studies: Sequence[Study], tasks: Sequence[str]) -> list[str]:
    """Return the name of each study: its task, as it is called there, and how many methods where a task has several."""
    counts = Counter(tasks)
    return [
        task if counts[task] == 1 else f"{task} ({len(study.methods)} methods)"
        for study, task in zip(studies, tasks, strict=True)
    ]


def tuned_methods(study: Study) -> list[TunedMethod]:
    """Return each method at the point that is best for all on average, and at its own best, in points."""
    point = common_point(study)
    if point is None:
        return []
    factor = points_factor(study.reported)
    return [TunedMethod(label, factor * common, factor * best) for label, (common, best) in point.values.items()]


def points_factor(reported: str) -> float:
    """Return what values of a metric are multiplied by to be in points; 1 where it has no such scale."""
    for name in METRICS.names():
        metric = METRICS.get(name)
        if reported in metric.scores:
            return metric.points_factor(reported) or 1.0
    return 1.0
