"""Synthetic results of a model: plausible AP, no model needed."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from expertjax.analysis.expertise import Expertise
from expertjax.capturing.capture import capture
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import Model
from expertjax.report.data import ReportData, Sentences
from expertjax.report.spread import BINS, Spread
from expertjax.scoring.score import score
from expertjax.scoring.settings import ScoreSettings
from expertjax.stores.folder import ResultFolder
from tests.capturing.tiny_concepts import SEQ_LEN, tiny_concept_set
from tests.report.null_law import make_null

SITES = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")

LABELLED = 2000  # sentences of a concept


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


def make_experts(ap_U: np.ndarray, units: pd.DataFrame, k: int = 20) -> pd.DataFrame:
    """One concept's top units."""
    best = np.argsort(-ap_U, kind="stable")[:k]
    table = units.iloc[best].assign(
        ap=ap_U[best], on_p50=1.25, on_p90=2.5, off_mean=-0.125
    )
    return table.assign(above_chance=table["ap"] >= 0.5, ap_low=0.9099, ap_high=0.9501)


def make_sentences(
    experts: dict[str, pd.DataFrame], texts: list[str], n: int = 8
) -> Sentences:
    """Each unit is excited by n of the sentences; their labels go 1 1 0 1 -1."""
    numbers = pd.Series(texts, index=10 + np.arange(len(texts)))
    units = dict.fromkeys(u for table in experts.values() for u in table["unit"])
    excited = {}
    for i, unit in enumerate(units):
        rows = (np.arange(n) + i * n) % len(texts) if len(texts) > n else np.arange(n)
        rows = rows[rows < len(texts)]
        excited[int(unit)] = pd.DataFrame(
            {
                "sentence": 10 + rows,
                "response": 9.5 - np.arange(len(rows)),
                "start": 4,
                "end": 8,
            }
        )
    labels = np.array([1, 1, 0, 1, -1])[np.arange(len(texts)) % 5]
    known = np.flatnonzero(labels >= 0)
    tables = []
    for c, key in enumerate(experts):
        rows = np.roll(known, -c * LABELLED)[:LABELLED]
        labelled = {"sentence": numbers.index[rows], "label": labels[rows]}
        tables.append(pd.DataFrame({"concept": key, **labelled}))
    members = pd.concat(tables)
    low = numbers.index[labels == 1][-3:]
    missed = {
        key: pd.DataFrame({"sentence": low, "response": -1.0 * np.arange(len(low))})
        for key in experts
    }
    return Sentences(
        numbers,
        excited,
        missed,
        members,
        *make_responses(experts, numbers.index[known]),
    )


def make_responses(
    experts: dict[str, pd.DataFrame], labelled: pd.Index, n: int = 11
) -> tuple[dict[int, pd.DataFrame], dict[int, Spread]]:
    """Of the ten best units of each concept: own sentences, and counts of responses."""
    draw = np.random.default_rng(1)
    own, spreads = {}, {}
    for unit in {int(u) for table in experts.values() for u in table["unit"][:10]}:
        rows = labelled[:n] if len(labelled) < n else draw.choice(labelled, n, False)
        rank = 1 + np.arange(len(rows))
        response = 9.5 - rank
        own[unit] = pd.DataFrame({"sentence": rows, "response": response, "rank": rank})
        concepts = min(3, len(experts))
        counts = draw.multinomial([[175, 325]] * concepts, [1 / BINS] * BINS)
        spreads[unit] = Spread(-1.5, 9.5, counts)
    return own, spreads


def make_writes(
    experts: dict[str, pd.DataFrame], units: pd.DataFrame, vocabulary: int, k: int = 10
) -> pd.DataFrame:
    """What units write that do not act through attention; one text is no text."""
    best = np.unique(np.concatenate([table["unit"] for table in experts.values()]))
    best = best[units["site"].iloc[best] != "attn.c_attn"]
    draw = np.random.default_rng(2)
    token = np.concatenate([draw.choice(vocabulary, 2 * k, False) for _ in best])
    effect = np.tile(np.concatenate([k - np.arange(k), np.arange(k) - k]), len(best))
    return pd.DataFrame(
        {
            "unit": np.repeat(best, 2 * k),
            "side": np.tile(np.repeat(["promoted", "suppressed"], k), len(best)),
            "rank": np.tile(1 + np.arange(k), 2 * len(best)),
            "token": [f" <b>{i}\n" for i in token],
            "token_id": token,
            "effect": effect + 0.25 * draw.random(len(effect)),
            "deviations": effect * 0.5,
            "sign": np.repeat(best % 3 - 1, 2 * k),
        }
    )


def make_data(
    n_concepts: int = 5,
    n_units: int = 480,
    n_layers: int = 3,
    gamma: float = 0.7,
    model_name: str = "tiny-gpt2",
    names: list[str] | None = None,
    sentences: list[str] | None = None,
    top: int = 20,
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
    surface = make_surface(names)
    concepts = concepts.assign(**surface_columns(names, concepts["max_ap"]))
    sizes = dict.fromkeys(zip(concepts["n_pos"], concepts["n_neg"], strict=True))
    null = pd.concat([make_null(*size) for size in sizes], ignore_index=True)
    experts = {
        name: make_experts(ap_U, units, top)
        for name, ap_U in zip(names, ap, strict=True)
    }
    texts = sentences or [f"The bird number {i} flew away." for i in range(8)]
    facts = {"family": "gpt2", "layers": str(n_layers), "units": f"{n_units:,}"}
    return ReportData(
        model_name,
        facts,
        gamma,
        units,
        concepts,
        null,
        ap,
        experts,
        make_sentences(experts, texts),
        writes=make_writes(experts, units, max(100, n_units // 2)),
        writers=frozenset(u for table in experts.values() for u in table["unit"]),
        surface=surface,
    )


def make_surface(names: list[str]) -> pd.DataFrame:
    """Three features of each concept, which tell every second one as well as a unit."""
    features = ["-years", "word <script>", "all words"]
    return pd.DataFrame(
        {
            "concept": np.repeat(names, len(features)),
            "feature": features * len(names),
            "ap": [0.4, 0.6, 0.9] * len(names),
        }
    )


def surface_columns(names: list[str], best: pd.Series) -> dict[str, object]:
    """Of `concepts.parquet`; the last concept is told by no form."""
    is_above = np.arange(len(names)) % 2 == 0
    forms = [["years", "tokens"][c % 2] for c in range(len(names))]
    return {
        "surface_feature": "word <script>",
        "surface_ap": 0.6,
        "surface_high": np.where(is_above, best - 0.05, best + 0.01),
        "words_ap": 0.9,
        "form": [*forms[:-1], ""],
        "n_pos_without": 20,
        "n_neg_without": 60,
        "ap_without": np.where(is_above, 0.5, np.nan),
        "above_surface": is_above,
        "n_above_surface": is_above * 3,
    }


@pytest.fixture(name="make_data")
def make_data_fixture() -> Callable[..., ReportData]:
    return make_data


@pytest.fixture(scope="session")
def captured(
    tiny_gpt2: Model, tmp_path_factory: pytest.TempPathFactory
) -> ResultFolder:
    """Responses alone. Do not change it."""
    out = tmp_path_factory.mktemp("captured") / "tiny-gpt2"
    settings = CaptureSettings(seq_len=SEQ_LEN)
    return capture(tiny_gpt2, tiny_concept_set(), out, settings)


@pytest.fixture(scope="session")
def scored(captured: ResultFolder) -> Expertise:
    return Expertise(score(captured, settings=ScoreSettings(bootstrap_top=3)))
