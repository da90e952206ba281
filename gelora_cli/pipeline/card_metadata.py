"""The metadata of a model card, which the hub reads and makes its page from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml

from gelora_cli.config.schema import RunConfig
from gelora_cli.core.artifacts.result import EvalResult, RunResult
from gelora_cli.metrics.base import metric_of
from gelora_cli.pipeline.card_facts import CardFacts, Export, hub_data_set, hub_model, task_kind

ENGLISH_SOURCES = ("glue", "squad", "squad_v2", "gsm8k")
"""Data sets of the hub whose texts are English."""
GENERATED_SOURCES = ("demo", "plural")
"""Tasks whose English texts gelora makes itself."""


def front_matter(result: RunResult, facts: CardFacts, export: Export | None) -> str:
    """Return the card's metadata as YAML between two lines of dashes. What is not on the hub is not named."""
    is_merged = export is not None and export.form == "merged"
    config, base, data = facts.config, hub_model(facts.config), hub_data_set(facts.config)
    metric = metric_of(config.task.metric, config.task.labels)
    library = "peft" if facts.peft else "gelora"  # what loads the model
    if is_merged:
        library = "transformers"
    # The order of the keys is the order on the card.
    values: dict[str, Any] = {"library_name": library}
    if base:
        values |= {"base_model": base, "base_model_relation": "finetune" if is_merged else "adapter"}
    values["pipeline_tag"] = task_kind(config).hub_task
    if config.task.source in GENERATED_SOURCES or (data and config.task.source in ENGLISH_SOURCES):
        values["language"] = "en"
    if data:
        values["datasets"] = [data]
    hub_metrics = _known_metrics(result.results[0], result.reported, metric.hub_types)
    values["metrics"] = list(dict.fromkeys(metric.hub_entry(name)["type"] for name in hub_metrics))
    tags = ["gelora", result.method, result.task]
    if result.smoke:
        tags.append("smoke")
    values["tags"] = list(dict.fromkeys(tags))  # without duplicates, in order: method=gelora would be named twice
    # No value of a trial goes into the hub's tables, nor one on other rows than the task's own.
    if not result.smoke and not result.on_holdout:
        name = f"{result.model}-{result.task}-{result.method}"
        indexed = [_indexed_result(evaluated, result, config) for evaluated in result.results]
        values["model-index"] = [{"name": name, "results": indexed}]
    return f"---\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}---"


def _indexed_result(evaluated: EvalResult, result: RunResult, config: RunConfig) -> dict[str, Any]:
    """Return the metrics of one split in the form of the hub's `model-index`."""
    data = {"name": result.task, "type": hub_data_set(config) or config.task.source}
    data |= {"config": config.task.folder or config.task.name, "split": evaluated.split}
    metric = metric_of(config.task.metric, config.task.labels)
    metrics = []
    for name, value in _known_metrics(evaluated, result.reported, metric.hub_types).items():
        entry = metric.hub_entry(name)
        metrics.append({"type": entry.pop("type"), "name": name, "value": value, **entry})
    return {"task": {"type": task_kind(config).hub_task}, "dataset": data, "metrics": metrics}


def _known_metrics(evaluated: EvalResult, reported: str, hub_types: Mapping[str, str]) -> dict[str, float]:
    """Return the finite values of the metrics that the hub knows, and of the reported one."""
    return {
        name: value
        for name, value in evaluated.metrics.items()
        if (name in hub_types or name == reported) and math.isfinite(value)  # the hub's tables rank by value
    }
