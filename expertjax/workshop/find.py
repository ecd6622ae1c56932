"""From typed sentences to the units that tell them apart."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from expertjax.absent import widened
from expertjax.analysis.expertise import Expertise
from expertjax.api import EXAMPLE_CONCEPTS, load_concepts
from expertjax.capturing.prepare import prepare, write_tables
from expertjax.concepts.form import WORD_IS, spoken
from expertjax.concepts.make import make_concepts
from expertjax.concepts.names import short_names
from expertjax.concepts.pool import ConceptSet, Membership
from expertjax.concepts.spans import NOWHERE, Span, token_spans
from expertjax.errors import InputError
from expertjax.jax_settings import jax_settings
from expertjax.scoring.in_memory import score_in_memory
from expertjax.scoring.settings import ScoreSettings
from expertjax.stores.folder import ResultFolder
from expertjax.workshop.limits import check_sentences
from expertjax.workshop.running import Responses, Runner, Tell

KEY = "studio/yours"
_UNITS = 12  # that are shown
_SENTENCES = 3  # of each
_HOLD_OUT = 0.25
_ENOUGH = 40  # of each kind, to keep a quarter apart
_DRAWN = 100  # sentences of each kind of a concept that is taken into the boxes


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found for some sentences.

    Attributes:
      expertise: a result like any other, of one concept, `KEY`.
      top: the best units, see `Expertise.top`.
      excited: unit, text, label, response, start, end, token: the sentences that
        excite each of them most.
      num_run: sentences that had to be run for this; the others were known.
      dropped: sentences left out as too long.
    """

    expertise: Expertise
    top: pd.DataFrame
    excited: pd.DataFrame
    num_run: int
    dropped: tuple[str, ...]

    @property
    def counts(self) -> tuple[int, int]:
        """Positives and negatives that count."""
        _, label = self.expertise.members(KEY)
        return int(label.sum()), int(len(label) - label.sum())

    @property
    def word(self) -> str:
        """The word that tells the sentences best."""
        names = self.expertise.surface["feature"]
        words = [name for name in names if name.startswith(WORD_IS)]
        return words[0].removeprefix(WORD_IS) if words else ""


@jax_settings()
def find(
    runner: Runner,
    positives: Sequence[str],
    negatives: Sequence[str],
    folder: Path,
    tell: Tell | None = None,
) -> Found:
    """Scores all units for two lists of sentences; runs only those that are new.

    Args:
      runner: of the model.
      positives: sentences.
      negatives: likewise.
      folder: a new one, which becomes a result folder like any other.
      tell: hears how far it is.

    Raises:
      InputError: too many sentences or none, one that is on both sides, or none that
        is short enough.
    """
    check_sentences(positives, negatives)
    concepts = make_concepts({KEY: (list(positives), list(negatives))})
    prepared = prepare(runner.model, concepts, runner.settings, runner.mesh)
    pool = prepared.pool
    said = runner.responses(pool.concepts.sentences, tell)
    result = ResultFolder(folder)
    result.claim("capture", prepared.identity)
    write_tables(result, prepared)
    [member] = pool.concepts.members
    score_in_memory(
        result,
        pool.concepts.keys,
        pool.concepts.members,
        runner.table.num_units,
        score_settings(member.num_positives, member.num_negatives),
        said.value_NxU.nbytes + 1,
        lambda rows, *_: lambda start, stop: widened(said.value_NxU[rows, start:stop]),
    )
    result.succeed()
    expertise = Expertise(result)
    top = expertise.top(KEY, _UNITS)
    spans = list(token_spans(runner.model.tokenizer, pool.concepts.sentences))
    excited = _excited(pool.concepts, member, said, spans, top["unit"].to_numpy())
    return Found(expertise, top, excited, said.num_new, pool.dropped)


def score_settings(num_positives: int, num_negatives: int) -> ScoreSettings:
    """A quarter is held out where what is left and what is kept apart say something."""
    enough = min(num_positives, num_negatives) >= _ENOUGH
    return ScoreSettings(holdout=_HOLD_OUT if enough else 0.0, bootstrap_top=_UNITS)


def _excited(
    concepts: ConceptSet,
    member: Membership,
    said: Responses,
    spans: Sequence[Sequence[Span]],
    units: np.ndarray,
) -> pd.DataFrame:
    label_N = np.zeros(len(concepts.sentences), np.int8)
    label_N[member.sentence] = member.label
    rows = []
    for unit in units.tolist():
        best = np.argsort(-said.value_NxU[:, unit], kind="stable")[:_SENTENCES]
        for row in best.tolist():
            position = int(said.position_NxU[row, unit])
            there = spans[row]
            span = there[position] if position < len(there) else Span(*NOWHERE, "")
            rows.append(
                {
                    "unit": unit,
                    "text": concepts.sentences[row],
                    "label": int(label_N[row]),
                    "response": float(said.value_NxU[row, unit]),
                    **span._asdict(),
                }
            )
    return pd.DataFrame(rows)


def verdict(found: Found) -> list[str]:
    """What may be concluded, in sentences; the first is the one that counts most."""
    row = found.expertise.concepts.iloc[0]
    num_units = len(found.expertise.units)
    if not np.isfinite(row["null_threshold"]):
        return [
            f"Too few sentences to say anything: with {row['n_pos']} and "
            f"{row['n_neg']}, some of {num_units:,} units may tell them apart "
            "perfectly by luck. Add more."
        ]
    said = [
        f"{_units(row['n_above'])} of {num_units:,} "
        f"{'is' if row['n_above'] == 1 else 'are'} above what luck reaches, "
        f"AP {row['null_threshold']:.3f}."
    ]
    if not row["n_above"]:
        return [*said, "Conclude nothing from the order below; add more sentences."]
    feature = spoken(str(row["surface_feature"]))
    of_surface = f"Without a model, {feature} would give AP {row['surface_ap']:.3f}; "
    above = int(row["n_above_surface"])
    beyond = _units(above) if above else "no unit"
    said.append(
        f"{of_surface}{beyond} {'are' if above > 1 else 'is'} surely above that too."
    )
    if not above:
        said.append("What the units know may be no more than that.")
    if "ap_heldout" in found.top:
        said.append(
            "A quarter of the sentences was kept apart: “held out” is the AP on those."
        )
    return said


def _units(count: int) -> str:
    return {0: "No unit", 1: "1 unit"}.get(int(count), f"{int(count):,} units")


class Library:
    """Concepts whose sentences can be taken into the boxes.

    Attributes:
      names: what people call them.
    """

    def __init__(self, expertise: Expertise | None = None) -> None:
        """Those of a loaded result or, without one, those that ship."""
        self._expertise = expertise if _has_sentences(expertise) else None
        if self._expertise is not None:
            self._keys = list(self._expertise.concepts["concept"])
        else:
            self._keys = list(self._shipped.keys)
        self.names = short_names(self._keys)

    @functools.cached_property
    def _shipped(self) -> ConceptSet:
        return load_concepts(EXAMPLE_CONCEPTS)

    def sentences(self, name: str) -> tuple[list[str], list[str]]:
        """Positives and negatives of a concept, at most `_DRAWN` of each.

        Raises:
          InputError: there is no such concept.
        """
        if name not in self.names:
            raise InputError(f"There is no concept {name[:80]!r} here.")
        number = self.names.index(name)
        if self._expertise is not None:
            rows, label = self._expertise.members(self._keys[number])
            texts = self._expertise.folder.read_table("sentences")["text"]
            sentences: Sequence[str] = texts.iloc[rows].tolist()
        else:
            member = self._shipped.members[number]
            label = member.label
            sentences = [self._shipped.sentences[row] for row in member.sentence]
        draw = np.random.default_rng(0)
        sides = []
        for side in (1, 0):
            here = np.flatnonzero(label == side)
            chosen = draw.permutation(here)[:_DRAWN]
            # In one line: a box has a sentence a line.
            sides.append([" ".join(sentences[i].split()) for i in chosen])
        return sides[0], sides[1]

    def some(self, count: int) -> list[str]:
        """Some sentences of all concepts, to compare with; fewer where there are."""
        if self._expertise is not None:
            texts = self._expertise.folder.read_table("sentences")["text"].tolist()
        else:
            texts = list(self._shipped.sentences)
        draw = np.random.default_rng(0)
        return [texts[i] for i in draw.permutation(len(texts))[:count]]


def _has_sentences(expertise: Expertise | None) -> bool:
    return expertise is not None and expertise.folder.has_table("sentences")
