"""What a concept's edits do to what is written: tables over k, and parity.

The experiments of Suau et al. 2022 (*Self-Conditioning Pre-Trained Language Models*,
section 4), for any concepts and words.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from expertjax.checkpoints.load import Model
from expertjax.generation.generate import generate
from expertjax.generation.perplexity import perplexity
from expertjax.generation.scores import begins_with_word, has_word, self_bleu
from expertjax.generation.settings import GenerateSettings
from expertjax.models.unit_edits import UnitEdit

_BLEU_TEXTS = 100
_BLEU = {"self_bleu_3": 3, "self_bleu_4": 4}


@dataclasses.dataclass(frozen=True)
class Arm:
    """One edit of a sweep.

    Attributes:
      edit: None where nothing is edited.
      is_control: does it edit units at random beside those that were chosen?
    """

    edit: UnitEdit | None
    is_control: bool = False

    @property
    def num_units(self) -> int:
        """k."""
        return 0 if self.edit is None else len(self.edit)

    @property
    def units(self) -> str:
        """Which units: none, control, how they were selected, or file."""
        if self.edit is None:
            return "none"
        return "control" if self.is_control else self.edit.about.get("select", "file")


def score_arms(
    texts: pd.DataFrame, arms: Sequence[Arm], words: Sequence[str] = ()
) -> pd.DataFrame:
    """`score_texts`, with num_units and units of each edit before the rest."""
    scores = score_texts(texts, words)
    scores.insert(0, "num_units", [arm.num_units for arm in arms])
    scores.insert(1, "units", [arm.units for arm in arms])
    return scores


def some_texts(texts: pd.DataFrame, edit: int, count: int = 3) -> list[str]:
    """A few of an edit's texts: those of the first seeds, of each prompt in turn."""
    of_edit = texts[texts["edit"] == edit]
    ordered = of_edit.sort_values(["seed", "prompt"], kind="stable")
    return list(ordered["sentence"].head(count))


def score_texts(texts: pd.DataFrame, words: Sequence[str] = ()) -> pd.DataFrame:
    """What is said of each edit's texts.

    Args:
      texts: from `generate`, with a column perplexity.
      words: of the concept.

    Returns:
      a row for each edit: edit (its number), num_texts, with_word (the share of
      continuations that have one of the words), perplexity (median over texts),
      self_bleu_3 and self_bleu_4.
    """
    rows = []
    for edit, group in texts.groupby("edit", sort=True):
        written = list(group["continuation"])
        row: dict[str, object] = {"edit": edit, "num_texts": len(group)}
        if words:
            row["with_word"] = has_word(written, words).mean()
        row["perplexity"] = group["perplexity"].median()
        rows.append(row | _self_bleu(written))
    return pd.DataFrame(rows)


def _self_bleu(written: Sequence[str]) -> dict[str, float]:
    return {
        name: self_bleu(written, n, _BLEU_TEXTS) if len(written) > 1 else np.nan
        for name, n in _BLEU.items()
    }


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of a parity experiment.

    Attributes:
      name: e.g. "woman".
      words: that count for it, e.g. she and her.
      edits: k -> the edit that forces k units of its concept; 0 -> None.
    """

    name: str
    words: tuple[str, ...]
    edits: Mapping[int, UnitEdit | None]


def parity(
    model: Model,
    prompts: Sequence[str],
    sides: Sequence[Side],
    seeds: Sequence[int],
    settings: GenerateSettings,
    judge: Model | None = None,
) -> pd.DataFrame:
    """How often the words of two sides are written, over k, for the edits of each.

    All edits, prompts and seeds are one sweep.

    Args:
      model: of a causal family.
      prompts: without a word of either side.
      sides: two of them.
      seeds: for each prompt.
      settings: of generation.
      judge: whose perplexity counts; by default that of the model itself.

    Returns:
      a row for each side that is forced, k and prompt: forced, num_units, context,
      `p_<name>` of each side (share of the seeds whose continuation begins with a word
      of it), difference (first side's less second's), perplexity (mean of the texts'),
      self_bleu_3 and self_bleu_4 (of all prompts' texts together).
    """
    edits: list[UnitEdit | None] = []
    labels = []
    for side in sides:
        for k, edit in side.edits.items():
            edits.append(edit)
            labels.append((side.name, k))
    texts = generate(model, prompts, edits, seeds, settings)
    for side in sides:
        begins = begins_with_word(list(texts["continuation"]), side.words)
        texts[f"p_{side.name}"] = begins.astype(float)
    texts["perplexity"] = perplexity(judge or model, list(texts["sentence"]))
    shares = [f"p_{side.name}" for side in sides]
    table = texts.groupby(["edit", "context"], sort=False, as_index=False)[
        [*shares, "perplexity"]
    ].mean()
    table.insert(0, "forced", [labels[edit][0] for edit in table["edit"]])
    table.insert(1, "num_units", [labels[edit][1] for edit in table["edit"]])
    table["difference"] = table[shares[0]] - table[shares[1]]
    alike = {
        edit: _self_bleu(list(group))
        for edit, group in texts.groupby("edit")["continuation"]
    }
    for name in _BLEU:
        table[name] = [alike[edit][name] for edit in table["edit"]]
    return table.drop(columns="edit")


def parity_points(table: pd.DataFrame) -> pd.DataFrame:
    """Where the difference crosses zero, for each prompt and side that is forced.

    Args:
      table: from `parity`.

    Returns:
      forced, context, num_units: the first k from which on the difference has not the
      sign of k = 0, interpolated between the k before and this one; 0 where it is zero
      to begin with, NaN where it never crosses.
    """
    rows = []
    for (forced, context), group in table.groupby(["forced", "context"], sort=False):
        group = group.sort_values("num_units")
        k = group["num_units"].to_numpy(float)
        difference = group["difference"].to_numpy(float)
        rows.append((forced, context, _crossing(k, difference)))
    return pd.DataFrame(rows, columns=["forced", "context", "num_units"])


def at_parity(table: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """What parity costs: perplexity and Self-BLEU at the median parity point.

    Args:
      table: from `parity`.
      points: from `parity_points`.

    Returns:
      forced, prompts (in which the difference crosses zero), num_units (the median),
      perplexity, self_bleu_3 and self_bleu_4, between the values of k.
    """
    rows = []
    for forced, group in table.groupby("forced", sort=False):
        crossed = points.loc[points["forced"] == forced, "num_units"].dropna()
        k = float(crossed.median()) if len(crossed) else np.nan
        means = group.groupby("num_units").mean(numeric_only=True)
        row = {"forced": forced, "prompts": len(crossed), "num_units": k}
        for name in ("perplexity", *_BLEU):
            row[name] = np.interp(k, means.index.to_numpy(float), means[name])
        rows.append(row)
    return pd.DataFrame(rows)


def _crossing(k: np.ndarray, difference: np.ndarray) -> float:
    if difference[0] == 0:
        return 0.0
    crossed = np.flatnonzero(difference * difference[0] <= 0)
    if not len(crossed):
        return float("nan")
    i = crossed[0]
    before, after = difference[i - 1], difference[i]
    return float(k[i - 1] + (k[i] - k[i - 1]) * before / (before - after))
