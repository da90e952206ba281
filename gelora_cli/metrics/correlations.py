"""Metrics of scores."""

from __future__ import annotations

from typing import ClassVar

from gelora_cli.core.registries import METRICS
from gelora_cli.metrics.base import Metric
from gelora_cli.metrics.definitions import pearson, pearson_spearman_mean, spearman


@METRICS.register
class PearsonAndSpearman(Metric):
    """Pearson's and Spearman's correlation and their mean, -1 to 1."""

    name = "pearson_spearman"
    target = "scores"
    reported = "pearson_spearman_mean"
    scores: ClassVar = {"pearson": pearson, "spearman": spearman, "pearson_spearman_mean": pearson_spearman_mean}
    hub_types: ClassVar = {"pearson": "pearsonr", "spearman": "spearmanr"}
