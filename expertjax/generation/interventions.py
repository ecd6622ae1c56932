"""Edits made from expertise: which units, and what is done to them.

Every published intervention is an affine map of a unit, z <- scale * z + shift, at
every token. The values that "force" sets and the AUROC of "aura" are those of pooled
responses. "gaussian" and "transport" move distributions, which have to be those of what
they are applied to: they take statistics of every token.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from expertjax.analysis.counts import is_expert
from expertjax.analysis.expertise import Expertise
from expertjax.errors import InputError
from expertjax.models.unit_edits import UnitEdit
from expertjax.models.unit_moments import UnitMoments

Kind = Literal["force", "ablate", "damp", "aura", "gaussian", "transport"]
Select = Literal["top", "bottom", "random", "gamma"]
KINDS = ("force", "ablate", "damp", "aura", "gaussian", "transport")
SELECTS = ("top", "bottom", "random", "gamma")
OVER_TOKENS = ("gaussian", "transport")  # need what stored maxima do not tell
Measure = Callable[[np.ndarray], UnitMoments]  # of unit numbers


@dataclasses.dataclass(frozen=True)
class Intervention:
    """What is done to which units of a concept; flags have the same names.

    Attributes:
      edit: "force" sets a unit to `value`; "ablate" to 0; "damp" multiplies it by
        `strength`; "aura" multiplies it by 1 - 2 (AUROC - 1/2) where AUROC > 1/2 (Suau
        et al. 2024, section 3.2); "gaussian" moves and scales it so that its mean and
        deviation over the tokens of negatives become those of positives; "transport"
        is the line through the sorted means of negatives and of positives over their
        tokens (Linear-AcT, Rodriguez et al. 2024, section 3.2). `strength` goes from
        no change, 0, to all of it, 1, for the last two.
      select: "top" and "bottom" by AP, "random", or "gamma" for all of AP >= gamma.
      num_units: k; not for "gamma".
      band: leaves out so many times the k units that come first; for "top" and
        "bottom".
      value: a metric, such as on_p50, on_p90 or off_mean, or a number; for "force".
      strength: see `edit`; None is 1, but "damp" has to be told.
      gamma: for "gamma".
      select_seed: for "random".
    """

    edit: Kind = "force"
    select: Select = "top"
    num_units: int = 50
    band: int = 0
    value: str = "on_p50"
    strength: float | None = None
    gamma: float = 0.9
    select_seed: int = 0

    def __post_init__(self) -> None:
        """Raises InputError naming the flag that is wrong."""
        for name, choices in (("edit", KINDS), ("select", SELECTS)):
            if getattr(self, name) not in choices:
                raise InputError(
                    f"--{name}={getattr(self, name)}: expected one of "
                    f"{', '.join(choices)}"
                )
        for name in ("num_units", "band"):
            if getattr(self, name) < 0:
                raise InputError(f"--{name}={getattr(self, name)}: must be at least 0")
        if self.strength is None:
            if self.edit == "damp":
                raise InputError(
                    "--edit=damp needs --strength, the factor: --strength=0.5 halves "
                    "units, 0 is --edit=ablate, 1 changes nothing"
                )
            object.__setattr__(self, "strength", 1.0)  # the class is frozen


def make_edits(
    expertise: Expertise,
    concept: str,
    interventions: Sequence[Intervention],
    measure: Measure | None = None,
) -> list[UnitEdit]:
    """The edits that interventions make of a concept's expertise.

    Args:
      expertise: of the model that is to be edited.
      concept: `group/name`, or what else is unambiguous, such as "bird".
      interventions: see there.
      measure: tells what units do at the tokens of the concept's sentences; called
        once, and only where an intervention is one of `OVER_TOKENS`.

    Raises:
      InputError: no such concept, more units than there are, a metric that was not
        stored, or nothing that could measure.
    """
    concept = expertise.key(concept)
    units = [_select(expertise, concept, each) for each in interventions]
    measured = [
        of_one
        for of_one, each in zip(units, interventions, strict=True)
        if each.edit in OVER_TOKENS and len(of_one)
    ]
    every, moments = np.unique(np.concatenate([*measured, np.empty(0, int)])), None
    if len(every):
        if measure is None:
            raise InputError(
                "gaussian and transport need the model, whose activations at every "
                "token are measured: give model="
            )
        moments = measure(every)
    edits = []
    for of_one, each in zip(units, interventions, strict=True):
        own = None
        if moments is not None and each.edit in OVER_TOKENS:
            own = moments.keep(np.searchsorted(every, of_one))
        edits.append(edit_units(expertise, concept, of_one, each, own))
    return edits


def edit_units(
    expertise: Expertise,
    concept: str,
    units: np.ndarray,
    intervention: Intervention,
    moments: UnitMoments | None = None,
) -> UnitEdit:
    """The edit of given units, whatever the intervention selects.

    Args:
      expertise: of the model that is to be edited.
      concept: `group/name`, whose metrics count.
      units: [K] their numbers.
      intervention: what is done.
      moments: of these units, for `OVER_TOKENS`.
    """
    if intervention.edit not in OVER_TOKENS:
        scale, shift = _of_responses(expertise, concept, units, intervention)
    elif moments is not None:
        scale, shift = _of_tokens(moments, intervention)
    else:  # no unit
        scale, shift = np.ones(()), np.zeros(())
    table = expertise.units.iloc[units]
    ap = expertise.metric("ap", concept)[units]
    capture = expertise.folder.read_run()["capture"]
    about = dataclasses.asdict(intervention) | {
        "concept": concept,
        "num_units": len(units),
        "mean_ap": float(ap.mean()) if len(ap) else None,
        "model": capture["model"],
    }
    if moments is not None:
        about["over_tokens_of"] = len(moments.label)  # sentences
    # Imported results do not know whose weights they are of.
    if capture["weights_sha256"] is not None:
        about["weights_sha256"] = capture["weights_sha256"]
    return UnitEdit(
        site=list(table["site"]),
        layer=table["layer"].to_numpy(),
        index=table["index"].to_numpy(),
        scale=np.broadcast_to(scale, units.shape).astype(np.float64),
        shift=np.broadcast_to(shift, units.shape).astype(np.float64),
        about=about,
    )


def units_at(expertise: Expertise, concept: str, gamma: float) -> np.ndarray:
    """[K] the units of AP >= gamma, best first, whatever luck would reach."""
    ap_U = expertise.metric("ap", concept)
    order = np.argsort(-ap_U, kind="stable")
    return order[: int(is_expert(ap_U, gamma).sum())]


def _select(
    expertise: Expertise, concept: str, intervention: Intervention
) -> np.ndarray:
    """[K] unit numbers."""
    ap_U = expertise.metric("ap", concept)
    k, skip = intervention.num_units, intervention.band * intervention.num_units
    if intervention.select == "gamma":
        return units_at(expertise, concept, intervention.gamma)
    if k + skip > len(ap_U):
        raise InputError(
            f"--num_units={k}"
            + (f" --band={intervention.band}" if skip else "")
            + f": {expertise.folder.name} has only {len(ap_U)} units"
        )
    if intervention.select == "random":
        random = np.random.default_rng(intervention.select_seed)
        return np.sort(random.choice(len(ap_U), k, replace=False))
    sign = -1 if intervention.select == "top" else 1
    return np.argsort(sign * ap_U, kind="stable")[skip : skip + k]


def _of_responses(
    expertise: Expertise, concept: str, units: np.ndarray, intervention: Intervention
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift, [K] or one number, from pooled responses or none."""

    def metric(name: str) -> np.ndarray:
        if name not in expertise.metrics:
            raise InputError(
                f"{expertise.folder.path}: no metric {name!r}; there are "
                f"{', '.join(expertise.metrics)}"
            )
        return expertise.metric(name, concept)[units].astype(np.float64)

    zero = np.zeros(())
    if intervention.edit == "force":
        try:
            return zero, np.array(float(intervention.value))
        except ValueError:
            return zero, metric(intervention.value)
    if intervention.edit == "damp":
        return np.array(intervention.strength), zero
    if intervention.edit == "aura":
        return 1 - 2 * np.maximum(metric("auroc") - 0.5, 0), zero
    return zero, zero


def _of_tokens(
    moments: UnitMoments, intervention: Intervention
) -> tuple[np.ndarray, np.ndarray]:
    """[K] scale and shift, from activations at every token."""
    if intervention.edit == "gaussian":
        slope, offset = _gaussian(moments)
    else:
        slope, offset = _transport(moments)
    strength = intervention.strength
    assert strength is not None
    return (1 - strength) + strength * slope, strength * offset


def _gaussian(moments: UnitMoments) -> tuple[np.ndarray, np.ndarray]:
    """What takes mean and deviation of negatives to those of positives."""
    (from_K, spread_K), (to_K, wanted_K) = (moments.of_tokens(c) for c in (0, 1))
    slope = _ratio(wanted_K, spread_K)
    return slope, to_K - slope * from_K


def _transport(moments: UnitMoments) -> tuple[np.ndarray, np.ndarray]:
    """The least-squares line through sorted means of sentences.

    Where there are more of one class, its quantiles are interpolated at the ranks of
    the other.
    """
    means = [moments.sentence_means(label) for label in (0, 1)]
    count = min(map(len, means))
    ranks = (np.arange(count) + 0.5) / count
    negatives, positives = (np.quantile(x_nxK, ranks, axis=0) for x_nxK in means)
    a = negatives - negatives.mean(0)
    b = positives - positives.mean(0)
    slope = _ratio((a * b).sum(0), (a * a).sum(0))
    return slope, positives.mean(0) - slope * negatives.mean(0)


def _ratio(wanted: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Their ratio; 1 for a unit that always says the same."""
    return np.divide(wanted, spread, out=np.ones_like(spread), where=spread > 0)
