"""What a training run is told."""

import dataclasses

from expertjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """One run. Tokens per step are `batch_size * seq_len`."""

    vocab_size: int = 4096
    width: int = 192
    num_layers: int = 6
    num_heads: int = 6
    seq_len: int = 128
    batch_size: int = 16
    epochs: float = 3.0
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.1
    warmup_share: float = 0.03
    heldout_share: float = 0.02
    eval_every: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise InputError(
                f"--width={self.width} is not a multiple of "
                f"--num_heads={self.num_heads}"
            )
        for field in dataclasses.fields(self):
            if field.name != "seed" and getattr(self, field.name) <= 0:
                raise InputError(f"--{field.name} must be positive")
