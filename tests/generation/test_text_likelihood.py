"""Bits per byte: every byte is paid for once, whatever the tokenizer."""

import math

import numpy as np
import pytest

from expertjax.checkpoints.load import Model
from expertjax.errors import InputError
from expertjax.generation import perplexity as room
from expertjax.generation.perplexity import (
    bits_per_byte,
    log_likelihood,
    text_likelihood,
)
from tests import bounds
from tests.tiny_models import SENTENCES

TEXTS = ["Größe, 大きさ, 🙂", ""]


def by_hand(model: Model, texts: list[str], window: int) -> tuple[float, int]:
    """(nats, tokens) after the end token, token by token."""
    from flax import nnx

    from expertjax.models.attention import Inputs

    module = nnx.merge(model.graphdef, model.params)
    nats, count = 0.0, 0
    for text in texts:
        ids = [model.tokenizer.eos_token_id, *model.tokenizer(text).input_ids]
        for start in range(0, max(1, len(ids) - 1), window - 1):
            run = np.array([ids[start : start + window]])
            out = module(Inputs.of(run, np.ones_like(run)))
            logits = np.asarray(module.logits(out.hidden), np.float64)[0]
            log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            for at in range(run.shape[1] - 1):
                nats -= log_p[at, run[0, at + 1]]
                count += 1
    return nats, count


@pytest.mark.parametrize("window", [1024, 9])  # at most 64 by positions
def test_every_token_is_judged_once(
    window: int, tiny_gpt2: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_WINDOW", window)
    monkeypatch.setattr(room, "_CHUNK", 1)
    nats, count = by_hand(tiny_gpt2, TEXTS, min(window, 64))
    got = text_likelihood(tiny_gpt2, TEXTS)
    tokens = sum(len(tiny_gpt2.tokenizer(text).input_ids) for text in TEXTS)
    assert got.num_tokens == count == tokens
    assert got.num_bytes == sum(len(text.encode()) for text in TEXTS)
    allowed = bounds.of_model(tiny_gpt2)
    assert got.perplexity == pytest.approx(math.exp(nats / count), rel=allowed)
    wanted = nats / math.log(2) / got.num_bytes
    assert got.bits_per_byte == pytest.approx(wanted, rel=allowed)
    assert bits_per_byte(tiny_gpt2, TEXTS) == got.bits_per_byte


def test_without_a_beginning_the_first_token_is_given(
    tiny_gpt2: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bos_token", "eos_token"):
        monkeypatch.setitem(tiny_gpt2.tokenizer._special_tokens_map, name, None)
    assert tiny_gpt2.tokenizer.bos_token_id is None
    got = text_likelihood(tiny_gpt2, SENTENCES)
    total, count = log_likelihood(tiny_gpt2, SENTENCES)
    assert got.num_tokens == count.sum()
    firsts = [tiny_gpt2.tokenizer(text).input_ids[:1] for text in SENTENCES]
    skipped = sum(len(tiny_gpt2.tokenizer.decode(ids).encode()) for ids in firsts)
    everything = sum(len(text.encode()) for text in SENTENCES)
    assert got.num_bytes == everything - skipped
    wanted = -total.sum() / math.log(2) / got.num_bytes
    allowed = bounds.of_model(tiny_gpt2)
    assert got.bits_per_byte == pytest.approx(wanted, rel=allowed)


def test_encoders_and_nothing_have_no_likelihood(
    tiny_bert: Model, tiny_gpt2: Model
) -> None:
    with pytest.raises(InputError, match="bert is no causal model"):
        bits_per_byte(tiny_bert, TEXTS)
    with pytest.raises(InputError, match="no token to predict"):
        bits_per_byte(tiny_gpt2, "")
