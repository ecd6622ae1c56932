"""What is in a concept folder, and what a reader of results should know of it."""

import collections
import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from expertjax.building.drafts import Draft, jaccards
from expertjax.building.settings import BuildSettings
from expertjax.concepts.files import Concept
from expertjax.concepts.form import FORMS, forms

_MOST = 10


def describe(
    concepts: Sequence[Concept],
    drafts: Sequence[Draft],
    settings: BuildSettings,
    left_out: Mapping[str, int],
    title: str,
) -> str:
    """The report as Markdown, the same for the same concepts.

    Args:
      concepts: as they are written.
      drafts: [C] of the same concepts; they know its words and what was barred.
      settings: they were drawn with.
      left_out: what was left out -> how often.
      title: of the report.
    """
    parts = [
        f"# {title}",
        _counts(concepts),
        _lengths(concepts),
        _form(concepts),
        _surface(concepts, drafts),
        _overlaps(concepts),
        _left_out(drafts, left_out),
        _settings(settings),
    ]
    return "\n\n".join(parts) + "\n"


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(
        "| " + " | ".join(_cell(value) for value in line) + " |" for line in lines
    )


def _cell(value: object) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("<", "&lt;")


def _counts(concepts: Sequence[Concept]) -> str:
    by_group: dict[str, list[Concept]] = collections.defaultdict(list)
    for concept in concepts:
        by_group[concept.group].append(concept)
    rows = []
    for group, members in sorted(by_group.items()):
        n_pos = [len(one.positives) for one in members]
        n_neg = [len(one.negatives) for one in members]
        rows.append([group, len(members), _spread(n_pos), _spread(n_neg)])
    positive = {text for one in concepts for text in one.positives}
    negative = {text for one in concepts for text in one.negatives}
    both = sum(bool(set(one.positives) & set(one.negatives)) for one in concepts)
    labels = sum(len(one.positives) + len(one.negatives) for one in concepts)
    table = _table(["group", "concepts", "positives", "negatives"], rows)
    return (
        f"## Counts\n\n{table}\n\n{len(positive | negative)} distinct sentences, "
        f"{len(negative - positive)} of them only ever negative; {labels} labels. "
        f"Concepts with a sentence that is both positive and negative: {both}. Numbers "
        "read least, median, most."
    )


def _spread(values: Sequence[int] | np.ndarray) -> str:
    return f"{min(values)}, {np.median(values):g}, {max(values)}"


def _lengths(concepts: Sequence[Concept]) -> str:
    rows = []
    for label in ("positives", "negatives"):
        n_words = np.array(
            [len(text.split()) for one in concepts for text in getattr(one, label)]
        )
        rows.append([label, _spread(n_words), f"{n_words.mean():.1f}"])
    return "## Lengths in words\n\n" + _table(["", "least, median, most", "mean"], rows)


def _form(concepts: Sequence[Concept]) -> str:
    """How well what can be counted in sentences tells positives from negatives."""
    areas = []
    for one in concepts:
        positive, negative = forms(one.positives), forms(one.negatives)
        greater = stats.mannwhitneyu(positive, negative, method="asymptotic")
        areas.append(greater.statistic / len(positive) / len(negative))
    area_CxF = np.stack(areas)
    rows = []
    for name, area_C in zip(FORMS, area_CxF.T, strict=True):
        off_C = np.abs(area_C - 0.5)
        worst = np.argsort(-off_C, kind="stable")[:3]
        named = ", ".join(f"{concepts[c].key} {area_C[c]:.2f}" for c in worst)
        rows.append([name, f"{area_C.mean():.3f}", f"{off_C.mean():.3f}", named])
    return (
        "## Form\n\nHow well a number alone tells positives from negatives (AUROC: 0.5 "
        "is not at all, below it negatives have more). What tells a concept by its "
        "form makes experts of units that know the form; `--match` draws negatives "
        "that are alike in it.\n\n"
        + _table(["number of", "mean", "mean distance from 0.5", "furthest"], rows)
    )


def _surface(concepts: Sequence[Concept], drafts: Sequence[Draft]) -> str:
    """How often the concept's own words show in its sentences."""
    rows: list[tuple[str, float, float]] = []
    for concept, draft in zip(concepts, drafts, strict=True):
        words = "|".join(re.escape(word) for word in draft.words if word) or "(?!)"
        named = re.compile(rf"\b(?:{words})(?:s|es)?\b", re.IGNORECASE)
        in_positives, in_negatives = (
            sum(bool(named.search(text)) for text in texts) / len(texts)
            for texts in (concept.positives, concept.negatives)
        )
        rows.append((concept.key, in_positives, in_negatives))
    text = "## Own words\n\nShare of sentences that show a word of the concept itself"
    text += " (with -s or -es), in whatever sense. Among homographs all should.\n\n"
    summary: list[list[object]] = []
    worst: list[tuple[str, float, float]] = []
    for group in sorted({concept.group for concept in concepts}):
        found = [row for row in rows if row[0].startswith(f"{group}/")]
        positive, negative = np.mean([row[1:] for row in found], axis=0)
        summary.append([group, float(positive), float(negative)])
        if group != "homograph":
            worst += found
    worst = sorted(worst, key=lambda row: (-row[2], row[0]))[:_MOST]
    text += _table(["group", "in positives", "in negatives"], summary)
    if worst:
        text += "\n\nMost in negatives:\n\n"
        text += _table(["concept", "in positives", "in negatives"], worst)
    return text


def _overlaps(concepts: Sequence[Concept]) -> str:
    row_of: dict[str, int] = {}
    drafts = []
    for one in concepts:
        numbers = [
            row_of.setdefault(text, len(row_of))
            for text in dict.fromkeys(one.positives)
        ]
        drafts.append(Draft(one.group, one.name, np.array(numbers, np.int32)))
    share = np.triu(jaccards(drafts, len(row_of)), 1)
    above = [f"{(share > limit).sum()} over {limit}" for limit in (0.9, 0.7, 0.5)]
    order = np.argsort(-share, axis=None, kind="stable")[:_MOST]
    pairs = zip(*np.unravel_index(order, share.shape), strict=True)
    rows = [
        [concepts[i].key, concepts[j].key, float(share[i, j])]
        for i, j in pairs
        if share[i, j] > 0
    ]
    return (
        "## Overlaps\n\nPairs of concepts of a group by common positives (intersection "
        f"over union): {', '.join(above)}. The largest:\n\n"
        + _table(["concept", "concept", "share"], rows)
    )


def _left_out(drafts: Sequence[Draft], left_out: Mapping[str, int]) -> str:
    rows = [[what, number] for what, number in left_out.items() if number]
    text = "## Left out\n\n" + _table(["what", "how many"], rows)
    barred = [len(draft.barred) for draft in drafts]
    if any(barred):
        text += (
            "\n\nSentences that are neither positive nor negative of a concept, "
            f"because nobody can tell: {_spread(barred)} for a concept."
        )
    return text


def _settings(settings: BuildSettings) -> str:
    given = dataclasses.asdict(settings).items()
    rows = [[name, _plain(value)] for name, value in given]
    return "## Settings\n\n" + _table(["flag", "value"], rows)


def _plain(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    return "none" if value is None else str(value)
