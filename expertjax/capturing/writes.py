"""What units of a causal model write: the tokens that they promote and suppress."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.sharding import Mesh

from expertjax.capturing.again import captured_units
from expertjax.capturing.factors import product_signs
from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.jax_settings import jax_settings
from expertjax.models.forward import Precision, multiplying
from expertjax.models.readout import Readout, direct_effects
from expertjax.models.sites import UnitTable
from expertjax.runtime import mesh as meshes
from expertjax.runtime import processes, sharding
from expertjax.stores.folder import ResultFolder
from expertjax.typing import Array

TOKENS = 10  # of each side, in `writes.parquet`
_SIDES = ("promoted", "suppressed")
_TYPES = {
    "unit": np.int32, "side": str, "rank": np.int32, "token": str,
    "token_id": np.int32, "effect": np.float32, "deviations": np.float32,
    "sign": np.int8,
}  # fmt: skip
_CHUNK = 128  # units whose effects on all tokens are there at a time


@jax_settings()
def direct_effect(
    model: Model,
    units: Sequence[int],
    k: int = TOKENS,
    *,
    sites: str = "",
    mesh: Mesh | None = None,
) -> pd.DataFrame:
    """The tokens whose logits some units raise and lower most, directly.

    Directly means through the last norm and the output layer, without the blocks in
    between; see `models.readout` for what is left out, and for sources. Units that go
    into the MLP's output layer write their row of it, whatever they are multiplied
    with; outputs of attention, of the MLP and the residual stream write a coordinate of
    the stream.

    Args:
      model: of a causal family.
      units: numbers in `units.parquet` of a capture with the same `sites`.
      k: tokens of each side.
      sites: as in `CaptureSettings`.
      mesh: defaults to all devices on the data axis.

    Returns:
      unit, side ("promoted" or "suppressed"), rank (from 1), token (its text, with the
      space that it may begin with), token_id, effect (of one unit of activation on the
      logit, before the last norm's division), deviations (the effect, in standard
      deviations of the unit's effects on all tokens, from their mean), sign (1; 0 of
      units that another one is multiplied with: where their product is negative, the
      sides change places). Units that have no direct effect (queries, keys, values)
      have no rows.

    Raises:
      InputError: there is no such unit, or the model has no output layer that reads its
        last block.
    """
    if model.readout is None:
        raise InputError(
            f"{model.path}: units of this {model.family.name} have no direct effect on "
            "output tokens; expected a causal model with an output layer"
        )
    if k < 1:
        raise InputError(f"k={k}: expected at least one token")
    table = UnitTable.build(model.sites, model.num_layers, sites)
    numbers = np.array(list(dict.fromkeys(units)), np.int64)
    table.check(numbers)
    return _effects(model, model.readout, table, numbers, k, mesh or meshes.make_mesh())


@jax_settings()
def write_writes(folder: ResultFolder, model: Model, mesh: Mesh | None = None) -> None:
    """Writes `writes.parquet`: `direct_effect` of the units of `experts.parquet`.

    The `sign` of factors of a product is that of the product at the tokens that excite
    them most, where `excited.parquet` is there and they agree (`product_signs`).

    Of models that are not causal, or have no output layer, the table is empty. All
    processes of a job call this. Nothing happens where the table is there already.

    Args:
      folder: a scored result.
      model: that of the capture.
      mesh: of this process's group; defaults to all devices on the data axis.

    Raises:
      InputError: tables are damaged, or the model has other units.
    """
    table = captured_units(folder, model)
    units = np.unique(folder.read_table("experts")["unit"]).astype(np.int64)
    units = units[_writes(model.readout, table, units)]
    if processes.agree([_is_there(folder, units)])[0]:
        return
    effects = _none()
    if model.readout is not None:
        mesh = mesh or meshes.make_mesh()
        effects = _effects(model, model.readout, table, units, TOKENS, mesh)
        factors = np.unique(effects["unit"][effects["sign"] == 0])
        signs = product_signs(folder, model, model.readout, table, factors, mesh)
        effects["sign"] += effects["unit"].map(signs).fillna(0).astype(np.int8)
    if processes.is_first():
        folder.write_table("writes", effects)


def _is_there(folder: ResultFolder, units: np.ndarray) -> bool:
    """Does the folder have this table already?"""
    if not folder.has_table("writes"):
        return False
    return np.array_equal(np.unique(folder.read_table("writes")["unit"]), units)


def _writes(readout: Readout | None, table: UnitTable, units: np.ndarray) -> np.ndarray:
    """[K] bool: which units have a direct effect."""
    sites = table.site[units].tolist()
    writing = {s for s in sites if readout is not None and readout.writes(s)}
    return np.array([site in writing for site in sites], bool)


def _effects(
    model: Model,
    readout: Readout,
    table: UnitTable,
    units: np.ndarray,
    k: int,
    mesh: Mesh,
) -> pd.DataFrame:
    """What `direct_effect` returns."""
    params = _placed(model, readout, mesh)
    texts = TokenTexts(model.tokenizer, model.config.vocab_size)
    k = min(k, int(texts.known_V.sum()))
    parts = [_none()]
    units = units[_writes(readout, table, units)]
    for site in dict.fromkeys(table.site[units].tolist()):
        of_site = units[table.site[units] == site]
        step = jax.jit(
            functools.partial(_extremes, readout, site, k, model.precision),
            out_shardings=meshes.replicated(mesh),
        )
        for start in range(0, len(of_site), _CHUNK):
            some = of_site[start : start + _CHUNK]
            padded = np.resize(some, _CHUNK)  # one shape for all
            where = (table.layer[padded], table.index[padded])
            token, effect, deviations = jax.device_get(
                step(params, texts.known_V, *where)
            )
            columns = _columns(some, token, effect, deviations, texts) | {
                "sign": int(not readout.is_factor(site))
            }
            parts.append(pd.DataFrame(columns).astype(_TYPES))
    place = {unit: n for n, unit in enumerate(units.tolist())}
    whole = pd.concat(parts, ignore_index=True)
    order = np.argsort(whole["unit"].map(place), kind="stable")
    return whole.iloc[order].reset_index(drop=True)


def _placed(model: Model, readout: Readout, mesh: Mesh) -> dict[str, Array]:
    """The parameters that are needed, where the mesh wants them."""
    found = {".".join(map(str, path)): v for path, v in model.params.flat_state()}
    return {
        path: jax.device_put(
            found[path][...], sharding.parameter_sharding(mesh, path, found[path].shape)
        )
        for path in readout.paths
    }


def _extremes(
    readout: Readout,
    site: str,
    k: int,
    precision: Precision,
    params: dict[str, Array],
    known_V: Array,
    layer_K: Array,
    index_K: Array,
) -> tuple[Array, Array, Array]:
    """The k tokens of highest and of lowest effect.

    Returns:
      [K, 2, k] tokens, their effects, and these in deviations from the mean; highest
      first, then lowest first. Of equal ones the first tokens.
    """
    with multiplying(precision):
        effect_KxV = direct_effects(readout, site, params, layer_K, index_K)
    mean_Kx1 = effect_KxV.mean(-1, keepdims=True, where=known_V)
    sd_Kx1 = effect_KxV.std(-1, keepdims=True, where=known_V)
    sides = []
    for sign in (1, -1):
        side_KxV = jnp.where(known_V, sign * effect_KxV, -jnp.inf)
        value, token = jax.lax.top_k(side_KxV, k)
        sides.append((token, sign * value))
    token, effect = (jnp.stack(both, 1) for both in zip(*sides, strict=True))
    # Of a direction that the norms leave nothing of, all effects are equal.
    deviations = (effect - mean_Kx1[:, None]) / jnp.maximum(sd_Kx1[:, None], 1e-30)
    return token, effect, deviations


def _none() -> pd.DataFrame:
    return pd.DataFrame({name: [] for name in _TYPES}).astype(_TYPES)


def _columns(
    units: np.ndarray,
    token: np.ndarray,
    effect: np.ndarray,
    deviations: np.ndarray,
    texts: "TokenTexts",
) -> dict[str, Any]:
    """What the table says of some units, of which more were computed: [.., 2, k]."""
    count, k = len(units), token.shape[-1]
    token = token[:count].ravel()
    return {
        "unit": np.repeat(units, 2 * k),
        "side": np.tile(np.repeat(_SIDES, k), count),
        "rank": np.tile(np.arange(1, k + 1), 2 * count),
        "token": [texts[number] for number in token.tolist()],
        "token_id": token,
        "effect": effect[:count].ravel(),
        "deviations": deviations[:count].ravel(),
    }


class TokenTexts:
    """The texts of single tokens, with the space that they begin or end with.

    Attributes:
      known_V: [V] bool: which rows of the output layer stand for a token at all.
    """

    def __init__(self, tokenizer: Any, vocab_size: int) -> None:
        """Takes the tokenizer and the width of the output layer."""
        numbers = np.array(sorted(tokenizer.get_vocab().values()), np.int64)
        self.known_V = np.zeros(vocab_size, bool)
        self.known_V[numbers[numbers < vocab_size]] = True
        self._tokenizer = tokenizer
        self._texts: dict[int, str] = {}

    def __getitem__(self, token: int) -> str:
        """Of part of a character's bytes, the tokenizer's own name."""
        if token not in self._texts:
            # Decoders drop the space before a text's first token, not before the next.
            one, two = (self._decoded([token] * count) for count in (1, 2))
            text = two[len(one) :] if two.startswith(one) else one
            if not text or "\N{REPLACEMENT CHARACTER}" in text:
                text = str(self._tokenizer.convert_ids_to_tokens(token))
            self._texts[token] = text
        return self._texts[token]

    def _decoded(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, clean_up_tokenization_spaces=False))
