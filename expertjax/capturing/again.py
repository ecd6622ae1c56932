"""Some sentences and units of a finished capture, to be run once more."""

import dataclasses
from typing import Any

import numpy as np
from jax.sharding import Mesh

from expertjax.capturing.prepare import Prepared, arrange
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import Model
from expertjax.concepts.pool import ConceptSet
from expertjax.errors import InputError
from expertjax.models.sites import UnitTable
from expertjax.stores.folder import ResultFolder


def captured_settings(folder: ResultFolder) -> CaptureSettings:
    """The settings of a finished capture."""
    run = folder.read_run()["capture"]
    names = {field.name for field in dataclasses.fields(CaptureSettings)}
    return CaptureSettings(**{name: run[name] for name in names & run.keys()})


def captured_units(folder: ResultFolder, model: Model) -> UnitTable:
    """The units of a finished capture.

    Raises:
      InputError: the model has others.
    """
    run = folder.read_run()["capture"]
    table = UnitTable.build(model.sites, model.num_layers, run["sites"])
    if table.num_units != run["num_units"]:
        raise InputError(
            f"{folder.path}: its responses are of {run['num_units']} units, but "
            f"{model.path} has {table.num_units}: it is another model"
        )
    return table


def check_weights(folder: ResultFolder, model: Model) -> None:
    """Raises InputError where a model is not that of a finished capture."""
    capture = folder.read_run()["capture"]
    if capture["weights_sha256"] != model.weights_sha256:
        raise InputError(
            f"{folder.path}: is the result of {capture['model']}, whose weights (or "
            f"dtype) are not those of {model.path}"
        )


def prepare_again(
    folder: ResultFolder,
    model: Model,
    rows: np.ndarray,
    units: np.ndarray,
    mesh: Mesh,
    **changes: Any,
) -> tuple[Prepared, np.ndarray]:
    """Sentences and units of a capture, and where the units stand in its table.

    Args:
      folder: of the capture, or of a scoring of it.
      model: that of the capture.
      rows: of the pool, ascending.
      units: [K] unit numbers.
      mesh: of this process's group.
      **changes: of the capture's settings.

    Raises:
      InputError: the model or its tokenizer is not that of the capture.
    """
    settings = dataclasses.replace(captured_settings(folder), **changes)
    table = captured_units(folder, model)
    sentences = folder.read_table("sentences").iloc[rows]
    few, columns = table.keep(units)
    pool = ConceptSet((), tuple(sentences["text"]), ())
    prepared = arrange(model, pool, few, settings, mesh)
    # Both stand by ascending length, so that one order is the other.
    if not np.array_equal(prepared.pool.lengths, sentences["n_tokens"]):
        raise InputError(
            f"{folder.path}: the tokenizer of {model.path} is not that of the capture"
        )
    return prepared, columns
