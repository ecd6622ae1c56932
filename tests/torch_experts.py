"""What transformers' mixtures of experts compute inside, where no module's hook sees.

Their experts are one parameter, and their routers return no logits of which anything
else is made. Both multiply by `torch.nn.functional.linear`, by their own code: here
that function tells which weight it is given.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

# (name, values) -> values: of a site, before anything else is made of them.
Change = Callable[[str, Any], Any]


def is_router(module: Any) -> bool:
    """Is it a router, whose logits are inside?"""
    return type(module).__name__.endswith("TopKRouter")


@contextlib.contextmanager
def watching(model: Any, change: Change, seen: dict[str, np.ndarray]) -> Iterator[None]:
    """While it lasts, routers and experts of a model are watched and changed.

    Args:
      model: of transformers, with experts that run one after the other.
      change: gets what a linear layer gives, or by a name with ":input" what goes into
        it, of those tokens that are there.
      seen: gets [tokens, F] by name, 0 at tokens that are not routed to the expert.
    """
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    named: dict[int, tuple[str, Any]] = {}  # by address: a weight's name, its tokens
    tokens: dict[Any, Any] = {}  # experts' module -> its [N, k] of this call
    handles = []
    for name, module in model.named_modules():
        name = name if name.startswith("model.") else f"model.{name}"
        if is_router(module):
            named[module.weight.data_ptr()] = name, None
        if type(module).__name__.endswith("Experts"):
            for kind in ("gate_up_proj", "down_proj"):
                for expert, weight in enumerate(getattr(module, kind)):
                    where = module, expert
                    named[weight.data_ptr()] = f"{name}.{expert}.{kind}", where

            def remember(module: Any, inputs: Any) -> None:
                tokens[module] = inputs[1]

            handles.append(module.register_forward_pre_hook(remember))

    def keep(name: str, values: Any, where: Any) -> Any:
        values = change(name, values)
        if where is None:
            seen[name] = values.numpy()
            return values
        module, expert = where
        # In the order of transformers: by choice, then by token.
        chosen = torch.where(expert == tokens[module].T)[1]
        every = np.zeros((len(tokens[module]), values.shape[-1]), np.float32)
        every[chosen.numpy()] = values.numpy()
        seen[name] = every
        return values

    plain = functional.linear

    def linear(x: Any, weight: Any, bias: Any = None) -> Any:
        name, where = named.get(weight.data_ptr(), ("", None))
        if not name:
            return plain(x, weight, bias)
        if name.endswith("down_proj"):
            x = keep(f"{name}:input", x, where)
        return keep(name, plain(x, weight, bias), where)

    functional.linear = linear
    try:
        yield
    finally:
        functional.linear = plain
        for handle in handles:
            handle.remove()
