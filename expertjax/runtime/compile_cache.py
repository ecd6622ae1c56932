"""Keeping compiled programs from one run to the next."""

import jax


def keep_compiled(folder: str) -> None:
    """Lets XLA's compilations be found again in later runs.

    Args:
      folder: of this kind of machine, local or `gs://`; "" for no cache.
    """
    if not folder:
        return
    jax.config.update("jax_compilation_cache_dir", folder)
    # All of them, however small or quickly made.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
