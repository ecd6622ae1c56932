"""Edits of a few units: what is made from expertise, kept in a file and compared."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expertjax.errors import InputError
from expertjax.home import user_path
from expertjax.models.edits import Edit
from expertjax.models.sites import Site

_ARRAYS = {"layer": int, "index": int, "scale": float, "shift": float}


@dataclasses.dataclass(frozen=True)
class UnitEdit:
    """z <- scale * z + shift for some units; the others stay as they are.

    Attributes:
      site: [K] names of sites.
      layer: [K] int.
      index: [K] int, the output coordinates.
      scale: [K] float.
      shift: [K] float.
      about: where it comes from: concept, edit, select, num_units, mean_ap,
        weights_sha256 of the model and others; may be empty.
    """

    site: Sequence[str]
    layer: np.ndarray
    index: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    about: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.site)

    def of_model(self, sites: Sequence[Site], num_layers: int) -> Edit:
        """The edit over all units of a model.

        Args:
          sites: of one block.
          num_layers: L.

        Raises:
          InputError: the model does not have one of the units.
        """
        features = {site.name: site.features for site in sites}
        for site, layer, index in zip(self.site, self.layer, self.index, strict=True):
            if not (0 <= layer < num_layers and 0 <= index < features.get(site, 0)):
                raise InputError(
                    f"the model has no unit {index} of site {site} in layer {layer}; "
                    "the edit is another model's"
                )
        return Edit.at(
            sites,
            num_layers,
            np.array(self.site, str),
            self.layer,
            self.index,
            self.scale,
            self.shift,
        )

    def to_json(self) -> str:
        """The content of its file."""
        content = {
            "site": list(self.site),
            **{name: getattr(self, name).tolist() for name in _ARRAYS},
            "about": self.about,
        }
        return json.dumps(content)

    def save(self, path: Path | str) -> None:
        """Writes a JSON file."""
        user_path(path).write_text(self.to_json(), "utf-8")

    @classmethod
    def load(cls, path: Path | str) -> "UnitEdit":
        """Reads what `save` wrote.

        Raises:
          InputError: missing or damaged.
        """
        try:
            content = json.loads(user_path(path).read_text("utf-8"))
            site = [str(name) for name in content["site"]]
            arrays: dict[str, Any] = {
                name: np.array(content[name], kind) for name, kind in _ARRAYS.items()
            }
            about = dict(content["about"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}: is no edit ({error!r})") from error
        if {array.shape for array in arrays.values()} != {(len(site),)}:
            raise InputError(f"{path}: is no edit (lists of different lengths)")
        return cls(site, **arrays, about=about)
