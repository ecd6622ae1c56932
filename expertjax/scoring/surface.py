"""What needs no model: how well the surface of sentences tells a concept.

A unit of high AP has found what tells positives from negatives, which need not be the
concept: where positives hold years and negatives do not, units that know years are its
best. So each concept is also scored by what can be counted in its sentences (their
*form*), by all of that together, and by its most telling word, through the kernel that
scores units. The most telling feature is what a unit has to beat, by more than that
feature's AP varies with the sentences: its AP has to exceed the upper end of the
feature's 95% bootstrap interval.

A linear model of all words is scored as well. It has a weight for each word, fitted to
the concept, so that it says how much of a concept is in its words at all; a single
unit, fitted to nothing, is not expected to beat it, and no verdict depends on it.
"""

import dataclasses
import functools
import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from expertjax.concepts.form import (
    ALL_FORM,
    ALL_WORDS,
    FORM,
    WORD,
    WORD_IS,
    forms,
)
from expertjax.concepts.pool import Membership
from expertjax.scoring import null
from expertjax.scoring.blocks import make_scorer
from expertjax.scoring.fitted import (
    FittedScores,
    Vocabulary,
    read_vocabulary,
    score_fitted,
)
from expertjax.scoring.intervals import Intervals
from expertjax.scoring.settings import ScoreSettings
from expertjax.scoring.without import without
from expertjax.stores.folder import ResultFolder

_FITTED = 3  # features: the word, all form, all words
_RARE = 0.01  # of the sentences


@dataclasses.dataclass(frozen=True)
class Pool:
    """The sentences that concepts label.

    Attributes:
      texts: [N].
      form_NxF: what can be counted in them, the columns `FORM`; NaN where the number
        of tokens is not known.
      vocabulary: their words.
    """

    texts: Sequence[str]
    form_NxF: np.ndarray
    vocabulary: Vocabulary


def read_pool(sentences: pd.DataFrame) -> Pool:
    """Counts what is in the rows of `sentences.parquet`."""
    texts = sentences["text"].tolist()
    vocabulary = read_vocabulary(texts)
    columns = (
        sentences["n_tokens"].astype("Float32").to_numpy(np.float32, na_value=np.nan),
        forms(texts).astype(np.float32),
        _first_rare(texts, vocabulary),
    )
    return Pool(texts, np.column_stack(columns), vocabulary)


def _first_rare(texts: Sequence[str], vocabulary: Vocabulary) -> np.ndarray:
    """[N] the share of a sentence's characters in front of its first rare word.

    A word is rare that at most one in a hundred sentences has; 1 where none is.
    """
    is_rare = vocabulary.sentences_V <= max(_RARE * len(texts), 1)
    rare = {word for word, one in zip(vocabulary.words, is_rare, strict=True) if one}
    return np.array([_place(text.lower(), rare) for text in texts], np.float32)


def _place(text: str, rare: set[str]) -> float:
    for match in WORD.finditer(text):
        if match.group() in rare:
            return match.start() / len(text)
    return 1.0


def measure_surface(
    keys: Sequence[str],
    pool: Pool,
    fitted: Sequence[Membership],
    held_out: Sequence[Membership],
    settings: ScoreSettings,
) -> pd.DataFrame:
    """The AP of every feature for every concept.

    Args:
      keys: [C] concepts.
      pool: their sentences.
      fitted: [C] the labelled sentences that are scored.
      held_out: [C] those that were kept apart; without rows where there are none.
      settings: with `tie_tolerance` chosen.

    Returns:
      concept, feature, ap, ap_high and, where sentences were held out, ap_heldout. A
      feature is one of `FORM` (after a minus where fewer or earlier means the concept),
      "word " and the most telling word, `ALL_FORM` or `ALL_WORDS`. ap_high is the
      upper end of the 95% bootstrap interval of the best feature but `ALL_WORDS`,
      NaN for the others. AP of what is chosen or fitted is that of sentences
      which took no part in that: one fold of five after the other, or what was held
      out.
    """
    known = ~np.isnan(pool.form_NxF).any(0)
    form_NxF = pool.form_NxF[:, known]
    scored = [
        score_fitted(
            pool.vocabulary,
            form_NxF,
            member.sentence,
            member.label,
            rest.sentence,
            seed=(zlib.crc32(key.encode()),),
        )
        for key, member, rest in zip(
            tqdm(keys, unit="concept", desc="surface", delay=1),
            fitted,
            held_out,
            strict=True,
        )
    ]
    values = _values(form_NxF, fitted, [s.fitted_nx3 for s in scored])
    both = _score(fitted, values, settings)
    sign_CxF = np.where(both["ap_neg"] > both["ap"], np.float32(-1), np.float32(1))
    sign_CxF[:, -_FITTED:] = 1  # they know their direction
    ap_CxF = _by_sign(both, sign_CxF)
    columns = {
        "concept": np.repeat(np.array(keys, object), sign_CxF.shape[1]),
        "feature": _names(known, sign_CxF, scored),
        "ap": ap_CxF.ravel(),
        "ap_high": _best_ends(fitted, values, ap_CxF, sign_CxF, settings).ravel(),
    }
    if any(len(rest.label) for rest in held_out):
        others = [s.others_mx3 for s in scored]
        values = _values(form_NxF, held_out, others)
        of_others = _score(held_out, values, settings)
        columns["ap_heldout"] = _by_sign(of_others, sign_CxF).ravel()
    return pd.DataFrame(columns)


def _values(
    form_NxF: np.ndarray, members: Sequence[Membership], others: Sequence[np.ndarray]
) -> np.ndarray:
    """[M, F + 3] the features of all concepts' labelled sentences, one by one."""
    rows = np.concatenate([member.sentence for member in members])
    return np.hstack([form_NxF[rows], np.concatenate(others)])


def _score(
    members: Sequence[Membership], values: np.ndarray, settings: ScoreSettings
) -> dict[str, np.ndarray]:
    """AP and AP of the negative, each [C, F + 3]."""
    ends = np.cumsum([0, *(len(member.label) for member in members)])
    in_a_row = [
        Membership(np.arange(start, stop, dtype=np.int32), member.label)
        for start, stop, member in zip(ends[:-1], ends[1:], members, strict=True)
    ]
    tolerance = settings.tie_tolerance or 0.0
    score = make_scorer(
        in_a_row, ["ap", "ap_neg"], settings.kernel, tolerance=tolerance
    )
    return score(values)


def _by_sign(both: dict[str, np.ndarray], sign_CxF: np.ndarray) -> np.ndarray:
    return np.where(sign_CxF < 0, both["ap_neg"], both["ap"])


def _best_ends(
    members: Sequence[Membership],
    values: np.ndarray,
    ap_CxF: np.ndarray,
    sign_CxF: np.ndarray,
    settings: ScoreSettings,
) -> np.ndarray:
    """[C, F + 3] the upper end of the best feature's interval; NaN for the others."""
    alone = [
        Membership(np.arange(len(member.label), dtype=np.int32), member.label)
        for member in members
    ]
    intervals = Intervals(
        alone, settings.bootstrap_resamples, tolerance=settings.tie_tolerance or 0.0
    )
    ends = np.full(ap_CxF.shape, np.nan, np.float32)
    start = 0
    for c, member in enumerate(alone):
        stop = start + len(member.label)
        best = int(ap_CxF[c, :-1].argmax())
        column = values[start:stop, best : best + 1] * sign_CxF[c, best]
        # Where no resampling has a positive, nothing is known to be above.
        ends[c, best] = np.nan_to_num(intervals(c, column)[0, 1], nan=1.0)
        start = stop
    return ends


def _names(
    known: np.ndarray, sign_CxF: np.ndarray, scored: Sequence[FittedScores]
) -> list[str]:
    """[C * (F + 3)] what the features are called."""
    form = [name for name, is_known in zip(FORM, known, strict=True) if is_known]
    names = []
    for signs, of_concept in zip(sign_CxF, scored, strict=True):
        names += [
            ("-" if sign < 0 else "") + name
            for name, sign in zip(form, signs[:-_FITTED], strict=True)
        ]
        names += [WORD_IS + of_concept.word, ALL_FORM, ALL_WORDS]
    return names


def best_features(table: pd.DataFrame) -> pd.DataFrame:
    """What a unit has to beat, by concept.

    Args:
      table: of `measure_surface`.

    Returns:
      [C] rows, in the table's order: surface_feature, surface_ap, surface_high;
      words_ap, what all words reach together; all as in `concepts.parquet`.
    """
    is_all = (table["feature"] == ALL_WORDS).to_numpy()
    best = table[table["ap_high"].notna()]
    return pd.DataFrame(
        {
            "surface_feature": best["feature"].to_numpy(),
            "surface_ap": best["ap"].to_numpy(),
            "surface_high": best["ap_high"].to_numpy(),
            "words_ap": table["ap"].to_numpy()[is_all],
        },
        index=pd.Index(best["concept"], name="concept"),
    )


def telling_forms(
    table: pd.DataFrame, shapes: Sequence[tuple[int, int]]
) -> list[str | None]:
    """The form that tells each concept best, where it does more than luck would.

    Args:
      table: of `measure_surface`.
      shapes: [C] (n_pos, n_neg) of its concepts.

    Returns:
      [C] names in `FORM`, or None.
    """
    least = null.thresholds(shapes, 2 * len(FORM))
    names: list[str | None] = []
    of_form = table[table["feature"].str.removeprefix("-").isin(FORM)]
    for (_, rows), threshold in zip(
        of_form.groupby("concept", sort=False), least, strict=True
    ):
        best = rows.loc[rows["ap"].idxmax()]
        name = str(best["feature"]).removeprefix("-")
        names.append(name if best["ap"] >= threshold else None)
    return names


class Surface:
    """The surface of a result's concepts: measured once, read by all processes."""

    def __init__(
        self, folder: ResultFolder, keys: Sequence[str], fitted: Sequence[Membership]
    ) -> None:
        """Nothing is read or measured yet.

        Args:
          folder: the result's, with its sentences once something is asked for.
          keys: [C] concepts.
          fitted: [C] the labelled sentences that are scored.
        """
        self._folder, self._keys, self._fitted = folder, keys, fitted

    @functools.cached_property
    def _pool(self) -> Pool:
        return read_pool(self._folder.read_table("sentences"))

    def measure(self, held_out: Sequence[Membership], settings: ScoreSettings) -> None:
        """Writes `surface.parquet`, unless it is there."""
        if not self._folder.has_table("surface"):
            table = measure_surface(
                self._keys, self._pool, self._fitted, held_out, settings
            )
            self._folder.write_table("surface", table)

    @functools.cached_property
    def _table(self) -> pd.DataFrame:
        return self._folder.read_table("surface")

    @functools.cached_property
    def _forms(self) -> list[str | None]:
        shapes = [(m.num_positives, m.num_negatives) for m in self._fitted]
        return telling_forms(self._table, shapes)

    @functools.cached_property
    def without(self) -> list[Membership]:
        """[C] see `without`; no sentences where no form tells the concept."""
        found = []
        for key, member, form in zip(
            self._keys, self._fitted, self._forms, strict=True
        ):
            if form is None:
                found.append(Membership.none())
                continue
            values_n = self._pool.form_NxF[member.sentence, FORM.index(form)]
            found.append(without(key, member, form, values_n))
        return found

    def columns(self, experts: pd.DataFrame) -> pd.DataFrame:
        """[C] rows: what `concepts.parquet` says of the surface.

        Args:
          experts: `experts.parquet`.

        Returns:
          surface_feature, surface_ap, surface_high, words_ap; form ("" where none
          tells the concept), n_pos_without and n_neg_without, the sentences that it
          does not tell apart, and ap_without, the best unit's AP on them.
        """
        best = experts[experts["rank"] == 1].set_index("concept")["ap_without"]
        return best_features(self._table).assign(
            form=[form or "" for form in self._forms],
            n_pos_without=[member.num_positives for member in self.without],
            n_neg_without=[member.num_negatives for member in self.without],
            ap_without=best.reindex(self._keys).to_numpy(),
        )
