"""Models and sentences that are made for a measurement, of a size that is asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_LLAMA = {"model_type": "llama", "vocab_size": 32000, "rms_norm_eps": 1e-5}
SHAPES: dict[str, dict[str, Any]] = {
    "GPT-2 medium": {
        "model_type": "gpt2",
        "n_layer": 24,
        "n_embd": 1024,
        "n_head": 16,
        "vocab_size": 50257,
    },
    "Llama of 1B": _LLAMA
    | {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "small GPT-2": {
        "model_type": "gpt2",
        "n_layer": 2,
        "n_embd": 64,
        "n_head": 4,
        "vocab_size": 8192,
    },
}


def random_model(name: str, dtype: str) -> Any:
    """A model of a shape with random weights, made on the devices."""
    import jax.numpy as jnp
    from flax import nnx

    def build(family: Any, config: Any) -> tuple[Any, Any]:
        @nnx.jit
        def build_it() -> nnx.Module:
            return family.build(config, rngs=nnx.Rngs(0), dtype=jnp.dtype(dtype))

        return nnx.split(build_it())

    return _model(name.replace(" ", "-"), SHAPES[name], build)


def abstract_model(attributes: dict[str, Any], dtype: str) -> Any:
    """A model without weights, for programs that are compiled and not run."""
    import jax.numpy as jnp

    from expertjax.checkpoints.load import abstract_module

    return _model(
        attributes["model_type"],
        attributes,
        lambda family, config: abstract_module(family, config, jnp.dtype(dtype)),
    )


def _model(
    name: str,
    attributes: dict[str, Any],
    build: Callable[[Any, Any], tuple[Any, Any]],
) -> Any:
    """With the shipped tokenizer."""
    import expertjax as ej
    from expertjax.api import EXAMPLE_MODEL
    from expertjax.checkpoints.load import Model
    from expertjax.models.registry import read_config

    family, config = read_config(attributes, (), "benchmark")
    graphdef, params = build(family, config)
    return Model(
        name=name,
        path=Path(name),
        family=family,
        config=config,
        graphdef=graphdef,
        params=params,
        tokenizer=ej.load_model(EXAMPLE_MODEL).tokenizer,
        attributes=attributes,
    )


def numbered_concepts(num_sentences: int) -> Any:
    """The shipped concepts, their sentences numbered until there are enough."""
    from expertjax.api import EXAMPLE_CONCEPTS
    from expertjax.concepts.files import read_concepts
    from expertjax.concepts.pool import ConceptSet, Membership, build_concept_set

    shipped = build_concept_set(read_concepts(Path(EXAMPLE_CONCEPTS)))
    count = len(shipped.sentences)
    texts = [
        f"{shipped.sentences[i % count]} {i // count}" for i in range(num_sentences)
    ]
    copies = -(-num_sentences // count)
    keys, members = [], []
    for key, member in zip(shipped.keys, shipped.members, strict=True):
        for copy in range(copies):
            rows = member.sentence + copy * count
            here = rows < len(texts)
            part = Membership(rows[here].astype(np.int32), member.label[here])
            if part.num_positives and part.num_negatives:
                keys.append(f"{key}-{copy}")
                members.append(part)
    return ConceptSet(tuple(keys), tuple(texts), tuple(members))
