"""The forms of a plan in the trainers themselves: a step of TRL's, and the schema of axolotl's configuration."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.allocation.trainer_patterns import AXOLOTL, FORMATS
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.budget import parse_budget
from tests.helpers.method_cases import loaded_and_plan, profile_of
from tests.helpers.tiny import SENTENCES

pytestmark = pytest.mark.extras

SCHEMA = "axolotl/utils/schemas/peft.py"


def plan_of(directory: Path, variant: str = "lora") -> RankPlan:
    """Return a plan for all linears, measured on the model with a head for labels."""
    loaded, _ = loaded_and_plan(directory)
    return plan_ranks(profile_of(loaded.map), parse_budget("auto"), modules="all", variant=variant)


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_a_step_of_trl_has_the_planned_ranks_and_scalings(
    tiny_models: dict[str, Path], tmp_path: Path, kind: str, variant: str
) -> None:
    import torch
    from datasets import Dataset
    from peft.tuners.lora import LoraLayer
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    plan = plan_of(tiny_models[kind], variant)
    assert len(set(plan.rank_pattern.values())) > 1
    module = ModuleType("ranks")
    exec(FORMATS["trl"].text(plan), vars(module))
    tokenizer: Any = AutoTokenizer.from_pretrained(str(tiny_models[kind]))
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    arguments = SFTConfig(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=2,
        learning_rate=0.1,
        warmup_steps=0,
        max_length=16,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        disable_tqdm=True,
    )
    trainer: Any = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(str(tiny_models[kind])),
        args=arguments,
        train_dataset=Dataset.from_dict({"text": list(SENTENCES)}),
        processing_class=tokenizer,
        peft_config=module.peft_config,
    )
    trainer.train()
    layers: dict[str, Any] = {
        name.removeprefix("base_model.model."): layer
        for name, layer in trainer.model.named_modules()
        if isinstance(layer, LoraLayer)
    }
    assert {name: layer.r["default"] for name, layer in layers.items()} == plan.rank_pattern
    assert {name: layer.scaling["default"] for name, layer in layers.items()} == pytest.approx(plan.scaling_pattern)
    assert all(layer.lora_A["default"].out_features == plan.rank_pattern[name] for name, layer in layers.items())
    assert all(torch.count_nonzero(layer.lora_B["default"].weight) > 0 for layer in layers.values())  # it trained


@pytest.fixture(scope="module")
def axolotl_schema(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Load the part of axolotl's schema that is about LoRA, from its wheel: axolotl pins other versions than gelora."""
    name, version = AXOLOTL.split()
    wheels = [*(Path(sys.prefix) / "wheels").glob(f"{name}-{version}-*.whl")]
    if not wheels:
        pytest.skip(f"the wheel of {AXOLOTL} is not in {sys.prefix}/wheels, where make test-extras puts it")
    with zipfile.ZipFile(wheels[0]) as wheel:
        path = Path(wheel.extract(SCHEMA, tmp_path_factory.mktemp("axolotl")))
    spec = importlib.util.spec_from_file_location("axolotl_schema", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_the_schema_of_axolotl_takes_every_key(
    tiny_models: dict[str, Path], axolotl_schema: ModuleType, variant: str
) -> None:
    plan = plan_of(tiny_models["llama"], variant)
    values = yaml.safe_load(FORMATS["axolotl"].text(plan))
    schema = axolotl_schema.LoraConfig
    assert values.keys() <= schema.model_fields.keys()
    accepted = schema.model_validate(values)
    assert {name: getattr(accepted, name) for name in values} == values
    with pytest.raises(ValueError, match="lora_alpha_pattern"):
        schema.model_validate(values | {"lora_alpha_pattern": {"h": 5.65}})
