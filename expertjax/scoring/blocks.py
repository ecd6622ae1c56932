"""Scoring one block of units for all concepts, on whatever hardware is there."""

import collections
import concurrent.futures
import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from expertjax.concepts.pool import Membership
from expertjax.errors import InputError
from expertjax.jax_settings import jax_settings
from expertjax.runtime import mesh as meshes
from expertjax.scoring import compiled as cpu
from expertjax.scoring import kernel as reference
from expertjax.scoring import summary
from expertjax.scoring.metrics import METRICS
from expertjax.scoring.settings import Kernel
from expertjax.typing import Array


class Scorer(Protocol):
    """Scores blocks of units for some concepts."""

    def prepare(self, num_rows: int, num_units: int) -> None:
        """Begins to compile for blocks of a shape."""

    def __call__(self, x_NxU: np.ndarray | jax.Array) -> dict[str, np.ndarray]:
        """Scores a block.

        Args:
          x_NxU: float32, finite in the rows of the concepts. Those of the kernel "jax"
            take responses that lie on the devices, their units split over all of
            these, as they are.

        Returns:
          metric -> [C, U] float32.
        """


_Shapes = tuple[tuple[int, int], tuple[int, int]]  # of responses, and of rows

_CONCEPTS_PER_CALL = 16
_IN_FLIGHT = 4  # calls whose scores are on the devices, or on their way to the host
# What is done once for a block costs accelerators more than its responses do.
_HOST_BLOCK, _ACCELERATOR_BLOCK = 128 * 2**20, 2 * 2**30


def make_scorer(
    members: Sequence[Membership],
    metrics: Sequence[str] = tuple(METRICS),
    kernel: Kernel = "auto",
    mesh: Mesh | None = None,
    tolerance: float = 0.0,
) -> Scorer:
    """The function that scores a block of units for some concepts.

    Args:
      members: [C] labelled rows.
      metrics: names in `METRICS`.
      kernel: "compiled" (for CPUs), "jax" (the reference, units sharded over the
        mesh), or "auto": the compiled one where the devices are CPUs.
      mesh: for "jax"; defaults to all devices of this process.
      tolerance: of ties, see `ties`; 0 ties what is equal to the bit.

    Raises:
      InputError: another kernel, or an unknown metric.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown or not metrics:
        raise InputError(
            f"--metrics={','.join(unknown)}: expected some of {', '.join(METRICS)}"
        )
    mesh = mesh or meshes.local_mesh()
    if scores_on_devices(kernel):
        return _MeshScorer(members, metrics, mesh, tolerance)
    if kernel not in ("auto", "compiled"):
        raise InputError(f"--kernel={kernel}: expected auto, jax or compiled")
    return _CpuScorer(members, metrics, mesh, tolerance)


def scores_on_devices(kernel: Kernel) -> bool:
    """Are responses to lie on the devices, and not on the host?"""
    if kernel == "auto":
        return jax.default_backend() != "cpu"
    return kernel == "jax"


def fitting_block_bytes(kernel: Kernel) -> int:
    """Bytes of responses that are scored at a time, as suits the devices."""
    is_cpu = jax.default_backend() == "cpu" or not scores_on_devices(kernel)
    return _HOST_BLOCK if is_cpu else _ACCELERATOR_BLOCK


class _CpuScorer:
    """The compiled loop, and the reference for what it does not do."""

    def __init__(
        self,
        members: Sequence[Membership],
        metrics: Sequence[str],
        mesh: Mesh,
        tolerance: float,
    ) -> None:
        self._score = cpu.CompiledScorer(members, tolerance)
        self._metrics = metrics
        fast = [name for name in metrics if name in summary.METRICS]
        slow = [name for name in metrics if name not in fast]
        self._of_wide_units = _MeshScorer(members, fast, mesh, tolerance)
        self._of_all_units = _MeshScorer(members, slow, mesh, tolerance)

    def prepare(self, num_rows: int, num_units: int) -> None:
        """See `Scorer`."""
        self._of_all_units.prepare(num_rows, num_units)

    def __call__(self, x_NxU: np.ndarray | jax.Array) -> dict[str, np.ndarray]:
        """See `Scorer`."""
        x_NxU = np.asarray(x_NxU)
        values, is_wide = self._score(x_NxU)
        every = dict(zip(summary.METRICS, values, strict=True))
        if is_wide.any():
            for name, wide in self._of_wide_units(x_NxU[:, is_wide]).items():
                every[name][:, is_wide] = wide
        every |= self._of_all_units(x_NxU)
        return {name: every[name] for name in self._metrics}


class _MeshScorer:
    """The reference kernel, each device scoring its own units.

    Concepts of about the same length go together: few shapes are compiled, and
    little is spent on filler.
    """

    def __init__(
        self,
        members: Sequence[Membership],
        metrics: Sequence[str],
        mesh: Mesh,
        tolerance: float,
    ) -> None:
        self._metrics = tuple(metrics)
        self._tolerance = tolerance
        self._mesh = mesh
        self._num_concepts = len(members)
        self._batches = list(batches_by_length(members))
        self._compiled: dict[_Shapes, concurrent.futures.Future] = {}

    def prepare(self, num_rows: int, num_units: int) -> None:
        """See `Scorer`."""
        if not self._metrics:
            return
        x_shape = num_rows, num_units + self._padding(num_units)
        for _, rows, _ in self._batches:
            how = self._mesh, self._metrics, self._tolerance
            self._compiled[x_shape, rows.shape] = _compiling(*how, x_shape, rows.shape)

    def _padding(self, num_units: int) -> int:
        """Units that are missing to whole tiles on every device."""
        return -num_units % (self._mesh.size * reference.tile_width(self._mesh))

    def __call__(self, x_NxU: np.ndarray | jax.Array) -> dict[str, np.ndarray]:
        """See `Scorer`."""
        if not self._metrics:
            return {}
        num_units = x_NxU.shape[1]
        pad = jnp if isinstance(x_NxU, jax.Array) else np
        padded = pad.pad(x_NxU, ((0, 0), (0, self._padding(num_units))))
        x = jax.device_put(padded, meshes.split_units(self._mesh))
        least, is_enough = _least_magnitudes(x)
        packs = bool(is_enough)
        jitted = score_on_mesh(self._mesh, self._metrics, self._tolerance, packs)
        if packs:
            least = jax.device_put(least, meshes.split_each_unit(self._mesh))
        shape = self._num_concepts, num_units
        out = {name: np.empty(shape, np.float32) for name in self._metrics}
        running: collections.deque[tuple[np.ndarray, jax.Array]] = collections.deque()

        def take_oldest() -> None:
            concepts, scores_MxCxU = running.popleft()
            values_MxCxU = meshes.local(scores_MxCxU)[:, : len(concepts), :num_units]
            for name, values_CxU in zip(self._metrics, values_MxCxU, strict=True):
                out[name][concepts] = values_CxU

        for concepts, rows, label in self._batches:
            compiled = self._compiled.get((x.shape, rows.shape)) if packs else None
            score = jitted if compiled is None else compiled.result()
            scores_MxCxU = score(x, least if packs else None, rows, label)
            running.append((concepts, meshes.start_to_host(scores_MxCxU)))
            if len(running) > _IN_FLIGHT:
                take_oldest()
        while running:
            take_oldest()
        return out


_least_magnitudes = jax.jit(reference.least_magnitudes)


@functools.lru_cache
def score_on_mesh(
    mesh: Mesh, metrics: tuple[str, ...], tolerance: float, packs: bool
) -> Any:
    """The kernel of one block; `packs`: it gets the units' least magnitudes.

    Its scores are one array [metric, concept, unit]: one way to the host, not many.
    """
    units = meshes.split_units(mesh).spec
    of_unit = meshes.split_each_unit(mesh).spec if packs else None
    whole = meshes.replicated(mesh).spec

    width = reference.tile_width(mesh)

    def score(x: Array, least: Array | None, rows: Array, label: Array) -> Array:
        scores = reference.score_concepts(
            x, least, rows, label, metrics, tolerance, width
        )
        return jnp.stack([scores[name] for name in metrics])

    sharded = jax.shard_map(
        score,
        mesh=mesh,
        in_specs=(units, of_unit, whole, whole),
        out_specs=jax.P(None, *units),
    )
    return jax.jit(sharded)


_compilers = concurrent.futures.ThreadPoolExecutor(os.cpu_count())


@functools.lru_cache
def _compiling(
    mesh: Mesh,
    metrics: tuple[str, ...],
    tolerance: float,
    of_x: tuple[int, int],
    of_rows: tuple[int, int],
) -> concurrent.futures.Future:
    """`score_on_mesh` of one shape, once for all groups of concepts."""
    whole = meshes.replicated(mesh)
    split, each = meshes.split_units(mesh), meshes.split_each_unit(mesh)

    @jax_settings()
    def compile_it() -> Any:
        # As most blocks are; the others are compiled when they come.
        score = score_on_mesh(mesh, metrics, tolerance, packs=True)
        return score.lower(
            jax.ShapeDtypeStruct(of_x, jnp.float32, sharding=split),
            jax.ShapeDtypeStruct(of_x[1:], jnp.int32, sharding=each),
            jax.ShapeDtypeStruct(of_rows, jnp.int32, sharding=whole),
            jax.ShapeDtypeStruct(of_rows, jnp.int8, sharding=whole),
        ).compile()

    return _compilers.submit(compile_it)


def batches_by_length(
    members: Sequence[Membership],
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Concepts of about the same length, a few at a time.

    Args:
      members: [C] labelled rows.

    Yields:
      numbers of concepts; [c, n] int32 rows and [c, n] int8 labels, -1 at filler. The
      last of the c may be filler too: fewer numbers are given.
    """
    lengths = [_padded_length(len(member.label)) for member in members]
    for n in sorted(set(lengths)):
        same = [c for c, length in enumerate(lengths) if length == n]
        for start in range(0, len(same), _CONCEPTS_PER_CALL):
            concepts = same[start : start + _CONCEPTS_PER_CALL]
            # Filled up to a power of two: few counts are compiled.
            count = 1 << (len(concepts) - 1).bit_length()
            rows = np.zeros((count, n), np.int32)
            label = np.full((count, n), -1, np.int8)
            for i in range(count):
                member = members[concepts[min(i, len(concepts) - 1)]]
                rows[i, : len(member.label)] = member.sentence
                label[i, : len(member.label)] = member.label
            yield np.array(concepts), rows, label


def _padded_length(n: int) -> int:
    """At most an eighth longer, so that few lengths are compiled."""
    step = 1 << max(4, n.bit_length() - 3)
    return -(-n // step) * step
