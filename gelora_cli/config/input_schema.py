"""The keys of what a run starts from: the sections `task.`, `model.` and `data.`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Union

from gelora_cli.config.keys import key
from gelora_cli.config.method_schema import PresetConfig
from gelora_cli.core.registries import TASK_KINDS

SEPARATORS = ("auto", "comma", "semicolon", "tab", "pipe")
QUOTING = ("auto", "quotes", "none")
TABLES = ("text", "instruct", "gsm8k")
"""Sources of rows that may lie in CSV and TSV files."""
LABEL_SEPARATORS = ("auto", "pipe", "semicolon", "comma", "tab", "space")


@dataclass
class TaskConfig:
    """A task: where its rows are, what they mean and how it is evaluated.

    From `unanswerable` on the keys are those of question answering, and from `max_new_tokens` on those of generation.
    """

    name: str = key("", help="name in the run directory; empty: the file's", directory=True)
    kind: str = key("classification", help="what is predicted", choices=TASK_KINDS.names)
    source: str = key(
        "glue",
        help="where the rows come from",
        choices=("glue", "squad", "squad_v2", "text", "demo", "instruct", "gsm8k", "plural"),
        directory=True,
    )
    columns: list[str] = key(
        [], help="one or two columns of text; of question answering question and context; of generation, conversations"
    )
    prompt: str | None = key(
        None,
        help="of task.kind=generation, a prompt with {column} for the value of a column; null: the column prompt",
        absent=(None,),
    )
    completion: str | None = key(
        None, help="the same of a completion, such as ' {answer}'; null: the column completion", absent=(None,)
    )
    label: str | None = key(
        "label",
        help="of task=text, the column of labels or scores; null: none, to profile alone",
        identity=False,
        sources=("text",),
    )
    label_columns: list[str] = key(
        [], help="of task.kind=multilabel, one column of 0 and 1 per label, in place of task.label", identity=False
    )
    label_separator: str = key(
        "auto",
        help="of task.kind=multilabel, what separates the labels in a text; auto: detected where clear",
        choices=LABEL_SEPARATORS,
        identity=False,
    )
    threshold: float = key(
        0.5,
        help="of task.kind=multilabel, the probability above which a label is predicted",
        above=0,
        high=0.99,
        absent=(0.5,),
    )
    group: str | None = key(
        None, help="a column that says which rows belong together (author, article): held out together", identity=False
    )
    labels: list[str] = key([], help="names of the labels, in order; empty: those of the training rows")
    class_weights: Any = key(  # OmegaConf has no union with a list
        "none",
        help="how much each label counts in the loss: none, balanced to the rows, or a number for each label",
        absent=("none",),
    )
    metric: str = key("", help="what evaluates the task; empty: the usual one of its kind")
    reported: str = key("", help="the value of the metric that is reported; empty: the metric's usual one")
    eval_splits: list[str] = key(["validation"], help="the splits to evaluate, the deciding one first")
    test_splits: list[str] = key(["test"], help="the splits without labels, for submissions")
    split: str = key("halves", help="how protocol=split divides the evaluated rows", choices=("halves", "held_out"))
    empty_text: str = key("error", help="what happens to a row without text", choices=("error", "keep"))
    standardize: Union[bool, str] = key(  # noqa: UP007 - OmegaConf reads this form
        "auto",
        help="train on scores of mean 0 and deviation 1; auto: of task=text; predictions keep the scale",
        absent=("auto",),
    )
    max_length: int = key(128, help="tokens of a text or window; the rest is cut", low=4, high=100_000, profile=True)
    folder: str | None = key(
        None, help="where the splits lie in a directory or data set; null: at its top or in data", directory=True
    )
    unanswerable: bool = key(False, help="whether questions may have no answer", target="answers")
    misplaced_answers: str = key(
        "error", help="what happens to an answer that is not at its offset", choices=("error", "drop"), target="answers"
    )
    stride: int = key(
        128, help="context tokens that neighbouring windows share", low=0, high=100_000, profile=True, target="answers"
    )
    max_question_length: int = key(
        64, help="tokens of a question; the rest is cut", low=1, high=100_000, profile=True, target="answers"
    )
    max_answer_length: int = key(
        30, help="tokens of the longest answer that is predicted", low=1, high=100_000, target="answers"
    )
    n_best: int = key(
        20, help="candidates of a start and an end that are combined", low=1, high=1_000, target="answers"
    )
    max_new_tokens: int = key(
        256,
        help="the most tokens that are generated for a prompt",
        low=1,
        high=100_000,
        absent=(256,),
        target="completions",
    )
    answer_marker: str | None = key(
        None,
        help="the text before the answer in a completion, such as '####'; null: the whole completion",
        absent=(None,),
        target="completions",
    )
    answer_form: str = key(
        "text",
        help="what an answer behind the marker is: the rest of its line, or a number without commas",
        choices=("text", "number"),
        absent=("text",),
        target="completions",
    )
    presets: dict[str, dict[str, PresetConfig]] = key(
        {}, help="method family, then model (or default), to training settings", identity=False
    )


def label_columns(task: TaskConfig) -> list[str]:
    """Return the columns that hold the labels of `task=text`: those of single labels, else the one of `task.label`."""
    if task.label_columns:
        return [*task.label_columns]
    return [] if task.label is None else [task.label]


@dataclass
class ModelConfig:
    """A model on the hub, in an installed package, or under a path of the user's.

    `sha256` and `bytes` are those of `model.safetensors` of package and hub; by them a copy under a path is recognised.
    What the weights hold is in the fingerprint of the model, so that few of these keys count themselves.
    """

    name: str = key("custom", help="name in the run directory", directory=True, identity=False)
    hub: str | None = key(None, help="the model's id on the hub", identity=False)
    path: str | None = key(
        None, help="your own model: a directory, or an id on the hub", path=True, identity=False, common=True
    )
    revision: str | None = key(None, help="revision on the hub; null: the newest", identity=False)
    package: str | None = key(None, help="an installed package that holds the model", identity=False)
    sha256: str | None = key(None, help="sha256 of model.safetensors, by which a copy is recognised", identity=False)
    bytes: int | None = key(None, help="size of model.safetensors", identity=False)
    dtype: str = key(
        "float32",
        help="how the frozen weights are stored: in float32, in bf16, or in 4bit (NF4, needs bitsandbytes)",
        choices=("float32", "bf16", "4bit"),
        absent=("float32",),
        profile=True,
        common=True,
    )
    dropout: float | None = key(
        None, help="dropout in the model; null: as its configuration has it", low=0, high=0.99, identity="dropout"
    )
    head: str = key(
        "auto",
        help="how a classification head is taken over: by the names of its labels, or as its rows lie",
        choices=("auto", "positional"),
        identity="model_head",
        absent=("auto",),
    )
    blocks: str | None = key(
        None,
        help="the list of blocks, of a kind of model that gelora does not know, such as transformer.layer",
        identity="linears",
        profile=True,
    )
    linears: dict[str, str] = key(
        {},
        help="role (query, key, value, qkv, output, up, gate, gate_up, down) to the linear's name in a block",
        identity="linears",
        profile=True,
    )
    accept_map: bool = key(
        False, help="take the blocks and linears that were found in a model of an undeclared kind", identity=False
    )


@dataclass
class DataConfig:
    """Where the data is: a hub id, or a local directory with the same layout; of `text` also a file.

    What the rows hold is in the fingerprints of the data, so that few of these keys count themselves. `glue` names no
    sources, since scripts give it to every task.
    """

    glue: str = key(
        "nyu-mll/glue", help="GLUE: hub id, or a directory of the same layout", path=True, identity=False, common=True
    )
    squad: str = key(
        "rajpurkar/squad",
        help="SQuAD: hub id, directory, or FILE.json",
        path=True,
        identity=False,
        common=True,
        sources=("squad",),
    )
    squad_v2: str = key(
        "rajpurkar/squad_v2",
        help="SQuAD 2.0: hub id, directory, or FILE.json",
        path=True,
        identity=False,
        common=True,
        sources=("squad_v2",),
    )
    text: str | None = key(
        None,
        help="your own texts, for task=text: a file (.csv .tsv .jsonl .ndjson .parquet .txt), a directory or a hub id",
        path=True,
        identity=False,
        common=True,
        sources=("text",),
    )
    text_validation: str | None = key(
        None,
        help="your own texts to evaluate; null: rows held out from data.text",
        path=True,
        identity=False,
        common=True,
        sources=("text",),
    )
    instruct: str | None = key(
        None,
        help="your own prompts and completions, for task=instruct: a file (.jsonl .parquet ...), directory or hub id",
        path=True,
        identity=False,
        common=True,
        sources=("instruct",),
    )
    instruct_validation: str | None = key(
        None,
        help="your own prompts and completions to evaluate; null: rows held out from data.instruct",
        path=True,
        identity=False,
        common=True,
        sources=("instruct",),
    )
    gsm8k: str = key(
        "openai/gsm8k",
        help="GSM8K: hub id, or a directory of the same layout",
        path=True,
        identity=False,
        common=True,
        sources=("gsm8k",),
    )
    separator: str = key(
        "auto",
        help="what separates the columns of CSV and TSV files; auto: detected where clear",
        choices=SEPARATORS,
        identity=False,
        common=True,
        sources=TABLES,
    )
    quoting: str = key(
        "auto",
        help="whether fields stand in quotes; none: a quote is a character like any other",
        choices=QUOTING,
        identity=False,
        common=True,
        sources=TABLES,
    )
    max_train_examples: int | None = key(
        None,
        help="train on only so many rows, drawn with the seed; null: all",
        low=1,
        identity="max_train_examples",
        common=True,
    )
    max_eval_examples: int | None = key(
        None,
        help="evaluate only so many rows of each split, the same for every seed and method; null: all",
        low=1,
        identity="max_eval_examples",
        absent=(None,),
        common=True,
    )
    holdout: float | None = key(
        None,
        help="train without this share of the training rows, and evaluate on them alone, as gelora tune does",
        above=0,
        high=0.5,
        identity="holdout",
        absent=(None,),
    )
