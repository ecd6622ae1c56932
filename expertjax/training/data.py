"""From lines of text to batches of tokens."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END = "<|endoftext|>"


def train_tokenizer(lines: Sequence[str], vocab_size: int) -> Any:
    """A byte-level BPE tokenizer as GPT-2 has it, in Hugging Face's fast form.

    Args:
      lines: the training text.
      vocab_size: V, the end-of-text token included.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, unk_token=END
    )


def split_lines(
    lines: Sequence[str], heldout_share: float
) -> tuple[list[str], list[str]]:
    """Distinct lines, split by a hash of their text.

    A line falls on the same side whatever else is in the corpus.

    Returns:
      training lines, held-out lines.
    """
    train: list[str] = []
    heldout: list[str] = []
    for line in dict.fromkeys(lines):
        digest = hashlib.sha256(line.encode()).digest()
        held = int.from_bytes(digest[:4], "big") < heldout_share * 2**32
        (heldout if held else train).append(line)
    return train, heldout


class PackedLines:
    """Rows of T tokens, each a run of whole lines in random order.

    A row starts with the start of a line, as a sentence does when responses are
    captured; lines are separated by the end token and the last one is cut.
    """

    def __init__(self, token_lines: Sequence[Sequence[int]], end: int, T: int) -> None:
        self._lines = [np.array([*line, end], np.int32) for line in token_lines]
        self._lengths = np.array([len(line) for line in self._lines])
        self._row = T + 1  # inputs and targets overlap

    @property
    def num_tokens(self) -> int:
        """Tokens of all lines, with their ends."""
        return int(self._lengths.sum())

    def epoch(self, seed: int) -> np.ndarray:
        """[rows, T + 1] int32: one pass over the lines in an order of its own.

        No rows where the lines do not fill one.
        """
        order = np.random.default_rng(seed).permutation(len(self._lines))
        rows, parts, room = [], [], self._row
        for i in order:
            line = self._lines[i][:room]
            parts.append(line)
            room -= len(line)
            if room == 0:
                rows.append(np.concatenate(parts))
                parts, room = [], self._row
        return np.stack(rows) if rows else np.empty((0, self._row), np.int32)
