"""The families that are known, by Hugging Face's `model_type`."""

from collections.abc import Collection, Mapping
from typing import Any

from expertjax.errors import InputError
from expertjax.models import (
    albert,
    bart,
    bert,
    bloom,
    cohere,
    ctrl,
    deberta,
    distilbert,
    electra,
    eurobert,
    falcon,
    gemma,
    gemma2,
    gemma3,
    glm4,
    gpt2,
    gpt_neo,
    gpt_neox,
    gpt_oss,
    gptj,
    granite,
    granitemoe,
    llama,
    mixtral,
    modernbert,
    mpnet,
    nemotron,
    nomic_bert,
    olmo,
    olmo2,
    olmoe,
    openai_gpt,
    opt,
    phi,
    phi3,
    qwen_moe,
    roberta,
    smollm3,
    stablelm,
    starcoder2,
    t5,
    xlm,
    xlnet,
)
from expertjax.models.configs import ConfigReader
from expertjax.models.family import Family

FAMILIES: tuple[Family, ...] = (
    albert.FAMILY,
    bart.FAMILY,
    bert.FAMILY,
    bloom.FAMILY,
    cohere.FAMILY,
    ctrl.FAMILY,
    deberta.FAMILY,
    deberta.FAMILY_V2,
    distilbert.FAMILY,
    electra.FAMILY,
    eurobert.FAMILY,
    falcon.FAMILY,
    gemma.FAMILY,
    gemma2.FAMILY,
    gemma3.FAMILY,
    glm4.FAMILY,
    gpt2.FAMILY,
    gpt_neo.FAMILY,
    gpt_neox.FAMILY,
    gpt_oss.FAMILY,
    gptj.FAMILY,
    granite.FAMILY,
    granitemoe.FAMILY,
    llama.FAMILY,
    mixtral.FAMILY,
    modernbert.FAMILY,
    mpnet.FAMILY,
    nemotron.FAMILY,
    nomic_bert.FAMILY,
    olmo.FAMILY,
    olmo2.FAMILY,
    olmoe.FAMILY,
    openai_gpt.FAMILY,
    opt.FAMILY,
    phi.FAMILY,
    phi3.FAMILY,
    qwen_moe.FAMILY,
    roberta.FAMILY,
    smollm3.FAMILY,
    stablelm.FAMILY,
    starcoder2.FAMILY,
    t5.FAMILY,
    xlm.FAMILY,
    xlnet.FAMILY,
)

_BY_MODEL_TYPE = {
    model_type: family for family in FAMILIES for model_type in family.model_types
}


def family_of(attributes: Mapping[str, Any], source: str) -> Family:
    """The family that a config belongs to.

    Args:
      attributes: the content of `config.json`.
      source: its path, for messages.

    Raises:
      InputError: `model_type` is missing or unknown.
    """
    model_type = attributes.get("model_type")
    if model_type not in _BY_MODEL_TYPE:
        known = ", ".join(sorted(_BY_MODEL_TYPE))
        raise InputError(
            f"{source}: model_type {model_type!r} is not known; known: {known}"
        )
    return _BY_MODEL_TYPE[model_type]


def read_config(
    attributes: Mapping[str, Any], keys: Collection[str], source: str
) -> tuple[Family, Any]:
    """The family and its frozen config.

    Args:
      attributes: the content of `config.json`.
      keys: names of the checkpoint's tensors.
      source: path for messages.

    Raises:
      InputError: an unknown family, or attributes that are not understood.
    """
    family = family_of(attributes, source)
    reader = ConfigReader(attributes, keys)
    # What any config may say since all of transformers' once did.
    if family.encoder_decoder:
        reader.ignore("is_encoder_decoder")  # not so where only the encoder was saved
    else:
        reader.only("is_encoder_decoder", False)
    reader.only("add_cross_attention", False)
    reader.only("pruned_heads", {})
    if family.causal:
        reader.ignore("is_decoder")
    else:
        reader.only("is_decoder", False)
    config = family.read_config(reader)
    reader.check(source)
    return family, config
