"""Keys of rows that the chosen task does not read are refused where the user gave them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gelora_cli.commands.sweeping import compose_jobs
from gelora_cli.config.unread import given_keys, unread_problems
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.registries import COMMANDS
from tests.helpers.composed import composed


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("data.text=a.csv", "data.text=a.csv is not read by task=cola; give task=text, or leave it out"),
        ("data.glue=glue data.text_validation=a.csv", "data.text_validation=a.csv is not read by task=cola"),
        ("task=text data.instruct=a.jsonl", "data.instruct=a.jsonl is not read by task=text; give task=instruct"),
        ("task=demo data.squad=DIR", "data.squad=DIR is not read by task=demo; give task=squad"),
        ("task=squad data.squad_v2=DIR", "data.squad_v2=DIR is not read by task=squad"),
        ("task=rte task.label=mood", "task.label=mood is not read by task=rte; give task=text"),
        ("task=rte data.separator=tab", "give task=text or task=instruct or task=gsm8k"),
        ("task=rte task.stride=64", "task.stride=64 is not read by task=rte; give a task of task.kind=question_ans"),
        ("task=squad task.max_new_tokens=9", "give a task of task.kind=generation"),
        # What is read, the place of GLUE for any task, places of SQuAD with that of the task, and defaults.
        ("task=text data.text=a.csv data.text_validation=b.csv task.label=mood data.quoting=none", ""),
        ("task=demo data.glue=glue", ""),
        ("task=squad_v2 data.squad=one data.squad_v2=two data.glue=glue task.stride=64", ""),
        ("task=cola data.text=null task.label=label task.stride=128", ""),
        ("task=plural task.max_new_tokens=9", ""),
        ("task=gsm8k data.gsm8k=DIR", ""),
    ],
)
def test_given_keys_that_the_task_does_not_read(words: str, refused: str) -> None:
    problems = unread_problems([composed(*words.split())], given_keys(words.split()))
    assert len(problems) == bool(refused)
    assert not refused or refused in problems[0]


def test_keys_that_were_not_given_are_no_matter() -> None:
    """An experiment, or a saved configuration, may hold those of several tasks."""
    assert unread_problems([composed("data.text=a.csv", "data.squad=DIR")], {"data.glue"}) == []


def test_a_sweep_takes_a_key_that_one_of_its_jobs_reads(tmp_path: Path) -> None:
    words = ["model=minilm", f"data.text={tmp_path}/a.csv"]
    cola, text = compose_jobs(COMMANDS.get("run"), ["--multirun"], ["task=cola,text", *words])
    # A job may be run by a command line of its own, which would refuse the key.
    assert cola.overrides == ["task=cola", "model=minilm"]
    assert text.overrides == ["task=text", *words]
    with pytest.raises(GeloraError, match=r"data\.text=.*a\.csv is not read by task=cola, rte; give task=text"):
        compose_jobs(COMMANDS.get("run"), ["--multirun"], ["task=cola,rte", *words])
    with pytest.raises(GeloraError, match=r"task\.stride=64 is not read by task=cola"):  # another run directory
        compose_jobs(COMMANDS.get("run"), ["--multirun"], ["task=cola,squad", "task.stride=64"])
