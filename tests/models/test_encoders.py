"""BERT's descendants and ModernBERT: what parity with torch does not show."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from expertjax.checkpoints import rules
from expertjax.checkpoints.load import Model, load_model
from expertjax.errors import InputError
from expertjax.models.attention import Inputs
from expertjax.models.edits import Probe
from expertjax.models.registry import read_config
from expertjax.models.sites import UnitTable
from tests import bounds
from tests.models.cases_encoders import CASES
from tests.models.parity import errors, forward_of, make_case
from tests.tiny_models import make_tiny

TOKENS = np.arange(1, 17).reshape(2, 8)
SOME = (
    "roberta-untied-relu-pad-5",
    "distilbert-untied-relu-sinusoidal",
    "electra-generator",
    "albert-untied-three-groups",
    "mpnet",
    "modernbert-layer-types",
)


def read(model_type: str, **attributes: Any) -> Any:
    return read_config({"model_type": model_type} | attributes, (), "config.json")[1]


@pytest.fixture(scope="module", params=SOME)
def folder(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    architecture, attributes = CASES[request.param]
    target = tmp_path_factory.mktemp("encoders") / request.param
    return make_tiny(target, architecture, **attributes)


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load_model(str(folder))


def test_export_gives_the_tensors_back(folder: Path, model: Model) -> None:
    original = load_file(folder / "model.safetensors")
    exported = rules.export_params(model.family, model.params)
    for key, value in exported.items():
        np.testing.assert_array_equal(value, original[key], key)
    # What torch leaves unused where the output layer has a bias of its own.
    assert original.keys() - exported.keys() <= {"lm_head.bias", "predictions.bias"}


def test_bfloat16_stays_close(folder: Path, model: Model) -> None:
    rough = load_model(str(folder), dtype=jnp.bfloat16)
    record = frozenset(site.name for site in model.sites)

    def run(model: Model) -> Any:
        module = nnx.merge(model.graphdef, model.params)
        probe = Probe(pool=lambda z: z, record=record)
        return module(Inputs.of(TOKENS, np.ones_like(TOKENS)), probe).pooled

    ours, theirs = run(rough), run(model)
    for name in theirs:
        assert ours[name].dtype == jnp.bfloat16
        error = np.asarray(ours[name], np.float32) - np.asarray(theirs[name])
        share = error.std() / np.asarray(theirs[name]).std()
        assert share < bounds.bfloat16(model.num_layers), name


@pytest.mark.parametrize(
    ("model_type", "attribute", "value"),
    [
        ("roberta", "is_decoder", True),
        ("xlm-roberta", "add_cross_attention", True),
        ("roberta", "position_embedding_type", "relative_key"),
        ("distilbert", "tie_weights_", False),
        ("electra", "is_decoder", True),
        ("albert", "inner_group_num", 2),
        ("albert", "net_structure_type", 1),
        ("mpnet", "relative_attention_num_buckets", 64),
        ("modernbert", "num_hidden_layers", 1),
        ("modernbert", "rope_scaling", {"rope_type": "yarn", "factor": 2.0}),
    ],
)
def test_values_that_are_not_implemented_are_named(
    model_type: str, attribute: str, value: Any
) -> None:
    with pytest.raises(InputError) as error:
        read(model_type, **{attribute: value})
    assert f"{attribute}={value!r} is not implemented" in str(error.value)


@pytest.mark.parametrize(
    ("model_type", "attributes", "message"),
    [
        ("roberta", {"pad_token_id": None}, "pad_token_id=None should be the number"),
        ("roberta", {"pad_token_id": True}, "pad_token_id=True should be the number"),
        ("roberta", {"max_position_embeddings": 2}, "leaves no row for a sentence"),
        ("distilbert", {"dim": 30, "n_heads": 4}, "dim=30 is not a multiple"),
        ("albert", {"num_hidden_groups": 13}, "num_hidden_groups=13 is more than"),
        ("modernbert", {"layer_types": ["full_attention"]}, "should have"),
        ("modernbert", {"layer_types": ["chunked_attention"] * 22}, "should have"),
        (
            "modernbert",
            {"rope_parameters": {"full_attention": {"rope_type": "dynamic"}}},
            "rope_type='dynamic' is not known",
        ),
        (
            "modernbert",
            {"rope_parameters": {"rope_theta": 10.0}},
            "rope_theta=10.0 is not known",
        ),
    ],
)
def test_values_that_cannot_be_are_named(
    model_type: str, attributes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read(model_type, **attributes)


def test_attributes_of_published_checkpoints_are_accepted() -> None:
    names = ("down_scale_factor", "gap_size", "net_structure_type", "num_memory_blocks")
    read("albert", **dict(zip(names, (1, 0, 0, 0), strict=True)))
    read("distilbert", tie_weights_=True, sinusoidal_pos_embds=False)
    read("electra", summary_last_dropout=0.1, summary_type="first")
    read("roberta", output_past=True)
    old = read(
        "modernbert",
        global_attn_every_n_layers=3,
        global_rope_theta=160000.0,
        local_rope_theta=10000.0,
        layer_norm_eps=1e-5,
        position_embedding_type="absolute",
        reference_compile=True,
        repad_logits_with_grad=False,
    )
    assert old == read("modernbert")


def test_a_table_of_positions_has_rows_that_no_sentence_uses() -> None:
    assert read("roberta", max_position_embeddings=514).max_positions == 512
    assert read("roberta", pad_token_id=0).max_positions == 511
    assert read("mpnet", pad_token_id=9).max_positions == 510
    assert read("bert").max_positions == 512


def test_layers_that_share_weights_have_units_of_their_own() -> None:
    family, config = read_config(
        {"model_type": "albert", "num_hidden_groups": 3, "num_hidden_layers": 5},
        (),
        "config.json",
    )
    table = UnitTable.build(family.sites(config), 5, "ffn$")
    start = "albert.encoder.albert_layer_groups."
    assert list(dict.fromkeys(table.module)) == [
        f"{start}{group}@{layer}.albert_layers.0.ffn"
        for layer, group in enumerate((0, 0, 1, 1, 2))
    ]


def test_a_norm_before_the_first_layer_is_refused(tmp_path: Path) -> None:
    architecture, attributes = CASES["modernbert"]
    make_tiny(tmp_path, architecture, **attributes)
    weights = tmp_path / "model.safetensors"
    extra = {"model.layers.0.attn_norm.weight": np.ones(32, np.float32)}
    save_file(load_file(weights) | extra, weights)
    with pytest.raises(InputError, match=r"has no layer\(s\) 0 in this config"):
        load_model(str(tmp_path))


def test_a_classifier_has_no_logits_of_tokens(tmp_path: Path) -> None:
    architecture, attributes = CASES["modernbert-classifier-scaled-rotary"]
    make_tiny(tmp_path, architecture, **attributes)
    model = load_model(str(tmp_path))
    module = nnx.merge(model.graphdef, model.params)
    with pytest.raises(InputError, match="no masked language model head"):
        module.logits(jnp.zeros((1, 1, 32)))


@pytest.mark.parametrize("inputs_of", [Inputs.of, Inputs.repeating])
@pytest.mark.parametrize(
    "name", ["roberta", "roberta-untied-relu-pad-5", "xlm-roberta", "mpnet"]
)
def test_padding_tokens_of_a_text_are_no_positions(
    name: str, inputs_of: Any, tmp_path: Path
) -> None:
    """As transformers, which counts the other tokens; also at the end of a text."""
    case = make_case(name, tmp_path / "model")
    padding = case.model.config.first_position - 1
    tokens = np.full((3, 12), padding)
    mask = np.zeros_like(tokens)
    for row, length in enumerate((12, 9, 9)):
        tokens[row, :length] = np.arange(10, 10 + length)
        mask[row, :length] = 1
    tokens[0, 4] = tokens[0, 7] = tokens[1, 3] = tokens[2, 8] = padding
    reference = case.reference("right", tokens, mask)
    ours = jax.jit(forward_of(case.model, inputs_of))(tokens, mask, None)
    found = errors(ours, reference, mask)
    assert max(found.values()) <= bounds.of_model(case.model), found
