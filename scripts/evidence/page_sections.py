"""The text of docs/what-we-found.md and of the README's part of it; the words around the numbers."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from gelora_cli.core.artifacts.study import Study
from gelora_cli.plots.base import Picture
from gelora_cli.report.published import read_published
from gelora_cli.report.runs import Run, collect
from scripts.evidence.answer_sections import (
    OtherAnswer,
    answer_section,
    contrast_claims,
    other_answers,
    tuning_answer,
    tuning_values,
)
from scripts.evidence.board_sections import board_claims, board_section, board_table, has_mark, peak_ratios
from scripts.evidence.cautions import cautions
from scripts.evidence.claims import Claim, advice_claims, headline
from scripts.evidence.findings import Findings, seed_dependence
from scripts.evidence.markdown import Line, listed, table
from scripts.evidence.pictures import MAIN, picture_line, picture_lines
from scripts.evidence.plan import ROOT, Scale, load_scale
from scripts.evidence.progress import progress
from scripts.evidence.rates import rate_table

TITLE = "# What we found\n"

INTRODUCTION = """\
Which LoRA rank should each block get, and does it matter? Rank allocators are compared with equal parameters after
training, under one protocol, beside controls, over several seeds, with tests. Each method was tuned with {trials}
trials of `gelora tune` on {studied} only. The other tasks take these settings, with
[a factor of the learning rate](#rates) that was tried for three methods. Parameters while training are not equal
either: *trained at most* below.

This page is written by `python -m scripts.evidence.page` from `{archive}`: no number in it is typed.
The questions, their contrasts and the sentences for every outcome stand in `scripts/evidence/questions.yaml`. Each
question and its contrasts, but for the one about tuning, were committed before any of the runs that they compare had
ended. What was [changed](#what-was-changed) later is said below. The numbers only choose which sentence you read. "No
difference shown" is an answer. An arrow behind a sentence leads to the line that carries it.
"""

WORDS = """\
**What the words say.** Values are in points, 0 to 100, as mean \N{PLUS-MINUS SIGN} standard deviation over seeds. A
difference is *shown* where its p is below 0.05 after Holm's correction over the contrasts of its question. The test
takes seeds and evaluated examples as drawn at random. Tasks, settings and what a plan was measured from are taken as
given ([is the difference real?](explanation/statistics.md)). So it says nothing about other tasks. Intervals are those
of one contrast alone, before the correction. Where studies of other numbers of trials are behind the settings of two
methods, there is no verdict; the trials of [rates](#rates) are not counted in.
"""

PROVISIONAL = """\
**Provisional.** Some contrasts below have fewer than the planned {planned} seeds; the tables say how many. The page is
read after each round, and every look is another chance of a false finding. So treat no answer as settled until all
rounds are complete.
"""

DEPENDENCE = """\
The tests take runs of one seed on several tasks as independent. Differences from uniform ranks, averaged over the
tasks, vary between seeds {ratio} times as much (as variances) as those of independent tasks would. With few seeds that
is a rough number. Far above 1, the tests would show too much. How large a difference these seeds could show stands
[in one table](#answers-seeds).
"""

NO_ROUNDS = """\
No round of the comparison is complete yet, so its questions have no answer here. A round is one seed over all tasks
and methods of a stage. What is done and left:
"""

ROUNDS = """\
A round is one seed over all tasks and methods of a stage. A later stage counts from three complete rounds on: fewer
give no test.
"""

AGAIN = """\
<a id="how-it-was-made"></a>

## How it was made

One line runs what is left, resumes where it was stopped, and packs what is finished:

```bash
make evidence SCALE=cpu GLUE=DIR
```

`DRY=1` says what is done and left, and runs nothing. `MINUTES=90` stops after these. The plan is
`scripts/evidence/plan.yaml`: the commit whose code trains (`{commit}`, in a worktree that the command makes), the
stages in their order, and the settings. Every method had {trials} trials of `gelora tune` on held-out training rows of
{studied}. Other tasks take over settings: {carried}. A study of one of these says only what tuning changed. All
settings are committed in `{presets}`, so that the rounds can be run without tuning again.

{rates}

**Add rows.** With a faster machine, or more of them, of one kind for a round: give the line above. Then write the page,
commit it with the archive and the settings, and open a pull request:

```bash
python -m scripts.evidence.page
git add {archive} {presets} docs README.md
```

A run is counted where its configuration is the plan's, with the settings of the study. Runs of another commit are
refused when they are packed. A stage of your own is an entry in `plan.yaml`, and a question of your own one in
`questions.yaml`: commit it before its runs end.

All runs of the archive as one page, with every pair and picture; those of rounds that are not complete are among them:

```bash
gelora report {archive} output=report
```
"""

RATES = """\
The trials of `gelora tune` ran in float32, on the machines that are named above; those of the rates below and the
comparison in bf16 on processors.

**Rates of the tasks that take over settings.** SST-2's learning rates are too high for some of them: training then ends
at or near the majority label. So for `lora`, `adalora` and `sora` factors of the rate were tried, two times apart, with
one run each on held-out training rows, until the highest mean lay between two others. All other methods have the factor
of `lora`, so tuning on these tasks was not equal: hold that against any difference from `lora`, `adalora` or `sora`.
The factor that is taken is bold:
"""

FIRST_PROTOCOL = """\
<a id="what-was-changed"></a>

**What was changed.** Before any contrast had a test: sentences that said more than their test shows, the test of a
plan's verdict, and two questions. `gelora` - `lora` stood in the question of controls and in that of static allocators,
with two corrections; now only in the second. The question of variants became two, before any run of it. After three
rounds, without another contrast or test: seeds that half a point takes are not said beyond ten times those that there
are, since other resamples of the same runs gave 138, 1,665, or no number; which line is quoted of costs and seeds; and
what a reader has to know of signals, of methods that move rank and of verdicts. After four rounds, again without
another contrast or test: what is to be held against a difference that is shown, what is said of tuning, and which
sentences are left to the tables.

The first protocol took the rates of the studies as they are, for MRPC those of its own study, and batches twice as
large for MRPC and STS-B. Of its {runs} runs on CoLA and MRPC, all of seed 0, {collapsed} collapsed to one label. So
rates and batches of all tasks but SST-2 were changed before a round was complete. The plan names the precision since
the first round was complete, as its runs and the trials had it. The runs that were given up lie in `{archive}`. No
other number on this page is theirs.
{again}"""

RUN_AGAIN = """\
Some have a configuration that is still in the plan, and were run again with the rest, later: {values}. Most likely the
processor was another, as [roundings grow](explanation/determinism.md), but these runs do not say which they had. So a
round may be of two kinds of machines.
"""

PAPER = """\
## At the scale of the paper: never run

```bash
make evidence SCALE=paper GLUE=DIR LAUNCH=slurm
```

This line is for {says}. Nobody has run it, and nothing above is about it. By assumed rates of one large
GPU it takes about {hours:.0f} hours. `dry_run=true` behind one of its commands says what a run costs on your machine.

What others published for this model stands here beside runs to come. It is of other code, other seeds and another
selection of the epoch: no number above may be held against it.
"""

README_INTRODUCTION = """\
Rank allocators on one small encoder: one protocol, {trials} trials each on {studied}, at most {params} parameters after
training (while training {peaks}). On {tasks}; {seeds}.
{setting}{mark}
"""

README_MARK = " \N{DAGGER}: not shown to be worse than the best."

README_CAPTION = "Large diamonds: over the tasks (hollow: no difference shown). Small: one task, not tested here.\n"

README_ADVICE = (
    "advice-default",
    "advice-default-above",
    "advice-worse-below",
    "advice-signal-above",
    "advice-adaptive",
    "advice-adaptive-above",
    "advice-adaptive-below",
)
"""Sentences that the README has, too: it is read in five minutes."""
RUN_PARTS = 4
"""Parts of a run's directory that its configuration gives: task, model, method, and a name with its hash."""

UNSAID = ("task", "model", "budget", "data.glue", "runs_dir", "model.path")
"""Overrides of a study that stand elsewhere on the page, or are of one machine."""


def page_text(findings: Findings, pictures: Mapping[str, Picture]) -> str:
    """Return the page: in short, what was run, the methods on every task, the questions, how to do it again.

    Args:
        findings: what is said.
        pictures: what is shown, by the id of its question.
    """
    scale = findings.evidence.scale
    introduction = INTRODUCTION.format(
        archive=_relative(scale, "archive"), trials=scale.trials, studied=listed(scale.studied)
    )
    parts = [TITLE, introduction]
    if not findings.has_rounds:
        parts += [NO_ROUNDS, _progress_table(findings)]
        if findings.evidence.studies:
            parts.append(_studies(findings, pictures))
    else:
        others = other_answers(findings)
        parts += [_in_short(findings, others), WORDS, _what_was_run(findings)]
        parts += [board_section(findings), _questions(findings, others, pictures)]
    parts += [_again(findings), _paper()]
    return "\n".join(parts)


def readme_text(findings: Findings, pictures: Mapping[str, Picture]) -> str:
    """Return the README's part: one table, one picture, which allocator when, and when none. It takes a round."""
    scale = findings.evidence.scale
    board = findings.boards[0]
    tasks = listed([_with_rows(findings, task) for task in board.tasks])
    peaks = listed([f"`{name}` {ratio:.1f}" for name, ratio in peak_ratios(board).items()])
    setting = f"`{board.title}`. [What we found](docs/what-we-found.md) has every question, its test and its table."
    start = README_INTRODUCTION.format(
        trials=scale.trials,
        studied=listed(scale.studied),
        params=f"{max(entry.adapter_params for entry in board.entries if not entry.exempt):,}",
        peaks=f"{peaks} times as many" if peaks else "the same",
        tasks=tasks,
        seeds=_seeds(findings),
        setting=setting,
        mark=README_MARK if has_mark(board) else "",
    )
    picture = ""
    if MAIN in pictures:
        picture = f"**{pictures[MAIN].title}**\n\n{picture_line(pictures[MAIN], 'docs/images')}\n\n{README_CAPTION}"
    claims = [claim for claim in _advice(findings) if claim.id in README_ADVICE]
    advice = "".join(f"- {claim.text}\n" for claim in claims)
    return "\n".join([start, board_table(findings, board, is_short=True), picture, advice])


def _with_rows(findings: Findings, task: str) -> str:
    """Return the name of a task, with the number of its training rows where the plan takes a part of them."""
    scale = findings.evidence.scale
    limit = scale.values["tasks"][task].get("data.max_train_examples")
    name = findings.evidence.task_name(task)
    return name if limit is None else f"{name} ({limit:,} training rows)"


def all_claims(findings: Findings, others: Sequence[OtherAnswer]) -> list[Claim]:
    """Return every sentence that the numbers chose, in the order of the page."""
    headlines = [headline(findings.texts, answer) for answer in findings.answers]
    contrasts = [claim for answer in findings.answers for claim in contrast_claims(findings.texts, answer)]
    other_claims = [answer.claim for answer in others]
    return [*headlines, *board_claims(findings), *other_claims, *_advice(findings), *contrasts]


def _advice(findings: Findings) -> list[Claim]:
    return advice_claims(
        findings.texts, findings.answers, tuning_values(findings), functools.partial(cautions, findings)
    )


def _questions(findings: Findings, others: Sequence[OtherAnswer], pictures: Mapping[str, Picture]) -> str:
    """Return every question with its answer, its table and its picture."""
    parts = ["## The questions\n"]
    dependence = seed_dependence(findings.boards[0])
    if dependence is not None:
        parts.append(DEPENDENCE.format(ratio=f"{dependence:.2f}"))
    of_contrasts = [pictures[answer.question.id] for answer in findings.answers if answer.question.id in pictures]
    if of_contrasts:
        parts.append(f"**Pictures of contrasts.** {of_contrasts[0].caption}\n")
    for answer in findings.answers:
        parts.append(answer_section(findings, answer))
        if answer.question.id in pictures:
            parts.append(f"{picture_line(pictures[answer.question.id], 'images')}\n")
    for other in others:
        parts.append(other.section())
        if other.id in pictures:
            parts.append(picture_lines(pictures[other.id], "images"))
    return "\n".join(parts)


def _studies(findings: Findings, pictures: Mapping[str, Picture]) -> str:
    """Return what the finished studies answer before any round is complete."""
    evidence = findings.evidence
    answer = tuning_answer(findings)
    lines = ["The studies are finished and answer one question already.\n"]
    lines.append(f"- Trials: {_origin(findings, evidence.trials)}.")
    lines += [f"- {_study_text(findings, study)}." for study in evidence.studies]
    picture = [picture_lines(pictures[answer.id], "images")] if answer.id in pictures else []
    return "\n".join([*lines, "", answer.section(), *picture])


def _in_short(findings: Findings, others: Sequence[OtherAnswer]) -> str:
    lines = ["## In short\n"]
    if findings.is_provisional:
        lines.append(PROVISIONAL.format(planned=findings.evidence.scale.seeds))
    unanswered = []
    for answer in findings.answers:
        title = findings.texts.questions[answer.question.id].title
        claim = headline(findings.texts, answer)
        if claim.text == findings.texts.sentences["unanswered"]:
            unanswered.append(f"[{title}](#{claim.carried_by})")
        else:
            lines.append(f"- **{title}** {claim.markdown()}")
    title = findings.texts.board["title"]
    lines += [f"- **{title}** {claim.markdown()}" for claim in board_claims(findings)]
    for other in others:
        lines.append(f"- **{other.title}** {other.claim.markdown()}")
    if unanswered:
        text = findings.texts.sentences["unanswered_questions"].format(questions=", ".join(unanswered))
        lines.append(f"- {text}")
    lines.append("\n**Which allocator when, and when none:**\n")
    lines += [f"- {claim.markdown()}" for claim in _advice(findings)]
    return "\n".join(lines) + "\n"


def _what_was_run(findings: Findings) -> str:
    evidence = findings.evidence
    lines = ["## What was run\n", _progress_table(findings)]
    lines.append(ROUNDS)
    if evidence.incomplete:
        lines.append(
            f"{evidence.incomplete} finished runs are of rounds that do not count yet: no number here is theirs.\n"
        )
    lines.append(f"- Comparison: {_origin(findings, evidence.runs)}.")
    if evidence.trials:
        lines.append(f"- Trials of the studies: {_origin(findings, evidence.trials)}.")
    lines.append(
        "- Hours are summed over runs that ran side by side, beside other work: no speed can be read from them."
    )
    lines += [f"- {_study_text(findings, study)}." for study in evidence.studies]
    lines += [f"- Not compared: {problem}" for problem in findings.problems]
    for task in evidence.noted_tasks():
        trained, evaluated = evidence.scale.rows[task]
        lines.append(
            f"- {evidence.task_name(task)}: {trained:,} training and {evaluated:,} evaluated rows, which are not those "
            f"of GLUE. No number of it is GLUE's, and runs on GLUE's rows would be no rounds of this comparison."
        )
    return "\n".join(lines) + "\n"


def _origin(findings: Findings, runs: Sequence[Run]) -> str:
    """Return how many runs there are, their commit, days, hours, machines and precision."""
    evidence = findings.evidence
    machines = ", ".join(f"{device} ({count})" for device, count in evidence.machines(runs).items())
    commits = ", ".join(f"`{commit[:12]}`" for commit in evidence.commits(runs))
    took = f"{evidence.hours(runs):.1f} hours of runs"
    precisions = listed(sorted({run.manifest.precision for run in runs}))
    return f"{len(runs)} runs, commit {commits}, {evidence.dates(runs)}, {took}, on {machines}, in {precisions}"


def _study_text(findings: Findings, study: Study) -> str:
    """Return what a study is of, and the settings of all of its trials."""
    shared = " ".join(f"`{word}`" for word in study.overrides if word.partition("=")[0] not in UNSAID)
    rows = "unknown" if study.examples is None else f"{study.examples:,}"
    methods = f"{study.trials} trials for each of {len(study.methods)} methods"
    at_edge: dict[str, list[str]] = {}
    for method in study.methods:
        for key in method.at_edge:
            at_edge.setdefault(key, []).append(f"`{method.label}`")
    edges = [f"`{key}` ({', '.join(names)})" for key, names in at_edge.items()]
    text = f"Study of {findings.evidence.task_name(study.task)}: {methods}, on {rows} held-out training rows; {shared}"
    return f"{text}; best at an end of the range that was searched: {', '.join(edges)}" if edges else text


def _progress_table(findings: Findings) -> str:
    scale = findings.evidence.scale
    lines = []
    for state in findings.evidence.states:
        stage = state.stage
        rounds = "-" if stage.is_tuning else f"{len(state.whole_rounds)} of {len(stage.seeds)}"
        left = state.total - state.done
        lines.append(Line((stage.says, str(state.done), str(left), rounds, f"{state.hours:.1f}")))
    return table(("stage", "runs done", "left", "complete rounds", f"{scale.unit} left"), lines)


def _seeds(findings: Findings) -> str:
    """Return how many seeds the first board has, in words, and of how many where not all of them are in."""
    counts = {len(row.runs) for entry in findings.boards[0].entries for row in entry.rows.values()}
    few, many = min(counts), max(counts)
    seeds = f"{many} seeds" if few == many else f"{few} to {many} seeds"
    return f"{seeds} of {findings.evidence.scale.seeds} (provisional)" if findings.is_provisional else seeds


def _again(findings: Findings) -> str:
    scale = findings.evidence.scale
    tasks: dict[str, list[str]] = {}
    for task, source in scale.carried.items():
        tasks.setdefault(source, []).append(task)
    carried = "; ".join(f"{listed(names)} those of {source}" for source, names in tasks.items())
    return AGAIN.format(
        commit=scale.commit[:12],
        trials=scale.trials,
        studied=listed(scale.studied),
        carried=carried,
        archive=_relative(scale, "archive"),
        presets=_relative(scale, "presets"),
        rates=_rates(findings),
    )


def _rates(findings: Findings) -> str:
    """Return the trials behind the rates of the tasks that take over settings, and what was changed."""
    scale = findings.evidence.scale
    given_up = collect([ROOT / _relative(scale, "first_protocol")]).runs
    collapsed = sum(run.result.collapsed for run in given_up)
    changed = FIRST_PROTOCOL.format(
        runs=len(given_up),
        collapsed=collapsed,
        archive=_relative(scale, "first_protocol"),
        again=_run_again(findings, given_up),
    )
    return "\n".join((RATES, rate_table(scale, findings.evidence.task_name), changed))


def _run_again(findings: Findings, given_up: Sequence[Run]) -> str:
    """Return what runs of the first protocol gave that have a run of the same configuration; nothing where none has."""
    by_name = {run.directory.parts[-RUN_PARTS:]: run for run in findings.evidence.runs}
    values = []
    for run in given_up:
        again = by_name.get(run.directory.parts[-RUN_PARTS:])
        if again is not None:
            result = run.result
            values.append(f"`{result.method}` on {result.task} {again.result.value:.3f} in place of {result.value:.3f}")
    return RUN_AGAIN.format(values=", ".join(values)) if values else ""


def _paper() -> str:
    """Return what SCALE=paper would run and cost, and what is published for its model."""
    scale = load_scale("paper")
    hours = sum(state.hours for state in progress(scale, [], {}))
    return PAPER.format(says=scale.values["says"].partition(";")[0], hours=hours) + "\n" + published_table(scale)


def published_table(scale: Scale) -> str:
    """Return the published values of the plan's model and tasks, a line per method and size."""
    figures = read_published(ROOT / str(scale.values["published"]))
    tasks = list(scale.values["tasks"])
    by_row: dict[tuple[str, str, str], dict[str, float]] = {}
    for figure in figures:
        if figure.task in tasks and figure.model == scale.values["shared"]["model"]:
            by_row.setdefault((figure.method, figure.params, figure.source), {}).setdefault(figure.task, figure.value)
    sources = list(dict.fromkeys(source for _, _, source in by_row))
    lines = []
    for (method, params, source), values in by_row.items():
        cells = [f"{100 * values[task]:.1f}" if task in values else "-" for task in tasks]
        size = f"{int(params):,}" if params else "-"
        lines.append(Line((f"`{method}`", size, *cells, str(sources.index(source) + 1))))
    notes = "".join(f"\n{number}. {source}" for number, source in enumerate(sources, start=1))
    return table(("published, not ours", "parameters", *tasks, "source"), lines) + notes + "\n"


def _relative(scale: Scale, name: str) -> str:
    return str(scale.values[name])
