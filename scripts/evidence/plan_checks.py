"""What is wrong with `plan.yaml` and `questions.yaml`: all of it at once, before any work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from string import Formatter
from typing import Any, cast

import yaml

from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import first_line, join_names, quote, suggest
from gelora_cli.core.registries import METHODS

Values = dict[str, Any]

PLAN_KEYS = "commit methods relative_seconds rows scales"
SCALE_KEYS = (
    "says archive presets unit examples_per_second seconds_per_run launch parallel shared tasks studies carried stages"
)
SCALE_EXTRAS = "published assumed carried_rate rate_trials first_protocol"
STAGE_KEYS, STAGE_EXTRAS = "id says tasks methods", "tune seeds settings"

QUESTION_KEYS = "id title text contrasts above below none"
OTHER_SENTENCES = {
    "verdict": "shown none few equal",
    "order": "shown none critical budgets one_budget",
    "tuning": "shown none",
    "cost": "shown most none",
    "seeds": "shown more",
}
"""The questions that no contrast answers, each with its sentences."""
FILLED_IN: Mapping[str, Mapping[str, str]] = {
    "sentences": {
        "shown_above": "first second size",
        "shown_below": "first second size",
        "above": "first second size tasks test",
        "below": "first second size tasks test",
        "none": "first second signed tasks test",
        "untested": "first second signed tasks test",
        "same_runs": "first second tasks",
        "same_ranks": "tasks",
        "collapsed": "first second first_collapsed second_collapsed",
        "unanswered": "",
        "unanswered_questions": "questions",
        "rest": "names",
        "nearly": "first second signed low high p",
        "one_plan": "names",
        "caution_tuned": "task signed",
        "caution_rate": "method size task",
        "caution_peak": "first ratio",
    },
    "others": {
        "verdict": "direction rho p plans methods",
        "order": "w p methods blocks board cd most pairs",
        "tuning": "task low high",
        "cost": "method flops seconds",
        "seeds": "first second tests seeds most points",
    },
    "board": {
        "title": "",
        "best": "best average tasks board",
        "worse": "names",
        "rest": "names",
        "chosen": "",
        "none": "",
    },
    "questions": {"above": "differences", "below": "differences", "none": "names"},
    "advice": {"above": "best size", "below": "names", "none": "names", "always": "method size task count zero"},
}
"""The words in braces that a sentence may have."""


def read_values(path: Path) -> Values:
    """Return the content of a YAML file that holds keys with values.

    Raises:
        GeloraError: it can't be read, or holds something else.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise GeloraError(f"{path.name}: {' '.join(str(error).split()) or first_line(error)}") from error
    if not isinstance(values, dict):
        raise GeloraError(f"{path.name}: {quote(values)} given; keys with values are expected")
    return cast(Values, values)


def check(problems: Iterable[str], path: Path) -> None:
    """Refuse a file that has problems, with all of them."""
    found = [f"{path.name}: {problem}" for problem in problems]
    if found:
        raise GeloraError("\n".join(found))


def plan_problems(plan: Values) -> Iterator[str]:
    """Return what is wrong with the content of `plan.yaml`, a sentence each."""
    yield from _key_problems("the plan", plan, PLAN_KEYS)
    scales = plan.get("scales")
    if not isinstance(scales, dict):
        return
    rows = set(plan.get("rows") or {})
    for name, scale in scales.items():
        keys = list(_key_problems(f"scale {name}", scale, SCALE_KEYS, SCALE_EXTRAS))
        yield from keys or _scale_problems(name, scale, rows)


def _scale_problems(name: str, scale: Values, rows: set[str]) -> Iterator[str]:
    """Return what is wrong with a scale that has its keys: tasks without rows or rates, and its stages."""
    tasks = scale["tasks"]
    for task, settings in tasks.items():
        epochs = settings.get("train.epochs")
        if not isinstance(epochs, int) or epochs < 1:
            given = f"={quote(epochs)}" if "train.epochs" in settings else " is missing"
            yield f"scale {name}, task {task}: train.epochs{given}; a whole number from 1 is expected"
    known = {task for task in tasks if task in rows and task in scale["examples_per_second"]}
    for task in sorted(set(tasks) - known):
        yield f"scale {name}: the task {task} needs its number of rows, and examples_per_second"
    stages = scale["stages"]
    for stage in stages:
        where = f"scale {name}, stage {stage.get('id')}"
        keys = list(_key_problems(where, stage, STAGE_KEYS, STAGE_EXTRAS))
        yield from keys or _stage_problems(where, stage, known)
    for repeated in _repeated(stage.get("id") for stage in stages):
        yield f"scale {name}: the stage {repeated} stands there twice; give one another id"


def _stage_problems(where: str, stage: Values, tasks: set[str]) -> Iterator[str]:
    for kind, accepted in (("tasks", sorted(tasks)), ("methods", METHODS.names())):
        for unknown in [entry for entry in stage[kind] if entry not in accepted]:
            yield f"{where}: {kind} has {quote(unknown)}; {suggest(str(unknown), accepted)}"
        for repeated in _repeated(stage[kind]):
            yield f"{where}: {kind} has {repeated} twice"
    seeds = stage.get("seeds", [])
    if not isinstance(seeds, list) or not all(isinstance(seed, int) for seed in seeds):
        yield f"{where}: seeds={quote(seeds)}; a list of whole numbers is expected"
    elif _repeated(seeds):
        yield f"{where}: seeds={quote(seeds)}; each once"
    if bool(stage.get("tune")) == bool(seeds):
        yield f"{where}: either tune: true, for studies, or seeds, for a round each, is expected"


def question_problems(values: Values) -> Iterator[str]:
    """Return what is wrong with the content of `questions.yaml`, a sentence each."""
    keys = list(_key_problems("the file", values, "sentences questions others board advice"))
    yield from keys or _text_problems(values)


def _text_problems(values: Values) -> Iterator[str]:
    for kind in ("sentences", "board"):
        yield from _key_problems(kind, values[kind], " ".join(FILLED_IN[kind]))
        yield from _brace_problems(kind, values[kind], FILLED_IN[kind])
    for question in values["questions"]:
        where = f"question {question.get('id')}"
        yield from _key_problems(where, question, QUESTION_KEYS)
        yield from _brace_problems(where, question, FILLED_IN["questions"])
        yield from _contrast_problems(where, question.get("contrasts", ()))
    others = {entry.get("id"): entry for entry in values["others"]}
    for identity in sorted(OTHER_SENTENCES.keys() - others.keys()):
        yield f"others: {identity} is missing"
    for identity, entry in others.items():
        if identity in OTHER_SENTENCES:
            sentences = OTHER_SENTENCES[identity]
            yield from _key_problems(f"question {identity}", entry, f"id title text {sentences}")
            filled_in = dict.fromkeys(sentences.split(), FILLED_IN["others"][identity])
            yield from _brace_problems(f"question {identity}", entry, filled_in)
    asked = [question.get("id") for question in values["questions"]]
    for repeated in _repeated([*asked, *others]):
        yield f"the question {repeated} stands there twice; give one another id"
    for rule in values["advice"]:
        where = f"advice {rule.get('id')}"
        yield from _brace_problems(where, rule, FILLED_IN["advice"])
        if "always" not in rule and rule.get("question") not in asked:
            yield f"{where}: question={quote(rule.get('question'))}; {suggest(str(rule.get('question')), asked)}"
    for repeated in _repeated(rule.get("id") for rule in values["advice"]):
        yield f"the advice {repeated} stands there twice; give one another id"


def _contrast_problems(where: str, contrasts: Iterable[Any]) -> Iterator[str]:
    pairs = []
    for contrast in contrasts:
        if not isinstance(contrast, list) or len(contrast) != 2 or contrast[0] == contrast[1]:
            yield f"{where}: contrast {quote(contrast)}; the names of two methods are expected"
            continue
        pairs.append(tuple(sorted(contrast)))
        for name in contrast:
            method = str(name).partition(" (")[0]
            if method not in METHODS:
                yield f"{where}: contrast {quote(contrast)}; {suggest(method, METHODS.names())}"
    for first, second in _repeated(pairs):
        yield f"{where}: {first} and {second} are contrasted twice, and each would be corrected for"


def _key_problems(where: str, values: object, required: str, extra: str = "") -> Iterator[str]:
    if not isinstance(values, dict):
        yield f"{where}: {quote(values)} given; keys with values are expected"
        return
    known = [*required.split(), *extra.split()]
    missing = [key for key in required.split() if key not in values]
    if missing:
        yield f"{where} lacks {join_names(missing)}"
    for unknown in [key for key in values if key not in known]:
        yield f"{where} has {quote(unknown)}; {suggest(str(unknown), known)}"


def _brace_problems(where: str, texts: Mapping[str, object], filled_in: Mapping[str, str]) -> Iterator[str]:
    """Return which words in braces nothing fills in."""
    for key, text in texts.items():
        if not isinstance(text, str):
            continue
        try:
            named = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
        except ValueError as error:
            yield f"{where}, {key}: {error}"
            continue
        known = filled_in.get(key, "").split()
        for name in sorted(named - set(known)):
            yield f"{where}, {key}: {{{name}}} is filled in by nothing; accepted: {join_names(known) or 'none'}"


def _repeated(values: Iterable[Hashable]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]
