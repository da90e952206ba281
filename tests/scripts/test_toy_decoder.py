"""The toy decoder that a script trains: it opens as a model, and a killed training ends with the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.toy_decoder import Recipe, make_documents, train_toy

SHORT = Recipe(steps=6, batch_size=8, tokenizer_documents=48, vocabulary=200, width=16, blocks=1, save_steps=2)


def test_a_killed_training_resumes_to_the_same_weights_and_opens_as_a_model(tmp_path: Path) -> None:
    train_toy(tmp_path / "whole", SHORT)
    train_toy(tmp_path / "killed", SHORT, stop_after=5)  # the last saved state is that of step 4
    assert not (tmp_path / "killed/model.safetensors").exists()
    train_toy(tmp_path / "killed", SHORT)
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == resumed.keys()
    assert all((whole[name] == resumed[name]).all() for name in whole)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "killed")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "killed")
    text = next(make_documents(SHORT))
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    assert ids[0, 0] == model.config.bos_token_id
    assert tokenizer.decode(ids[0], skip_special_tokens=True) == text
    assert model(input_ids=ids).logits.shape == (1, ids.shape[1], len(tokenizer))


def test_a_directory_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train_toy(tmp_path, SHORT, stop_after=1)
    with pytest.raises(SystemExit, match=r"another recipe \(recipe.json\)"):
        train_toy(tmp_path, Recipe(steps=7))
