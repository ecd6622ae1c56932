"""Tokens beyond the embeddings are refused on every way into a model."""

import copy
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import expertjax as ej
from expertjax.capturing.activations import token_activations
from expertjax.capturing.settings import CaptureSettings
from expertjax.checkpoints.load import Model
from expertjax.checkpoints.vocabulary import check_tokens
from expertjax.concepts.make import make_concepts
from expertjax.errors import InputError
from expertjax.generation.generate import generate
from expertjax.generation.perplexity import log_likelihood
from expertjax.probing.representations import represent
from expertjax.probing.settings import ProbeSettings
from expertjax.scoring.settings import ScoreSettings
from expertjax.storeless import capture_and_score
from tests.tiny_models import SENTENCES

TEXT = "The <extra> ball"
CONCEPTS = make_concepts({"mine/extra": ([TEXT, *SENTENCES[:2]], SENTENCES[2:])})
SHORT = CaptureSettings(seq_len=48)

WAYS: dict[str, Callable[[Model, Path], Any]] = {
    "capture": lambda model, out: ej.capture(model, CONCEPTS, out, SHORT),
    "capture and score": lambda model, out: capture_and_score(
        model, CONCEPTS, out, SHORT, ScoreSettings(), 2**20
    ),
    "activations": lambda model, out: token_activations(model, TEXT, [0]),
    "represent": lambda model, out: represent(
        model, [*SENTENCES, TEXT], ProbeSettings(seq_len=48)
    ),
    "generate": lambda model, out: ej.generate(model, ["The ball", TEXT]),
    "streaming": lambda model, out: generate(model, [TEXT], on_token=str),
    "perplexity": lambda model, out: ej.perplexity(model, [*SENTENCES, TEXT]),
    "log-likelihood": lambda model, out: log_likelihood(model, [TEXT]),
    "bits per byte": lambda model, out: ej.bits_per_byte(model, [*SENTENCES, TEXT]),
}


@pytest.fixture(scope="module")
def larger(tiny_gpt2: Model) -> Model:
    """With a token more than it has embeddings."""
    tokenizer = copy.deepcopy(tiny_gpt2.tokenizer)
    tokenizer.add_tokens(["<extra>"])
    return dataclasses.replace(tiny_gpt2, tokenizer=tokenizer)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_names_the_token(way: str, larger: Model, tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"makes token 300 \('<extra>'\) of 'The <extra> ball', .* has only 300",
    ):
        WAYS[way](larger, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_beginning_that_the_model_does_not_have(larger: Model) -> None:
    """What the tokenizer puts in front counts, too."""
    tokenizer = copy.deepcopy(larger.tokenizer)
    tokenizer.bos_token = "<extra>"
    model = dataclasses.replace(larger, tokenizer=tokenizer)
    for way in (lambda: ej.generate(model, ""), lambda: ej.bits_per_byte(model, "A")):
        with pytest.raises(InputError, match=r"makes token 300 \('<extra>'\) of"):
            way()


def test_padding_and_ends_need_no_embedding(larger: Model, tmp_path: Path) -> None:
    tokenizer = copy.deepcopy(larger.tokenizer)
    tokenizer.pad_token = tokenizer.eos_token = "<extra>"
    model = dataclasses.replace(larger, tokenizer=tokenizer)
    ej.generate(model, ["A", "The ball"], max_new_tokens=2)
    represent(model, SENTENCES, ProbeSettings(seq_len=48))


def test_long_texts_are_shown_in_part(larger: Model) -> None:
    text = "The ball " * 100
    with pytest.raises(InputError) as error:
        check_tokens(larger, [text], [[300]])
    assert text[:80] in str(error.value) and text[:90] not in str(error.value)
    check_tokens(larger, [text, ""], [[299], []])
