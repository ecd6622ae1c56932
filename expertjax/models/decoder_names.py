"""What the torch modules of a decoder are called, family by family."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Names:
    """Of modules and so of sites; the defaults are Llama's."""

    prefix: str = "model."  # of the model without its output layer
    block: str = "layers.{layer}."
    embed: str = "embed_tokens"
    positions: str = "wpe"  # where they are learned
    last_norm: str = "norm"

    # Within the block.
    q: str = "self_attn.q_proj"
    k: str = "self_attn.k_proj"
    v: str = "self_attn.v_proj"
    qkv: str = "self_attn.qkv_proj"  # all three as one layer
    out: str = "self_attn.o_proj"
    q_norm: str = "self_attn.q_norm"
    k_norm: str = "self_attn.k_norm"
    gate: str = "mlp.gate_proj"
    up: str = "mlp.up_proj"
    gate_up: str = "mlp.gate_up_proj"  # both as one layer
    down: str = "mlp.down_proj"

    @property
    def blocks(self) -> str:
        """The block's whole name, with a dot."""
        return self.prefix + self.block


LLAMA = Names()
