"""Train a toy decoder on the grammar of the demo task, for trying `task=plural` without a download.

    python -m scripts.toy_decoder DIR
    gelora run task=plural model.path=DIR

A Llama of 0.4 million parameters, 3 to 4 minutes on one CPU core. It learns the grammar's words and their forms,
agreement and copying, and knows no other text. A document is two acceptable sentences of one grid of the demo task, in
random order. In the phenomena of number the second sentence mostly repeats the first, so that the model learns to
copy and seldom sees what `task=plural` asks for. The documents hold all content words. What the task holds out, it
holds out from fine-tuning only.

The same command after a kill resumes, and ends with the same weights.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gelora_cli.core.files import write_atomic
from gelora_cli.data.demo_phenomena import PHENOMENA
from gelora_cli.data.demo_vocabulary import VOCABULARY
from gelora_cli.data.demo_words import Words

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

NUMBER = ("subject_verb_agreement", "agreement_across_attractor", "reflexive_number")
"""The phenomena whose two acceptable sentences differ in number; they are drawn twice as often as the others."""
WORK = ".training"
"""Directory inside DIR of what a resumed training needs."""
STATE = "state.safetensors"
RECIPE = "recipe.json"
END, PAD = 1, 2
"""Token ids of `</s>` and `<pad>`."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that the weights depend on.

    Attributes:
        steps: optimizer steps, each on `batch_size` documents that come once.
        echo: share of the documents of a phenomenon of number whose second sentence repeats the first.
        tokenizer_documents: the first documents, on which the tokenizer is trained.
        warmup_steps: steps in which the learning rate rises; it then falls linearly to `last_rate` times the highest.
        save_steps: steps between two states that a killed training can resume from.
    """

    steps: int = 1_800
    batch_size: int = 32
    seed: int = 1
    echo: float = 0.8
    vocabulary: int = 600
    tokenizer_documents: int = 4_000
    width: int = 96
    blocks: int = 3
    heads: int = 4
    learning_rate: float = 3e-3
    last_rate: float = 0.02
    warmup_steps: int = 50
    weight_decay: float = 0.01
    save_steps: int = 100


def train_toy(directory: Path, recipe: Recipe, stop_after: int | None = None) -> None:
    """Train the toy decoder, or resume it, and write it to `directory` in the layout of a model on the hub.

    Args:
        directory: where the model goes; nothing happens if it holds the finished model of this recipe.
        recipe: how to train.
        stop_after: leave after this step, as if killed; for tests.

    Raises:
        SystemExit: the directory holds a model of another recipe.
    """
    import torch

    torch.set_num_threads(1)  # the matrices are too small for more, and sums would depend on the number
    (directory / WORK).mkdir(parents=True, exist_ok=True)
    _claim(directory, recipe)
    if (directory / "model.safetensors").exists():
        print(f"{directory} holds the finished model")
        return
    documents = list(make_documents(recipe))
    tokenizer = train_tokenizer(documents[: recipe.tokenizer_documents], recipe)
    model = make_model(len(tokenizer), recipe)
    if _fit(model, tokenizer, documents, recipe, directory / WORK / STATE, stop_after):
        _publish(model, tokenizer, directory)


def make_documents(recipe: Recipe) -> Iterator[str]:
    """Yield the documents of all steps: two acceptable sentences of one grid each."""
    rng = random.Random(recipe.seed)
    words = Words({kind: text.split() for kind, text in VOCABULARY.items()}, rng)
    names = [*PHENOMENA, *NUMBER]
    for _ in range(recipe.steps * recipe.batch_size):
        words.drawn.clear()
        name = rng.choice(names)
        (one, _), (other, _) = PHENOMENA[name](words)
        first, second = rng.sample((one, other), 2)
        if name in NUMBER and rng.random() < recipe.echo:
            second = first
        yield f"{first} {second}"


def train_tokenizer(documents: list[str], recipe: Recipe) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE of the documents, which puts `<s>` before a text; it knows their letters only."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "</s>", "<pad>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=recipe.vocabulary, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    make: Any = PreTrainedTokenizerFast  # its constructor has no hints
    fast: PreTrainedTokenizerFast = make(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", model_max_length=512
    )
    if (fast.eos_token_id, fast.pad_token_id) != (END, PAD):
        raise ValueError(f"the special tokens have the ids {fast.eos_token_id} and {fast.pad_token_id}")
    return fast


def make_model(vocabulary: int, recipe: Recipe) -> LlamaForCausalLM:
    """Return a Llama with random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=recipe.width,
        intermediate_size=recipe.width * 8 // 3,
        num_hidden_layers=recipe.blocks,
        num_attention_heads=recipe.heads,
        max_position_embeddings=512,
        use_cache=False,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    return LlamaForCausalLM(config)


def learning_rate(step: int, recipe: Recipe) -> float:
    """Return the rate of a step, from 0: linear warm-up, and a linear decay that ends at `last_rate` of the highest."""
    rise = min(1.0, (step + 1) / recipe.warmup_steps)
    decay = max(recipe.last_rate, 1 - step / recipe.steps)
    return recipe.learning_rate * rise * decay


def _fit(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    documents: list[str],
    recipe: Recipe,
    state: Path,
    stop_after: int | None,
) -> bool:
    """Train to the end, saving states, and return True; False if it left after the step `stop_after`."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=recipe.weight_decay, betas=(0.9, 0.98))
    done = _restore(model, optimizer, state) if state.exists() else 0
    started, losses = time.perf_counter(), list[float]()
    model.train()
    for step in range(done, recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe)
        loss = _language_loss(model, tokenizer, documents[step * recipe.batch_size : (step + 1) * recipe.batch_size])
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if (step + 1) % recipe.save_steps == 0:
            _save(model, optimizer, step + 1, state)
            mean = sum(losses) / len(losses)
            print(f"step {step + 1}: loss {mean:.4f}, {time.perf_counter() - started:.0f} s", flush=True)
            losses.clear()
        if step + 1 == stop_after:
            return False
    return True


def _language_loss(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> torch.Tensor:
    """Return the mean loss of the tokens after the first, the end token included."""
    import torch

    rows = [[*ids, END] for ids in tokenizer(texts)["input_ids"]]
    width = max(map(len, rows))
    ids = torch.tensor([row + [PAD] * (width - len(row)) for row in rows])  # (B, T)
    logits = model(input_ids=ids).logits  # (B, T, V); causal, so that padding at the end changes nothing before it
    targets = ids[:, 1:].masked_fill(ids[:, 1:] == PAD, -100)
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten())


def _save(model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, step: int, path: Path) -> None:
    """Write weights and the optimizer's moments, completely or not at all."""
    from safetensors.torch import save

    tensors = {}
    for name, parameter in model.named_parameters():
        tensors[f"weight.{name}"] = parameter.detach()
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"{moment}.{name}"] = optimizer.state[parameter][moment]
    write_atomic(path, save(tensors, metadata={"step": str(step)}))


def _restore(model: LlamaForCausalLM, optimizer: torch.optim.Optimizer, path: Path) -> int:
    """Fill model and optimizer from a saved state, and return how many steps it has seen."""
    import torch
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        step = int(file.metadata()["step"])
        for name, parameter in model.named_parameters():
            with torch.no_grad():
                parameter.copy_(file.get_tensor(f"weight.{name}"))
            moments = {moment: file.get_tensor(f"{moment}.{name}") for moment in ("exp_avg", "exp_avg_sq")}
            optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    print(f"resuming after step {step}", flush=True)
    return step


def _claim(directory: Path, recipe: Recipe) -> None:
    """Record the recipe in the directory, or refuse a directory of another one."""
    values = json.loads(json.dumps(asdict(recipe)))
    path = directory / RECIPE
    if path.exists() and json.loads(path.read_text(encoding="utf-8")) != values:
        raise SystemExit(f"{directory} holds a toy decoder of another recipe ({RECIPE}). Name another directory.")
    write_atomic(path, json.dumps(values, indent=1) + "\n")


def _publish(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Move the model's files into the directory, the weights last, and remove the state."""
    finished = directory / WORK / "model"
    model.save_pretrained(finished)
    tokenizer.save_pretrained(finished)
    for path in sorted(finished.iterdir(), key=lambda path: path.suffix == ".safetensors"):
        path.replace(directory / path.name)
    shutil.rmtree(directory / WORK)
    print(f"wrote {directory}: gelora run task=plural model.path={directory}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    arguments = parser.parse_args()
    train_toy(arguments.directory, Recipe(steps=arguments.steps))


if __name__ == "__main__":
    main()
