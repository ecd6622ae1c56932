"""Several processes at the same job, by JAX's own runtime."""

from collections.abc import Sequence
from typing import TypeVar

import jax
from jax.experimental import multihost_utils

from expertjax.errors import InputError

Item = TypeVar("Item")


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
    if coordinator == "auto":
        jax.distributed.initialize()
        return
    if not 0 <= process_id < num_processes:
        raise InputError(
            f"--process_id={process_id}: expected 0 to {num_processes - 1}, as "
            f"--num_processes={num_processes}"
        )
    jax.distributed.initialize(coordinator, num_processes, process_id)


def is_first() -> bool:
    """Is this the process that writes what is written once?"""
    return jax.process_index() == 0


def share(items: Sequence[Item]) -> list[Item]:
    """This process's part of some independent pieces of work."""
    return list(items[jax.process_index() :: jax.process_count()])


def barrier(name: str) -> None:
    """Waits for all processes."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)
