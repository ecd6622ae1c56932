"""The sentences that excite experts, and the token at which each does."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from jax.sharding import Mesh

from expertjax.absent import ABSENT, floored
from expertjax.capturing.again import prepare_again
from expertjax.capturing.marking import positions_and_responses
from expertjax.checkpoints.load import Model
from expertjax.concepts.spans import NOWHERE, Span, token_spans
from expertjax.errors import InputError
from expertjax.jax_settings import jax_settings
from expertjax.runtime import mesh as meshes
from expertjax.runtime import processes
from expertjax.stores import arrays
from expertjax.stores.folder import ResultFolder

_READ_BYTES = 128 * 2**20  # of responses that are held at a time
# How far a response may be from the stored one, as a share of the unit's largest.
# Batches of other shapes round otherwise, on accelerators also by TF32; other weights,
# tokens or units are about as far from each other as responses are large.
_TOLERANCE = {"float32": 0.01, "bfloat16": 0.1}
_TINY = 1e-6  # float16 knows nothing much smaller


@dataclasses.dataclass(frozen=True)
class _Found:
    """Sentences of highest response.

    Attributes:
      units: [U] unit numbers, ascending.
      sentence: [U, K] int32 rows of the pool, highest response first.
      response: [U, K] float32.
      scale: [U] float32: the largest magnitude over the whole pool.
      floor: [U] float32: the lowest, with what is `ABSENT` as it is scored.
    """

    units: np.ndarray
    sentence: np.ndarray
    response: np.ndarray
    scale: np.ndarray
    floor: np.ndarray


@jax_settings()
def write_excited(
    folder: ResultFolder, model: Model, k: int = 8, mesh: Mesh | None = None
) -> None:
    """Writes `excited.parquet`: for every expert, the sentences that excite it most.

    The experts are the units of `experts.parquet`; their sentences are those of the
    whole pool. A row is a unit, a rank from 1, a sentence, its response, and the
    token at which the unit is maximal: `start` and `end` (characters of the text; -1
    where the token is special or stands for none of them) and `token`. Where no token
    reaches the unit's expert, there is none, and the response is as it is scored.

    The model runs over the distinct sentences once more. What it gives has to be what
    is stored, up to rounding. All processes of a job call this and share the work.
    Nothing happens where the table is there already.

    Args:
      folder: a result whose responses were kept.
      model: that of the capture.
      k: sentences of a unit.
      mesh: of this process's group; defaults to all devices on the data axis.

    Raises:
      InputError: responses are missing or damaged, or are not those of this model.
      Stopped: SIGTERM has arrived.
    """
    units = np.unique(folder.read_table("experts")["unit"])
    if processes.agree([_is_there(folder, units, k)])[0]:
        return
    mesh = mesh or meshes.make_mesh()
    found = _most_exciting(folder, units, k)
    spans = _marked(folder, model, found, mesh) if len(units) else []
    if processes.is_first():
        folder.write_table("excited", _table(found, spans))


def _marked(
    folder: ResultFolder, model: Model, found: _Found, mesh: Mesh
) -> list[Span]:
    """The token of each unit and sentence, unit by unit."""
    rows, which = np.unique(found.sentence, return_inverse=True)
    which_UxK = which.reshape(found.sentence.shape)
    prepared, columns = prepare_again(folder, model, rows, found.units, mesh)
    positions_UxK, again_UxK = positions_and_responses(prepared, columns, which_UxK)
    _check_responses(folder, found, again_UxK)
    texts = list(prepared.pool.concepts.sentences)
    spans = _spans(model.tokenizer, texts, which_UxK, positions_UxK)
    is_absent = ((found.response == ABSENT) | (again_UxK == ABSENT)).ravel()
    none = Span(*NOWHERE, "")
    return [none if gone else s for s, gone in zip(spans, is_absent, strict=True)]


def _is_there(folder: ResultFolder, units: np.ndarray, k: int) -> bool:
    """Does the folder have this table already?"""
    if not folder.has_table("excited"):
        return False
    table = folder.read_table("excited")
    k = min(k, folder.read_run()["capture"]["num_sentences"])
    return np.array_equal(table["unit"], np.repeat(units, k))


def _most_exciting(folder: ResultFolder, units: np.ndarray, k: int) -> _Found:
    """Looks through the responses, a few units at a time."""
    array = folder.source.open_responses()
    num_sentences = array.shape[0]
    k = min(k, num_sentences)
    width = max(1, _READ_BYTES // (4 * num_sentences))
    sentence = np.full((len(units), k), -1, np.int32)
    response = np.full((len(units), k), -np.inf, np.float32)
    scale = np.zeros(len(units), np.float32)
    floor = np.full(len(units), -np.inf, np.float32)
    for start in processes.share(range(0, len(units), width)):
        some = slice(start, start + width)
        x_NxU = arrays.read(array, slice(0, num_sentences), units[some])
        is_there = x_NxU != ABSENT
        scale[some] = np.abs(x_NxU).max(0, where=is_there, initial=0)
        floor[some] = floored(x_NxU).min(0)
        for i, x_N in enumerate(x_NxU.T, start):
            sentence[i] = _highest(x_N, k)
            response[i] = x_N[sentence[i]]
    found = (sentence, response, scale, floor)
    return _Found(units, *map(processes.largest, found))


def _highest(x_N: np.ndarray, k: int) -> np.ndarray:
    """The k rows of highest value, highest first; of equal ones the first."""
    rows = np.flatnonzero(x_N >= np.partition(x_N, -k)[-k])
    return rows[np.argsort(-x_N[rows], kind="stable")[:k]]


def _check_responses(
    folder: ResultFolder, found: _Found, again_UxK: np.ndarray
) -> None:
    """Raises InputError where the model does not respond as it did."""
    dtype = folder.read_run()["capture"]["compute_dtype"]
    allowed_Ux1 = _TOLERANCE[dtype] * found.scale[:, None] + _TINY
    # Where two experts are all but equal, rounding decides which one a token reaches.
    is_other_expert = (again_UxK == ABSENT) != (found.response == ABSENT)
    is_right = np.abs(again_UxK - found.response) <= allowed_Ux1
    wrong = np.argwhere(~(is_right | is_other_expert))
    if len(wrong):
        unit, rank = wrong[0]
        raise InputError(
            f"{folder.responses_path}: the response of unit {found.units[unit]} to "
            f"sentence {found.sentence[unit, rank]} is "
            f"{found.response[unit, rank]:.6g}, but the model now gives "
            f"{again_UxK[unit, rank]:.6g}: another model, or a device that computes "
            "otherwise; remove the folder and run again"
        )


def _spans(
    tokenizer: Any,
    texts: list[str],
    which_UxK: np.ndarray,
    positions_UxK: np.ndarray,
) -> list[Span]:
    """The token at each [U, K] position, row by row."""
    which, positions = which_UxK.ravel(), positions_UxK.ravel()
    order = np.argsort(which, kind="stable")
    ends = np.searchsorted(which[order], np.arange(len(texts)), side="right")
    # Of --compat=selfcond, which pools over padding too.
    padding = Span(*NOWHERE, str(tokenizer.pad_token or tokenizer.eos_token or ""))
    spans = [padding] * len(which)
    of_text = token_spans(tokenizer, texts)
    for there, pairs in zip(of_text, np.split(order, ends[:-1]), strict=True):
        for pair in pairs:
            if positions[pair] < len(there):
                spans[pair] = there[positions[pair]]
    return spans


def _table(found: _Found, spans: list[Span]) -> pd.DataFrame:
    num_units, k = found.sentence.shape
    is_absent = found.response == ABSENT
    response = np.where(is_absent, found.floor[:, None], found.response)
    table = pd.DataFrame(
        {
            "unit": np.repeat(found.units, k).astype(np.int32),
            "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), num_units),
            "sentence": found.sentence.ravel(),
            "response": response.ravel(),
        }
    )
    columns = pd.DataFrame(spans, columns=list(Span._fields))
    types = {"start": np.int32, "end": np.int32, "token": str}
    return pd.concat([table, columns.astype(types)], axis=1)
