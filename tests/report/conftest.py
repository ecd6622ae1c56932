"""Synthetic results of a model: plausible AP, no model needed."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from expertjax.report.data import ExcitedSentence, ReportData
from tests.report.null_law import make_null

SITES = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")


def make_units(n_units: int, n_layers: int) -> pd.DataFrame:
    """[U] rows, as many per layer and site as fit; the rest in the last ones."""
    cell = np.arange(n_units) * n_layers * len(SITES) // n_units
    layer, site = cell // len(SITES), np.array(SITES)[cell % len(SITES)]
    index = np.arange(n_units) - np.searchsorted(cell, cell)
    module = [f"transformer.h.{n}.{s}" for n, s in zip(layer, site, strict=True)]
    return pd.DataFrame(
        {
            "unit": np.arange(n_units),
            "site": site,
            "layer": layer,
            "index": index,
            "module": module,
        }
    )


def make_ap(n_concepts: int, n_units: int, seed: int = 0) -> np.ndarray:
    """[C, U] float32: most units near 0.35, a few per concept far above."""
    draw = np.random.default_rng(seed)
    ap = draw.standard_normal((n_concepts, n_units), np.float32)
    ap *= 0.04
    ap += 0.35
    for ap_U in ap:
        good = draw.choice(n_units, max(1, n_units // 100), replace=False)
        ap_U[good] += 0.62 * draw.random(len(good), np.float32) ** 4
    return ap.clip(0.05, 1)


def make_experts(
    ap_U: np.ndarray, units: pd.DataFrame, sentences: list[str], k: int = 20
) -> tuple[pd.DataFrame, dict[int, list[ExcitedSentence]]]:
    """One concept's top units, and sentences for each."""
    best = np.argsort(-ap_U, kind="stable")[:k]
    table = units.iloc[best].assign(
        ap=ap_U[best], on_p50=1.25, on_p90=2.5, off_mean=-0.125
    )
    table["above_chance"] = table["ap"] >= 0.5
    table["ap_low"], table["ap_high"] = 0.9099, 0.9501
    labels = (1, 1, 0, 1, -1)
    excited = {
        int(unit): [
            ExcitedSentence(text, 9.5 - i, labels[i % len(labels)])
            for i, text in enumerate(sentences)
        ]
        for unit in best
    }
    return table, excited


def make_data(
    n_concepts: int = 5,
    n_units: int = 480,
    n_layers: int = 3,
    gamma: float = 0.7,
    model_name: str = "tiny-gpt2",
    names: list[str] | None = None,
    sentences: list[str] | None = None,
    **changes: object,
) -> ReportData:
    """A report's data; `changes` replace columns of `concepts`, but n_above."""
    units, ap = make_units(n_units, n_layers), make_ap(n_concepts, n_units)
    names = names or [f"sense/concept_{c}-1_04_00__" for c in range(n_concepts)]
    concepts = pd.DataFrame(
        {
            "concept": names,
            "group": "sense",
            "n_pos": 175,
            "n_neg": 325,
            "chance": 0.35,
            "max_ap": ap.max(1),
            "null_threshold": 0.5,
        }
    ).assign(**changes)
    thresholds = concepts["null_threshold"].to_numpy(float)
    concepts["n_above"] = (ap >= thresholds[:, None]).sum(1)
    sizes = dict.fromkeys(zip(concepts["n_pos"], concepts["n_neg"], strict=True))
    null = pd.concat([make_null(*size) for size in sizes], ignore_index=True)
    experts, excited = {}, {}
    sentences = sentences or [f"The bird number {i} flew away." for i in range(8)]
    for name, ap_U in zip(names, ap, strict=True):
        experts[name], excited[name] = make_experts(ap_U, units, sentences)
    facts = {"family": "gpt2", "layers": str(n_layers), "units": f"{n_units:,}"}
    return ReportData(
        model_name, facts, gamma, units, concepts, null, ap, experts, excited
    )


@pytest.fixture(name="make_data")
def make_data_fixture() -> Callable[..., ReportData]:
    return make_data
