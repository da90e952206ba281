"""All registries. They stand here so that a low package can ask for an entry of a higher one without importing it.

Listing names imports nothing. The module of an entry is imported when `get` first asks for the entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gelora_cli.core.registry import Registry

if TYPE_CHECKING:
    from gelora_cli.allocation.base import Allocator
    from gelora_cli.commands.base import Command
    from gelora_cli.launchers.base import Launcher
    from gelora_cli.methods.base import Method
    from gelora_cli.methods.variants.base import Variant
    from gelora_cli.metrics.base import Metric
    from gelora_cli.models.kinds.base import ModelKind
    from gelora_cli.plots.base import ReportPicture, RunPicture
    from gelora_cli.signals.base import Signal
    from gelora_cli.tasks.base import TaskKind
    from gelora_cli.trackers.base import TrackerKind

ALLOCATORS: Registry[Allocator[Any]] = Registry(
    "allocator",
    "gelora_cli.allocation.base:Allocator",
    {
        "growth": "gelora_cli.allocation.growth",
        "uniform": "gelora_cli.allocation.uniform",
        "shuffled": "gelora_cli.allocation.controls",
        "random": "gelora_cli.allocation.controls",
        "reversed": "gelora_cli.allocation.controls",
        "fisher": "gelora_cli.allocation.fisher",
        "gora": "gelora_cli.allocation.gora",
        "gradrank": "gelora_cli.allocation.gradrank",
        "sensitivity": "gelora_cli.allocation.sensitivity",
        "eva_ranks": "gelora_cli.allocation.eva_ranks",
        "activations": "gelora_cli.allocation.activations",
        "weights": "gelora_cli.allocation.weights",
        "depth": "gelora_cli.allocation.depth",
        "file": "gelora_cli.allocation.file",
    },
)
"""Which rank where: from a measured signal and a budget to a rank per block or module."""

SIGNALS: Registry[Signal[Any]] = Registry(
    "signal",
    "gelora_cli.signals.base:Signal",
    {
        "idim": "gelora_cli.signals.idim",
        "gradients": "gelora_cli.signals.gradients",
        "activations": "gelora_cli.signals.activations",
        "weights": "gelora_cli.signals.weights",
    },
)
"""What is measured of a model and a task for an allocator to read; runs with equal inputs share it."""

LAUNCHERS: Registry[Launcher] = Registry(
    "launcher",
    "gelora_cli.launchers.base:Launcher",
    {
        "local": "gelora_cli.launchers.local",
        "in_place": "gelora_cli.launchers.in_place",
        "slurm": "gelora_cli.launchers.slurm",
        "ray": "gelora_cli.launchers.ray",
    },
)
"""Where the jobs of a sweep run."""

METHODS: Registry[Method[Any]] = Registry(
    "method",
    "gelora_cli.methods.base:Method",
    {
        "gelora": "gelora_cli.methods.lora",
        "lora": "gelora_cli.methods.lora",
        "shuffled": "gelora_cli.methods.lora",
        "random": "gelora_cli.methods.lora",
        "reversed": "gelora_cli.methods.lora",
        "fisher": "gelora_cli.methods.lora",
        "gora": "gelora_cli.methods.gora",
        "gradrank": "gelora_cli.methods.lora",
        "sensitivity": "gelora_cli.methods.lora",
        "eva_ranks": "gelora_cli.methods.eva_ranks",
        "activations": "gelora_cli.methods.activations",
        "weights": "gelora_cli.methods.lora",
        "depth": "gelora_cli.methods.depth",
        "file": "gelora_cli.methods.file",
        "adalora": "gelora_cli.methods.adalora",
        "sora": "gelora_cli.methods.sora",
        "eva": "gelora_cli.methods.eva",
        "houlsby": "gelora_cli.methods.bottleneck",
        "pfeiffer": "gelora_cli.methods.bottleneck",
        "bitfit": "gelora_cli.methods.bitfit",
        "full": "gelora_cli.methods.full",
        "cut": "gelora_cli.methods.cut",
    },
)
"""Fine-tuning methods by the name that a user gives, in the order in which tables and pictures show them."""

VARIANTS: Registry[Variant] = Registry(
    "variant",
    "gelora_cli.methods.variants.base:Variant",
    {
        "lora": "gelora_cli.methods.variants.lora",
        "rslora": "gelora_cli.methods.variants.rslora",
        "dora": "gelora_cli.methods.variants.dora",
        "pissa": "gelora_cli.methods.variants.pissa",
        "lora_ga": "gelora_cli.methods.variants.lora_ga",
    },
)
"""Forms of LoRA's update, for every method whose ranks an allocator gives."""

METRICS: Registry[Metric] = Registry(
    "metric",
    "gelora_cli.metrics.base:Metric",
    {
        "accuracy": "gelora_cli.metrics.labels",
        "accuracy_f1": "gelora_cli.metrics.labels",
        "mcc": "gelora_cli.metrics.labels",
        "macro_f1": "gelora_cli.metrics.labels",
        "multilabel_f1": "gelora_cli.metrics.label_sets",
        "pearson_spearman": "gelora_cli.metrics.correlations",
        "squad": "gelora_cli.metrics.answers",
        "squad_v2": "gelora_cli.metrics.answers",
        "completions": "gelora_cli.metrics.completions",
    },
)

MODEL_KINDS: Registry[ModelKind] = Registry(
    "model kind",
    "gelora_cli.models.kinds.base:ModelKind",
    {
        "bert": "gelora_cli.models.kinds.bert",
        "roberta": "gelora_cli.models.kinds.roberta",
        "electra": "gelora_cli.models.kinds.electra",
        "deberta-v2": "gelora_cli.models.kinds.deberta_v2",
        "deberta": "gelora_cli.models.kinds.deberta",
        "modernbert": "gelora_cli.models.kinds.modernbert",
        "eurobert": "gelora_cli.models.kinds.eurobert",
        "nomic_bert": "gelora_cli.models.kinds.nomic_bert",
        "gte": "gelora_cli.models.kinds.gte",
        "xlm-roberta": "gelora_cli.models.kinds.xlm_roberta",
        "camembert": "gelora_cli.models.kinds.camembert",
        "distilbert": "gelora_cli.models.kinds.distilbert",
        "mpnet": "gelora_cli.models.kinds.mpnet",
        "albert": "gelora_cli.models.kinds.albert",
        "llama": "gelora_cli.models.kinds.llama",
        "mistral": "gelora_cli.models.kinds.mistral",
        "qwen2": "gelora_cli.models.kinds.qwen2",
        "qwen3": "gelora_cli.models.kinds.qwen3",
        "gemma": "gelora_cli.models.kinds.gemma",
        "gemma2": "gelora_cli.models.kinds.gemma",
        "gemma3_text": "gelora_cli.models.kinds.gemma",
        "phi3": "gelora_cli.models.kinds.phi3",
        "smollm3": "gelora_cli.models.kinds.smollm3",
        "ministral": "gelora_cli.models.kinds.mistral",
        "ministral3": "gelora_cli.models.kinds.mistral",
        "olmo": "gelora_cli.models.kinds.olmo",
        "olmo2": "gelora_cli.models.kinds.olmo",
        "olmo3": "gelora_cli.models.kinds.olmo",
        "gpt2": "gelora_cli.models.kinds.gpt2",
        "starcoder2": "gelora_cli.models.kinds.starcoder2",
        "glm4": "gelora_cli.models.kinds.glm4",
    },
)
"""Kinds of model by the `model_type` of config.json."""

TRACKERS: Registry[TrackerKind[Any]] = Registry(
    "tracker",
    "gelora_cli.trackers.base:TrackerKind",
    {
        "json_lines": "gelora_cli.trackers.json_lines",
        "tensorboard": "gelora_cli.trackers.tensorboard",
        "trackio": "gelora_cli.trackers.trackio",
        "wandb": "gelora_cli.trackers.wandb",
        "mlflow": "gelora_cli.trackers.mlflow",
    },
)
"""Where the metrics of a training go; `json_lines` is always there."""

TASK_KINDS: Registry[TaskKind[Any, Any, Any]] = Registry(
    "task kind",
    "gelora_cli.tasks.base:TaskKind",
    {
        "classification": "gelora_cli.tasks.classification",
        "multilabel": "gelora_cli.tasks.multilabel",
        "regression": "gelora_cli.tasks.regression",
        "question_answering": "gelora_cli.tasks.question_answering",
        "generation": "gelora_cli.tasks.generation",
    },
)

COMMANDS: Registry[Command[Any]] = Registry(
    "command",
    "gelora_cli.commands.base:Command",
    {
        "run": "gelora_cli.commands.run",
        "profile": "gelora_cli.commands.profile",
        "ranks": "gelora_cli.commands.ranks",
        "train": "gelora_cli.commands.train",
        "evaluate": "gelora_cli.commands.evaluate",
        "predict": "gelora_cli.commands.predict",
        "export": "gelora_cli.commands.export",
        "submit": "gelora_cli.commands.submit",
        "ls": "gelora_cli.commands.ls",
        "report": "gelora_cli.commands.report",
        "pack": "gelora_cli.commands.pack",
        "sweep": "gelora_cli.commands.sweep",
        "tune": "gelora_cli.commands.tune",
        "fetch": "gelora_cli.commands.fetch",
        "doctor": "gelora_cli.commands.doctor",
    },
)
"""Commands in the order in which `gelora --help` lists them."""

RUN_PICTURES: Registry[RunPicture] = Registry(
    "picture of a run",
    "gelora_cli.plots.base:RunPicture",
    {
        "profile": "gelora_cli.plots.run_profile",
        "ranks": "gelora_cli.plots.run_ranks",
        "curve": "gelora_cli.plots.run_curve",
        "track": "gelora_cli.plots.trajectories",
    },
)
"""Pictures in a run's directory, `NAME.png`."""

REPORT_PICTURES: Registry[ReportPicture] = Registry(
    "picture of a report",
    "gelora_cli.plots.base:ReportPicture",
    {
        "value": "gelora_cli.plots.report_values",
        "cost": "gelora_cli.plots.report_costs",
        "pareto": "gelora_cli.plots.pareto",
        "idim": "gelora_cli.plots.report_profiles",
        "ranks": "gelora_cli.plots.report_ranks",
        "curves": "gelora_cli.plots.report_curves",
        "course": "gelora_cli.plots.report_rank_courses",
        "run": "gelora_cli.plots.report_run",
    },
)
"""Pictures of a report, in the order in which its page shows them."""
