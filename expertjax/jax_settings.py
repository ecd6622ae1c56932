"""JAX's settings that people carry along for code of their own; ours needs these."""

import contextlib
import os
from collections.abc import Iterator

# Each is a context of jax, and as JAX_<NAME> an environment variable. Others would end
# in errors or, of the last two, draw other numbers.
_OURS = {
    "enable_x64": False,
    "numpy_rank_promotion": "allow",
    "numpy_dtype_promotion": "standard",
    "transfer_guard": "allow",
    "default_prng_impl": "threefry2x32",
    "threefry_partitionable": True,
}


@contextlib.contextmanager
def jax_settings() -> Iterator[None]:
    """While this lasts, in this thread, JAX is set as the library needs it.

    Also a decorator of functions.
    """
    import jax  # which programs set up before they import it

    with contextlib.ExitStack() as stack:
        for name, value in _OURS.items():
            stack.enter_context(getattr(jax, name)(value))
        yield


def set_up_jax() -> None:
    """Sets JAX so for a whole program, in all threads; to be called before its import.

    A user's environment has no say in these settings.
    """
    directions = ("host_to_device", "device_to_device", "device_to_host")
    guards = {f"transfer_guard_{way}": "allow" for way in directions}
    for name, value in (_OURS | guards).items():
        os.environ[f"JAX_{name.upper()}"] = str(value)
