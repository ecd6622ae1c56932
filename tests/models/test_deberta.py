"""DeBERTa, EuroBERT and NomicBERT: what parity with torch does not show."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.checkpoints.load import save_huggingface
from expertjax.models.disentangled import bucket_table
from expertjax.models.registry import read_config
from tests.models.parity import CASES, make_case
from tests.models.test_decoders import read, refusal
from tests.models.test_dense import lines_of
from tests.torch_reference import load_torch

SAVED = (
    "deberta-v2-convolution-own-projections",
    "deberta",
    "eurobert-grouped-every-bias",
    "nomic_bert",
)


def test_buckets_are_those_of_transformers() -> None:
    module = pytest.importorskip("transformers.models.deberta_v2.modeling_deberta_v2")
    torch = pytest.importorskip("torch")
    distance = torch.arange(2000)
    for span, longest in ((256, 512), (6, 40), (7, 64), (32, 128)):
        wanted = module.make_log_bucket_position(distance, span, longest)
        found = bucket_table(len(distance), span, longest)
        np.testing.assert_array_equal(found, wanted.to(torch.long).numpy())


@pytest.mark.parametrize("name", SAVED)
def test_what_is_saved_is_what_transformers_saves(name: str, tmp_path: Path) -> None:
    """The key table, both ways."""
    case = make_case(name, tmp_path / "m")
    save_huggingface(case.model, tmp_path / "saved")
    again = load_torch(tmp_path / "saved", case.model.attributes["architectures"][0])
    wanted, found = case.torch.state_dict(), again.state_dict()
    assert wanted.keys() == found.keys()
    # Of two biases that torch ties when it ties the weights, one is not used.
    unused = {"cls.predictions.bias"} if "own" in name else set()
    same = [key for key in wanted.keys() - unused if (wanted[key] == found[key]).all()]
    assert wanted.keys() - unused == set(same)


@pytest.mark.parametrize("name", SAVED)
def test_the_program_does_not_grow_with_depth(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    attributes = CASES[name][1]
    kind = getattr(transformers, attributes["architecture"]).config_class
    given = kind(**attributes).to_dict()
    for own in ("architecture", "tokenizer"):
        given.pop(own, None)

    def lines(depth: int) -> int:
        return lines_of(*read_config(given | {"num_hidden_layers": depth}, (), name))

    assert lines(12) == lines(48)


def test_attributes_of_known_hub_checkpoints_are_accepted() -> None:
    three = {"relative_attention": True, "position_buckets": 256, "type_vocab_size": 0}
    three |= {"norm_rel_ebd": "layer_norm", "share_att_key": True}
    three |= {"pos_att_type": "p2c|c2p", "max_relative_positions": -1}
    config = read("deberta-v2", **three, position_biased_input=False)
    assert (config.span, config.longest, config.terms) == (256, 512, ("c2p", "p2c"))
    two = {"attention_head_size": 64, "conv_act": "gelu", "conv_kernel_size": 3}
    two |= {"pooler_dropout": 0, "pooler_hidden_act": "gelu"}
    config = read("deberta-v2", **three, **two)
    assert (config.conv_width, config.conv_activation) == (3, "gelu")
    one = read("deberta", relative_attention=True, pos_att_type=["c2p", "p2c"])
    assert (one.span, one.longest, one.num_types) == (512, None, 0)
    tokens = {"bos_token": "<s>", "mask_token_id": 128002, "clf_pooling": "late"}
    assert read("eurobert", **tokens, pretraining_tp=1) == read("eurobert")
    old = read("eurobert", rope_theta=250000)
    assert old == read("eurobert", rope_parameters={"rope_theta": 250000})
    nomic = {"n_embd": 768, "n_head": 12, "n_inner": 3072, "n_layer": 12}
    nomic |= {"n_positions": 8192, "activation_function": "swiglu", "causal": False}
    nomic |= {"rotary_emb_base": 1000, "rotary_emb_fraction": 1.0, "prenorm": False}
    nomic |= {"layer_norm_epsilon": 1e-12, "use_flash_attn": True, "resid_pdrop": 0.0}
    assert read("nomic_bert", **nomic) == read("nomic_bert")
    assert read("nomic_bert").rotary != read("nomic_bert", rope_theta=1e4).rotary


@pytest.mark.parametrize(
    ("model_type", "attributes", "problem"),
    [
        ("deberta", {"talking_head": True}, "talking_head=True is not implemented"),
        ("deberta", {"pos_att_type": "c2p|p2p"}, "pos_att_type=['c2p', 'p2p'] is not"),
        ("deberta", {"conv_kernel_size": 3}, "conv_kernel_size=3 is not known"),
        ("deberta-v2", {"attention_head_size": 32}, "attention_head_size=32 is not"),
        ("deberta-v2", {"norm_rel_ebd": "rms"}, "norm_rel_ebd='rms' is not"),
        ("deberta-v2", {"conv_kernel_size": 2}, "conv_kernel_size=2 is not odd"),
        ("deberta-v2", {"conv_groups": 7}, "is not a multiple of conv_groups=7"),
        ("deberta-v2", {"position_buckets": 1}, "position_buckets=1 is below 2"),
        ("nomic_bert", {"prenorm": True}, "prenorm=True is not implemented"),
        ("eurobert", {"sliding_window": 4}, "sliding_window=4 is not known"),
    ],
)
def test_what_is_not_implemented_is_named(
    model_type: str, attributes: dict[str, Any], problem: str
) -> None:
    assert problem in refusal(model_type, **attributes)
