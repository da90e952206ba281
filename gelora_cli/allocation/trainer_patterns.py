"""A plan as other trainers take it: PEFT's arguments as JSON, axolotl's keys as YAML, TRL's argument as Python.

Names of modules come from files. So each form is written by its language's own serializer, and no comment holds a name.
No torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gelora_cli.allocation.peft_pattern import rank_pattern_json
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.errors import GeloraError

AXOLOTL = "axolotl 0.19.0"
"""The version in whose schema (`axolotl/utils/schemas/peft.py` of its wheel, November 2026) the keys were looked up."""

AXOLOTL_KEYS = {
    "r": "lora_r",
    "lora_alpha": "lora_alpha",
    "target_modules": "lora_target_modules",
    "rank_pattern": "lora_rank_pattern",
    "alpha_pattern": "lora_alpha_pattern",
    "use_dora": "peft_use_dora",
    "use_rslora": "peft_use_rslora",
}
"""PEFT's argument -> axolotl's key. axolotl hands its patterns to PEFT as they are, so names are escaped for PEFT."""

AXOLOTL_HEAD = f"# Ranks planned by gelora, with the keys of {AXOLOTL}: merge them into your configuration.\n"
TRL_HEAD = '''"""Ranks planned by gelora, for the trainers of TRL: SFTTrainer(..., peft_config=peft_config)."""

from peft import LoraConfig

'''


@dataclass(frozen=True)
class PatternFormat:
    """A form in which a plan is written for a trainer.

    Attributes:
        label: what stands in front of the line that names such a file.
        trainer: whom it is for.
        kind: what such a file holds: JSON, YAML or Python.
        suffixes: how such a file may be named, the usual first.
        usage: what to do with the file, as a clause.
        text: returns what the file holds.
        decoders_only: whether the trainer is one of causal language models.
    """

    label: str
    trainer: str
    kind: str
    suffixes: tuple[str, ...]
    usage: str
    text: Callable[[RankPlan], str]
    decoders_only: bool = False


def peft_text(plan: RankPlan) -> str:
    """Return the arguments of `peft.LoraConfig` as JSON."""
    return json.dumps(rank_pattern_json(plan), indent=2) + "\n"


def axolotl_text(plan: RankPlan) -> str:
    """Return the keys of axolotl's configuration as YAML.

    Raises:
        GeloraError: axolotl has no key for what the plan needs, or takes none but whole alphas.
    """
    import yaml

    arguments = rank_pattern_json(plan)
    _check_axolotl_takes(arguments)
    values = {"adapter": "lora"} | {AXOLOTL_KEYS[name]: value for name, value in arguments.items()}
    text: str = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1_000_000)
    return AXOLOTL_HEAD + text


def trl_text(plan: RankPlan) -> str:
    """Return a Python file that defines `peft_config` for a causal language model."""
    arguments = {"task_type": "CAUSAL_LM"} | rank_pattern_json(plan)
    lines = [f"    {name}={_python_literal(value)},\n" for name, value in arguments.items()]
    return f"{TRL_HEAD}peft_config = LoraConfig(\n{''.join(lines)})\n"


PEFT = PatternFormat(
    label="for PEFT",
    trainer="PEFT",
    kind="JSON",
    suffixes=(".json",),
    usage="the arguments of peft.LoraConfig(**json.load(file))",
    text=peft_text,
)
FORMATS: Mapping[str, PatternFormat] = {
    "peft": PEFT,
    "axolotl": PatternFormat(
        label="axolotl",
        trainer="axolotl",
        kind="YAML",
        suffixes=(".yaml", ".yml"),
        usage=f"keys of {AXOLOTL}, to merge into your configuration",
        text=axolotl_text,
        decoders_only=True,
    ),
    "trl": PatternFormat(
        label="for TRL",
        trainer="TRL",
        kind="Python",
        suffixes=(".py",),
        usage="defines peft_config for SFTTrainer(..., peft_config=peft_config)",
        text=trl_text,
        decoders_only=True,
    ),
}
"""What `gelora ranks format=NAME` writes."""


def _check_axolotl_takes(arguments: Mapping[str, Any]) -> None:
    """Refuse what axolotl's schema refuses.

    Raises:
        GeloraError: an argument without a key, or an alpha that is no whole number.
    """
    unknown = [name for name in arguments if name not in AXOLOTL_KEYS]
    if unknown:
        raise GeloraError(
            f"format=axolotl: {AXOLOTL} has no key for {', '.join(unknown)} of method.variant; take format=peft or "
            "format=trl, or method.variant=lora"
        )
    alphas = [arguments["lora_alpha"], *arguments["alpha_pattern"].values()]
    fractions = sorted({alpha for alpha in alphas if not isinstance(alpha, int)})
    if fractions:
        raise GeloraError(
            f"format=axolotl: {AXOLOTL} takes whole alphas only, and this plan has alphas such as {fractions[0]:.6g}; "
            "take a whole method.scaling with method.variant=lora, or format=peft or format=trl"
        )


def _python_literal(value: Any) -> str:
    """Return a value as Python reads it; entries of lists and dictionaries have a line each."""
    if isinstance(value, dict):
        entries = [f"        {key!r}: {item!r},\n" for key, item in value.items()]
        return f"{{\n{''.join(entries)}    }}"
    if isinstance(value, list):
        entries = [f"        {item!r},\n" for item in value]
        return f"[\n{''.join(entries)}    ]"
    return repr(value)
