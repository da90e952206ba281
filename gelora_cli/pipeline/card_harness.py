"""How a model that generates text writes one with plain transformers, and is scored by lm-evaluation-harness."""

from __future__ import annotations

import json
import shlex

from gelora_cli.pipeline.card_facts import CardFacts, Export, task_kind

HARNESS = """Other benchmarks, by lm-evaluation-harness (`pip install lm_eval`), in this directory:

```
lm_eval --model hf --model_args {arguments} --tasks gsm8k
```"""
"""The arguments are those of lm_eval 0.4.13, with which an adapter of gelora's was scored."""


WRITING = """To write a text, the likeliest token again and again:

```python
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({source})
{prompt}
written = model.generate(**prompt, max_new_tokens={limit}, do_sample=False)
print(tokenizer.decode(written[0, prompt["input_ids"].shape[1] :], skip_special_tokens=True))
```"""
PROMPT = 'prompt = tokenizer("A prompt.", return_tensors="pt")'
CONVERSATION = """turns = [{"role": "user", "content": "A question?"}]
prompt = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True, return_tensors="pt")"""


def writing_text(facts: CardFacts, export: Export | None) -> str:
    """Return the lines that write a text with the model that the card loads, or an empty string where it loads none."""
    task = facts.config.task
    is_merged = export is not None and export.form == "merged"
    if task_kind(facts.config).target != "completions" or (facts.starts_from and not is_merged):
        return ""
    source = "." if is_merged else facts.base
    prompt = CONVERSATION if task.columns else PROMPT
    return WRITING.format(source=json.dumps(source, ensure_ascii=False), prompt=prompt, limit=task.max_new_tokens)


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
