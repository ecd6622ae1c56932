"""Model, sentences and settings that fit each other: what a capture begins with."""

import concurrent.futures
import dataclasses
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jax.sharding import Mesh
from tqdm import tqdm

from expertjax.capturing.batches import Batch, BatchPlan, choose_buckets, shard_rows
from expertjax.capturing.operations import flops_per_token
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import Model
from expertjax.checkpoints.vocabulary import check_tokens
from expertjax.concepts.pool import ConceptSet, sentence_digest
from expertjax.concepts.tokens import TokenizedPool, tell_long, tokenize
from expertjax.errors import InputError
from expertjax.jax_settings import jax_settings
from expertjax.models.sites import UnitTable
from expertjax.runtime import mesh as meshes
from expertjax.runtime import processes
from expertjax.stores import arrays
from expertjax.stores.folder import AT_FIRST, ResultFolder

_BATCH_BYTES = 2**30  # of a batch's responses, as float32, on one device


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A model and sentences that fit each other, and what is to be done.

    Attributes:
      model: whose responses are wanted.
      pool: tokenised sentences, ascending by length.
      table: the units that are kept.
      settings: with every choice made.
      plan: how the pool is batched, in the blocks of its store.
      mesh: of this process's group.
      identity: everything that the bytes of the responses depend on, and counts;
        empty where nothing is stored.
      is_counted: [N] bool, True at sentences that are counted here; None for all.
    """

    model: Model
    pool: TokenizedPool
    table: UnitTable
    settings: CaptureSettings
    plan: BatchPlan
    mesh: Mesh
    identity: dict[str, Any]
    is_counted: np.ndarray | None = None

    @property
    def dtype(self) -> np.dtype:
        """Of the stored responses."""
        return arrays.DTYPES[self.settings.store_dtype]

    @property
    def repeats_tokens(self) -> bool:
        """May padding be copies of each sentence's last token?

        The maximum over all that stands in a row is then that over what counts.
        """
        return (
            self.settings.pooling == "max"
            and self.settings.special_tokens == "include"
            and not self.settings.skip_first
            and not self.plan.full_padding
            and self.model.family.copies_alike
        )

    @property
    def columns(self) -> tuple[int, int]:
        """The units whose responses this process holds."""
        width = self.columns_per_process
        start = meshes.process_in_mesh(self.mesh) * width
        return start, min(start + width, self.table.num_units)

    @property
    def columns_per_process(self) -> int:
        """As many units as each process of the group holds."""
        return _columns_per_process(self.table, self.mesh)

    def keep(self, rows: np.ndarray, is_counted: np.ndarray) -> "Prepared":
        """Some of the sentences, ascending, each run at the length that it has here."""
        pool, plan = self.pool.keep(rows), self.plan.keep(rows)
        return dataclasses.replace(self, pool=pool, plan=plan, is_counted=is_counted)

    def counted_of(self, batch: Batch) -> np.ndarray:
        """[B] bool, True at the batch's sentences that are counted; not at filler."""
        counted_B = np.zeros(len(batch.tokens), bool)
        start, stop = batch.rows
        of_batch = True if self.is_counted is None else self.is_counted[start:stop]
        counted_B[: stop - start] = of_batch
        return counted_B


def prepare(
    model: Model, concepts: ConceptSet, settings: CaptureSettings, mesh: Mesh
) -> Prepared:
    """Tokenises, while the weights' fingerprint is taken, and checks what can be.

    Says on the screen how many sentences of each concept are too long.

    Raises:
      InputError: settings that do not fit the model or the sentences.
    """
    _check_computing(model, settings)
    check_length(model, settings.seq_len)
    table = UnitTable.build(model.sites, model.num_layers, settings.sites)
    with concurrent.futures.ThreadPoolExecutor(1) as background:
        arranged = background.submit(arrange, model, concepts, table, settings, mesh)
        digest = model.weights_sha256
        prepared = arranged.result()
    too_long = tell_long(concepts, prepared.pool, settings.seq_len)
    if too_long and processes.is_first():
        tqdm.write(f"{model.name}: {too_long}", file=sys.stderr)
    return dataclasses.replace(prepared, identity=_identity(prepared, digest))


@jax_settings()
def arrange(
    model: Model,
    concepts: ConceptSet,
    table: UnitTable,
    settings: CaptureSettings,
    mesh: Mesh,
) -> Prepared:
    """Tokenises and plans, for responses that are not stored: without an identity.

    Args:
      model: any.
      concepts: sentences, perhaps of no concept.
      table: the units that are wanted.
      settings: what they leave open is chosen.
      mesh: of this process's group.

    Raises:
      InputError: see `tokenize`; or the tokenizer is not the model's.
    """
    settings = settings.resolve(meshes.batch_tokens(mesh))
    pool = tokenize(
        concepts,
        model.tokenizer,
        seq_len=settings.seq_len,
        long=settings.long,
        special_tokens=settings.special_tokens,
        skip_first=settings.skip_first,
    )
    pool = fit_vocabulary(model, pool)
    plan = _plan(pool, table, settings, mesh, _bucket_tokens(model, table, mesh))
    return Prepared(model, pool, table, settings, plan, mesh, {})


def _columns_per_process(table: UnitTable, mesh: Mesh) -> int:
    model = meshes.model_size(mesh)
    return -(-table.num_units // model) * model // meshes.num_processes(mesh)


def _bucket_tokens(model: Model, table: UnitTable, mesh: Mesh) -> int:
    """Tokens that are run in the time in which a shape is compiled."""
    flops = max(1, flops_per_token(model, table.depth))
    return meshes.compile_flops(mesh) // flops


def _plan(
    pool: TokenizedPool,
    table: UnitTable,
    settings: CaptureSettings,
    mesh: Mesh,
    bucket_tokens: int,
) -> BatchPlan:
    multiple = meshes.data_size(mesh)
    full_padding = settings.compat == "selfcond"
    buckets: tuple[int, ...] = (settings.seq_len,)
    if not full_padding:
        buckets = choose_buckets(pool.lengths, bucket_tokens)
    rows = shard_rows(
        len(pool.lengths),
        _columns_per_process(table, mesh),
        arrays.DTYPES[settings.store_dtype].itemsize,
        settings.block_rows,
        multiple,
    )
    of_each = 4 * -(-table.num_units // meshes.model_size(mesh))
    return BatchPlan.of(
        pool.lengths,
        buckets,
        settings.batch_tokens,
        rows,
        multiple,
        full_padding=full_padding,
        most_rows=min(
            meshes.most_batch_rows(mesh, len(pool.lengths)),
            multiple * max(1, _BATCH_BYTES // of_each),
        ),
    )


def check_length(model: Model, seq_len: int) -> None:
    """Refuses sentences for which the model has no positions.

    Raises:
      InputError: names the flag.
    """
    longest = getattr(model.config, "max_positions", None)
    if longest is not None and seq_len > longest:
        raise InputError(
            f"--seq_len={seq_len}: {model.name} has only {longest} positions"
        )


def _check_computing(model: Model, settings: CaptureSettings) -> None:
    """Refuses a run that would say it was computed otherwise than it is."""
    for flag, loaded, argument in (
        ("compute_dtype", model.dtype, "dtype"),
        ("precision", model.precision, "precision"),
        ("read_with", model.read_with, "read_with"),
    ):
        wanted = getattr(settings, flag)
        if wanted and wanted != loaded:
            raise InputError(
                f"--{flag}={wanted}: {model.name} was loaded for {loaded or 'none'}; "
                f"load it with load_model(..., {argument}={wanted!r})"
            )


def fit_vocabulary(model: Model, pool: TokenizedPool) -> TokenizedPool:
    """Refuses tokens that the model does not have; as padding, any will do.

    Raises:
      InputError: see `check_tokens`.
    """
    check_tokens(model, pool.concepts.sentences, pool.tokens)
    fits = pool.pad_id < model.config.vocab_size
    return pool if fits else dataclasses.replace(pool, pad_id=0)


def _identity(prepared: Prepared, weights_sha256: str) -> dict[str, Any]:
    """See `Prepared`."""
    model, pool, plan = prepared.model, prepared.pool, prepared.plan
    # Only what there is, so that folders of earlier runs stay those of this one.
    rare = {
        "span_rows": plan.span_rows if plan.span_rows > plan.block_rows else 0,
        "skip_first": prepared.settings.skip_first,
        "read_with": model.read_with,
        "num_repeated": pool.concepts.num_repeated,
        "ignored_config": model.ignored_config,
        "dequantised": model.dequantised,
    }
    settings = dataclasses.asdict(prepared.settings)
    del settings["skip_first"], settings["read_with"]
    return settings | {
        "model": model.name,
        "family": model.family.name,
        "weights_sha256": weights_sha256,
        "tokens_sha256": pool.digest(),
        "num_sentences": len(pool.tokens),
        "num_units": prepared.table.num_units,
        "num_layers": model.num_layers,
        "num_dropped": len(pool.dropped),
        "num_truncated": pool.num_truncated,
        **{name: value for name, value in rare.items() if value},
    }


def write_tables(folder: ResultFolder, prepared: Prepared) -> None:
    """Writes the tables of units, sentences and memberships."""
    pool = prepared.pool
    write_units(folder, prepared.table)
    write_sentences(folder, pool.concepts, pd.Series(pool.lengths), pool.dropped)


def write_units(
    folder: ResultFolder, table: UnitTable, at_first_token: np.ndarray | None = None
) -> None:
    """Writes `units.parquet`.

    Args:
      folder: the model's.
      table: U units.
      at_first_token: [U] float32, see `capture`; None where it is not known.
    """
    columns = {
        "unit": np.arange(table.num_units, dtype=np.int32),
        "site": table.site,
        "layer": table.layer,
        "index": table.index,
        "module": table.module,
    }
    if at_first_token is not None:
        columns[AT_FIRST] = at_first_token
    folder.write_table("units", pd.DataFrame(columns))


def write_sentences(
    folder: ResultFolder,
    concepts: ConceptSet,
    n_tokens: pd.Series,
    dropped: Sequence[str],
) -> None:
    """Writes `sentences.parquet`, `dropped.parquet` and `memberships.parquet`.

    Args:
      folder: the model's.
      concepts: of N sentences.
      n_tokens: [N] their lengths.
      dropped: sentences that were too long.
    """
    folder.write_table(
        "sentences",
        pd.DataFrame(
            {
                "sentence": np.arange(len(concepts.sentences), dtype=np.int32),
                "text": concepts.sentences,
                "n_tokens": n_tokens,
                "sha256": [sentence_digest(text) for text in concepts.sentences],
            }
        ),
    )
    # Scoring has to tell them from sentences that were never there.
    folder.write_table(
        "dropped",
        pd.DataFrame(
            {
                "text": pd.Series(dropped, dtype=str),
                "sha256": [sentence_digest(text) for text in dropped],
            }
        ),
    )
    folder.write_memberships(
        concepts.keys,
        [member.sentence for member in concepts.members],
        [member.label for member in concepts.members],
    )
