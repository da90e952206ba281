"""Text generation beside TRL's SFTTrainer: the same losses, and the same weights at the end."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.allocation.trainer_patterns import FORMATS
from gelora_cli.config.schema import LowRankConfig
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.artifacts.result import EvalResult
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.distributed import make_accelerator
from gelora_cli.core.registries import TASK_KINDS
from gelora_cli.data.batches import epoch_batches
from gelora_cli.data.encoded_completions import EncodedCompletions
from gelora_cli.methods.base import MethodContext
from gelora_cli.methods.updates.lora import attach_lora
from gelora_cli.models.heads import LanguageHead
from gelora_cli.models.load import load_model
from gelora_cli.models.locate import resolve_model
from gelora_cli.models.tokenizer import load_tokenizer
from gelora_cli.tasks.losses import BatchLoss
from gelora_cli.training.settings import TrainSettings
from tests.helpers.method_cases import profile_of
from tests.helpers.tiny import make_tiny
from tests.helpers.tiny_completions import TASK, completion_split
from tests.helpers.training import fine_tune

pytestmark = pytest.mark.extras

ROWS, EPOCHS, BATCH, WARMUP = 24, 2, 8, 0.2
"""No batch is smaller than the others, so that both see the same batches."""
RATE = 5e-3
"""Adam makes steps of this size of any gradient, also of one that is a rounding. So it bounds what roundings become."""
Weights = dict[str, torch.Tensor]


def settings_of(**changes: Any) -> TrainSettings:
    kind = TASK_KINDS.get("generation")
    values: dict[str, Any] = {
        "learning_rate": RATE,
        "epochs": EPOCHS,
        "max_steps": None,
        "batch_size": BATCH,
        "micro_batch_size": None,
        "warmup_ratio": WARMUP,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "log_steps": 1,
        "seed": 0,
        "protocol": "last",
        "loss": BatchLoss(kind, kind.loss),
    }
    return TrainSettings(**values | changes)


def encoded(directory: Path) -> EncodedCompletions:
    tokenizer = load_tokenizer(resolve_model(hub=None, path=str(directory)), "llama")
    return completion_split(ROWS).encode(tokenizer, TASK)


def train_here(directory: Path, settings: TrainSettings) -> tuple[list[float], Weights, Weights, RankPlan]:
    """Return the losses, the weights before and after, and the plan of a training by gelora."""
    resolved = resolve_model(hub=None, path=str(directory))
    loaded = load_model(resolved, LanguageHead(), seed=0)
    plan = plan_ranks(profile_of(loaded.map), parse_budget("auto"), modules="all")
    attached = attach_lora(MethodContext(loaded.model, loaded.map, plan, LowRankConfig(dropout=0.0), 0))
    before = {name: tensor.detach().clone() for name, tensor in attached.trainable().items()}
    lines: list[dict[str, Any]] = []
    fine_tune(
        attached,
        encoded(directory),
        settings,
        pad_token_id=int(load_tokenizer(resolved, "llama").pad_token_id),
        accelerator=make_accelerator("float32"),
        evaluate=lambda epoch: (EvalResult("validation", 1, {"exact_match": 0.0}, "exact_match", False, 0.0),),
        record=lines.append,
    )
    losses = [line["loss"] for line in lines if "loss" in line and "learning_rate" in line]
    return losses, before, dict(attached.trainable()), plan


def train_by_trl(directory: Path, output: Path, before: Weights, plan: RankPlan) -> tuple[list[float], Weights]:
    """Return the losses and the final weights of SFTTrainer, on the batches of gelora in one epoch."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Losses(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if "loss" in logs:
                losses.append(logs["loss"])

    losses: list[float] = []
    snippet = ModuleType("ranks")
    exec(FORMATS["trl"].text(plan), vars(snippet))
    tokenizer: Any = AutoTokenizer.from_pretrained(str(directory))
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    trainer: Any = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(str(directory)),
        args=SFTConfig(
            output_dir=str(output),
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            learning_rate=RATE,
            lr_scheduler_type="linear",
            warmup_steps=WARMUP,
            weight_decay=0.0,
            max_grad_norm=1.0,
            max_length=TASK.max_length,
            optim="adamw_torch",
            train_sampling_strategy="sequential",
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            logging_steps=1,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows_in_order(directory)),
        processing_class=tokenizer,
        peft_config=snippet.peft_config,
        callbacks=[Losses()],
    )
    trained = {name: tensor for name, tensor in trainer.model.named_parameters() if tensor.requires_grad}
    assert trained.keys() == before.keys()
    with torch.no_grad():
        for name, tensor in trained.items():
            tensor.copy_(before[name])
    trainer.train()
    return losses, trained


def rows_in_order(directory: Path) -> list[dict[str, str]]:
    """Return the rows of all epochs in the order in which gelora trains on them."""
    lengths, split = encoded(directory).lengths, completion_split(ROWS)
    assert split.completions is not None
    batches = [rows for epoch in range(1, EPOCHS + 1) for rows in epoch_batches(lengths, BATCH, 0, epoch)]
    return [{"prompt": split.prompts[row], "completion": split.completions[row]} for row in np.concatenate(batches)]


@pytest.mark.parametrize(
    "changes", [{}, {"micro_batch_size": 3}, {"packing": True}], ids=["padded", "micro-batches", "packed"]
)
def test_losses_and_weights_are_those_of_sft_trainer(tmp_path: Path, changes: dict[str, Any]) -> None:
    directory = make_tiny("llama", tmp_path / "model", changes={"initializer_range": 0.02})  # as of published models
    losses, before, after, plan = train_here(directory, settings_of(**changes))
    trl_losses, trl_after = train_by_trl(directory, tmp_path / "trl", before, plan)
    assert len(losses) == EPOCHS * ROWS // BATCH
    assert losses == pytest.approx(trl_losses, abs=1e-6)
    assert max(float((after[name] - before[name]).abs().max()) for name in after) > 0.01
    assert max(float((after[name] - trl_after[name]).abs().max()) for name in after) < 1e-6
