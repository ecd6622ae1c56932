"""How units of a causal model write: their direct effect on its output tokens.

What a block adds to the residual stream reaches the logits by the later blocks, and
without them: through the last norm and the output layer alone. That direct path is
linear but for the norms' division by the size of the whole stream. Taken as a constant,
which scales all tokens' effects alike, it is left out here, and so are the biases:
an effect is what one unit of activation adds to a token's logit, times that constant.

A row of the MLP's output layer is thus what its hidden unit promotes and suppresses:
Geva et al. 2022 (arXiv 2203.14680), Dar et al. 2023 (arXiv 2209.02535); reading the
stream at any layer by the output layer is nostalgebraist's logit lens (2020).

A family says in a `Readout` which of its linear layers write, and which norms stand in
the way. What it does not name has no direct effect: queries, keys and values act
through attention.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from expertjax.typing import Array


@dataclasses.dataclass(frozen=True)
class Branch:
    """A part of the block, by the linear layer that adds to the residual stream.

    Attributes:
      output: that layer's site, whose units are the stream's coordinates.
      kernel: path of its kernel, [L, F, D]: a row for each unit that goes in.
      hidden: site whose units, after the activation function, are those rows'
        factors; "" if there is none. `output` + ":input" always is one.
      gates: sites whose units are multiplied with each other before: a row's sign is
        that of the other factor. A site may hold several, one after the other.
      norms: paths of the norms between this layer's output and the end of the block.
      scale: of what is added.
      interleaved: the units of `gates` that belong to a row are neighbours.
      expert: of a mixture, whose kernel is [L, E, F, D]; None if it is none. The
        router's weight, which is positive and another at each token, is left out.
    """

    output: str
    kernel: str
    hidden: str = ""
    gates: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    scale: float = 1.0
    interleaved: bool = False
    expert: int | None = None

    @property
    def rows(self) -> tuple[str, ...]:
        """The sites whose units have a row of the kernel."""
        return tuple(filter(None, (f"{self.output}:input", self.hidden, *self.gates)))

    def row_of(self, site: str, index: Array, width: int) -> Array:
        """Which row of the kernel units have.

        Args:
          site: one of `rows`.
          index: their output coordinates.
          width: how many rows there are.
        """
        if self.interleaved and site in self.gates:
            return index // 2
        return index % width


@dataclasses.dataclass(frozen=True)
class Readout:
    """What stands between a block's outputs and the logits.

    Attributes:
      branches: of a block.
      unembedding: path of the output layer: a kernel [E, V], or tokens' embeddings
        [V, E].
      last: paths of the norms behind the last block; () where there are none.
      stream: paths of the norms that the stream itself passes in every block, in
        order. Norms that only a branch reads through are no part of it.
      project: path of a kernel [D, E] between them and the output layer; "": none.
      centred: norms subtract the mean (LayerNorm), or do not (RMSNorm).
      plus_one: norms store their scale as its distance from 1.
      scaled: norms have a scale.
      scale: of the logits.
    """

    branches: tuple[Branch, ...]
    unembedding: str
    last: tuple[str, ...] = ()
    stream: tuple[str, ...] = ()
    project: str = ""
    centred: bool = True
    plus_one: bool = False
    scaled: bool = True
    scale: float = 1.0

    def branch_of(self, site: str) -> Branch | None:
        """The branch by which a site writes."""
        for branch in self.branches:
            if site == branch.output or site in branch.rows:
                return branch
        return None

    def writes(self, site: str) -> bool:
        """Do the units of a site have a direct effect?"""
        return site == ":residual" or self.branch_of(site) is not None

    def is_factor(self, site: str) -> bool:
        """Does another unit decide the sign of what a site's units write?"""
        branch = self.branch_of(site)
        return branch is not None and site in branch.gates

    @property
    def paths(self) -> frozenset[str]:
        """Of all parameters that `direct_effects` needs."""
        norms = {*self.last, *self.stream} if self.scaled else set()
        norms = norms.union(*(branch.norms for branch in self.branches))
        kernels = {branch.kernel for branch in self.branches}
        others = {self.unembedding, self.project} - {""}
        return frozenset(kernels | others | {f"{norm}.scale" for norm in norms})


def direct_effects(
    readout: Readout,
    site: str,
    params: Mapping[str, Array],
    layer_K: Array,
    index_K: Array,
) -> Array:
    """What units of one site add to every token's logit; see the head of this file.

    Args:
      readout: of the family.
      site: one that writes.
      params: the parameters at `readout.paths`.
      layer_K: the units' layers.
      index_K: their output coordinates.

    Returns:
      [K, V] float32.
    """
    branch = readout.branch_of(site)
    kernel_LxFxD = params[(branch or readout.branches[0]).kernel]
    if branch is not None and branch.expert is not None:
        kernel_LxFxD = kernel_LxFxD[:, branch.expert]
    num_layers, width, features = kernel_LxFxD.shape
    if branch is None or site == branch.output:
        x_KxD = jax.nn.one_hot(index_K, features)
    else:
        row_K = branch.row_of(site, index_K, width)
        x_KxD = kernel_LxFxD[layer_K, row_K].astype(jnp.float32)

    def norm(path: str, x_KxD: Array, layer: Array | int | None = None) -> Array:
        if readout.centred:
            x_KxD = x_KxD - x_KxD.mean(-1, keepdims=True)
        if not readout.scaled:
            return x_KxD
        scale = params[f"{path}.scale"].astype(jnp.float32)
        scale = (scale if layer is None else scale[layer]) + float(readout.plus_one)
        return scale * x_KxD

    for path in () if branch is None else branch.norms:
        x_KxD = norm(path, x_KxD, layer_K)
    for later in range(1, num_layers) if readout.stream else ():
        passed_KxD = x_KxD
        for path in readout.stream:
            passed_KxD = norm(path, passed_KxD, later)
        x_KxD = jnp.where((layer_K < later)[:, None], passed_KxD, x_KxD)
    for path in readout.last:
        x_KxD = norm(path, x_KxD)
    if readout.project:
        x_KxD = x_KxD @ params[readout.project].astype(jnp.float32)
    output = params[readout.unembedding].astype(jnp.float32)
    is_embedding = readout.unembedding.endswith("embedding")
    effects_KxV = x_KxD @ (output.T if is_embedding else output)
    return effects_KxV * readout.scale * (1.0 if branch is None else branch.scale)
