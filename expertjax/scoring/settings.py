"""The settings of a scoring, checked once."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from expertjax.errors import InputError
from expertjax.scoring.metrics import METRICS

Kernel = Literal["auto", "jax", "compiled"]
TOLERANCE = 3e-5  # of ties; docs/agreement.md says why


@dataclasses.dataclass(frozen=True)
class ScoreSettings:
    """How expertise is computed; flags have the same names.

    Attributes:
      metrics: names in `scoring.metrics.METRICS`, comma-separated; "" is all of
        them. AP is always computed.
      holdout: the share of each concept's sentences that take no part in scores, on
        which the AP of every unit is computed apart (`ap_heldout`); 0 for none.
      holdout_seed: of drawing them.
      bootstrap_top: the number of best units per concept that get an interval.
      bootstrap_resamples: of these intervals.
      block_bytes: of responses that are scored at a time; 0 is what suits the devices.
      tie_tolerance: responses of a unit that lie closer together than so many of its
        standard deviations are tied, see `ties`; 0 ties what is equal to the bit;
        None is `TOLERANCE`, or 0 for a capture with --compat.
      kernel: "auto", "jax" or "compiled"; see `make_scorer`.
    """

    metrics: str = ""
    holdout: float = 0.0
    holdout_seed: int = 0
    bootstrap_top: int = 10
    bootstrap_resamples: int = 500
    block_bytes: int = 0
    tie_tolerance: float | None = None
    kernel: Kernel = "auto"

    def __post_init__(self) -> None:
        """Raises InputError naming the flag that is wrong."""
        unknown = [name for name in self.metric_names if name not in METRICS]
        if unknown:
            raise InputError(
                f"--metrics={self.metrics}: no metric {', '.join(unknown)}; expected "
                f"some of {','.join(METRICS)}"
            )
        if not 0 <= self.holdout < 1:
            raise InputError(f"--holdout={self.holdout}: expected 0 or more, below 1")
        for name, least in (
            ("bootstrap_top", 0),
            ("bootstrap_resamples", 1),
            ("block_bytes", 0),
        ):
            if getattr(self, name) < least:
                raise InputError(
                    f"--{name}={getattr(self, name)}: must be at least {least}"
                )
        if self.tie_tolerance is not None and not 0 <= self.tie_tolerance < 1:
            raise InputError(
                f"--tie_tolerance={self.tie_tolerance}: expected 0 or more, below 1; "
                f"{TOLERANCE} is the default"
            )
        if self.kernel not in ("auto", "jax", "compiled"):
            raise InputError(f"--kernel={self.kernel}: expected auto, jax or compiled")

    def resolve(self, capture: Mapping[str, Any], block_bytes: int) -> "ScoreSettings":
        """The same with what the user left open chosen: ties, `block_bytes`.

        Args:
          capture: what `run.json` says of the capture.
          block_bytes: those that suit the devices.
        """
        tolerance = self.tie_tolerance
        if tolerance is None:
            tolerance = 0.0 if capture["compat"] else TOLERANCE
        return dataclasses.replace(
            self,
            tie_tolerance=tolerance,
            block_bytes=self.block_bytes or block_bytes,
        )

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics, AP first."""
        names = [name.strip() for name in self.metrics.split(",") if name.strip()]
        return tuple(dict.fromkeys(["ap", *(names or METRICS)]))
