"""What can be said of texts that were written: words, diversity."""

import re
from collections.abc import Sequence

import numpy as np


def has_word(texts: Sequence[str], words: Sequence[str]) -> np.ndarray:
    """[N] bool: does a text contain one of the words, as a word of its own?"""
    return np.array([bool(found) for found in find_words(texts, words)], bool)


def find_words(
    texts: Sequence[str], words: Sequence[str]
) -> list[list[tuple[int, int]]]:
    """[N] where one of the words stands in a text, as a word of its own.

    Returns:
      for each text, (start, end) in characters.
    """
    if not words:
        return [[] for _ in texts]
    pattern = _any_of(words)
    return [[match.span() for match in pattern.finditer(text)] for text in texts]


def begins_with_word(
    continuations: Sequence[str], words: Sequence[str], num_characters: int = 5
) -> np.ndarray:
    """[N] bool: is one of the words at the beginning of a continuation?

    The rule of Suau et al. 2022 (section 4.2) and of their code for the probability of
    a pronoun: the word and the character after it, which ends it, have to be among the
    first five characters.
    """
    pattern = _any_of(words)
    return np.array(
        [
            any(match.end() < num_characters for match in pattern.finditer(text))
            for text in continuations
        ],
        bool,
    )


def _any_of(words: Sequence[str]) -> re.Pattern[str]:
    return re.compile(r"\b(" + "|".join(map(re.escape, words)) + r")\b", re.IGNORECASE)


def self_bleu(
    texts: Sequence[str], n: int = 4, num_samples: int = 0, seed: int = 0
) -> float:
    """Self-BLEU: how like each other texts are (Zhu et al. 2018, section 4.1).

    The mean BLEU of each text against all others, with nltk's definition and its
    smoothing method 1; n-grams up to n count alike.

    Args:
      texts: at least two.
      n: of the longest n-grams.
      num_samples: texts whose BLEU is taken, drawn; 0 for all.
      seed: of the draw.

    Returns:
      from 0, all different, to 1, all the same.
    """
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    words = [text.split() for text in texts]
    chosen = np.arange(len(texts))
    if 0 < num_samples < len(texts):
        random = np.random.default_rng(seed)
        chosen = random.choice(len(texts), num_samples, replace=False)
    smoothing = SmoothingFunction().method1
    scores = [
        sentence_bleu(
            words[:i] + words[i + 1 :],
            words[i],
            weights=(1 / n,) * n,
            smoothing_function=smoothing,
        )
        for i in chosen
    ]
    return float(np.mean(scores))
