"""What the configs of GPT-NeoX, OPT, BLOOM, GPT, CTRL, XLM and XLNet may say."""

from typing import Any

import pytest

from expertjax.errors import InputError
from expertjax.models.registry import read_config
from expertjax.models.sites import UnitTable

PYTHIA = {
    "architectures": ["GPTNeoXForCausalLM"],
    "hidden_act": "gelu",
    "hidden_size": 512,
    "intermediate_size": 2048,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 2048,
    "model_type": "gpt_neox",
    "num_attention_heads": 8,
    "num_hidden_layers": 6,
    "rotary_emb_base": 10000,
    "rotary_pct": 0.25,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "use_cache": True,
    "use_parallel_residual": True,
    "vocab_size": 50304,
}
OPT_350M = {
    "_remove_final_layer_norm": False,
    "activation_dropout": 0.0,
    "activation_function": "relu",
    "do_layer_norm_before": False,
    "ffn_dim": 4096,
    "hidden_size": 1024,
    "init_std": 0.02,
    "layerdrop": 0.0,
    "max_position_embeddings": 2048,
    "model_type": "opt",
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "prefix": "</s>",
    "vocab_size": 50272,
    "word_embed_proj_dim": 512,
}
BLOOM_560M = {
    "apply_residual_connection_post_layernorm": False,
    "attention_softmax_in_fp32": True,
    "bias_dropout_fusion": True,
    "masked_softmax_fusion": True,
    "model_type": "bloom",
    "n_embed": 1024,
    "n_inner": None,
    "n_layer": 24,
    "num_attention_heads": 16,
    "offset_alibi": 100,
    "pretraining_tp": 1,
    "seq_length": 2048,
    "skip_bias_add": True,
    "skip_bias_add_qkv": False,
    "unk_token_id": 0,
    "vocab_size": 250880,
}
GPT = {"afn": "gelu", "model_type": "openai-gpt", "n_ctx": 512, "n_special": 0}
CTRL = {"model_type": "ctrl", "n_ctx": 512, "attn_pdrop": 0.1}
XLM = {
    "asm": False,
    "bos_index": 0,
    "emb_dim": 2048,
    "id2lang": {"0": "en"},
    "is_encoder": True,
    "lang2id": {"en": 0},
    "max_vocab": -1,
    "min_count": 0,
    "model_type": "xlm",
    "n_heads": 16,
    "n_langs": 1,
    "n_words": 30145,
    "share_inout_emb": True,
    "use_lang_emb": True,
}
XLNET = {
    "attn_type": "bi",
    "clamp_len": -1,
    "d_head": 64,
    "d_inner": 3072,
    "d_model": 768,
    "mem_len": None,
    "model_type": "xlnet",
    "n_head": 12,
    "n_layer": 12,
    "untie_r": True,
}


@pytest.mark.parametrize(
    ("attributes", "num_units"),
    [
        # Per layer 9 D, as in GPT-2; of XLNet only the MLP counts.
        (PYTHIA, 6 * 9 * 512),
        (OPT_350M, 24 * 9 * 1024),
        (BLOOM_560M, 24 * 9 * 1024),
        (GPT, 12 * 9 * 768),
        (CTRL, 48 * (5 * 1280 + 8192)),
        (XLM, 12 * 9 * 2048),
        (XLNET, 12 * 5 * 768),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else "",
)
def test_configs_as_the_hub_has_them(
    attributes: dict[str, Any], num_units: int
) -> None:
    family, config = read_config(attributes, (), "config.json")
    table = UnitTable.build(family.sites(config), config.num_layers)
    assert table.num_units == num_units


@pytest.mark.parametrize(
    ("model_type", "attributes", "message"),
    [
        ("gpt_neox", {"rope_theta": 5e5}, "rope_theta=500000.0 is not implemented"),
        ("gpt_neox", {"rotary_pct": 0.31}, "cannot be rotated by odd 29"),
        ("gpt_neox", {"hidden_size": 100}, "not a multiple of num_attention_heads"),
        ("opt", {"_remove_final_layer_norm": True}, "_remove_final_layer_norm=True"),
        ("opt", {"layer_norm_elementwise_affine": False}, "elementwise_affine=False"),
        ("bloom", {"slow_but_exact": True}, "slow_but_exact=True is not implemented"),
        ("bloom", {"n_inner": 100}, "n_inner=100 is not implemented"),
        ("bloom", {"n_embed": 32, "hidden_size": 64}, "n_embed=32 and hidden_size"),
        ("openai-gpt", {"afn": "tanh"}, "afn='tanh' is not known"),
        ("ctrl", {"pruned_heads": {"0": [1]}}, "pruned_heads={'0': [1]} is not"),
        ("xlm", {"asm": True}, "asm=True is not implemented"),
        ("xlm", {"is_encoder": False}, "is_encoder=False is not implemented"),
        ("xlm", {"n_langs": 15}, "n_langs=15 with use_lang_emb=True"),
        ("xlnet", {"attn_type": "uni"}, "attn_type='uni' is not implemented"),
        ("xlnet", {"bi_data": True}, "bi_data=True is not implemented"),
        ("xlnet", {"clamp_len": 8}, "clamp_len=8 is not implemented"),
        ("xlnet", {"untie_r": False}, "untie_r=False is not implemented"),
        ("xlnet", {"d_head": 32}, "d_head=32 is not implemented"),
    ],
)
def test_what_is_not_implemented_is_named(
    model_type: str, attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        read_config({"model_type": model_type} | attributes, (), "config.json")
    assert message in str(error.value)


def test_many_languages_are_fine_without_their_embeddings() -> None:
    seventeen = {"model_type": "xlm", "n_langs": 17, "use_lang_emb": False}
    assert read_config(seventeen, (), "")[1].width == 2048


def test_old_and_new_names_may_stand_side_by_side() -> None:
    both = {"model_type": "bloom", "n_head": 16, "num_attention_heads": 16}
    assert read_config(both, (), "")[1].num_heads == 16
