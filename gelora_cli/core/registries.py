"""The registries, here so that a low package can name and ask for the entries of a higher one.

A name is enough to list an entry; its module is imported when the entry itself is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.core.registry import Registry

if TYPE_CHECKING:
    from gelora_cli.metrics.base import Metric
    from gelora_cli.models.kinds.base import ModelKind
    from gelora_cli.trackers.base import TrackerKind

METRICS: Registry[Metric] = Registry(
    "metric",
    "gelora_cli.metrics.base:Metric",
    {
        "accuracy": "gelora_cli.metrics.labels",
        "accuracy_f1": "gelora_cli.metrics.labels",
        "mcc": "gelora_cli.metrics.labels",
        "pearson_spearman": "gelora_cli.metrics.correlations",
        "squad": "gelora_cli.metrics.answers",
        "squad_v2": "gelora_cli.metrics.answers",
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
        "llama": "gelora_cli.models.kinds.llama",
        "mistral": "gelora_cli.models.kinds.mistral",
        "qwen2": "gelora_cli.models.kinds.qwen2",
    },
)
"""Kinds of model by the `model_type` of config.json."""
TRACKERS: Registry[TrackerKind] = Registry(
    "tracker",
    "gelora_cli.trackers.base:TrackerKind",
    {"json_lines": "gelora_cli.trackers.json_lines"},
)
"""Where the metrics of a training go; `json_lines` is always there."""
