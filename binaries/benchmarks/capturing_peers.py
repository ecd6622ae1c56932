"""Capture as others write it, in torch: the reference's way and the best we know.

Both get the tokenised pool and the sites that ours has, the model without its LM head
and all cores, in float32.
"""

import contextlib
import dataclasses
import itertools
import os
import pickle
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expertjax.concepts.tokens import TokenizedPool

BUDGETS = (512, 1024, 2048, 4096, 8192)  # tokens of a batch, to choose from
REFERENCE_BATCH = 30  # sentences; what apple/ml-selfcond takes by default
_SAMPLE = 8192  # tokens that each budget is tried on, and two batches at least


@dataclasses.dataclass(frozen=True)
class Segment:
    """The units of a site in one layer: its module's name, and where they stand."""

    name: str
    columns: slice


@dataclasses.dataclass(frozen=True)
class TorchModel:
    """A torch model and its sites.

    Attributes:
      module: without LM head.
      segments: torch module -> its sites, in the order in which they are computed;
        several where layers share their weights.
      num_units: U.
    """

    module: Any
    segments: dict[Any, list[Segment]]
    num_units: int

    @property
    def num_weights(self) -> int:
        """Of linear layers, as often as a token passes them."""
        return sum(
            module.weight.numel() * len(sites)
            for module, sites in self.segments.items()
        )


def make_gpt2_small(folder: Path, tokenizer: Path) -> Path:
    """A GPT-2 small of random weights, with the tokenizer of another model."""
    import torch
    import transformers

    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    model.save_pretrained(folder)
    for file in tokenizer.glob("tokenizer*.json"):
        shutil.copy(file, folder)
    return folder


def load_torch(
    folder: str, sites: Sequence[tuple[str, int]], dtype: str = "float32"
) -> TorchModel:
    """Loads a Hugging Face folder.

    Args:
      folder: config and weights.
      sites: torch module name and F, in the order of units.
      dtype: of the weights and of the computation.
    """
    import torch
    import transformers

    torch.set_num_threads(os.cpu_count() or 1)
    # Attention is SDPA by default, in the families that have it.
    kind = getattr(torch, dtype)
    loaded = transformers.AutoModel.from_pretrained(folder, dtype=kind).eval()
    loaded.config.use_cache = False
    # Weights that are mapped from the file are read now, not during capture.
    for parameter in loaded.parameters():
        parameter.detach().sum()
    modules = dict(loaded.named_modules())
    segments: dict[Any, list[Segment]] = {}
    start = 0
    for name, features in sites:
        torch_name = re.sub(r"@\d+", "", name)
        # A model without a head has no prefix.
        module = modules.get(torch_name) or modules[torch_name.split(".", 1)[1]]
        segment = Segment(name, slice(start, start + features))
        segments.setdefault(module, []).append(segment)
        start += features
    return TorchModel(loaded, segments, start)


@contextlib.contextmanager
def _hooks(model: TorchModel, record: Callable[[Segment, Any], None]) -> Iterator[None]:
    """Every site's output goes to `record`, as it is computed."""
    handles = [
        module.register_forward_hook(_in_turn(segments, record))
        for module, segments in model.segments.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _in_turn(
    segments: Sequence[Segment], record: Callable[[Segment, Any], None]
) -> Callable[[Any, Any, Any], None]:
    """The hook of a module, which is called for one layer after the other."""
    turn = itertools.cycle(segments)
    return lambda module, inputs, z: record(next(turn), z)


def _padded(
    model: TorchModel, pool: TokenizedPool, rows: slice, length: int
) -> dict[str, Any]:
    """The model's arguments for some sentences, padded on the right."""
    import torch

    stop = min(rows.stop, len(pool.tokens))
    sentences = [pool.tokens.run(row, row + 1) for row in range(rows.start, stop)]
    pad_id = pool.pad_id if pool.pad_id < model.module.config.vocab_size else 0
    tokens = torch.full((len(sentences), length), pad_id)
    mask = torch.zeros(tokens.shape, dtype=torch.long)
    for i, ids in enumerate(sentences):
        tokens[i, : len(ids)] = torch.from_numpy(ids)
        mask[i, : len(ids)] = 1
    return {"input_ids": tokens, "attention_mask": mask}


def capture_reference(
    model: TorchModel, pool: TokenizedPool, seq_len: int, folder: Path
) -> int:
    """The reference's way, from its description; padding takes part in the maximum.

    Every sentence is padded to seq_len, the whole output of every site is kept and
    moved to the host, the maximum is numpy's, and each batch becomes a pickle.

    Returns:
      tokens computed.
    """
    import torch

    folder.mkdir()
    starts = range(0, len(pool.tokens), REFERENCE_BATCH)
    for number, start in enumerate(starts):
        rows = slice(start, start + REFERENCE_BATCH)
        arguments = _padded(model, pool, rows, seq_len)
        kept: dict[str, Any] = {}

        def record(segment: Segment, z: Any, kept: dict = kept) -> None:
            kept[segment.name] = z

        with torch.no_grad(), _hooks(model, record):
            model.module(**arguments)
        shape = arguments["input_ids"].shape
        on_host = {
            name: z.detach().cpu().float().numpy().reshape(*shape, -1)
            for name, z in kept.items()
        }
        responses = {name: z_BxTxF.max(axis=1) for name, z_BxTxF in on_host.items()}
        with (folder / f"{number:05d}.pkl").open("wb") as file:
            pickle.dump(responses, file)
    return len(pool.tokens) * seq_len


def capture_torch(
    model: TorchModel, pool: TokenizedPool, budget: int, out: Path
) -> int:
    """The best torch that we know: little padding, pooled as it is computed.

    Args:
      model: from `load_torch`.
      pool: by ascending length.
      budget: tokens of a batch, padding included.
      out: `.npy` file, gets [N, U] float32.

    Returns:
      tokens computed.
    """
    shape = len(pool.tokens), model.num_units
    np.lib.format.open_memmap(out, "w+", np.float32, shape)
    computed = 0
    for rows in token_batches(pool.lengths, budget):
        responses_BxU = _pool_batch(model, pool, rows)
        # Opened for each batch, so that pages of the file do not count as memory.
        np.load(out, mmap_mode="r+")[rows] = responses_BxU
        computed += len(responses_BxU) * int(pool.lengths[rows.stop - 1])
    return computed


def token_batches(lengths: np.ndarray, budget: int) -> list[slice]:
    """Cuts ascending lengths into runs of at most `budget` tokens, padding included."""
    batches, start = [], 0
    for row, length in enumerate(lengths):
        if row > start and length * (row + 1 - start) > budget:
            batches.append(slice(start, row))
            start = row
    return [*batches, slice(start, len(lengths))]


def _pool_batch(model: TorchModel, pool: TokenizedPool, rows: slice) -> np.ndarray:
    """[B, U]: the maximum over real tokens."""
    import torch

    shortest, longest = (int(pool.lengths[i]) for i in (rows.start, rows.stop - 1))
    arguments = _padded(model, pool, rows, longest)
    shape = arguments["input_ids"].shape
    # Only the end of a batch needs a mask: up to there no sentence is padded.
    is_padding = arguments["attention_mask"][:, shortest:, None] == 0
    if shortest == longest:
        del arguments["attention_mask"]
    pooled_BxU = torch.empty(shape[0], model.num_units)

    def record(segment: Segment, z: Any) -> None:
        z_BxTxF = z.reshape(*shape, -1)
        top_BxF = z_BxTxF[:, :shortest].amax(1)
        if shortest < longest:
            end = z_BxTxF[:, shortest:].masked_fill(is_padding, -torch.inf)
            top_BxF = torch.maximum(top_BxF, end.amax(1))
        pooled_BxU[:, segment.columns] = top_BxF

    with torch.inference_mode(), _hooks(model, record):
        model.module(**arguments)
    return pooled_BxU.numpy()


def best_budget(model: TorchModel, pool: TokenizedPool) -> int:
    """The budget of most real tokens per second, on batches from all over the pool."""
    rates = dict.fromkeys(BUDGETS, 0.0)
    # Twice by turns, the better of both: a disturbance must not choose.
    for budget in BUDGETS * 2:
        rates[budget] = max(rates[budget], _tokens_per_second(model, pool, budget))
    return max(rates, key=rates.__getitem__)


def _tokens_per_second(model: TorchModel, pool: TokenizedPool, budget: int) -> float:
    batches = token_batches(pool.lengths, budget)
    count = min(len(batches), max(2, _SAMPLE // budget))
    middles = (np.arange(count) + 0.5) * len(batches) / count
    start, tokens = time.perf_counter(), 0
    for i in middles.astype(int):
        _pool_batch(model, pool, batches[i])
        tokens += int(pool.lengths[batches[i]].sum())
    return tokens / (time.perf_counter() - start)


def torch_matmul(size: int) -> Callable[[], object]:
    """A product of two square float32 matrices."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    x = torch.ones(size, size)
    return lambda: x @ x
