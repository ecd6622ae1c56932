"""Encoder-decoders: what parity with torch does not show."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.capturing.capture import capture
from expertjax.capturing.operations import flops_per_token
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import (
    Model,
    load_model,
    save_converted,
    save_huggingface,
)
from expertjax.errors import InputError
from expertjax.models.attention import Inputs
from expertjax.models.registry import read_config
from expertjax.models.seq2seq import preceding
from tests.capturing.tiny_concepts import tiny_concept_set
from tests.models.cases_seq2seq import CASES
from tests.models.parity import make_case
from tests.models.test_decoders import read, refusal
from tests.models.test_dense import lines_of
from tests.tiny_models import make_tiny
from tests.torch_reference import load_torch

SETTINGS = CaptureSettings(seq_len=16, sites=r"block\.0\..*\.k$")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture, attributes = CASES["t5-decoder"]
    target = tmp_path_factory.mktemp("seq2seq") / "tiny-t5"
    return make_tiny(target, architecture, **attributes)


@pytest.fixture(scope="module")
def decoder(folder: Path) -> Model:
    return load_model(str(folder), read_with="decoder")


def test_the_decoder_reads_what_precedes_each_token() -> None:
    tokens = np.array([[5, 6, 7, 1], [1, 1, 8, 9]])
    mask = np.array([[1, 1, 1, 0], [0, 0, 1, 1]])
    found = np.asarray(preceding(Inputs.of(tokens, mask), 3))
    assert found[0, :3].tolist() == [3, 5, 6]
    assert found[1, 2:].tolist() == [3, 8]
    copies = preceding(Inputs.repeating(tokens, mask * [[1], [0]] + [[0], [1]]), 3)
    assert np.asarray(copies)[0].tolist() == [3, 5, 6, 6]


def test_the_encoder_is_read_unless_the_decoder_is_asked_for(
    folder: Path, decoder: Model, tmp_path: Path
) -> None:
    concepts = tiny_concept_set(count=1)
    encoder = load_model(str(folder))
    assert not any(path[0] == "decoder" for path, _ in encoder.params.flat_state())
    for model, kinds in ((encoder, 1), (decoder, 2)):
        out = tmp_path / "OUT" / model.read_with
        result = capture(model, concepts, out, SETTINGS)
        modules = result.read_table("units")["module"].unique()
        assert len(modules) == kinds
        assert all(name.startswith(f"{model.read_with}.block.0") for name in modules)
        assert result.read_run()["capture"]["read_with"] == model.read_with
    with pytest.raises(InputError, match="read_with"):
        capture(encoder, concepts, out, SETTINGS)
    asked = dataclasses.replace(SETTINGS, read_with="decoder")
    with pytest.raises(InputError, match="--read_with=decoder: tiny-t5 was loaded"):
        capture(encoder, concepts, tmp_path / "other", asked)


def test_operations_are_those_of_both(decoder: Model) -> None:
    def weights(*stacks: str) -> list[int]:
        return [
            leaf.size
            for path, leaf in decoder.params.flat_state()
            if path[0] in stacks and path[1] == "blocks" and path[-1] == "kernel"
        ]

    both = sum(weights("encoder", "decoder"))
    assert flops_per_token(decoder, 2) == 2 * both
    assert flops_per_token(decoder, 1) == 2 * both - sum(weights("decoder"))


def test_what_is_converted_is_read_as_it_was(decoder: Model, tmp_path: Path) -> None:
    save_converted(decoder, tmp_path / "converted")
    again = load_model(str(tmp_path / "converted"))
    assert (again.read_with, again.config) == ("decoder", decoder.config)
    with pytest.raises(InputError, match="converted with --read_with=decoder"):
        load_model(str(tmp_path / "converted"), read_with="encoder")


@pytest.mark.parametrize(
    "name", ["t5-decoder-gated-unscaled", "t5-decoder", "bart-decoder-scaled"]
)
def test_what_is_saved_is_what_transformers_saves(name: str, tmp_path: Path) -> None:
    """The key table, both ways."""
    case = make_case(name, tmp_path / "m")
    save_huggingface(case.model, tmp_path / "saved")
    again = load_torch(tmp_path / "saved", case.model.attributes["architectures"][0])
    wanted, found = case.torch.state_dict(), again.state_dict()
    assert wanted.keys() == found.keys()
    assert all((wanted[key] == found[key]).all() for key in wanted)


@pytest.mark.parametrize("model_type", ["t5", "bart"])
@pytest.mark.parametrize("read_with", ["encoder", "decoder"])
def test_the_program_does_not_grow_with_depth(model_type: str, read_with: str) -> None:
    sizes: dict[str, Any] = {"d_model": 32, "d_kv": 8, "num_heads": 4, "d_ff": 48}
    if model_type == "bart":
        sizes = {
            f"{s}_{n}": 4
            for s in ("encoder", "decoder")
            for n in ("attention_heads", "ffn_dim")
        }
        sizes["d_model"] = 32

    def lines(depth: int) -> int:
        deep = (
            ("num_layers",)
            if model_type == "t5"
            else ("encoder_layers", "decoder_layers")
        )
        attributes = sizes | dict.fromkeys(deep, depth) | {"vocab_size": 40}
        attributes |= {"model_type": model_type, "read_with": read_with}
        return lines_of(*read_config(attributes, ("decoder.",), ""))

    assert lines(12) == lines(48)


def test_attributes_of_known_hub_checkpoints_are_accepted() -> None:
    plain = {"n_positions": 512, "num_decoder_layers": 6, "decoder_start_token_id": 0}
    plain |= {"dropout_rate": 0.1, "initializer_factor": 1.0, "output_past": True}
    assert read("t5", **plain, is_encoder_decoder=True) == read("t5")
    flan = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    flan |= {"dense_act_fn": "gelu_new", "is_gated_act": True, "d_ff": 1024}
    config = read("t5", **flan, num_heads=6)
    assert config.encoder.activation == "gelu_new" and config.encoder.gated
    assert config.decoder.logits_scale == 1 != read("t5").decoder.logits_scale
    names = ("add_bias_logits", "add_final_layer_norm", "normalize_before")
    bart: dict[str, Any] = dict.fromkeys((*names, "scale_embedding"), False)
    bart |= {"normalize_embedding": True, "num_hidden_layers": 6, "classif_dropout": 0}
    assert read("bart", **bart, encoder_layers=6).num_layers == 6


@pytest.mark.parametrize(
    ("model_type", "attributes", "problem"),
    [
        ("t5", {"read_with": "both"}, "read_with='both' is not known"),
        ("t5", {"read_with": "decoder"}, "the checkpoint is of an encoder alone"),
        ("bert", {"read_with": "decoder"}, "read_with='decoder' is not known"),
        ("t5", {"feed_forward_proj": "gated-mish"}, "feed_forward_proj='gated-mish'"),
        ("t5", {"relative_attention_num_buckets": 2}, "is below 4"),
        ("bart", {"normalize_before": True}, "normalize_before=True is not"),
        ("bart", {"d_model": 30}, "is not a multiple of encoder_attention_heads=16"),
        ("bart", {"num_hidden_layers": 3, "encoder_layers": 6}, "differ"),
    ],
)
def test_what_is_not_implemented_is_named(
    model_type: str, attributes: dict[str, Any], problem: str
) -> None:
    assert problem in refusal(model_type, **attributes)
