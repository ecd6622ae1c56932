"""Mixtures of experts: routing, grouped products, edits, units, time to compile."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from expertjax.capturing.operations import flops_per_token
from expertjax.checkpoints.load import Model, abstract_module, load_model
from expertjax.errors import InputError
from expertjax.models.attention import Inputs
from expertjax.models.edits import PLAIN, Edit, Probe, Tap
from expertjax.models.experts import ExpertsConfig, RoutedMLP
from expertjax.models.forward import Forward, multiplying
from expertjax.models.readout import direct_effects
from expertjax.models.registry import read_config
from expertjax.models.routing import Routing, grouped_dot
from expertjax.models.sites import UnitTable
from tests import bounds
from tests.models.parity import CASES

D, F = 32, 24


def mixture(number: int, active: int, normalise: bool) -> RoutedMLP:
    config = ExpertsConfig(number, active, F, normalise)
    return RoutedMLP(config, D, "silu", None, nnx.Rngs(0), None)


def all_on_all(mlp: RoutedMLP, x_BxTxD: Any) -> Any:
    """Every expert runs every token; what was not routed to it weighs nothing."""
    config = mlp.config
    probability = jax.nn.softmax(mlp.router(x_BxTxD), -1)
    least = jnp.sort(probability, -1)[..., -config.active, None]
    weight_BxTxE = jnp.where(probability >= least, probability, 0)
    if config.normalise:
        weight_BxTxE /= weight_BxTxE.sum(-1, keepdims=True)
    both = jnp.einsum("btd,edf->betf", x_BxTxD, mlp.experts.gate_up_proj.kernel[...])
    gate, up = jnp.split(both, 2, -1)
    hidden = jax.nn.silu(gate) * up
    y = jnp.einsum("betf,efd->betd", hidden, mlp.experts.down_proj.kernel[...])
    return jnp.einsum("betd,bte->btd", y, weight_BxTxE)


@pytest.mark.parametrize(
    ("number", "active", "normalise"),
    [(8, 2, True), (8, 2, False), (64, 8, False), (4, 1, True), (3, 3, False)],
)
@pytest.mark.parametrize("tokens", [(4, 50), (1, 1), (3, 7)])
def test_routed_tokens_give_what_all_experts_on_all_tokens_give(
    number: int, active: int, normalise: bool, tokens: tuple[int, int]
) -> None:
    mlp = mixture(number, active, normalise)
    x_BxTxD = jax.random.normal(jax.random.key(1), (*tokens, D))
    mlp.router.kernel[...] *= 50  # so that experts are chosen clearly
    with multiplying("float32"):
        routed = jax.jit(lambda x: mlp(x, Tap(PLAIN)))(x_BxTxD)
        wanted = all_on_all(mlp, x_BxTxD)
    error = np.abs(routed - wanted).max() / wanted.std()
    print(f"{error:.1e} standard deviations")
    assert error <= 1e-5


@pytest.mark.parametrize(
    "sizes",
    [
        (5, 0, 0, 17, 1, 300),
        (0, 0, 0, 0, 9),
        (1, 0, 0),
        (700, 3, 0, 41),
        (0, 64, 64, 64, 0),
    ],
)
def test_each_run_of_rows_meets_its_own_kernel(sizes: tuple[int, ...]) -> None:
    random = np.random.default_rng(len(sizes))
    x_RxD = random.normal(size=(sum(sizes), D)).astype(np.float32)
    kernel_ExDxF = random.normal(size=(len(sizes), D, F)).astype(np.float32)
    with multiplying("float32"):
        found = grouped_dot(
            jnp.asarray(x_RxD), jnp.asarray(kernel_ExDxF), jnp.array(sizes)
        )
        theirs = jax.lax.ragged_dot(x_RxD, kernel_ExDxF, jnp.array(sizes))
    ends = np.cumsum(sizes)
    wanted = np.concatenate(
        [
            part @ kernel
            for part, kernel in zip(
                np.split(x_RxD, ends[:-1]), kernel_ExDxF, strict=True
            )
        ]
    )
    bounds.assert_outputs(found, wanted, bounds.forward(1, D))
    bounds.assert_outputs(theirs, wanted, bounds.forward(1, D))


def test_experts_do_not_run_tokens_of_others() -> None:
    """Operations that run, counted by the loop's own bounds."""
    mlp = mixture(16, 2, True)
    x_BxTxD = jax.random.normal(jax.random.key(0), (8, 128, D))
    routing = Routing.of(mlp.router(x_BxTxD), 2, True)
    text = str(jax.make_jaxpr(lambda x: mlp(x, Tap(PLAIN)))(x_BxTxD))
    rows = 8 * 128 * 2
    block = rows // (16 * 4)
    assert f"f32[{block},{2 * F}] = dot_general" in text.replace("\n", " ")
    run = int(np.ceil(np.asarray(routing.sizes) / block).sum()) * block
    assert rows <= run <= rows * 1.25


def test_sites_name_the_expert_and_numbering_is_by_layer_and_site(
    mixtral: Model,
) -> None:
    table = UnitTable.build(mixtral.sites, mixtral.num_layers)
    names = [site.name for site in mixtral.sites if site.is_linear]
    assert names == [
        *(f"self_attn.{n}_proj" for n in "qkvo"),
        "mlp.gate",
        *(f"mlp.experts.{e}.gate_up_proj" for e in range(4)),
        *(f"mlp.experts.{e}.down_proj" for e in range(4)),
    ]
    expert = np.flatnonzero(table.site == "mlp.experts.2.gate_up_proj")
    assert table.module[expert[0]] == "model.layers.0.mlp.experts.2.gate_up_proj"
    assert table.index[expert].tolist() == [*range(48)] * 3
    one = UnitTable.build(mixtral.sites, 3, r"1\.mlp\.experts\.3\.down_proj$")
    assert one.num_units == 32 and set(one.layer) == {1}


def test_edits_do_nothing_where_a_token_goes_elsewhere(mixtral: Model) -> None:
    tokens = np.arange(1, 41).reshape(2, 20)
    table = UnitTable.build(mixtral.sites, mixtral.num_layers)
    # In the last layer, so that tokens do not tell each other.
    units = np.flatnonzero(table.site == "mlp.experts.1.down_proj")[-32:]
    edit = Edit.from_units(mixtral.sites, 3, table, units, 0.0, 9.0)
    record = frozenset(["mlp.gate"])

    @jax.jit
    def run(params: Any, edit: Edit | None) -> Any:
        module = Forward(mixtral.graphdef).bind(params)
        out = module(
            Inputs.of(tokens, np.ones_like(tokens)), Probe(edit, lambda z: z, record)
        )
        return out.hidden, out.pooled["mlp.gate"][-1]

    plain, logits = run(mixtral.params, None)
    edited, _ = run(mixtral.params, edit)
    reaches = (np.argsort(-np.asarray(logits), -1)[..., :2] == 1).any(-1)
    assert 0 < reaches.sum() < tokens.size
    changed = np.abs(np.asarray(edited - plain)).max(-1)
    # The two are compiled apart.
    assert changed[~reaches].max() < bounds.of_model(mixtral) * np.std(plain)
    assert changed[reaches].min() > 0.1


def test_only_the_active_experts_are_counted(mixtral: Model) -> None:
    attention, router = 2 * 32 * 32 + 2 * 32 * 16, 32 * 4
    expert = 3 * 32 * 24
    wanted = 2 * 3 * (attention + router + 2 * expert)
    assert flops_per_token(mixtral, 3) == wanted
    assert flops_per_token(mixtral, 1) == wanted / 3


def test_an_expert_writes_its_own_rows(tmp_path: Path) -> None:
    make, attributes = CASES["granitemoe-scaled"]
    model = load_model(str(make(tmp_path / "model", **attributes)))
    readout = model.readout
    assert readout is not None
    params = {".".join(map(str, p)): v[...] for p, v in model.params.flat_state()}
    to_logits = params["norm.scale"][:, None] * params["embed.embedding"].T
    scale = attributes["residual_multiplier"] / attributes["logits_scaling"]
    experts = "block_sparse_moe.experts.3"
    kernel = params["blocks.mlp.experts.down_proj.kernel"]
    layer, index = np.array([0, 2]), np.array([5, 30])
    for site, rows in {
        f"{experts}.down_proj:input": kernel[layer, 3, index % F],
        f"{experts}.gate_up_proj": kernel[layer, 3, index % F],
        f"{experts}.down_proj": np.eye(D, dtype=np.float32)[index],
    }.items():
        assert readout.writes(site)
        own = index % F if site.endswith(":input") else index
        with multiplying("float32"):
            found = direct_effects(readout, site, params, layer, own)
        bounds.assert_outputs(found, rows @ to_logits * scale, bounds.of_model(model))
    assert readout.is_factor(f"{experts}.gate_up_proj")
    assert not readout.writes("block_sparse_moe.router")


def test_neighbours_of_gpt_oss_write_one_row() -> None:
    """Gate and up of a hidden unit stand beside each other."""
    family, config = read_config({"model_type": "gpt_oss"} | SIZES, (), "config.json")
    assert family.readout is not None
    branch = family.readout(config).branch_of("mlp.experts.3.gate_up_proj")
    assert branch is not None
    rows = branch.row_of("mlp.experts.3.gate_up_proj", jnp.array([0, 1, 4, 5]), 3)
    assert rows.tolist() == [0, 0, 2, 2]
    own = branch.row_of("mlp.experts.3.down_proj:input", jnp.arange(3), 3)
    assert own.tolist() == [0, 1, 2]


SIZES = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2}
REFUSED = (
    ("qwen2_moe", {"mlp_only_layers": [1]}, r"mlp_only_layers=\[1\] is not impl"),
    ("qwen3_moe", {"decoder_sparse_step": 2}, "decoder_sparse_step=2 is not impl"),
    ("mixtral", {"num_experts_per_tok": 9}, "num_experts_per_tok=9 is more than"),
    ("olmoe", {"num_experts": 4, "num_local_experts": 8}, "num_local_experts=8 and"),
    ("granitemoe", {"shared_intermediate_size": 9}, "shared_intermediate_size=9"),
    ("granitemoe", {"logits_scaling": 0.0}, "logits_scaling=0.0 divides"),
    ("gpt_oss", {"hidden_act": "gelu"}, "hidden_act='gelu' is not impl"),
    ("gpt_oss", {"swiglu_limit": 0.0}, "swiglu_limit=0.0 should be positive"),
    ("gpt_oss", {"sliding_window": None}, "there is no sliding_window"),
)


@pytest.mark.parametrize(("model_type", "attributes", "says"), REFUSED)
def test_what_is_not_implemented_is_refused(
    model_type: str, attributes: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        read_config({"model_type": model_type} | SIZES | attributes, (), "config.json")


HUB = {
    # mistralai/Mixtral-8x7B-v0.1
    "mixtral": (
        {
            "architectures": ["MixtralForCausalLM"],
            "attention_dropout": 0.0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "hidden_act": "silu",
            "hidden_size": 4096,
            "initializer_range": 0.02,
            "intermediate_size": 14336,
            "max_position_embeddings": 32768,
            "num_attention_heads": 32,
            "num_experts_per_tok": 2,
            "num_hidden_layers": 32,
            "num_key_value_heads": 8,
            "num_local_experts": 8,
            "output_router_logits": False,
            "rms_norm_eps": 1e-05,
            "rope_theta": 1000000.0,
            "router_aux_loss_coef": 0.02,
            "sliding_window": None,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "use_cache": True,
            "vocab_size": 32000,
        },
        46_702_792_704,
    ),
    # Qwen/Qwen3-30B-A3B
    "qwen3_moe": (
        {
            "attention_bias": False,
            "attention_dropout": 0.0,
            "decoder_sparse_step": 1,
            "head_dim": 128,
            "hidden_act": "silu",
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "max_position_embeddings": 40960,
            "max_window_layers": 48,
            "mlp_only_layers": [],
            "moe_intermediate_size": 768,
            "norm_topk_prob": True,
            "num_attention_heads": 32,
            "num_experts": 128,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 48,
            "num_key_value_heads": 4,
            "output_router_logits": False,
            "rms_norm_eps": 1e-06,
            "rope_scaling": None,
            "rope_theta": 1000000.0,
            "router_aux_loss_coef": 0.001,
            "sliding_window": None,
            "tie_word_embeddings": False,
            "use_sliding_window": False,
            "vocab_size": 151936,
        },
        30_532_122_624,
    ),
    # allenai/OLMoE-1B-7B-0924
    "olmoe": (
        {
            "attention_bias": False,
            "clip_qkv": None,
            "hidden_size": 2048,
            "intermediate_size": 1024,
            "max_position_embeddings": 4096,
            "norm_topk_prob": False,
            "num_attention_heads": 16,
            "num_experts": 64,
            "num_experts_per_tok": 8,
            "num_hidden_layers": 16,
            "num_key_value_heads": 16,
            "rope_scaling": None,
            "rope_theta": 10000.0,
            "router_aux_loss_coef": 0.01,
            "vocab_size": 50304,
        },
        6_919_161_856,
    ),
    # openai/gpt-oss-20b
    "gpt_oss": (
        {
            "architectures": ["GptOssForCausalLM"],
            "attention_bias": True,
            "attention_dropout": 0.0,
            "eos_token_id": 200002,
            "experts_per_token": 4,
            "head_dim": 64,
            "hidden_act": "silu",
            "hidden_size": 2880,
            "initial_context_length": 4096,
            "initializer_range": 0.02,
            "intermediate_size": 2880,
            "layer_types": ["sliding_attention", "full_attention"] * 12,
            "max_position_embeddings": 131072,
            "num_attention_heads": 64,
            "num_experts_per_tok": 4,
            "num_hidden_layers": 24,
            "num_key_value_heads": 8,
            "num_local_experts": 32,
            "output_router_logits": False,
            "pad_token_id": 199999,
            "rms_norm_eps": 1e-05,
            "rope_scaling": {
                "beta_fast": 32.0,
                "beta_slow": 1.0,
                "factor": 32.0,
                "original_max_position_embeddings": 4096,
                "rope_type": "yarn",
                "truncate": False,
            },
            "rope_theta": 150000,
            "router_aux_loss_coef": 0.9,
            "sliding_window": 128,
            "swiglu_limit": 7.0,
            "tie_word_embeddings": False,
            "vocab_size": 201088,
        },
        20_914_757_184,
    ),
}


@pytest.mark.parametrize("model_type", HUB)
def test_configs_of_the_hub_have_the_published_number_of_parameters(
    model_type: str,
) -> None:
    attributes, num_params = HUB[model_type]
    keys = ("lm_head.weight",)
    family, config = read_config(
        {"model_type": model_type} | attributes, keys, "config.json"
    )
    _, params = abstract_module(family, config, jnp.bfloat16)
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == num_params


def test_the_program_does_not_grow_with_depth() -> None:
    """So that 48 layers compile in 5.0 to 5.6 s of CPU time, 12 in 5.0 to 5.2."""
    short, deep = (program(depth).splitlines() for depth in (12, 48))
    assert len(deep) == len(short) > 100


def program(depth: int) -> str:
    """The lowered forward pass that pools all sites."""
    attributes = {"model_type": "mixtral", "num_hidden_layers": depth} | SIZES
    family, config = read_config(attributes, ("lm_head.weight",), "config.json")
    graphdef, params = abstract_module(family, config, jnp.float32)
    table = UnitTable.build(family.sites(config), depth)
    record = frozenset(site.name for site in table.recorded)

    def step(params: Any, tokens: Any, mask: Any) -> Any:
        module = Forward(graphdef).bind(params)
        probe = Probe(pool=lambda z, routed=None: z.max(1), record=record)
        return table.gather(module(Inputs.of(tokens, mask), probe).pooled)

    shape = jax.ShapeDtypeStruct((8, 64), jnp.int32)
    return jax.jit(step).lower(params, shape, shape).as_text()


@pytest.fixture(scope="module")
def mixtral(tmp_path_factory: pytest.TempPathFactory) -> Model:
    make, attributes = CASES["mixtral"]
    folder: Path = make(tmp_path_factory.mktemp("mixtral") / "model", **attributes)
    return load_model(str(folder))
