"""The page of a sweep: escaped, self-contained, its words marked."""

import re

import numpy as np
import pandas as pd
import pytest

from expertjax.report.generation_figures import sweep_figure
from expertjax.report.sweep_page import render_sweep
from tests.report.packed import Reader

SCRIPT = "<script>alert(1)</script>"
FACTS = {"model": "tiny</title><b>", "concept": SCRIPT, "words": "ball"}
FACTS["judge"] = "tiny"


def make_scores(control: bool = True, words: bool = True) -> pd.DataFrame:
    scores = pd.DataFrame(
        {
            "num_units": [0, 5, 5, 20, 20],
            "units": ["none", "top", "control", "top", "control"],
            "edit": range(5),
            "num_texts": 14,
            "with_word": [0.1, 0.4, 0.05, 0.9, 0.12],
            "perplexity": [6.9, 20.5, 7.0, np.nan, 6.8],
            "self_bleu_3": 0.2,
            "self_bleu_4": 0.1,
        }
    )
    scores = scores if words else scores.drop(columns="with_word")
    return scores if control else scores[scores["units"] != "control"]


def make_texts(seeds: int = 14, prompts: int = 1) -> pd.DataFrame:
    rows = []
    for edit in range(5):
        for prompt in range(prompts):
            for seed in range(seeds):
                text = f" the ball of {edit}.{prompt}.{seed} {SCRIPT}"
                row = {"edit": edit, "prompt": prompt, "seed": seed}
                row |= {"context": f"{SCRIPT}{prompt}", "continuation": text}
                rows.append(row | {"perplexity": 5.0, "found": [(5, 9)]})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def html() -> str:
    return render_sweep(make_texts(), make_scores(), FACTS)


def test_text_is_no_markup(html: str) -> None:
    page = Reader(html)
    tags = [tag for tag, _ in page.elements]
    assert "script" not in tags and "b" not in tags
    assert not any(name.startswith("on") for _, a in page.elements for name in a)
    text = "".join(page.text)
    # The prompt, and the end of the continuation, of each text; and the concept.
    assert text.count(SCRIPT) == 14 * 5 * 2 + 3


def test_is_self_contained(html: str) -> None:
    page = Reader(html)
    tags = [tag for tag, _ in page.elements]
    assert not {"link", "iframe", "base", "object"} & set(tags)
    assert all(src.startswith("data:image/svg+xml") for src in page.having("src"))
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv")]
    assert "default-src 'none'" in policy and "script-src" not in policy
    assert not re.search(r"https?://|url\(|@import", html)


def test_every_text_stands_there_with_its_words_marked(html: str) -> None:
    page = Reader(html)
    text = " ".join("".join(page.text).split())
    for edit in range(5):
        for seed in range(14):
            assert text.count(f"the ball of {edit}.0.{seed} ") == 1
    marks = re.findall(r"<mark>(.*?)</mark>", html)
    assert marks == ["ball"] * 70
    assert html.count("with units at random</summary>") == 14
    assert "2 more</summary>" in html  # twelve are open


def test_the_table_says_what_the_scores_say(html: str) -> None:
    body = html[html.index("<tbody>") : html.index("</tbody>")]
    rows = [re.findall(r">([^<>\n]+)</t[hd]>", row) for row in body.split("<tr>")[1:]]
    assert rows[1] == ["5", "top", "14", "0.40", "20.5", "0.20", "0.10"]
    assert rows[2][1] == "random (control)"
    assert rows[3][4] == "n/a"


def test_several_prompts_and_no_words_and_no_control() -> None:
    scores = make_scores(control=False, words=False)
    texts = make_texts(3, prompts=2)
    texts = texts[texts["edit"].isin(scores["edit"])].assign(found=[[]] * 18)
    facts = {"model": "tiny", "judge": "tiny"}
    page = render_sweep(texts, scores, facts)
    assert page.count("<h3>seed 0: ") == 2
    assert "<mark>" not in page and "units at random" not in page
    assert "With a word:" not in page


def test_the_control_is_drawn_beside() -> None:
    figure = sweep_figure(make_scores(), "sense/football")
    for ax in figure.axes:
        for line in ax.lines:
            assert list(line.get_xdata()) == [0, 1, 2], line.get_label()
    share, random = figure.axes[0].lines
    assert list(share.get_ydata()) == [0.1, 0.4, 0.9]
    assert list(random.get_ydata()) == [0.1, 0.05, 0.12]
    assert random.get_label() == "at random"
    assert [t.get_text() for t in figure.axes[2].get_xticklabels()] == ["0", "5", "20"]
    alone = sweep_figure(make_scores(control=False))
    assert [len(ax.lines) for ax in alone.axes] == [1, 1, 2]
