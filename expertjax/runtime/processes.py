"""Several processes at the same job, by JAX's own runtime."""

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from expertjax.errors import InputError, PartnerLost

Item = TypeVar("Item")

_HEARTBEAT_SECONDS = 30  # after which the others end where one has vanished


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """While processes wait for each other, the end of one is an error in all."""
    try:
        yield
    # On CPUs the failure of a collective arrives as a ValueError.
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        raise PartnerLost(
            "another process of this job has ended or cannot be reached; see what it "
            f"says, then run the same command in all of them again ({error})"
        ) from error


def start(coordinator: str, num_processes: int, process_id: int) -> None:
    """Joins the other processes; to be called before JAX is used.

    Args:
      coordinator: "host:port" of process 0; "" for a process alone, and "auto" where
        JAX finds the others itself (TPU pods, Slurm, Open MPI).
      num_processes: of the job.
      process_id: of this one, from 0.

    Raises:
      InputError: numbers that do not fit.
    """
    if not coordinator:
        if num_processes > 1:
            raise InputError(f"--num_processes={num_processes} needs --coordinator")
        return
    # It would take SIGTERM from `stopping`, which has to see it.
    jax.config.update("jax_enable_preemption_service", False)
    if coordinator == "auto":
        jax.distributed.initialize(heartbeat_timeout_seconds=_HEARTBEAT_SECONDS)
        return
    if not 0 <= process_id < num_processes:
        raise InputError(
            f"--process_id={process_id}: expected 0 to {num_processes - 1}, as "
            f"--num_processes={num_processes}"
        )
    jax.distributed.initialize(
        coordinator,
        num_processes,
        process_id,
        heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
    )


def is_first() -> bool:
    """Is this the process that writes what is written once?"""
    return jax.process_index() == 0


def is_alone() -> bool:
    """Is there no other process?"""
    return jax.process_count() == 1


def share(items: Sequence[Item], num_shares: int = 0, which: int = 0) -> list[Item]:
    """One part of some independent pieces of work: every n-th.

    Args:
      items: all of them.
      num_shares: n; 0 for as many as there are processes.
      which: from 0; of processes, it is this one's number.
    """
    if not num_shares:
        num_shares, which = jax.process_count(), jax.process_index()
    return list(items[which::num_shares])


def rounds(items: Iterable[Item], count: int) -> Iterator[Item | None]:
    """This process's `count` items, then None until all have had as many turns."""
    if jax.process_count() > 1:
        with _together():
            count = int(multihost_utils.process_allgather(np.array(count)).max())
    yield from itertools.islice(itertools.chain(items, itertools.repeat(None)), count)


def agree(values: Sequence[bool]) -> list[bool]:
    """What the first process says, in all of them."""
    if jax.process_count() == 1:
        return list(values)
    with _together():
        said = multihost_utils.broadcast_one_to_all(np.array(values, bool))
        return np.asarray(said).tolist()


def largest(values: np.ndarray) -> np.ndarray:
    """The largest that any process has, element by element. All have to ask.

    Args:
      values: int32 or float32, of one shape in all processes.
    """
    if jax.process_count() == 1:
        return values
    with _together():
        return np.asarray(multihost_utils.process_allgather(values)).max(0)


def in_order(action: Callable[[], object]) -> None:
    """Does something in the first process, then in the others."""
    if is_first():
        action()
    barrier("in order")
    if not is_first():
        action()


def barrier(name: str) -> None:
    """Waits for all processes."""
    if jax.process_count() > 1:
        with _together():
            multihost_utils.sync_global_devices(name)
