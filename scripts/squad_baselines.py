"""What SQuAD scores without a look at the question: the bar that a trained model has to clear.

First and last n words of the context (n from 1 to 60), the whole context and, where there may be none, no answer.

    python scripts/squad_baselines.py --task squad_v2 --data DIR
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from gelora_cli.commands.hydra_app import register_schemas
from gelora_cli.config.schema import TaskConfig
from gelora_cli.config.shipped import config_dir
from gelora_cli.data.questions import QuestionSplit
from gelora_cli.data.squad import load_questions
from gelora_cli.metrics.base import load_metric
from gelora_cli.tasks.answers import gold_references


def main() -> None:
    """Print the baselines, the best first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=("squad", "squad_v2"), required=True)
    parser.add_argument("--data", type=Path, required=True, help="the data set in the hub's layout")
    arguments = parser.parse_args()
    task = composed(arguments.task)
    split = load_questions(arguments.data, task, "validation")
    rows = sorted(((*scored(task, split, say), name) for name, say in baselines(task)), reverse=True)
    print(f"{arguments.task}, {len(split)} questions\n   F1     EM  baseline")
    for f1, exact, name in rows[:8]:
        print(f"{f1:5.2f}  {exact:5.2f}  {name}")


def composed(name: str) -> TaskConfig:
    """Return the task as its YAML has it."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    register_schemas()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        task = OmegaConf.to_object(compose("run", [f"task={name}"]).task)
    assert isinstance(task, TaskConfig)
    return task


def baselines(task: TaskConfig) -> Iterator[tuple[str, Callable[[str], str]]]:
    """Yield a name, and what it answers about a context."""
    for count in range(1, 61):
        yield f"first {count} words", partial(some_words, slice(None, count))
        yield f"last {count} words", partial(some_words, slice(-count, None))
    yield "whole context", lambda text: text
    if task.unanswerable:
        yield "no answer", lambda text: ""


def some_words(which: slice, text: str) -> str:
    return " ".join(text.split()[which])


def scored(task: TaskConfig, split: QuestionSplit, say: Callable[[str], str]) -> tuple[float, float]:
    """Return F1 and exact match."""
    predictions = [
        {"id": number, "prediction_text": say(context)}
        | ({"no_answer_score": 1.0 if not say(context) else -1.0} if task.unanswerable else {})
        for number, context in zip(split.ids, split.contexts, strict=True)
    ]
    values = load_metric(task.metric).compute(predictions=predictions, references=gold_references(split))
    return values["f1"], values["exact_match"]


if __name__ == "__main__":
    main()
