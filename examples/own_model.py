# python examples/own_model.py MODEL lines.txt rank:4 adapter
"""From your own model and text to a PEFT model with one LoRA rank per block, ready for your own trainer.

MODEL is a directory or a hub id, lines.txt holds one text per line, rank:4 is the budget (also 0.3M, 0.16% or auto),
and adapter is the directory in which the untrained PEFT model is saved.
"""

import sys
from pathlib import Path

from peft import get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from gelora_cli import lora_config, plan_ranks, profile_texts


def main(source: str, text_file: str, budget: str, output: str) -> None:
    """Profile the model on the texts, plan the ranks, and save the model with LoRA of these ranks."""
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=2)
    tokenizer = AutoTokenizer.from_pretrained(source)
    texts = Path(text_file).read_text(encoding="utf-8").splitlines()

    # One pass without gradients. The model is left as it was.
    profile = profile_texts(model, tokenizer, texts)
    for layer in profile.layers:
        print(f"layer {layer.layer}: idim {layer.idim:.2f}, 95 % interval {layer.low:.2f} to {layer.high:.2f}")

    plan = plan_ranks(profile, budget)
    print("ranks:", *plan.ranks)
    print(f"adapter: {plan.adapter_params:,} parameters")

    model = get_peft_model(model, lora_config(plan, task_type="SEQ_CLS"))
    model.print_trainable_parameters()
    # Here your own trainer would take over. It trains the model as any other PEFT model.
    model.save_pretrained(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
