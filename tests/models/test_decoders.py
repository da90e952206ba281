"""What the guide promises of decoders: padding changes nothing, and a text model comes out of a model of images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, Gemma3Config, Gemma3ForConditionalGeneration

from gelora_cli.models.load import load_model
from gelora_cli.models.tokenizer import load_tokenizer
from tests.helpers.models import LABELS, from_directory, refusal
from tests.helpers.tiny import SENTENCES, make_tiny, make_tokenizer
from tests.helpers.tiny_decoders import MORE_DECODERS
from tests.helpers.variant_matrix import logits


@pytest.mark.parametrize("kind", MORE_DECODERS)
def test_a_text_has_the_same_outputs_alone_and_in_a_batch(tmp_path: Path, kind: str) -> None:
    resolved = from_directory(make_tiny(kind, tmp_path))
    model, tokenizer = load_model(resolved, LABELS, seed=0).model, load_tokenizer(resolved)
    texts = ["a dog", *SENTENCES[:3]]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    assert tokenizer.padding_side == "right" and not batch["attention_mask"].all()
    together = logits(model, dict(batch))
    alone = torch.cat([logits(model, dict(tokenizer(text, return_tensors="pt"))) for text in texts])
    assert float(together.std()) > 0.05  # so that equal ones say something
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_the_text_model_inside_another_is_written_out_as_the_message_says(tmp_path: Path) -> None:
    tokenizer = make_tokenizer("gemma3_text")
    sizes: dict[str, Any] = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
    }
    text = sizes | {"num_key_value_heads": 2, "head_dim": 16, "vocab_size": len(tokenizer)}
    config = Gemma3Config(text_config=text, vision_config=sizes | {"image_size": 28, "patch_size": 14})
    whole = Gemma3ForConditionalGeneration(config)
    whole.save_pretrained(tmp_path / "whole")
    assert "model_type='gemma3_text' is accepted" in refusal(from_directory, tmp_path / "whole")
    again: Any = AutoModelForImageTextToText.from_pretrained(tmp_path / "whole")
    again.get_decoder().save_pretrained(tmp_path / "text")
    tokenizer.save_pretrained(tmp_path / "text")
    assert json.loads((tmp_path / "text" / "config.json").read_text())["model_type"] == "gemma3_text"
    loaded = load_model(from_directory(tmp_path / "text"), LABELS, seed=0)
    backbone = dict(whole.model.language_model.named_parameters())
    assert all(torch.equal(backbone[name], p) for name, p in loaded.model.base_model.named_parameters())
