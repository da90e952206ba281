"""From Hydra's overrides to one typed, checked and completed `RunConfig`."""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from textwrap import shorten
from types import SimpleNamespace
from typing import Any, Union, cast

import yaml

from gelora_cli.allocation.planning import ADAPTER_ROLES, EXEMPT, METHODS, needs_profile
from gelora_cli.allocation.ranks import PLANNED
from gelora_cli.allocation.saved_plan import read_plan
from gelora_cli.config.shipped import known_model, preset_content, shipped_presets
from gelora_cli.config.typed import typed
from gelora_cli.core.artifacts import RankPlan
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import read_text
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.messages import listed, shown_name
from gelora_cli.core.registries import METRICS
from gelora_cli.core.rundir import write_atomic


@dataclass
class PresetConfig:
    """Training settings for one task, method family and model, with where they come from.

    Without `epochs`, `batch_size` and `modules` they are those of the task's own preset for `gelora`, so that methods
    train alike. `scaling` belongs to the learning rate, and is taken over by no other preset.
    """

    learning_rate: float
    source: str
    epochs: int | None = None
    batch_size: int | None = None
    scaling: float | None = None
    modules: str | None = None


@dataclass
class TaskConfig:
    """A task: where its rows are, what they mean and how it is judged; `split` is how `protocol=split` parts them.

    `label` is the column with labels or scores of `source=text`, `group` one that says which rows belong together.
    Where `name`, `metric` and `reported` are empty they follow from the file, the kind and the metric; where `labels`
    are, `source=text` takes those of the training rows. With `standardize` a regression trains on scores of mean 0 and
    standard deviation 1 over its training rows; `auto` does so for `source=text`. Predictions and metrics are on the
    scale of the data either way.
    From `unanswerable` on the keys are those of question answering; lengths and `stride` (the context tokens that
    neighbouring windows share) are in tokens.
    """

    name: str = ""
    kind: str = "classification"
    source: str = "glue"
    columns: list[str] = field(default_factory=list)
    label: str | None = "label"
    group: str | None = None
    labels: list[str] = field(default_factory=list)
    metric: str = ""
    reported: str = ""
    eval_splits: list[str] = field(default_factory=lambda: ["validation"])
    test_splits: list[str] = field(default_factory=lambda: ["test"])
    split: str = "halves"
    empty_text: str = "error"
    standardize: Union[bool, str] = "auto"  # noqa: UP007 - OmegaConf reads this form
    max_length: int = 128
    folder: str | None = None
    unanswerable: bool = False
    misplaced_answers: str = "error"
    stride: int = 128
    max_question_length: int = 64
    max_answer_length: int = 30
    n_best: int = 20
    presets: dict[str, dict[str, PresetConfig]] = field(default_factory=dict)


@dataclass
class ModelConfig:
    """A model on the hub, in an installed package, or under a path of the user's.

    `sha256` and `bytes` are those of `model.safetensors` of package and hub; by them a copy under a path is recognised.
    `head`: `auto` takes over a classification head by the names of its labels, `positional` as its rows lie.
    """

    name: str = "custom"
    hub: str | None = None
    path: str | None = None
    revision: str | None = None
    package: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    dropout: float | None = None
    head: str = "auto"
    blocks: str | None = None
    linears: dict[str, str] = field(default_factory=dict)


@dataclass
class MethodConfig:
    """A fine-tuning method; `preset` names the family of training settings that it takes.

    What a method has no use for is None (`METHOD_KEYS` says which has what). `modules` and `scaling` that are None
    come from the preset, else from `DEFAULT_MODULES` and `DEFAULT_SCALING`. `presets` are task (or `default`) to model
    (or `default`) to settings, for methods that don't take GeLoRA's.
    """

    name: str = "gelora"
    preset: str = "gelora"
    modules: str | None = None
    scaling: float | None = None
    dropout: float | None = 0.0
    start_ratio: float | None = None
    tinit: float | None = None
    tfinal: float | None = None
    delta_t: float | None = None
    orthogonality: float | None = None
    threshold_total: float | None = None
    prune_at: float | None = None
    threshold_rule: str | None = None
    gate_penalty: float | None = None
    layer_norms: bool | None = None
    rho: float | None = None
    presets: dict[str, dict[str, PresetConfig]] = field(default_factory=dict)


@dataclass
class ProfileConfig:
    """How the idim profile is measured.

    `track` measures it again while a model is fine-tuned, on `track_examples` (None: all), with stable ranks of the
    blocks' Jacobians at `track_tokens` tokens; it changes no number.
    """

    pooling: str = "mean"
    estimator: str = "fit"
    discard: float = 0.1
    max_examples: int = 10_000
    seed: int = 0
    batch_size: int = 64
    track: bool = False
    track_examples: int | None = 500
    track_tokens: int = 4


@dataclass
class RanksConfig:
    """How a profile and a budget become ranks; `path` takes a saved plan instead."""

    rule: str = "growth+1"
    rounding: str = "up"
    on_deficit: str = "error"
    path: str | None = None


@dataclass
class TrainConfig:
    """Fine-tuning; what is None comes from the task's preset. `batch_size` is the global batch."""

    epochs: int | None = None
    max_steps: int | None = None
    batch_size: int | None = None
    micro_batch_size: int | None = None
    learning_rate: float | None = None
    warmup_ratio: float = 0.06
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    eval_batch_size: int = 64
    log_steps: int = 20
    checkpoint_steps: int | None = None
    checkpoint_seconds: float | None = 300.0


@dataclass
class LaunchConfig:
    """How many worker processes share the work."""

    processes: int = 1


@dataclass
class DataConfig:
    """Where the data is: a hub id, or a local directory with the same layout; of `text` also a file.

    `separator` and `quoting` say how CSV and TSV files are written; `auto` finds it where it is clear.
    """

    glue: str = "nyu-mll/glue"
    squad: str = "rajpurkar/squad"
    squad_v2: str = "rajpurkar/squad_v2"
    text: str | None = None
    text_validation: str | None = None
    separator: str = "auto"
    quoting: str = "auto"
    max_train_examples: int | None = None
    max_eval_examples: int | None = None


@dataclass
class RunConfig:
    """The whole configuration of a run.

    `init_from` is an earlier run's directory, whose adapter is merged into the base; `preset_source` says where
    completed training settings come from.
    """

    task: TaskConfig = field(default_factory=TaskConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    profile: ProfileConfig = field(default_factory=ProfileConfig)
    ranks: RanksConfig = field(default_factory=RanksConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    data: DataConfig = field(default_factory=DataConfig)
    budget: Union[int, float, str] = "auto"  # noqa: UP007 - OmegaConf reads this form
    seed: int = 0
    precision: str = "auto"
    protocol: str = "last"
    init_from: str | None = None
    runs_dir: str = "runs"
    force: bool = False
    smoke: bool = False
    dry_run: bool = False
    debug: bool = False
    preset_source: str = ""


@dataclass
class RanksCommandConfig:
    """`gelora ranks PATH`: re-plan from a saved profile."""

    method: MethodConfig = field(default_factory=MethodConfig)
    ranks: RanksConfig = field(default_factory=RanksConfig)
    budget: Union[int, float, str] = "auto"  # noqa: UP007
    seed: int = 0
    output: str | None = None
    force: bool = False
    debug: bool = False


@dataclass
class EvaluateCommandConfig:
    """`gelora evaluate RUN`: score a finished run's adapter again."""

    launch: LaunchConfig = field(default_factory=LaunchConfig)
    output: str | None = None
    force: bool = False
    debug: bool = False


@dataclass
class PredictDataConfig:
    """How a CSV file to predict is written; None: as the run's own files."""

    separator: str | None = None
    quoting: str | None = None


@dataclass
class PredictCommandConfig:
    """`gelora predict RUN`: label a split, a file, or standard input; or answer one question about a context."""

    split: str | None = None
    file: str | None = None
    question: str | None = None
    context: str | None = None
    data: PredictDataConfig = field(default_factory=PredictDataConfig)
    output: str | None = None
    force: bool = False
    debug: bool = False


@dataclass
class SubmitDataConfig:
    """Where a submission's test rows are; None: where each run's data was."""

    glue: str | None = None


@dataclass
class SubmitCommandConfig:
    """`gelora submit DIR...`: a submission to the GLUE benchmark from finished runs."""

    output: str | None = None
    choose: str | None = None
    check_rows: bool = True
    fill_missing: bool = False
    data: SubmitDataConfig = field(default_factory=SubmitDataConfig)
    debug: bool = False


@dataclass
class ExportCommandConfig:
    """`gelora export RUN`: a finished run as a whole model, or its adapter alone."""

    output: str | None = None
    form: str = "merged"
    debug: bool = False


@dataclass
class LsCommandConfig:
    """`gelora ls DIR`: the runs below a directory, as a table or as JSON; `verify` compares files with their sha256."""

    runs_dir: str = "runs"
    verify: bool = False
    json: bool = False
    debug: bool = False


@dataclass
class ReportCommandConfig:
    """`gelora report DIR...`: runs as one page, tables and pictures."""

    output: str = "report"
    title: str = "Which rank where"
    mix_protocols: bool = False
    published: str | None = None
    figures: bool = True
    force: bool = False
    debug: bool = False


@dataclass
class DoctorCommandConfig:
    """`gelora doctor`: what this machine has and lacks."""

    runs_dir: str = "runs"
    debug: bool = False


SCHEMAS: dict[str, type] = {
    "run": RunConfig,
    "ranks": RanksCommandConfig,
    "evaluate": EvaluateCommandConfig,
    "predict": PredictCommandConfig,
    "submit": SubmitCommandConfig,
    "export": ExportCommandConfig,
    "ls": LsCommandConfig,
    "report": ReportCommandConfig,
    "doctor": DoctorCommandConfig,
}

BATCH_SIZE = 32
"""Of a preset that names none."""

DEFAULT_MODULES, DEFAULT_SCALING = "attention", 32.0
"""What is adapted and `alpha / r`, where neither the configuration nor its preset says so."""

KIND_METRICS: dict[str, tuple[str, ...]] = {
    "classification": ("accuracy", "accuracy_f1", "mcc"),
    "regression": ("pearson_spearman",),
    "question_answering": ("squad", "squad_v2"),
}
"""Kind of task -> the metrics that judge it, the usual one first."""

CHOICES: dict[str, tuple[str, ...]] = {
    "task.kind": tuple(KIND_METRICS),
    "task.source": ("glue", "squad", "squad_v2", "text", "demo"),
    "task.empty_text": ("error", "keep"),
    "task.split": ("halves", "held_out"),
    "task.misplaced_answers": ("error", "drop"),
    "data.separator": ("auto", "comma", "semicolon", "tab", "pipe"),
    "data.quoting": ("auto", "quotes", "none"),
    "model.head": ("auto", "positional"),
    "method.name": METHODS,
    "method.modules": ("attention", "all"),
    "method.threshold_rule": ("paper", "code"),
    "profile.pooling": ("mean", "cls", "last"),
    "profile.estimator": ("fit", "mle"),
    "ranks.rule": ("growth+1", "growth"),
    "ranks.rounding": ("up", "nearest", "down"),
    "ranks.on_deficit": ("error", "shrink"),
    "choose": ("best",),
    "form": ("merged", "adapter"),
    "precision": ("auto", "float32", "bf16"),
    "protocol": ("last", "dev", "split"),
}

NAMES = ("task.name", "task.folder", "task.source", "model.name")
"""What becomes a part of a path."""

LONGEST_NAME = 100
"""Characters of a name: file systems take 255 bytes, and parts of our own are added."""

LORA_LIKE = (*PLANNED, "eva", "adalora", "sora")
METHOD_KEYS: dict[str, tuple[str, ...]] = {
    "scaling": LORA_LIKE,
    "dropout": LORA_LIKE,
    "start_ratio": ("adalora", "sora"),
    "tinit": ("adalora",),
    "tfinal": ("adalora",),
    "delta_t": ("adalora",),
    "orthogonality": ("adalora",),
    "threshold_total": ("sora",),
    "prune_at": ("sora",),
    "threshold_rule": ("sora",),
    "gate_penalty": ("sora",),
    "layer_norms": ("sora",),
    "rho": ("eva",),
}
"""Setting of a method -> the methods that have it."""

MEASUREMENT = (
    2  # raised when the same text and settings would profile to other numbers: saved profiles are then not reused
)

NUMERICS = 2
"""The version of a run's arithmetic, part of its identity: raised when the same configuration would train to other
numbers, so that older runs stay readable but never count as done and are never averaged with newer ones."""


@dataclass(frozen=True)
class SmokeLimits:
    """The most of each that `smoke=true` takes: rows of the profile, of training, of each evaluated split, epochs."""

    profile_examples: int = 200
    train_examples: int = 128
    eval_examples: int = 64
    epochs: int = 1


SMOKE = SmokeLimits()

LATER_KEYS: dict[str, Any] = {
    "task.standardize": "auto",
    "method.threshold_rule": "paper",
    "method.gate_penalty": 0.0,
    "model_head": "auto",
    "max_eval_examples": None,
    "smoke": False,
}
"""Key that was added to the schema after runs had been written -> its default. A key is left out of the identity
while it has its default, so that adding one changes no existing run directory."""

SECTION_START = re.compile(r"\n(?=[a-z_]+:)")
"""Where a top-level key of a saved configuration begins, beside the first."""

LIBYAML_CHARACTERS = 10_000
"""Sections up to this length go to libyaml: 20,000 characters nest too little to overflow its stack."""

# key: (lowest accepted, is the lowest itself accepted, highest accepted)
BOUNDS: dict[str, tuple[float, bool, float]] = {
    "seed": (0, True, 2**31 - 1),
    "task.max_length": (4, True, 100_000),
    "task.stride": (0, True, 100_000),
    "task.max_question_length": (1, True, 100_000),
    "task.max_answer_length": (1, True, 100_000),
    "task.n_best": (1, True, 1_000),
    "model.dropout": (0, True, 0.99),
    "method.scaling": (0, False, math.inf),
    "method.dropout": (0, True, 0.99),
    "method.start_ratio": (1, True, 100),
    "method.tinit": (0, True, 1),
    "method.tfinal": (0, True, 1),
    "method.delta_t": (0, False, 1),
    "method.orthogonality": (0, True, math.inf),
    "method.threshold_total": (0, True, math.inf),
    "method.prune_at": (0, False, 1),
    "method.gate_penalty": (0, True, math.inf),
    "method.rho": (1, True, 100),
    "profile.discard": (0, True, 0.9),
    "profile.max_examples": (20, True, math.inf),
    "profile.seed": (0, True, 2**31 - 1),
    "profile.batch_size": (1, True, math.inf),
    "profile.track_examples": (20, True, math.inf),
    "profile.track_tokens": (1, True, math.inf),
    "train.epochs": (1, True, math.inf),
    "train.max_steps": (1, True, math.inf),
    "train.batch_size": (1, True, math.inf),
    "train.micro_batch_size": (1, True, math.inf),
    "train.learning_rate": (0, False, math.inf),
    "train.warmup_ratio": (0, True, 1),
    "train.weight_decay": (0, True, math.inf),
    "train.max_grad_norm": (0, False, math.inf),
    "train.eval_batch_size": (1, True, math.inf),
    "train.log_steps": (1, True, math.inf),
    "train.checkpoint_steps": (1, True, math.inf),
    "train.checkpoint_seconds": (0, True, math.inf),
    "launch.processes": (1, True, math.inf),
    "data.max_train_examples": (1, True, math.inf),
    "data.max_eval_examples": (1, True, math.inf),
}


PRESET_BOUNDS: dict[str, tuple[str, Any]] = {
    "learning_rate": ("train.learning_rate", int | float),
    "epochs": ("train.epochs", int),
    "batch_size": ("train.batch_size", int),
    "scaling": ("method.scaling", int | float),
}
"""Number of a preset -> the key whose bounds it has, and its types."""


def config_dir() -> Path:
    """The folder of Hydra's groups: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def nearest(name: str, accepted: Iterable[str]) -> str:
    """Return `accepted: a, b, c`, preceded by the nearest of them to `name` if one is near; many are cut short."""
    names = sorted(accepted)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"did you mean {shown_name(close[0])}? " if close else ""
    return f"{hint}accepted: {listed(names)}"


def complete(config: RunConfig) -> RunConfig:
    """The configuration with presets filled in and paths made absolute; nothing that matters is left None.

    Raises:
        GeloraError: every problem with a value at once.
    """
    problems = value_problems(config)
    if problems:
        raise GeloraError(list_problems(problems))
    return _with_smoke(_with_presets(_with_saved_plan(_with_task(_with_paths(config)))))


def list_problems(problems: list[str]) -> str:
    """All configuration errors as one message."""
    if len(problems) == 1:
        return problems[0]
    return f"{len(problems)} problems with the configuration:\n" + "\n".join(f"  - {text}" for text in problems)


def value_problems(config: Any) -> list[str]:
    """What is wrong with the values of a composed configuration, each as one sentence with its fix."""
    problems = [_choice_problem(config, key, accepted) for key, accepted in CHOICES.items()]
    problems += [_bound_problem(config, key, *bound) for key, bound in BOUNDS.items()]
    problems += [_budget_problem(config), *(_name_problem(config, key) for key in NAMES)]
    if hasattr(config, "method"):
        problems += [_method_problem(config.method, key, owners) for key, owners in METHOD_KEYS.items()]
        problems += [_schedule_problem(config.method)]
    if isinstance(config, RunConfig):
        problems += [_batch_problem(config), _preset_problem(config), _saved_plan_problem(config)]
        problems += [_window_problem(config.task), _unanswerable_problem(config.task)]
        problems += [_metric_problem(config.task), _column_problem(config.task), _group_problem(config.task)]
        problems += [_standardize_problem(config.task)]
        problems += [_split_problem(config.task), _labels_problem(config.task)]
    return [problem for problem in problems if problem]


def identity_hash(config: RunConfig, fingerprints: dict[str, str]) -> str:
    """Eight hex digits over exactly what can change a number of this run (design: run directories)."""
    text = json.dumps(identity_values(config) | {"fingerprints": fingerprints}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def identity_values(config: RunConfig) -> dict[str, Any]:
    """The settings that can change a number of this run, beside what model and data hold.

    What `init_from` merges into the model is in the model's fingerprint.
    """
    values, budget = asdict(config), parse_budget(config.budget)
    for key in ("runs_dir", "force", "dry_run", "debug", "launch", "preset_source", "data", "model", "init_from"):
        del values[key]
    values["task"].pop("presets")
    if config.protocol != "split":
        del values["task"]["split"]
    for key in ("label", "group"):  # which column holds them says nothing of what they are
        del values["task"][key]
    values["profile"] = profile_values(config.profile)
    for key in ("log_steps", "checkpoint_steps", "checkpoint_seconds"):
        del values["train"][key]
    values["budget"] = budget.name
    priced = config.method.name not in (*EXEMPT, *ADAPTER_ROLES) or (
        config.method.name in ADAPTER_ROLES and budget.kind in ("rank", "auto")
    )
    taken = ("scaling", "modules") if config.ranks.path is not None else () if priced else ("modules",)
    aside = ("preset", "presets", *taken)
    values["method"] = {key: value for key, value in values["method"].items() if key not in aside and value is not None}
    planned = config.ranks.path is not None  # ranks, scaling and modules are the saved plan's
    if planned or not needs_profile(config.method.name, budget):
        del values["profile"], values["ranks"]
    else:
        del values["ranks"]["path"]
    if planned or config.method.name in EXEMPT:
        del values["budget"]
    values["max_train_examples"] = config.data.max_train_examples
    values["max_eval_examples"] = config.data.max_eval_examples
    values["dropout"] = config.model.dropout
    values["linears"] = [config.model.blocks, dict(config.model.linears)]
    values["model_head"] = config.model.head
    values["numerics"] = NUMERICS
    for key, default in LATER_KEYS.items():
        section, _, name = key.rpartition(".")
        holder = values.get(section, {}) if section else values
        if name in holder and holder[name] == default:
            del holder[name]
    return values


def plan_settings(config: RunConfig | RanksCommandConfig) -> dict[str, Any]:
    """What `plan_method` takes of a configuration, beside the budget."""
    ranks, method = config.ranks, config.method
    return {
        "method": method.name,
        "seed": config.seed,
        "modules": method.modules or DEFAULT_MODULES,
        "scaling": _scaling(method, None),
        "start_ratio": method.start_ratio,
        "layer_norms": method.layer_norms,
        "rule": ranks.rule,
        "rounding": ranks.rounding,
        "on_deficit": ranks.on_deficit,
    }


def profile_values(profile: ProfileConfig) -> dict[str, Any]:
    """The settings of a profile that can change a number of it; tracking only observes."""
    return {key: value for key, value in asdict(profile).items() if not key.startswith("track")}


def profile_hash(config: RunConfig, model: str, text: str) -> str:
    """Sixteen hex digits over what a profile depends on: model, text, lengths (and windows) and profile settings."""
    values = profile_values(config.profile) | {
        "measurement": MEASUREMENT,
        "max_length": config.task.max_length,
        "model": model,
        "text": text,
        "linears": [config.model.blocks, dict(config.model.linears)],
    }
    if config.task.kind == "question_answering":
        values |= {"stride": config.task.stride, "max_question_length": config.task.max_question_length}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def write_config(config: RunConfig, path: Path) -> None:
    """Freeze a completed configuration: nothing interpolated, nothing to compose again."""
    write_atomic(path, config_text(config))


def config_text(config: RunConfig) -> str:
    """A configuration as `read_config` reads it: plain YAML, in which every text is itself."""
    return str(yaml.safe_dump(asdict(config), sort_keys=False, allow_unicode=True))


def read_config(path: Path) -> RunConfig:
    """A frozen configuration, typed; its texts are taken as they are, whatever `${...}` they hold.

    Raises:
        GeloraError: it is missing, damaged or edited into something that the schema refuses.
    """
    return parse_config(read_text(path, "a run's configuration"), str(path))


def parse_config(text: str, source: str = "text") -> RunConfig:
    """The configuration that `config_text` wrote; `source` names it in errors.

    Raises:
        GeloraError: it is damaged or edited into something that the schema refuses.
    """
    try:
        return cast(RunConfig, typed(RunConfig, _plain_yaml(text)))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = shorten(" ".join(str(error).split()), 300)
        raise GeloraError(f"{source} can't be read as a run's configuration: {reason}") from error


def _plain_yaml(text: str) -> Any:
    """YAML's plain values.

    Runs share most of their sections, so that each section is parsed alone and once for equal texts. A text that is
    not made of sections, as after an edit, is parsed as a whole.
    """
    values: dict[str, Any] = {}
    with contextlib.suppress(yaml.YAMLError, ValueError):
        for section in SECTION_START.split(text):
            values |= dict(_parsed_section(section))
        return values
    return yaml.safe_load(text)


@functools.lru_cache(maxsize=512)
def _parsed_section(text: str) -> dict[str, Any]:
    """One top-level key of a configuration with its value, not to be changed by the caller.

    Raises:
        yaml.YAMLError, ValueError: the text is something else.
    """
    # libyaml is ten times as fast, but overflows the stack of a text that is nested too deeply, and refuses surrogates.
    plain = len(text) <= LIBYAML_CHARACTERS and text.isascii() and r"\u" not in text.lower()
    values = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader) if plain else yaml.SafeLoader)
    if not isinstance(values, dict) or len(values) != 1:
        raise ValueError("not one key with its value")
    return values


def slug(name: str) -> str:
    """A name that is safe as one directory: letters, digits, `.`, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "custom"


def _choice_problem(config: Any, key: str, accepted: tuple[str, ...]) -> str | None:
    value = _get(config, key)
    if value is None or value in accepted:
        return None
    return f"{key}={value}: not known; {nearest(str(value), accepted)}"


def _bound_problem(config: Any, key: str, low: float, closed: bool, high: float) -> str | None:
    value = _get(config, key)
    if value is None or _is_within(value, low, closed, high):
        return None
    below = f"{'at least' if closed else 'above'} {low}"
    above = "" if high == math.inf else f" and at most {high}"
    return f"{key}={value}: accepted is a number {below}{above}"


def _is_within(value: float, low: float, closed: bool, high: float) -> bool:
    """Whether a number is finite and between the bounds; an integer that no float can hold is not."""
    try:
        finite = math.isfinite(value)
    except OverflowError:
        return False
    return finite and (low <= value if closed else low < value) and value <= high


def _budget_problem(config: Any) -> str | None:
    if not hasattr(config, "budget"):
        return None
    try:
        parse_budget(config.budget)
    except GeloraError as error:
        return str(error)
    return None


def _name_problem(config: Any, key: str) -> str | None:
    """Names become directories: one that is no plain word could lead out of the runs directory."""
    name = _get(config, key)
    if name and len(name) > LONGEST_NAME:
        return f"{key}={name}: {len(name)} characters; at most {LONGEST_NAME} are accepted, since it names a directory"
    if not name or slug(name) == name:
        return None
    return (
        f"{key}={name}: letters, digits, '.', '_' and '-' are accepted, since it names a directory; take {slug(name)}"
    )


def _method_problem(method: MethodConfig, key: str, owners: tuple[str, ...]) -> str | None:
    value = getattr(method, key)
    if method.name not in METHODS or (method.name in owners) is (value is not None):
        return None
    if key == "scaling" and value is None:  # of the preset
        return None
    if value is None:
        return f"method.{key}=null: method={method.name} needs it; leave the key out to have the method's own"
    return f"method.{key}={value}: method={method.name} has no such setting; those that have it: {', '.join(owners)}"


def _schedule_problem(method: MethodConfig) -> str | None:
    if method.tinit is None or method.tfinal is None or method.tinit + method.tfinal < 1:
        return None
    return (
        f"method.tinit={method.tinit} and method.tfinal={method.tfinal} leave no step in which ranks are pruned: they "
        "are shares of the optimizer steps, and their sum must be below 1"
    )


def _saved_plan_problem(config: RunConfig) -> str | None:
    """Return what does not go with `ranks.path`: no plan there, another method's, or keys that would change nothing."""
    path = config.ranks.path
    if path is None:
        return None
    usable = f"leave ranks.path out, or take one of {', '.join(PLANNED)}"
    if config.method.name not in PLANNED:
        return f"ranks.path={path}: method={config.method.name} takes no saved ranks; {usable}"
    try:
        plan = read_plan(path)
    except GeloraError as error:
        return str(error)
    if plan.method not in PLANNED:
        return f"ranks.path={path} holds a plan of method={plan.method}, which are no ranks of LoRA; {usable}"
    ignored = _ignored_beside(config, plan)
    if not ignored:
        return None
    return (
        f"ranks.path={path} brings a whole plan (method={plan.method} budget={plan.budget} method.modules="
        f"{plan.modules} method.scaling={plan.scaling:g}); beside it {' '.join(ignored)} would change nothing. Leave "
        "that out, or leave ranks.path out to plan again from the saved profile"
    )


def _ignored_beside(config: RunConfig, plan: RankPlan) -> list[str]:
    """Return the keys that a saved plan would overrule: those that have neither their default nor the plan's value."""
    ranks, method, default = config.ranks, config.method, RanksConfig()
    kept: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "method": (method.name, ("gelora", plan.method)),
        "method.modules": (method.modules, (None, plan.modules)),
        "method.scaling": (method.scaling, (None, plan.scaling)),
        "ranks.rule": (ranks.rule, (default.rule, plan.rule)),
        "ranks.rounding": (ranks.rounding, (default.rounding, plan.rounding)),
        "ranks.on_deficit": (ranks.on_deficit, (default.on_deficit, plan.on_deficit)),
    }
    with suppress(GeloraError):  # a wrong budget is named by itself
        kept["budget"] = (parse_budget(config.budget).name, ("auto", plan.budget))
    if not config.profile.track and not config.smoke:  # which look at the profile's settings, or set them
        usual = profile_values(ProfileConfig())
        kept |= {f"profile.{key}": (value, (usual[key],)) for key, value in profile_values(config.profile).items()}
    return [f"{key}={value}" for key, (value, accepted) in kept.items() if value not in accepted]


def _with_saved_plan(config: RunConfig) -> RunConfig:
    """Take over what a saved plan brings, so that the configuration says what is trained."""
    if config.ranks.path is None:
        return config
    plan = read_plan(config.ranks.path)
    ranks = replace(config.ranks, rule=plan.rule, rounding=plan.rounding, on_deficit=plan.on_deficit)
    method = replace(config.method, name=plan.method, modules=plan.modules, scaling=plan.scaling)
    return replace(config, ranks=ranks, method=method, budget=plan.budget)


def _batch_problem(config: RunConfig) -> str | None:
    batch, micro, processes = _batch_size(config), config.train.micro_batch_size, config.launch.processes
    if batch is None or batch < 1 or processes < 1:
        return None
    if batch % processes:
        return (
            f"train.batch_size={batch} is not divisible among launch.processes={processes}: the global batch is shared "
            f"equally; take train.batch_size={batch + processes - batch % processes} or another number of processes"
        )
    share = batch // processes
    if micro is not None and micro > 0 and share % micro:
        return (
            f"train.micro_batch_size={micro} does not divide the {share} examples that each of {processes} processes "
            f"takes of train.batch_size={batch}; take a divisor of {share}"
        )
    return None


def _preset_problem(config: RunConfig) -> str | None:
    preset = _preset(config)
    if preset is not None:
        return _preset_value_problem(preset)
    needed = [key for key in ("learning_rate", "epochs", "batch_size") if getattr(config.train, key) is None]
    if not needed:
        return None
    missing = " ".join(f"train.{key}=..." for key in needed)
    return f"task={config.task.name} has no preset for {config.method.preset} to complete: give {missing}"


def _preset_value_problem(preset: PresetConfig) -> str | None:
    """Return what is wrong with the values of a preset, which OmegaConf leaves unchecked."""
    for key, (bound, kinds) in PRESET_BOUNDS.items():
        value = getattr(preset, key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
            what = "a whole number" if kinds is int else "a number"
            return f"preset.{key}={str(value)[:40]}: accepted is {what}"
        problem = _bound_problem(SimpleNamespace(preset=preset), f"preset.{key}", *BOUNDS[bound])
        if problem:
            return problem
    return _choice_problem(SimpleNamespace(preset=preset), "preset.modules", CHOICES["method.modules"])


def _window_problem(task: TaskConfig) -> str | None:
    special = 4  # as many as the known tokenizers put around a question and a context
    room = task.max_length - task.max_question_length - special
    if task.kind != "question_answering" or room > task.stride:
        return None
    return (
        f"task.max_length={task.max_length} leaves {max(room, 0)} tokens of context beside task.max_question_length="
        f"{task.max_question_length} and {special} special tokens, which must be more than task.stride={task.stride}: "
        f"take task.max_length={task.max_question_length + special + task.stride + 1} or more, or lower the others"
    )


def _unanswerable_problem(task: TaskConfig) -> str | None:
    if task.kind != "question_answering" or (task.metric == "squad_v2") is task.unanswerable:
        return None
    fix = "task.metric=squad_v2" if task.unanswerable else "task.metric=squad"
    return f"task.unanswerable={str(task.unanswerable).lower()} does not go with task.metric={task.metric}; take {fix}"


def _metric_problem(task: TaskConfig) -> str | None:
    metrics = KIND_METRICS.get(task.kind)
    if metrics is None:
        return None
    metric = task.metric or metrics[0]
    if metric not in metrics:
        return f"task.metric={metric} does not judge task.kind={task.kind}; {nearest(metric, metrics)}"
    values = METRICS.get(metric).values()
    if not task.reported or task.reported in values:
        return None
    return f"task.reported={task.reported} is no value of task.metric={metric}; {nearest(task.reported, values)}"


def standardizes(task: TaskConfig) -> bool:
    """Whether a completed task trains on standardised scores."""
    if task.kind != "regression":
        return False
    return task.source == "text" if task.standardize == "auto" else bool(task.standardize)


def _standardize_problem(task: TaskConfig) -> str | None:
    if task.standardize not in ("auto", True, False):
        return f"task.standardize={task.standardize}: not known; accepted: auto, true, false"
    if task.standardize is True and task.kind != "regression":
        return f"task.standardize=true: only scores are standardised, task.kind={task.kind} has none; leave it out"
    return None


def _column_problem(task: TaskConfig) -> str | None:
    if task.kind == "question_answering":
        if task.source == "text":
            return f"task.kind={task.kind} needs task=squad data.squad=FILE.json; task=text takes labels or scores"
        if len(set(task.columns)) != 2 or len(task.columns) != 2:
            return f"{_columns_text(task)}: two different columns are accepted, of the questions and of their contexts"
        return None
    label = task.label if task.source == "text" else "label"
    if len(task.columns) not in (1, 2) or len({*task.columns, label}) <= len(task.columns):
        shown = _columns_text(task) + (f" task.label={task.label}" if task.source == "text" else "")
        return f"{shown}: one or two columns of text and another one for the label are accepted"
    return None


def _columns_text(task: TaskConfig) -> str:
    return f"task.columns=[{listed(task.columns)}]"


def _split_problem(task: TaskConfig) -> str | None:
    """What is wrong with the names of the splits: none to evaluate, the training rows, one twice, or no plain word."""
    names = task.eval_splits
    if not names or len(set(names)) < len(names) or "train" in names:
        return (
            f"task.eval_splits=[{listed(names)}]: one or more different splits other than train are accepted, the "
            "deciding one first; leave the key out for the task's own"
        )
    for name in (*names, *task.test_splits):
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", name) or name.startswith("."):
            return f"{shown_name(name)} is no name of a split: letters, digits, '_', '-' and '.' are accepted"
    return None


def _labels_problem(task: TaskConfig) -> str | None:
    """What is wrong with given label names, where they don't come from the rows."""
    if task.kind != "classification" or (task.source == "text" and not task.labels):
        return None
    if len(set(task.labels)) < max(2, len(task.labels)):
        return f"task.labels=[{listed(task.labels)}]: two or more different labels are needed"
    if task.metric == "accuracy_f1" and len(task.labels) != 2:
        return f"task.labels=[{listed(task.labels)}]: task.metric=accuracy_f1 needs two different labels"
    return None


def _group_problem(task: TaskConfig) -> str | None:
    if task.group is None:
        return None
    if task.source != "text":
        return (
            f"task.group={task.group}: only task=text has a column of groups (SQuAD's are its articles); leave it out"
        )
    if task.group == task.label:
        return (
            f"task.group={task.group} is task.label, too: rows of a group stay on one side, so that no label could be "
            "held out; name the column that says which rows belong together, such as an article or author"
        )
    return None


def _batch_size(config: RunConfig) -> int | None:
    preset = _preset(config)
    return config.train.batch_size or (preset.batch_size if preset else None)


def _preset(config: RunConfig) -> PresetConfig | None:
    """The preset of this method family, whole: what it leaves open is the task's own preset for `gelora`.

    The user's presets come before gelora's own; in both the task's come first, then the method's for this model, and
    then the method's for this task. Its source says in brackets which one it is and why.
    """
    task, method, model = config.task, config.method, config.model
    name = _model_with_presets(model)
    family = [("task", method.preset, name), ("task", method.preset, "default")]
    by_model = [("method", task.name, name), ("method", "default", name)]
    by_task = [("method", task.name, "default"), ("method", "default", "default")]
    found = _found_presets(config, [*family, *by_model, *by_task])
    if not found:
        return None
    chosen = _most_specific(found)
    shared = _found_presets(config, [("task", "gelora", name), ("task", "gelora", "default")])
    base = _most_specific(shared).preset if shared else PresetConfig(0.0, "")
    epochs = chosen.preset.epochs or base.epochs
    if epochs is None:
        return None
    reason = f"presets.{chosen.key} of the {chosen.group}"
    if model.path is not None and chosen.key.endswith(f".{name}") and name != "default":
        reason += f", since {Path(model.path).name} holds {name}'s weights"
    if chosen != found[0]:
        reason += f", yours, before gelora's own presets.{found[0].key}"
    return replace(
        chosen.preset,
        epochs=epochs,
        batch_size=chosen.preset.batch_size or base.batch_size or BATCH_SIZE,
        modules=chosen.preset.modules or base.modules,
        source=f"{chosen.preset.source} ({reason})",
    )


@dataclass(frozen=True)
class _FoundPreset:
    """A preset, the group (task or method) and key under which it stands, and whether it is the user's."""

    preset: PresetConfig
    group: str
    key: str
    is_users: bool


def _found_presets(config: RunConfig, places: list[tuple[str, str, str]]) -> list[_FoundPreset]:
    """The presets that there are at these places (group, first key, second key), in their order."""
    presets = {"task": config.task.presets, "method": config.method.presets}
    found = []
    for group, first, second in places:
        preset = _typed(presets[group].get(first, {}).get(second))
        if preset is not None:
            is_users = preset_content(asdict(preset)) not in shipped_presets(config_dir())
            found.append(_FoundPreset(preset, group, f"{first}.{second}", is_users))
    return found


def _most_specific(found: list[_FoundPreset]) -> _FoundPreset:
    """The first of the user's presets, or else the first of gelora's own."""
    return next((preset for preset in found if preset.is_users), found[0])


def _model_with_presets(model: ModelConfig) -> str:
    """The name under which a model's presets stand; a model under a path is known by its weights or its hub id."""
    if model.path is None:
        return model.name
    return known_model(config_dir(), model.path) or "default"


def _typed(preset: Any) -> PresetConfig | None:
    """A preset, which OmegaConf leaves untyped in nested mappings."""
    if not isinstance(preset, dict):
        return cast("PresetConfig | None", preset)
    known = [field.name for field in fields(PresetConfig)]
    wrong = [key for key in preset if key not in known] + [
        key for key in ("learning_rate", "source") if key not in preset
    ]
    if wrong:
        raise GeloraError(
            f"a preset holds {', '.join(preset)}: {wrong[0]} is {'unknown' if wrong[0] in preset else 'missing'}; "
            f"accepted: {', '.join(known)}, of which learning_rate and source are needed"
        )
    return PresetConfig(**preset)


def _with_presets(config: RunConfig) -> RunConfig:
    """Fill in what the configuration leaves open: from its preset, else modules and scaling from their defaults."""
    preset = _preset(config) or PresetConfig(0.0, config.preset_source or "all training settings given")
    given = {key: value for key, value in asdict(config.train).items() if value is not None}
    preset_values = {key: getattr(preset, key) for key in ("learning_rate", "epochs", "batch_size")}
    method = replace(
        config.method,
        modules=config.method.modules or preset.modules or DEFAULT_MODULES,
        scaling=_scaling(config.method, preset.scaling),
        presets={},
    )
    return replace(
        config,
        task=replace(config.task, presets={}),
        method=method,
        train=TrainConfig(**(asdict(config.train) | preset_values | given)),
        preset_source=preset.source + _said_of_method(config.method, method, preset),
    )


def _scaling(method: MethodConfig, preset: float | None) -> float | None:
    """Return the method's scaling, where it leaves it open the preset's, else the default; None where it has none."""
    if method.scaling is not None or method.name not in METHOD_KEYS["scaling"]:
        return method.scaling
    return DEFAULT_SCALING if preset is None else preset


def _said_of_method(given: MethodConfig, completed: MethodConfig, preset: PresetConfig) -> str:
    """Return which settings the preset has set, or that its learning rate is meant for another scaling."""
    taken = []
    if given.modules is None and preset.modules is not None:
        taken.append(f"method.modules={preset.modules}")
    if given.scaling is None and preset.scaling is not None and completed.scaling is not None:
        taken.append(f"method.scaling={preset.scaling:g}")
    said = f"; with its {' '.join(taken)}" if taken else ""
    if given.scaling is not None and preset.scaling not in (None, given.scaling):
        said += f"; its learning rate is meant for method.scaling={preset.scaling:g}"
    return said


def _with_task(config: RunConfig) -> RunConfig:
    """Name, metric and reported value, where the task leaves them open."""
    task, source = config.task, Path(config.data.text or "text")
    metric = task.metric or KIND_METRICS[task.kind][0]
    reported = task.reported or METRICS.get(metric).reported
    named = {"name": task.name or slug(source.stem), "metric": metric, "reported": reported}
    if standardizes(task) is standardizes(replace(task, standardize="auto")):
        named["standardize"] = "auto"  # said or not, it is the same run
    return replace(config, task=replace(task, **named))  # type: ignore[arg-type]


def _with_smoke(config: RunConfig) -> RunConfig:
    """Few rows for profile, training and evaluation where `smoke=true`; smaller numbers that were given stay."""
    if not config.smoke:
        return config
    profile, data = config.profile, config.data
    return replace(
        config,
        profile=replace(
            profile,
            max_examples=min(profile.max_examples, SMOKE.profile_examples),
            track_examples=min(profile.track_examples or SMOKE.profile_examples, SMOKE.profile_examples),
        ),
        data=replace(
            data,
            max_train_examples=min(data.max_train_examples or SMOKE.train_examples, SMOKE.train_examples),
            max_eval_examples=min(data.max_eval_examples or SMOKE.eval_examples, SMOKE.eval_examples),
        ),
        train=replace(config.train, epochs=min(config.train.epochs or SMOKE.epochs, SMOKE.epochs)),
    )


def _with_paths(config: RunConfig) -> RunConfig:
    model = config.model
    if model.path is not None:
        path = local_or_hub(model.path)
        model = replace(model, path=path, name=slug(Path(path).name), package=None, hub=None, sha256=None, bytes=None)
    ranks = replace(config.ranks, path=_absolute(config.ranks.path))
    places = ("glue", "squad", "squad_v2", "text", "text_validation")
    sources = {key: local_or_hub(place) for key in places if (place := getattr(config.data, key)) is not None}
    data = replace(config.data, **sources)  # type: ignore[arg-type]
    paths = {"runs_dir": _absolute(config.runs_dir) or "", "init_from": _absolute(config.init_from)}
    return replace(config, model=model, ranks=ranks, data=data, **paths)  # type: ignore[arg-type]


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(expand_home(path)).absolute())


def expand_home(path: str) -> str:
    """Return a path with a leading `~` or `~user` as that home directory; as it is where there is none."""
    return os.path.expanduser(path)  # noqa: PTH111 - Path's own raises a RuntimeError where there is none


def local_or_hub(text: str) -> str:
    """An absolute path where `text` is or looks like a path, else the hub id as it stands."""
    path = Path(expand_home(text))
    looks_local = text.startswith((".", "/", "~")) or text.count("/") != 1 or path.parent.is_dir()
    return str(path.absolute()) if looks_local or path.exists() else text


def _get(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = getattr(config, part, None)
    return cast(Any, config)
