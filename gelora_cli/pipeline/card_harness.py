"""How a model that generates text is scored by lm-evaluation-harness, for its model card."""

from __future__ import annotations

import shlex

from gelora_cli.pipeline.card_facts import CardFacts, Export, task_kind

HARNESS = """Other benchmarks, by lm-evaluation-harness (`pip install lm_eval`), in this directory:

```
lm_eval --model hf --model_args {arguments} --tasks gsm8k
```"""
"""The arguments are those of lm_eval 0.4.13, with which an adapter of gelora's was scored."""


def harness_text(facts: CardFacts, export: Export | None) -> str:
    """Return the command, or an empty string where the harness can't load the model or has no task for it."""
    if task_kind(facts.config).target != "completions":
        return ""
    if export and export.form == "merged":
        return HARNESS.format(arguments="pretrained=.")
    # A path with one of these signs would be taken for more arguments.
    is_plain = not set(facts.base) & set(",=`\n")
    # An adapter of our own format is none of PEFT's, and one on top of other runs belongs on no published base.
    if not facts.peft or facts.starts_from or not is_plain:
        return ""
    adapter = "." if export else "adapter"
    return HARNESS.format(arguments=shlex.quote(f"pretrained={facts.base},peft={adapter}"))
