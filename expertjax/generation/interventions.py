"""Edits made from expertise: which units, and what is done to them.

Every published intervention is an affine map of a unit, z <- scale * z + shift. The
statistics are those of the pooled responses, which the edit applies at every token.
"""

import dataclasses
from typing import Literal

import numpy as np

from expertjax.analysis.counts import is_expert
from expertjax.analysis.expertise import Expertise
from expertjax.errors import InputError
from expertjax.models.unit_edits import UnitEdit

Kind = Literal["force", "ablate", "damp", "aura", "gaussian", "transport"]
Select = Literal["top", "bottom", "random", "gamma"]
KINDS = ("force", "ablate", "damp", "aura", "gaussian", "transport")
SELECTS = ("top", "bottom", "random", "gamma")


@dataclasses.dataclass(frozen=True)
class Intervention:
    """What is done to which units of a concept; flags have the same names.

    Attributes:
      edit: "force" sets a unit to `value`; "ablate" to 0; "damp" multiplies it by
        `strength`; "aura" multiplies it by 1 - 2 (AUROC - 1/2) where AUROC > 1/2 (Suau
        et al. 2024, section 3.2); "gaussian" moves and scales it so that the mean and
        the deviation of negatives become those of positives; "transport" maps sorted
        negatives onto sorted positives linearly (Rodriguez et al. 2024, section 3.2).
        `strength` goes from no change, 0, to all of it, 1, for the last two.
      select: "top" and "bottom" by AP, "random", or "gamma" for all of AP >= gamma.
      num_units: k; not for "gamma".
      band: leaves out so many times the k units that come first; for "top" and
        "bottom".
      value: a metric, such as on_p50, on_p90 or off_mean, or a number; for "force".
      strength: see `edit`.
      gamma: for "gamma".
      select_seed: for "random".
    """

    edit: Kind = "force"
    select: Select = "top"
    num_units: int = 50
    band: int = 0
    value: str = "on_p50"
    strength: float = 1.0
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


def make_edit(
    expertise: Expertise, concept: str, intervention: Intervention
) -> UnitEdit:
    """The edit that an intervention makes of a concept's expertise.

    Args:
      expertise: of the model that is to be edited.
      concept: `group/name`, or what else is unambiguous, such as "bird".
      intervention: see there.

    Raises:
      InputError: no such concept, more units than there are, a metric that was not
        stored, or responses that were not kept (for "transport").
    """
    concept = expertise.key(concept)
    units = _select(expertise, concept, intervention)
    scale, shift = _affine(expertise, concept, units, intervention)
    table = expertise.units.iloc[units]
    ap = expertise.metric("ap", concept)[units]
    capture = expertise.folder.read_run()["capture"]
    about = dataclasses.asdict(intervention) | {
        "concept": concept,
        "num_units": len(units),
        "mean_ap": float(ap.mean()) if len(ap) else None,
        "model": capture["model"],
    }
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


def _select(
    expertise: Expertise, concept: str, intervention: Intervention
) -> np.ndarray:
    """[K] unit numbers."""
    ap_U = expertise.metric("ap", concept)
    k, skip = intervention.num_units, intervention.band * intervention.num_units
    if intervention.select == "gamma":
        order = np.argsort(-ap_U, kind="stable")
        least = max(intervention.gamma, expertise.floors()[expertise.row(concept)])
        return order[: int(is_expert(ap_U, least).sum())]
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


def _affine(
    expertise: Expertise, concept: str, units: np.ndarray, intervention: Intervention
) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift, [K] or one number."""

    def metric(name: str) -> np.ndarray:
        if name not in expertise.metrics:
            raise InputError(
                f"{expertise.folder.path}: no metric {name!r}; there are "
                f"{', '.join(expertise.metrics)}"
            )
        return expertise.metric(name, concept)[units].astype(np.float64)

    zero, one, strength = np.zeros(()), np.ones(()), intervention.strength
    if intervention.edit == "force":
        try:
            return zero, np.array(float(intervention.value))
        except ValueError:
            return zero, metric(intervention.value)
    if intervention.edit == "ablate":
        return zero, zero
    if intervention.edit == "damp":
        return strength * one, zero
    if intervention.edit == "aura":
        return 1 - 2 * np.maximum(metric("auroc") - 0.5, 0), zero
    if intervention.edit == "gaussian":
        spread = metric("off_std")
        slope = np.divide(
            metric("on_std"), spread, out=np.ones_like(spread), where=spread > 0
        )
        offset = metric("on_mean") - slope * metric("off_mean")
    else:
        slope, offset = _transport(expertise, concept, units)
    return (1 - strength) + strength * slope, strength * offset


def _transport(
    expertise: Expertise, concept: str, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and offsets of the least-squares line through sorted responses.

    Where there are more of one class, its quantiles are interpolated at the ranks of
    the other.
    """
    x_NxK = expertise.responses(units).astype(np.float64)
    rows, label = expertise.members(concept)
    count = int(min(label.sum(), (1 - label).sum()))
    ranks = (np.arange(count) + 0.5) / count
    negatives, positives = (
        np.quantile(x_NxK[rows[label == which]], ranks, axis=0) for which in (0, 1)
    )
    a = negatives - negatives.mean(0)
    b = positives - positives.mean(0)
    spread = (a * a).sum(0)
    slope = np.divide(
        (a * b).sum(0), spread, out=np.ones_like(spread), where=spread > 0
    )
    return slope, positives.mean(0) - slope * negatives.mean(0)
