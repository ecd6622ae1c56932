"""Heads that fine-tuning puts on top of a model, whatever its family.

They read the last layer and change no unit, so their tensors are passed over where no
rule of the family has a place for them.
"""

from collections.abc import Iterable

_MODULES = frozenset(
    """
    answer_class classification_head classifier discriminator_predictions end_logits
    logits_proj multiple_choice_head pre_classifier qa_outputs score sequence_summary
    sop_classifier start_logits v_head
    """.split()
)


def is_of_task_head(key: str) -> bool:
    """Is a tensor part of a classifier, of question answering, of a reward?

    Args:
      key: its name in the checkpoint.
    """
    return key.partition(".")[0] in _MODULES


def has_task_head(keys: Iterable[str]) -> bool:
    """Does one of the checkpoint's tensors belong to such a head?"""
    return any(map(is_of_task_head, keys))
