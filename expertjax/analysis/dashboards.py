"""Experts as SAEDashboard writes features for Neuronpedia, and pages read them.

A unit of `experts.parquet` is a feature, its index that in its site; a layer and site
is a source. Fields are those of SAEDashboard's classes; see docs/dashboards.md.
"""

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from expertjax.analysis.expertise import Expertise
from expertjax.errors import InputError

# The account that Neuronpedia's own seed gives every database, and its importers use.
BOT = "clkht01d40000jv08hvalcvly"
_BARS = 40
_OTHER = {"promoted": "suppressed", "suppressed": "promoted"}
_BYTES = 64 * 2**20  # of responses in memory at once
# What SAEDashboard has of a feature and a unit has not: neighbours, decoders, vectors.
_NOT_OURS = (
    "neuron_alignment_indices", "neuron_alignment_values", "neuron_alignment_l1",
    "correlated_neurons_indices", "correlated_neurons_l1",
    "correlated_neurons_pearson", "correlated_features_indices",
    "correlated_features_l1", "correlated_features_pearson",
    "logits_hist_data_bar_heights", "logits_hist_data_bar_values",
    "decoder_weights_dist", "vector",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class DashboardSettings:
    """What the files say and a result does not know.

    Attributes:
      model_id: of the model at Neuronpedia; "" for the result's name.
      source_set: sources are called LAYER-SOURCE_SET-SITE.
      release: that the source sets belong to.
      creator: who is named as having made them.
      creator_id: an account of the database that they go to; by default the one that
        is in every new database.
    """

    model_id: str = ""
    source_set: str = "expertjax"
    release: str = "expertjax"
    creator: str = "expertjax"
    creator_id: str = BOT

    def __post_init__(self) -> None:
        """Raises InputError naming the flag that is wrong."""
        for name in ("source_set", "release"):
            value = getattr(self, name)
            if not value or value != _slug(value) or "__" in value:
                raise InputError(
                    f"--{name}={value}: expected lower case letters, digits, - and _, "
                    "but no __, which Neuronpedia cuts names at"
                )
        if not re.fullmatch(r"[\w.-]*", self.model_id, re.ASCII):
            raise InputError(
                f"--model_id={self.model_id}: expected letters, digits, -, _ and ."
            )
        for name in ("creator", "creator_id"):
            if not getattr(self, name):
                raise InputError(f"--{name}: expected a name")


@dataclasses.dataclass(frozen=True)
class Source:
    """A site of a layer.

    Attributes:
      model: its name at Neuronpedia.
      layer: from 0.
      site: e.g. "mlp.c_fc".
      source_set: its name, which is that of the site in other layers too.
      units: [K] rows of `units.parquet` that are experts.
    """

    model: str
    layer: int
    site: str
    source_set: str
    units: pd.DataFrame

    @property
    def name(self) -> str:
        """What Neuronpedia calls it."""
        return f"{self.layer}-{self.source_set}"


def write_saedashboard(
    expertise: Expertise, folder: Path, tokens: pd.DataFrame, how: DashboardSettings
) -> None:
    """Writes `<source>/batch-0.json` and, as that has no place for it, `concepts.csv`.

    Args:
      expertise: a finished result.
      folder: that there is, for the files.
      tokens: from `capturing.excited_tokens`.
      how: see there.
    """
    for source in sources(expertise, how):
        batch = {
            "model_id": source.model,
            "layer": source.layer,
            "sae_set": source.source_set,
            "sae_id_suffix": None,
            "features": list(features_of(expertise, source, tokens)),
        }
        place = folder / source.name
        place.mkdir()
        text = json.dumps(batch, allow_nan=False)
        (place / "batch-0.json").write_text(text, encoding="utf-8")
        concepts = concepts_of(expertise, source).drop(columns=["unit", "rank"])
        concepts.to_csv(place / "concepts.csv", index=False)


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())


def sources(expertise: Expertise, how: DashboardSettings) -> Iterator[Source]:
    """The layers and sites that have experts, ascending."""
    units = expertise.units.iloc[np.unique(expertise.intervals["unit"])]
    model = how.model_id or _slug(expertise.folder.name)
    for key, rows in units.groupby(["layer", "site"], sort=True):
        layer, site = int(key[0]), str(key[1])
        yield Source(model, layer, site, f"{how.source_set}-{_slug(site)}", rows)


def features_of(
    expertise: Expertise, source: Source, tokens: pd.DataFrame
) -> Iterator[dict[str, Any]]:
    """The units of a source, in SAEDashboard's fields.

    The histogram is of responses to all sentences, `frac_nonzero` the share above 0.
    """
    excited = dict(iter(tokens.groupby("unit")))
    writes = dict(iter(expertise.writes.groupby("unit")))
    run = expertise.folder.read_run()["capture"]
    num_sentences = run["num_sentences"]
    units = source.units["unit"].to_numpy(np.int64)
    step = max(1, _BYTES // (4 * num_sentences))
    for start in range(0, len(units), step):
        some = units[start : start + step]
        for unit, x_N in zip(some, expertise.responses(some).T, strict=True):
            heights, edges = np.histogram(x_N, _BARS)
            yield {
                "feature_index": int(source.units["index"].loc[unit]),
                **{name: [] for name in _NOT_OURS},
                **_logits(writes.get(unit)),
                "frac_nonzero": short((x_N > 0).mean()),
                "freq_hist_data_bar_values": _shorts((edges[1:] + edges[:-1]) / 2),
                "freq_hist_data_bar_heights": heights.tolist(),
                "n_prompts_total": num_sentences,
                "n_tokens_in_prompt": run["seq_len"],
                "dataset": "",
                "activations": _activations(excited[unit].sort_values("rank")),
            }


def _logits(effects: pd.DataFrame | None) -> dict[str, list[Any]]:
    """Output tokens that the unit promotes and suppresses while it is excited."""
    found: dict[str, list[Any]] = {}
    for name, side in (("pos", "promoted"), ("neg", "suppressed")):
        found |= {f"{name}_str": [], f"{name}_values": []}
        if effects is not None:
            # A factor whose product is negative does the opposite of what is stored.
            sign = np.where(effects["sign"] < 0, -1, 1)
            turned = effects["side"].where(sign > 0, effects["side"].map(_OTHER))
            rows = effects[turned == side].sort_values("rank")
            found[f"{name}_str"] = rows["token"].tolist()
            found[f"{name}_values"] = _shorts(rows["effect"] * sign[turned == side])
    return found


def _activations(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Sentences, highest response first, as one group: the top activations."""
    highest = max(max(values) for values in rows["values"])
    return [
        {
            "bin_min": -1,
            "bin_max": short(highest),
            "bin_contains": -1,
            "tokens": list(tokens),
            "values": _shorts(values),
            "qualifying_token_index": int(np.argmax(values)),
        }
        for tokens, values in zip(rows["tokens"], rows["values"], strict=True)
    ]


def concepts_of(expertise: Expertise, source: Source) -> pd.DataFrame:
    """Feature, concept and AP, with its interval, of each expert of a source."""
    table = expertise.intervals
    table = table[table["unit"].isin(source.units["unit"])]
    index = source.units["index"].reindex(table["unit"])
    table = table.assign(feature_index=index.to_numpy())
    first = ["feature_index", "concept", "ap"]
    table = table.sort_values(["feature_index", "ap"], ascending=[True, False])
    return table[first + [name for name in table if name not in first]]


def short(value: float) -> float:
    """Six digits, which is about what a float32 has."""
    return float(f"{value:.6g}")


def _shorts(values: Iterable[float]) -> list[float]:
    return [short(value) for value in values]
