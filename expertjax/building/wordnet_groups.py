"""Groups of concepts by what WordNet says they are.

A concept that is named by a sense key (`sense/bird-1_05_00__` for `bird%1:05:00::`)
belongs to its lexicographer file (noun.animal), or to its hypernyms so many steps
below the top.
"""

import re
from collections.abc import Sequence

import pandas as pd

from expertjax.building.wordnet import Synset, WordNet
from expertjax.errors import InputError

# lexnames(5WN), by number.
LEXICOGRAPHER_FILES = tuple(
    "adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact "
    "noun.attribute noun.body noun.cognition noun.communication noun.event "
    "noun.feeling noun.food noun.group noun.location noun.motive noun.object "
    "noun.person noun.phenomenon noun.plant noun.possession noun.process "
    "noun.quantity noun.relation noun.shape noun.state noun.substance noun.time "
    "verb.body verb.change verb.cognition verb.communication verb.competition "
    "verb.consumption verb.contact verb.creation verb.emotion verb.motion "
    "verb.perception verb.possession verb.social verb.stative verb.weather "
    "adj.ppl".split()
)
_NAME = re.compile(r"(.+)-([1-5])_(\d\d)_(\d\d)_(.*)_(\d\d|)")


def sense_key_of(concept: str) -> str | None:
    """The sense key that names a concept, `group/name` or `name`; None if none does."""
    match = _NAME.fullmatch(concept.rpartition("/")[2])
    return f"{match[1]}%{':'.join(match.groups()[1:])}" if match else None


def wordnet_groups(
    concepts: Sequence[str], wordnet: WordNet, depth: int = 0
) -> pd.DataFrame:
    """The groups of some concepts.

    Args:
      concepts: `group/name`.
      wordnet: of which the names are sense keys.
      depth: 0 groups by lexicographer file; else by all hypernyms (or the synset
        itself) that stand `depth` steps below the top, by the shortest way.

    Returns:
      rows concept, group; several where a concept has several such hypernyms, none
      where its name is no sense key of this WordNet, or it stands higher. A hypernym
      is called by its sense key, written as in concepts' names.

    Raises:
      InputError: no concept has a group.
    """
    keys = {concept: sense_key_of(concept) for concept in concepts}
    known = {
        concept: wordnet.synset(key)
        for concept, key in keys.items()
        if key in wordnet.senses
    }
    above = {} if depth == 0 else _hypernyms(wordnet)
    rows = [
        (concept, group)
        for concept, synset in known.items()
        for group in (
            _ancestors(wordnet, above, synset, depth)
            if depth
            else [LEXICOGRAPHER_FILES[synset.lexname]]
        )
    ]
    if not rows:
        raise InputError(
            f"no concept has a group in {wordnet.folder}: of {len(keys)} names, "
            f"{len(known)} are sense keys there (such as bird-1_05_00__)"
            + (f" and none stands {depth} steps below the top" if known else "")
        )
    return pd.DataFrame(rows, columns=["concept", "group"])


def _hypernyms(wordnet: WordNet) -> dict[tuple[str, int], list[tuple[str, int]]]:
    """What stands directly above each synset: hyponym pointers, turned round."""
    above: dict[tuple[str, int], list[tuple[str, int]]] = {}
    for synset in wordnet.synsets.values():
        for offset in synset.hyponyms:
            above.setdefault((synset.part, offset), []).append(synset.key)
    return above


def _ancestors(
    wordnet: WordNet,
    above: dict[tuple[str, int], list[tuple[str, int]]],
    synset: Synset,
    depth: int,
) -> list[str]:
    """The hypernyms `depth` steps below the top, and the synset if it is there."""
    found, queue = {synset.key}, [synset.key]
    for key in queue:
        fresh = [parent for parent in above.get(key, []) if parent not in found]
        found.update(fresh)
        queue += fresh
    steps: dict[tuple[str, int], int] = {}
    at_depth = [
        wordnet.synsets[key]
        for key in queue
        if _steps_below_top(above, key, steps) == depth
    ]
    return sorted(
        wordnet.sense_key(parent).replace("%", "-").replace(":", "_")
        for parent in at_depth
    )


def _steps_below_top(
    above: dict[tuple[str, int], list[tuple[str, int]]],
    key: tuple[str, int],
    steps: dict[tuple[str, int], int],
) -> int:
    """Length of the shortest way up; `steps` keeps it."""
    if key not in steps:
        parents = above.get(key, [])
        ways = [_steps_below_top(above, parent, steps) for parent in parents]
        steps[key] = 1 + min(ways) if ways else 0
    return steps[key]
