"""A family of `seq2seq.py`: its sites and its key table."""

import dataclasses
from collections.abc import Callable, Mapping

from expertjax.models.configs import ConfigReader
from expertjax.models.decoder_family import decoder_rules, decoder_sites
from expertjax.models.decoder_names import Names
from expertjax.models.family import Family, KeyRule
from expertjax.models.seq2seq import Seq2Seq, Seq2SeqConfig
from expertjax.models.sites import Site

_ATTENTION = "blocks.attention."


def seq2seq_family(
    name: str,
    read_config: Callable[[ConfigReader], Seq2SeqConfig],
    rules: tuple[KeyRule, ...],
    *,
    model_types: tuple[str, ...] = (),
    prefix: str = "",
    task_prefix: str = "",
    ignored: tuple[str, ...] = (),
) -> Family:
    """What a family says of itself.

    Args:
      name: of the family.
      read_config: see `Family`.
      rules: of all but the output layer.
      model_types: Hugging Face's; the name alone unless given.
      prefix: see `Family`.
      task_prefix: likewise.
      ignored: likewise.
    """
    head = KeyRule(
        "lm_head.weight",
        "lm_head.kernel",
        transpose=True,
        optional=True,
        equals="embed.embedding",
    )
    return Family(
        name=name,
        model_types=model_types or (name,),
        causal=False,
        read_config=read_config,
        build=Seq2Seq,
        sites=seq2seq_sites,
        rules=(*_embeddings(prefix), *rules, head),
        prefix=prefix,
        task_prefix=task_prefix,
        ignored=ignored,
        encoder_decoder=True,
    )


def seq2seq_sites(config: Seq2SeqConfig) -> tuple[Site, ...]:
    """The sites of one block of the stack that is read."""
    sites = decoder_sites(config.read)
    if config.read_with == "encoder":
        return sites
    named = dataclasses.replace(config.decoder, names=config.cross)
    count = next(
        i for i, site in enumerate(sites, 1) if site.name == config.decoder.names.out
    )
    return (*sites[:count], *decoder_sites(named)[:count], *sites[count:])


def stack_rules(
    stack: str,
    names: Names,
    norms: Mapping[str, str],
    more: Mapping[str, str],
    cross: Names | None = None,
) -> tuple[KeyRule, ...]:
    """The rules of one stack; a decoder's are passed over where it is not read.

    Args:
      stack: "encoder" or "decoder".
      names: what torch calls its modules.
      norms: Hugging Face's name of each of the block's norms -> ours.
      more: key within the stack -> path within ours, of what is not in every one.
      cross: what torch calls the layers that attend to the encoder.
    """
    own = [
        r
        for r in decoder_rules(norms, names)
        if r.path.startswith(("blocks.", "norm."))
    ]
    if cross is not None:
        own += [
            dataclasses.replace(
                rule, path=f"blocks.cross.{rule.path.removeprefix(_ATTENTION)}"
            )
            for rule in decoder_rules({}, cross)
            if rule.path.startswith(_ATTENTION)
        ]
    own += [KeyRule(names.prefix + key, path) for key, path in more.items()]
    return tuple(
        dataclasses.replace(
            rule, path=f"{stack}.{rule.path}", optional=stack == "decoder"
        )
        for rule in own
    )


def _embeddings(prefix: str) -> tuple[KeyRule, ...]:
    """One table, which checkpoints may hold up to three times."""
    twins = (
        KeyRule(
            f"{prefix}{stack}.embed_tokens.weight",
            f"{stack}.embed.embedding",
            optional=True,
            equals="embed.embedding",
        )
        for stack in ("encoder", "decoder")
    )
    return (KeyRule(f"{prefix}shared.weight", "embed.embedding"), *twins)
