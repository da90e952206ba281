"""`gelora predict`: labels, answers or texts of a finished run for a split, a file, standard input or one question."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gelora_cli.commands.base import Command, Positional, check_values, user_path
from gelora_cli.config.keys import key, section
from gelora_cli.config.schema import DEBUG, FORCE_OUTPUT, QUOTING, SEPARATORS, RunConfig
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS, TASK_KINDS

if TYPE_CHECKING:
    from gelora_cli.data.sources import Split


@dataclass
class PredictDataConfig:
    """How a CSV file to predict is written; None: as the run's own files."""

    separator: str | None = key(
        None,
        help="what separates the columns of a CSV or TSV file; null: as in the run's data",
        choices=SEPARATORS,
        common=True,
    )
    quoting: str | None = key(
        None, help="whether fields stand in quotes; null: as in the run's data", choices=QUOTING, common=True
    )


@dataclass
class PredictCommandConfig:
    """The keys of `gelora predict RUN`."""

    split: str | None = key(None, help="predict this split of the task's data, such as test", common=True)
    file: str | None = key(
        None,
        help="a file of texts or prompts (.csv .tsv .jsonl .ndjson .parquet .txt) or questions (.json); null: stdin",
        path=True,
        common=True,
    )
    question: str | None = key(
        None, help="one question to answer, in place of a file; context= is its text", common=True
    )
    context: str | None = key(None, help="the text that question= is about", common=True)
    data: PredictDataConfig = section(PredictDataConfig, help="how the file is written")
    output: str | None = key(
        None,
        help="the file to write: .csv or .tsv for a table, .jsonl or .ndjson for JSON lines; null: standard output",
        path=True,
        common=True,
    )
    force: bool = key(False, help=FORCE_OUTPUT, common=True)
    debug: bool = key(False, help=DEBUG, common=True)


@COMMANDS.register
class Predict(Command[PredictCommandConfig]):
    """Label or answer rows, or continue prompts, with a finished run."""

    name = "predict"
    summary = "label texts, answer questions or continue prompts with a finished run"
    examples = """  gelora predict RUN split=test output=predictions.csv
  gelora predict RUN file=sentences.txt
  echo 'The cats sleeps.' | gelora predict RUN
  gelora predict RUN file=prompts.jsonl                 # of text generation, scored where completions stand beside them
  gelora predict RUN file=questions.json                # in the format of SQuAD
  gelora predict RUN 'question="Who wrote it?"' 'context="It was written by Ada Lovelace."'"""
    keys = PredictCommandConfig
    positional = Positional("RUN")

    def handle(self, config: PredictCommandConfig, paths: list[Path], typed: str) -> None:
        """Predict, and print the rows or write them where `output` says."""
        from gelora_cli.commands.outputs import check_output, write_output
        from gelora_cli.commands.prediction_files import ENDINGS, prediction_text, with_inputs
        from gelora_cli.core.logs import setup_logging
        from gelora_cli.pipeline.predict import predict

        check_values(config)
        setup_logging()
        _check_sources(config)
        if config.output:  # before the model is loaded
            check_output(user_path(config.output), force=config.force, endings=ENDINGS, kinds="a table or JSON lines")
        # How rows are read depends on the run's task, so `predict` asks for them once it has opened the run.
        task, split, rows = predict(paths[0].absolute(), lambda run: _read_split(run, config))
        target = user_path(config.output) if config.output else None
        text = prediction_text(with_inputs(task, split, rows), target)
        if target:
            write_output(target, text, force=config.force)
            print(f"{len(rows):,} predictions written to {config.output}")
        else:
            print(text, end="")


def _check_sources(config: PredictCommandConfig) -> None:
    """Refuse several sources of rows, and a question without its context."""
    if sum(value is not None for value in (config.split, config.file, config.question)) > 1:
        raise GeloraError("split=, file= and question= exclude each other; give one, or none for standard input")
    if (config.question is None) != (config.context is None):
        raise GeloraError("question=... and context=... belong together: give both")


def _read_split(run: RunConfig, config: PredictCommandConfig) -> Split:
    """Return what the user wants labelled, answered or continued, in the form of the run's task."""
    from gelora_cli.data.delimited import Dialect
    from gelora_cli.data.files import read_questions, read_rows
    from gelora_cli.data.prompts import read_prompts
    from gelora_cli.data.sources import load_unlabelled_split
    from gelora_cli.data.squad import single_question

    if config.split:
        return load_unlabelled_split(run.task, run.data, config.split)
    if TASK_KINDS.get(run.task.kind).target == "answers":
        if config.question is None or config.context is None:
            return read_questions(config.file or "-")
        return single_question(config.question, config.context)
    if config.question is not None:
        raise GeloraError(f"question=... is for question answering; task={run.task.name} takes file= or lines")
    dialect = Dialect(config.data.separator or run.data.separator, config.data.quoting or run.data.quoting)
    read = read_prompts if TASK_KINDS.get(run.task.kind).target == "completions" else read_rows
    return read(run.task, config.file or "-", dialect)
