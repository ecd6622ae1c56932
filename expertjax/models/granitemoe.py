"""Granite's mixtures of experts: IBM 2024, after PowerMoE (arXiv 2408.13359)."""

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_config import DecoderConfig
from expertjax.models.decoder_family import decoder_family
from expertjax.models.experts import expert_rules, read_experts
from expertjax.models.granite import read_granite

_MODULE = "block_sparse_moe"


def _read_config(reader: ConfigReader) -> DecoderConfig:
    options = read_granite(reader)
    return DecoderConfig(
        **options,
        experts=read_experts(
            reader,
            "num_local_experts",
            (8, 2),
            width=options["mlp_width"],
            normalise=True,
            module=_MODULE,
            router="router",
        ),
    )


FAMILY = decoder_family(
    "granitemoe",
    _read_config,
    more_rules=expert_rules(_MODULE, "router"),
    # What checkpoints call them, and transformers 5 does.
    renamed=(
        (f".{_MODULE}.input_linear.weight", f".{_MODULE}.experts.gate_up_proj"),
        (f".{_MODULE}.output_linear.weight", f".{_MODULE}.experts.down_proj"),
        (f".{_MODULE}.router.layer.weight", f".{_MODULE}.router.weight"),
    ),
)
