"""How many operations a forward pass takes."""

import jax

from expertjax.checkpoints.load import Model


def flops_per_token(model: Model, depth: int) -> int:
    """Multiplications and additions of the linear layers, attention's scores left out.

    A linear layer costs two operations per weight and token (Kaplan et al. 2020,
    section 2.1); of a mixture's experts, those of the ones that a token runs.

    Args:
      model: any.
      depth: layers that are run.
    """
    weights, before = 0, 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(model.params):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if _is_linear(name):
            weights += int(leaf.size * _share_run(model, name))
        if _is_linear(name) and model.read_with == "decoder":
            before += leaf.size * name.startswith("encoder.")
    # Of layers that share weights, each costs as much as if it had its own.
    stacked = getattr(model.config, "num_groups", 0) or model.num_layers
    return 2 * (before + (weights - before) * depth // stacked)


def _share_run(model: Model, path: str) -> float:
    """Of a parameter, what a token is multiplied with."""
    if ".experts." not in path:
        return 1.0
    return model.config.experts.active / model.config.experts.number


def _is_linear(path: str) -> bool:
    in_block = path.startswith(("blocks.", "encoder.blocks.", "decoder.blocks."))
    return in_block and path.removesuffix(".value").endswith("kernel")
