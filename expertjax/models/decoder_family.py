"""A family of `decoder.py`: its sites, how they reach the logits, its key table."""

from collections.abc import Callable, Mapping
from typing import Any

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder import Decoder
from expertjax.models.decoder_config import DecoderConfig
from expertjax.models.decoder_names import LLAMA, Names
from expertjax.models.family import Family, KeyRule, rules_for
from expertjax.models.readout import Branch, Readout
from expertjax.models.sites import Site, sites_of

# Hugging Face's names of the block's norms -> ours, where they stand as Llama's do.
PRE_NORMS = {
    "input_layernorm": "attention_pre_norm",
    "post_attention_layernorm": "mlp_pre_norm",
}
POST_NORMS = {
    "post_attention_layernorm": "attention_post_norm",
    "post_feedforward_layernorm": "mlp_post_norm",
}


def decoder_family(
    name: str,
    read_config: Callable[[ConfigReader], DecoderConfig],
    *,
    model_types: tuple[str, ...] = (),
    norms: Mapping[str, str] = PRE_NORMS,
    names: Names = LLAMA,
    ignored: tuple[str, ...] = ("self_attn.rotary_emb.inv_freq",),
    more_rules: tuple[KeyRule, ...] = (),
    causal: bool = True,
    **options: Any,
) -> Family:
    """What a family says of itself, where it is an option of the shared decoder.

    Args:
      name: of the family.
      read_config: see `Family`; its `names` have to be those given here.
      model_types: Hugging Face's; the name alone unless given.
      norms: Hugging Face's name of each of the block's norms -> ours.
      names: of all other modules.
      ignored: tensors of the block that old checkpoints carry along.
      more_rules: of what is not in every decoder.
      causal: see `Family`; its configs have to say the same.
      **options: more of what `Family` has.
    """
    return Family(
        name=name,
        model_types=model_types or (name,),
        causal=causal,
        read_config=read_config,
        build=Decoder,
        sites=decoder_sites,
        readout=decoder_readout if causal else None,
        prefix=names.prefix,
        task_prefix="transformer.",  # of classes that answer questions
        rules=(*decoder_rules(norms, names), *more_rules),
        ignored=tuple(names.blocks + key for key in ignored),
        **options,
    )


def decoder_sites(config: DecoderConfig) -> tuple[Site, ...]:
    """The sites of one block."""
    d, names, experts = config.width, config.names, config.experts
    q, kv = (n * config.head_width for n in (config.num_heads, config.num_kv_heads))
    first = {names.q: q, names.k: kv, names.v: kv}
    if config.qkv in ("side by side", "by group"):
        first = {names.qkv: q + 2 * kv}
    out = {f"{names.out}:input": q, names.out: d}
    mlp = _mlp_widths(config)
    if experts is not None:
        mlp, shared = experts.widths(d), config.shared_expert
        if shared is not None:
            mlp = _mlp_widths(shared) | mlp | {f"{experts.shared}_gate": 1}
    return sites_of(names.blocks, first | out | mlp | {":residual": d})


def _mlp_widths(config: DecoderConfig) -> dict[str, int]:
    f, names = config.mlp_width, config.names
    before = dict.fromkeys(_before_bend(config), f)
    if config.fused_gates:
        before = {names.gate_up: 2 * f}
    return before | {f"{names.down}:input": f, names.down: config.width}


def _before_bend(config: DecoderConfig) -> tuple[str, ...]:
    """The linear layers of the MLP that read the stream."""
    names = config.names
    if config.fused_gates:
        return (names.gate_up,)
    return (names.gate, names.up) if config.gated else (names.up,)


def decoder_readout(config: DecoderConfig) -> Readout:
    """How units reach the logits directly, up to the bend of a soft-cap."""
    attention = Branch(
        config.names.out,
        "blocks.attention.o_proj.kernel",
        norms=("blocks.attention_post_norm",) if config.has_post_norms else (),
        scale=config.residual_scale,
    )
    mlp: tuple[Branch, ...] = (_mlp_branch(config, "blocks.mlp"),)
    if config.experts is not None:
        shared = config.shared_expert
        mlp = config.experts.branches(config.residual_scale)
        if shared is not None:
            mlp += (_mlp_branch(shared, "blocks.mlp.shared"),)
    return Readout(
        branches=(attention, *mlp),
        unembedding="embed.embedding" if config.tie_embeddings else "lm_head.kernel",
        last=("norm",),
        centred=config.norm_kind == "layer",
        plus_one=config.norm_plus_one,
        scaled=config.norm_scale,
        scale=config.logits_scale,
    )


def _mlp_branch(config: DecoderConfig, path: str) -> Branch:
    names = config.names
    return Branch(
        names.down,
        f"{path}.down_proj.kernel",
        hidden="" if config.gated else names.up,
        gates=_before_bend(config) if config.gated else (),
        norms=("blocks.mlp_post_norm",) if config.has_post_norms else (),
        scale=config.residual_scale,
    )


def decoder_rules(
    norms: Mapping[str, str], names: Names = LLAMA
) -> tuple[KeyRule, ...]:
    """The key table.

    Args:
      norms: Hugging Face's name of each of the block's norms -> ours.
      names: of all else.
    """
    attention = {names.qkv: "qkv_proj", names.out: "o_proj"}
    attention |= {names.q: "q_proj", names.k: "k_proj", names.v: "v_proj"}
    mlp = {names.gate_up: "gate_up_proj", names.gate: "gate_proj"}
    mlp |= {names.up: "up_proj", names.down: "down_proj"}
    heads = {names.q_norm: "q_norm", names.k_norm: "k_norm"}
    modules = {
        hf: (f"blocks.{parent}{ours}", kind)
        for table, parent, kind in (
            (attention, "attention.", "linear"),
            (mlp, "mlp.", "linear"),
            (heads, "attention.", "norm"),
            (norms, "", "norm"),
        )
        for hf, ours in table.items()
    }
    return (
        KeyRule(f"{names.prefix}{names.embed}.weight", "embed.embedding"),
        KeyRule(f"{names.prefix}{names.positions}.weight", "position.embedding"),
        *rules_for(names.blocks, modules),
        *rules_for(names.prefix, {names.last_norm: ("norm", "norm")}),
        KeyRule(
            "lm_head.weight",
            "lm_head.kernel",
            transpose=True,
            optional=True,
            equals="embed.embedding",
        ),
        KeyRule("lm_head.bias", "lm_head_bias"),
    )
