"""Tiny configurations of model types that gelora does not declare; `tests.helpers.tiny` makes models of them.

An entry is kind -> (configuration class, model class, what it sets beside the sizes that all kinds share).
"""

from __future__ import annotations

from typing import Any

from tests.helpers.tiny_encoders import UNDECLARED_ENCODERS

Entries = dict[str, tuple[str, str, dict[str, Any]]]

UNDECLARED_DECODERS: Entries = {
    "gpt_neox": ("GPTNeoXConfig", "GPTNeoXForCausalLM", {}),
    "bloom": ("BloomConfig", "BloomForCausalLM", {"n_layer": 3, "n_head": 4}),
    "opt": ("OPTConfig", "OPTForCausalLM", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
}
UNDECLARED: Entries = {
    **UNDECLARED_ENCODERS,
    "roformer": ("RoFormerConfig", "RoFormerForMaskedLM", {"embedding_size": 16}),
    **UNDECLARED_DECODERS,
}
"""Types whose map can be told from the model itself."""

NOT_TOLD: dict[str, tuple[str, dict[str, Any], str]] = {
    "flaubert": ("FlaubertConfig", {"emb_dim": 32, "n_layers": 3, "n_heads": 4}, "attentions, ffns"),
    "xlnet": ("XLNetConfig", {"d_model": 32, "n_layer": 3, "n_head": 4, "d_inner": 64}, "rel_attn.q, rel_attn.k"),
    "mobilebert": (
        "MobileBertConfig",
        {"num_hidden_layers": 2},
        "layers are named as up: intermediate.dense, ffn.0",
    ),
    "funnel": ("FunnelConfig", {"block_sizes": [2, 2]}, "encoder.blocks"),
    "t5": ("T5Config", {"num_layers": 2}, "encoder-decoder"),
    "bart": ("BartConfig", {"encoder_layers": 2, "decoder_layers": 2}, "encoder-decoder"),
    "convbert": ("ConvBertConfig", {"num_hidden_layers": 2}, "attention.output.dense reads 768, and query gives 384"),
    "canine": ("CanineConfig", {"num_hidden_layers": 2}, "beside encoder.layer it has initial_char_encoder.layer"),
    "clip": ("CLIPConfig", {}, "text_model.encoder.layers, vision_model.encoder.layers"),
}
"""Types whose map can't be told for sure: configuration class, its values, and what the reason names."""

NO_RANK_EACH: dict[str, tuple[str, dict[str, Any], str]] = {
    "mixtral": ("MixtralConfig", {"num_hidden_layers": 2}, "mixtures of experts"),
    "qwen3_5_text": ("Qwen3_5TextConfig", {"num_hidden_layers": 4}, "its blocks differ from one another"),
    "jamba": ("JambaConfig", {"num_hidden_layers": 8}, "JambaSparseMoeBlock"),
}
"""Types whose blocks can't get a rank each, however they are named."""
