"""What torch does on the same kind of device, where it is installed."""

from collections.abc import Callable, Sequence
from typing import Any

from binaries.benchmarks.made_up import SHAPES


def sorting(rows: int, length: int) -> tuple[str, Callable[[], Any], int] | None:
    """Sorts rows of random numbers.

    Returns:
      what it is called, the function, how many numbers it sorts; None without torch.
    """
    torch = _torch()
    if torch is None:
        return None
    where = "cuda" if torch.cuda.is_available() else "cpu"
    x = torch.randn(rows, length, device=where)

    def sort() -> list[Any]:
        torch.sort(x, dim=1)
        if where == "cuda":
            torch.cuda.synchronize()
        return []

    return f"torch.sort alone, on {where}", sort, x.numel()


def stepping(
    name: str, dtype: str, batches: Sequence[Any]
) -> tuple[str, Callable[[], Any]] | None:
    """Runs batches through a model of a shape; hooks pool every linear layer.

    Returns:
      what it is called, and the function; None without torch.
    """
    torch = _torch()
    if torch is None:
        return None
    import transformers

    where = "cuda" if torch.cuda.is_available() else "cpu"
    config = transformers.AutoConfig.for_model(**SHAPES[name])
    with torch.device(where):
        model = transformers.AutoModel.from_config(
            config, dtype=getattr(torch, dtype)
        ).eval()
    linear = torch.nn.Linear, transformers.pytorch_utils.Conv1D
    pooled: list[Any] = []
    for module in model.modules():
        if isinstance(module, linear):
            module.register_forward_hook(lambda m, i, z: pooled.append(z.amax(1)))

    def run() -> list[Any]:
        with torch.inference_mode():
            for batch in batches:
                pooled.clear()
                tokens = torch.from_numpy(batch.tokens).to(where, torch.long)
                mask = torch.from_numpy(batch.mask).to(where)
                model(input_ids=tokens, attention_mask=mask, use_cache=False)
        if where == "cuda":
            torch.cuda.synchronize()
        return []

    return f"{name}, all pooled by hooks, torch on {where}", run


def _torch() -> Any:
    """Torch, where it is installed and runs on the kind of device that JAX runs on."""
    import importlib.util

    import jax

    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    kind = "gpu" if torch.cuda.is_available() else "cpu"
    return torch if jax.default_backend() == kind else None
