"""What a concept set is to hold; the builders' settings, checked once."""

import dataclasses

from expertjax.concepts.form import FORMS
from expertjax.errors import InputError

KINDS = ("sense", "homograph")
# Name of a part of speech -> WordNet's letter.
PARTS = {"noun": "n", "verb": "v", "adjective": "a", "adverb": "r"}
NEGATIVES = ("shared", "own")


@dataclasses.dataclass(frozen=True)
class BuildSettings:
    """How many sentences, how long (in words), which concepts, the seed of the draws.

    Attributes:
      min_positives: leave out concepts with fewer.
      max_positives: draw this many at most.
      num_negatives: draw this many at most.
      min_words: leave out shorter sentences.
      max_words: leave out longer ones.
      seed: of all draws.
      min_negatives: leave out concepts that have fewer to draw from.
      negatives: "shared": all concepts draw from one small pool, and their positives
        from one random order, so that few sentences serve many concepts; "own": each
        draws by itself from all sentences.
      negative_pool: size of the shared pool; where it has too few sentences that are
        like a concept's positives (`match`), some beyond it are drawn.
      match: in which features of form (`form.FORMS`) negatives are drawn to be like
        the positives. Where lengths are not, the longer sentence is the likelier
        positive, since it has more words to be one.
      max_jaccard: of two concepts of a group that share more of their positives than
        this (intersection over union), keep one; None: no pruning (topics that are
        found in WordNet: 0.5).
      max_share: leave out concepts that a larger share of all sentences contains.
      num_concepts: draw this many; None: all.
      tasks_share: this share of the concepts is held out as tasks.
      kinds: of KINDS.
      hyponyms: a synset's concept also has all of its hyponyms.
      parts: of speech, of PARTS.

    Raises:
      InputError: a value is out of range.
    """

    min_positives: int = 100
    max_positives: int = 1000
    num_negatives: int = 1000
    min_words: int = 5
    max_words: int = 30
    seed: int = 1234
    min_negatives: int = 1
    negatives: str = "shared"
    negative_pool: int = 5000
    match: tuple[str, ...] = ("length",)
    max_jaccard: float | None = None
    max_share: float = 1.0
    num_concepts: int | None = None
    tasks_share: float = 0.0
    kinds: tuple[str, ...] = ("sense",)
    hyponyms: bool = False
    parts: tuple[str, ...] = ("noun",)

    def __post_init__(self) -> None:
        self._check_ranges()
        if not 1 <= self.min_negatives <= self.num_negatives or self.seed < 0:
            raise InputError(
                f"--num_negatives={self.num_negatives}, --min_negatives="
                f"{self.min_negatives}, --seed={self.seed}: expected at least 1 "
                "negative, min <= num, and a seed of 0 or more"
            )
        if self.negative_pool < self.num_negatives and self.negatives == "shared":
            raise InputError(
                f"--negative_pool={self.negative_pool} is smaller than "
                f"--num_negatives={self.num_negatives}; make it as large at least"
            )
        if self.num_concepts is not None and self.num_concepts < 1:
            raise InputError(f"--num_concepts={self.num_concepts}: expected 1 or more")
        for flag, given, known in (
            ("kinds", self.kinds, KINDS),
            ("parts", self.parts, tuple(PARTS)),
            ("negatives", (self.negatives,), NEGATIVES),
            ("match", self.match, tuple(FORMS)),
        ):
            is_optional = flag == "match"
            if not (given or is_optional) or not set(given) <= set(known):
                raise InputError(
                    f"--{flag}={','.join(given)}: expected of {', '.join(known)}"
                )

    def _check_ranges(self) -> None:
        pairs = (("min_positives", "max_positives"), ("min_words", "max_words"))
        for low, high in pairs:
            if not 1 <= getattr(self, low) <= getattr(self, high):
                raise InputError(
                    f"--{low}={getattr(self, low)} and --{high}="
                    f"{getattr(self, high)}: expected 1 <= min <= max"
                )
        shares = {"tasks_share": self.tasks_share, "max_share": self.max_share}
        if self.max_jaccard is not None:
            shares["max_jaccard"] = self.max_jaccard
        for flag, share in shares.items():
            if not 0 <= share <= 1:
                raise InputError(f"--{flag}={share}: expected a number from 0 to 1")

    @property
    def part_letters(self) -> frozenset[str]:
        """WordNet's letters of `parts`."""
        return frozenset(PARTS[part] for part in self.parts)

    def fits(self, text: str) -> str:
        """What is wrong with the length of `text`; nothing where it is allowed."""
        n_words = len(text.split())
        if n_words < self.min_words:
            return f"sentences under {self.min_words} words"
        return f"sentences over {self.max_words} words" * (n_words > self.max_words)
