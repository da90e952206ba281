"""The registries, here so that a low package can name and ask for the entries of a higher one.

A name is enough to list an entry; its module is imported when the entry itself is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gelora_cli.core.registry import Registry

if TYPE_CHECKING:
    from gelora_cli.metrics.base import Metric

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
