"""Packed batches beside padded ones: examples per second of a small decoder's training, and the loss of each.

    python -m scripts.benchmarks.packing [--quick]

Both are measured on batches of rows of like length, as gelora makes them, and on batches of random rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gelora_cli.allocation.planning import plan_method
from gelora_cli.config.schema import PlannedLoraConfig
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.distributed import make_accelerator
from gelora_cli.core.registries import METHODS
from gelora_cli.data.batches import epoch_batches, packed_load, padded_load
from gelora_cli.data.completions import CompletionSplit
from gelora_cli.data.encoded_completions import EncodedCompletions
from gelora_cli.methods.base import MethodContext
from gelora_cli.models.block_map import map_model
from gelora_cli.training.loop import Trainer
from gelora_cli.training.timing import no_results
from scripts.benchmarks.measuring import alternate
from scripts.benchmarks.options import benchmark_parser, finish
from scripts.benchmarks.record import BenchmarkRecord, Table, reached
from scripts.benchmarks.train_settings import measured_settings
from scripts.benchmarks.training import machine_kind
from scripts.benchmarks.training_cases import device, wait

BATCH, RANK, LONGEST, VOCABULARY = 16, 8, 128, 800
Batches = list[NDArray[np.int64]]


@dataclass(frozen=True)
class Way:
    """One way of making batches: which rows meet, and whether they are packed."""

    order: str
    packing: bool

    @property
    def name(self) -> str:
        """Return how the table names it."""
        return f"{'packed' if self.packing else 'padded'}, {self.order}"


def main() -> None:
    """Measure, print and write the record."""
    options = benchmark_parser(__doc__, "160 rows, two rounds").parse_args()
    examples, rounds = (160, 2) if options.quick else (320, 7)
    rows = drawn_rows(examples)
    batches = {
        "batches of like length": epoch_batches(rows.lengths, BATCH, 0, 1),
        "random batches": [np.arange(start, start + BATCH) for start in range(0, examples, BATCH)],
    }
    ways = [Way(order, packing) for order in batches for packing in (False, True)]
    trainers = {way.name: make_trainer(rows, way.packing, rounds + 2) for way in ways}
    losses = {way.name: first_loss(trainers[way.name], batches[way.order]) for way in ways}
    passes = {way.name: one_pass(trainers[way.name], batches[way.order]) for way in ways}
    timings = alternate(passes, rounds, clock=time.perf_counter if torch.cuda.is_available() else time.process_time)
    usual = timings[ways[0].name]
    table = []
    for way in ways:
        load = (packed_load if way.packing else padded_load)(rows.lengths, batches[way.order])
        rate = f"{examples / timings[way.name].median:,.0f}"
        speed = f"{timings[way.name].speedup_over(usual):.2f}"
        padding = f"{load.tokens / len(rows.tokens):.2f}"
        table.append((way.name, rate, speed, padding, f"{losses[way.name]:.7f}"))
        print(*table[-1], sep="  ", flush=True)
    grouped, mixed = (timings[Way(order, True).name].speedup_over(timings[Way(order, False).name]) for order in batches)
    columns = (
        "batches",
        "examples per second",
        "speed",
        "places per token",
        "mean loss of the first pass",
    )
    record = BenchmarkRecord(
        name="packing",
        machine_kind=machine_kind(),
        title="Packed examples",
        setting=(
            f"LoRA of rank {RANK} on a llama with drawn weights (3 blocks of 96, vocabulary {VOCABULARY}), float32, "
            f"passes over {examples} drawn examples in batches of {BATCH}. Their lengths are log-normal (median 20, "
            f"deviation 0.7 of the logarithm), from 4 to {LONGEST} tokens. `train.packing` packs each batch into "
            "sequences as long as its longest example. All four ways start from the same weights. Seconds are those "
            "of the CPU where there is no GPU."
        ),
        goal=(
            f"faster than padding: {reached(grouped > 1.02)} in batches of like length, which gelora always makes "
            f"({grouped:.2f} times), {reached(mixed > 1.02)} in random batches ({mixed:.2f} times)"
        ),
        command="python -m scripts.benchmarks.packing",
        tables=(Table(caption="Each way in turn", columns=columns, rows=tuple(table)),),
    )
    finish(record, quick=options.quick)


def drawn_rows(examples: int) -> EncodedCompletions:
    """Return rows of drawn tokens, of which the first third of each is its prompt."""
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    # Of no word, since nothing is written.
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE()))  # type: ignore[no-untyped-call]
    generator = np.random.default_rng(0)
    lengths = np.clip(np.exp(generator.normal(3.0, 0.7, examples)), 4, LONGEST).astype(np.int64)  # (n,)
    texts = [""] * examples
    prompts = lengths // 3
    return EncodedCompletions(
        "train",
        np.arange(examples),
        lengths - prompts,
        generator.integers(3, VOCABULARY, int(lengths.sum())).astype(np.int32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        None,
        source=CompletionSplit("train", np.arange(examples), texts, texts),
        prompt_lengths=prompts,
        tokenizer=tokenizer,
        end_ids=(),
    )


def make_trainer(rows: EncodedCompletions, packing: bool, passes: int) -> Trainer:
    """Return gelora's Trainer of a new model; all of them have the same weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        tie_word_embeddings=True,
        use_cache=False,
    )
    model: Any = LlamaForCausalLM(config)
    model.to(device())
    model_map = map_model(model, head_modules=())
    plan = plan_method(model_map, {}, parse_budget(f"rank:{RANK}"), method="lora", assume_even=True, scaling=2.0)
    settings = measured_settings("generation", learning_rate=1e-3, epochs=passes, batch_size=BATCH)
    return Trainer(
        METHODS.get("lora").attach(MethodContext(model, model_map, plan, PlannedLoraConfig(name="lora"), 0)),
        rows,
        replace(settings, packing=packing),
        pad_token_id=0,
        accelerator=make_accelerator("float32"),
        evaluate=no_results,
        callbacks=(),
    )


def one_pass(trainer: Trainer, batches: Batches) -> Callable[[], None]:
    """Return a pass over the batches, from inputs to the last step."""

    def run() -> None:
        with trainer.ready_to_step():
            for rows in batches:
                trainer.train_step(rows)
        wait()

    return run


def first_loss(trainer: Trainer, batches: Batches) -> float:
    """Take a pass over the batches, and return the mean loss of its tokens."""
    one_pass(trainer, batches)()
    trainer.read_loss()
    return trainer.state.losses[-1]


if __name__ == "__main__":
    main()
