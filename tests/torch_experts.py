"""What transformers' mixtures of experts compute inside, where no module's hook sees.

Their experts are one parameter, and their routers return no logits of which anything
else is made. Both multiply and add biases by their own code: here every function of
torch tells which weight or bias it is given.
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
    # By address, of what multiplies and of what makes the output: the layer's name, its
    # tokens. Both are the weight where there is no bias apart.
    takes: dict[int, tuple[str, Any]] = {}
    gives: dict[int, tuple[str, Any]] = {}
    tokens: dict[Any, Any] = {}  # experts' module -> its [N, k] of this call
    handles = []
    for name, module in model.named_modules():
        name = name if name.startswith("model.") else f"model.{name}"
        if is_router(module):
            gives[module.weight.data_ptr()] = name, None
        if type(module).__name__.endswith("Experts"):
            for kind in ("gate_up_proj", "down_proj"):
                weights = getattr(module, kind)
                last = getattr(module, f"{kind}_bias", weights)
                for expert, (weight, added) in enumerate(
                    zip(weights, last, strict=True)
                ):
                    where = module, expert
                    gives[added.data_ptr()] = f"{name}.{expert}.{kind}", where
                    if kind == "down_proj":
                        takes[weight.data_ptr()] = (
                            f"{name}.{expert}.{kind}:input",
                            where,
                        )

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

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = kwargs or {}
            if len(args) < 2 or not isinstance(args[1], torch.Tensor):
                return function(*args, **kwargs)
            x, other, *rest = args
            address = other.data_ptr()
            if address in takes:
                name, where = takes[address]
                x = keep(name, x, where)
            y = function(x, other, *rest, **kwargs)
            if address in gives:
                name, where = gives[address]
                y = keep(name, y, where)
            return y

    try:
        with Watch():
            yield
    finally:
        for handle in handles:
            handle.remove()
