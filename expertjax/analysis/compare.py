"""One or several results side by side: presence, ranking, co-learning."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from expertjax.analysis import agreement, colearning, presence
from expertjax.analysis.colearning import Overlap
from expertjax.analysis.expertise import Expertise
from expertjax.analysis.inputs import read_benchmarks, read_groups
from expertjax.analysis.presence import Presence
from expertjax.analysis.ranking import Ranking, rank
from expertjax.errors import InputError

# What two results should share, so that what differs between them is the models.
_HOW = {
    "capture": ("pooling", "special_tokens", "compute_dtype", "precision", "compat"),
    "score": ("tie_tolerance",),
}
_CHANCE_APART = 0.01  # shares of positives that make AP incomparable


@dataclasses.dataclass(frozen=True)
class CompareSettings:
    """Settings of a comparison.

    Attributes:
      gamma: AP from which a unit is called an expert.
      top_k: best units of a concept, for co-learning.
      benchmarks: CSV files of benchmark scores, columns model,score.
      groups: of concepts: `wordnet:FOLDER`, or a CSV file with columns
        concept,group; "" for none.
      group_depth: steps below WordNet's top at which hypernyms make groups; 0 for
        lexicographer files.
      above_surface: count only experts that are above their concept's surface.
      num_nearest: concepts named for each concept.
      seed: of permutations and resamples.
    """

    gamma: float = 0.9
    top_k: int = 50
    benchmarks: tuple[str, ...] = ()
    groups: str = ""
    group_depth: int = 0
    above_surface: bool = False
    num_nearest: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError naming the flag that is wrong."""
        if not 0 < self.gamma <= 1:
            raise InputError(f"--gamma={self.gamma}: expected more than 0, at most 1")
        if self.top_k < 1:
            raise InputError(f"--top_k={self.top_k}: must be at least 1")
        if self.group_depth < 0:
            raise InputError(f"--group_depth={self.group_depth}: must not be negative")


@dataclasses.dataclass(frozen=True)
class CoLearning:
    """One model's co-learning.

    Attributes:
      model: its name.
      found: what pairs of concepts share.
      nearest: the nearest concepts of each concept, as of `colearning.nearest`.
      groups: as of `agreement.group_test`; None without groups.
    """

    model: str
    found: Overlap
    nearest: pd.DataFrame
    groups: pd.DataFrame | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
      settings: it was made with.
      presence: counts of all models.
      rankings: benchmark -> ranking.
      colearning: [M] of each model.
      groups: rows concept, group; None without groups.
      agreement: of models on co-learning, as of `agreement.compare_models`.
      warnings: what a reader has to know.
    """

    settings: CompareSettings
    presence: Presence
    rankings: dict[str, Ranking]
    colearning: tuple[CoLearning, ...]
    groups: pd.DataFrame | None
    agreement: pd.DataFrame | None
    warnings: tuple[str, ...]


def compare(
    results: Sequence[Expertise], settings: CompareSettings | None = None
) -> Comparison:
    """Compares results; each model's AP is read once, one model at a time.

    Args:
      results: finished results, of one or several models.
      settings: see `CompareSettings`.

    Raises:
      InputError: models have one name, no concept in common, or too few units;
        benchmarks or groups are not as expected.
    """
    settings = settings or CompareSettings()
    scores = read_benchmarks(settings.benchmarks)
    concepts, left_out = presence.common_concepts(results)
    groups = _groups(results, settings)
    gammas = presence.default_gammas(settings.gamma)
    counted, learned = [], []
    for result in results:
        ap_CxU = result.metric("ap")
        counted.append(
            presence.count_result(
                result, ap_CxU, concepts, gammas, settings.above_surface
            )
        )
        learned.append(_colearning(result, ap_CxU, groups, settings))
    everything = Presence(
        tuple(concepts), gammas, tuple(counted), settings.above_surface, left_out
    )
    return Comparison(
        settings,
        everything,
        {
            name: rank(everything, of_model, seed=settings.seed)
            for name, of_model in scores.items()
        },
        tuple(learned),
        groups,
        _agreement(learned, concepts, settings.seed),
        tuple(_warnings(results, everything, groups)),
    )


def _groups(
    results: Sequence[Expertise], settings: CompareSettings
) -> pd.DataFrame | None:
    if not settings.groups:
        return None
    keys = dict.fromkeys(
        key for result in results for key in result.concepts["concept"]
    )
    return read_groups(settings.groups, list(keys), settings.group_depth)


def _colearning(
    result: Expertise,
    ap_CxU: np.ndarray,
    groups: pd.DataFrame | None,
    settings: CompareSettings,
) -> CoLearning:
    keys = list(result.concepts["concept"])
    units = colearning.top_units(ap_CxU, settings.top_k)
    found = colearning.overlap(keys, list(units), ap_CxU.shape[1])
    nearest = [colearning.nearest(found, key, settings.num_nearest) for key in keys]
    tested = None
    if groups is not None:
        tested = agreement.group_test(keys, found.overlap, groups, seed=settings.seed)
    return CoLearning(
        result.folder.name, found, pd.concat(nearest, ignore_index=True), tested
    )


def _agreement(
    learned: Sequence[CoLearning], concepts: Sequence[str], seed: int
) -> pd.DataFrame | None:
    if len(learned) < 2 or len(concepts) < agreement.LEAST_CONCEPTS:
        return None
    matrices = [model.found.select(concepts).overlap for model in learned]
    return agreement.compare_models(
        [model.model for model in learned], matrices, seed=seed
    )


def _warnings(
    results: Sequence[Expertise], counted: Presence, groups: pd.DataFrame | None
) -> list[str]:
    warnings = [
        f"{model}: {len(keys)} concepts are not in all results and are not counted, "
        f"for example {keys[0]}"
        for model, keys in counted.left_out.items()
    ]
    concepts = list(counted.concepts)
    chances = [
        result.concepts.set_index("concept")["chance"].loc[concepts].to_numpy()
        for result in results
    ]
    apart = np.ptp(np.stack(chances), axis=0)
    if (apart > _CHANCE_APART).any():
        worst = concepts[int(apart.argmax())]
        warnings.append(
            f"{(apart > _CHANCE_APART).sum()} concepts have another share of positives "
            f"in another result, by up to {apart.max():.3f} ({worst}): their APs are "
            "not on one scale"
        )
    warnings += _computed_otherwise(results)
    if groups is not None:
        without = [key for key in concepts if key not in set(groups["concept"])]
        if without:
            warnings.append(
                f"{len(without)} of {len(concepts)} concepts have no group and are "
                f"left out of its test, for example {without[0]}"
            )
    return warnings


def _computed_otherwise(results: Sequence[Expertise]) -> list[str]:
    """Settings that are not those of all results; what is not known is passed over."""
    warnings = []
    runs = {result.folder.name: result.folder.read_run() for result in results}
    for part, names in _HOW.items():
        for name in names:
            values = {m: run.get(part, {}).get(name) for m, run in runs.items()}
            known = {m: value for m, value in values.items() if value is not None}
            if len(set(known.values())) > 1:
                first, *others = known
                other = next(m for m in others if known[m] != known[first])
                warnings.append(
                    f"--{name} differs: {known[first]!r} in {first}, {known[other]!r} "
                    f"in {other}; what differs between the results may be that"
                )
    return warnings
