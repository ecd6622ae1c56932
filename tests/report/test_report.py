"""The page: escaped, self-contained, small, whole or not there at all."""

import html.parser
import itertools
import re
import time

import numpy as np
import pytest

from expertjax.errors import InputError
from expertjax.report import write
from expertjax.report.data import ExcitedSentence
from expertjax.report.page import interval
from expertjax.report.write import write_report

SCRIPT = "<script>alert(1)</script>"


class Reader(html.parser.HTMLParser):
    """Collects elements, and the text of each but scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text, self.inside = [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_endtag(self, tag):
        if tag in self.inside:
            while self.inside.pop() != tag:
                pass

    def handle_data(self, data):
        if not {"script", "style"} & set(self.inside):
            self.text.append(data)

    def having(self, attribute):
        return [a[attribute] for _, a in self.elements if attribute in a]


@pytest.fixture
def read(tmp_path):
    def read_page(data):
        path = write_report(tmp_path / "report", data)
        assert path == tmp_path / "report" / "index.html"
        return Reader(path.read_text(encoding="utf-8"))

    return read_page


def test_text_from_data_is_escaped(make_data, read):
    names = ['sense/"quoted"', f"sense/{SCRIPT}", "sense/$\\frac{$", "sense/'><b>"]
    sentences = [SCRIPT, '" onload="x', "{{ 7 * 7 }}", "</details></main>"]
    page = read(make_data(4, names=names, sentences=sentences, model_name=SCRIPT))
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 1 and "b" not in tags
    text = "".join(page.text)
    for shown in [*names, *sentences]:
        assert shown.removeprefix("sense/") in text
    assert not any(name.startswith("on") for _, a in page.elements for name in a)


def test_is_self_contained(make_data, read):
    page = read(make_data())
    tags = [tag for tag, _ in page.elements]
    assert "link" not in tags and "iframe" not in tags and "base" not in tags
    assert all(not a.get("src") for tag, a in page.elements if tag == "script")
    assert all(src.startswith("data:image/png;base64,") for src in page.having("src"))
    assert all(href.startswith("#") for href in page.having("href"))
    rules = [a for tag, a in page.elements if a.get("http-equiv")]
    assert rules[0]["content"].startswith("default-src 'none'; img-src data:;")


def test_css_and_script_load_nothing(make_data, tmp_path):
    page = write_report(tmp_path / "r", make_data()).read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import|\bfetch\(|\bimport\(", page)


def test_anchors_resolve_and_are_unique(make_data, read):
    page = read(make_data(7))
    ids = page.having("id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in page.having("href")} <= set(ids)
    assert {f"concept-{c}" for c in range(7)} <= set(ids)


def test_landmarks_headings_captions_and_alternatives(make_data, read):
    page = read(make_data())
    tags = [tag for tag, _ in page.elements]
    assert page.elements[tags.index("html")][1]["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert tags.count(landmark) == 1
    assert tags.count("table") == tags.count("caption")
    alts = [a["alt"] for tag, a in page.elements if tag == "img"]
    assert len(alts) == 4 + 5 and all(len(alt) > 20 for alt in alts)
    levels = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_figures_are_beside_the_page(make_data, tmp_path):
    write_report(tmp_path / "report", make_data(2))
    names = {path.name for path in (tmp_path / "report").iterdir()}
    assert names == {
        "index.html", "best_ap_overview.png", "max_ap_heatmap.png",
        "experts_over_gamma.png", "experts_per_layer.png",
        "ap_concept-0.png", "ap_concept-1.png",
    }  # fmt: skip
    png = (tmp_path / "report" / "ap_concept-0.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")


def test_same_data_same_bytes(make_data, tmp_path):
    pages = [write_report(tmp_path / name, make_data(2)) for name in "ab"]
    assert pages[0].read_bytes() == pages[1].read_bytes()


def test_table_is_ordered_and_counted(make_data, tmp_path):
    data = make_data(6, gamma=0.8)
    page = write_report(tmp_path / "r", data).read_text(encoding="utf-8")
    rows = re.findall(r'<a href="#concept-(\d+)">.*?</tr>', page, re.DOTALL)
    order = [int(row) for row in rows]
    assert order == np.argsort(-data.ap_CxU.max(1), kind="stable").tolist()
    for c in order:
        row = page[page.index(f'<a href="#concept-{c}">') :].split("</tr>")[0]
        values = re.findall(r'data-value="(.*?)"', row)
        best, threshold, margin, n_above, n_experts, *rest = map(float, values)
        assert best == pytest.approx(data.ap_CxU[c].max(), abs=1e-6)
        assert (threshold, *rest) == (0.5, 175, 325, 0.35)
        assert margin == pytest.approx(best - threshold)
        assert n_above == (data.ap_CxU[c] >= 0.5).sum()
        assert n_experts == (data.ap_CxU[c] >= np.float32(0.8)).sum()
        unit = data.units.iloc[data.ap_CxU[c].argmax()]
        assert f"{unit['module']}[{unit['index']}]" in row


def test_positives_are_marked_in_words(make_data, read):
    page = read(make_data(1))
    text = "".join(page.text)
    # 5 units with 8 sentences labelled 1 1 0 1 -1 1 1 0.
    assert text.count("5 of 8 positive") == 5
    labels = {label: text.count(label) for label in ("not in concept", "9.500")}
    assert labels == {"not in concept": 5, "9.500": 5}


def test_one_concept_and_no_experts(make_data, read):
    page = read(make_data(1, gamma=1.0))
    text = " ".join("".join(page.text).split())
    assert "No unit is an expert at γ = 1; the units below come closest." in text
    assert "0 of 1 acquired concepts" in text


def text_of(page):
    return " ".join("".join(page.text).split())


def test_above_chance_or_not(make_data, read):
    data = make_data(3, null_threshold=[0.42, 0.999, np.inf])
    assert (data.concepts["n_above"] > 0).tolist() == [True, False, False]
    text = text_of(read(data))
    assert "1 of 3 concepts above chance" in text
    n_above, best = data.concepts["n_above"][0], data.concepts["max_ap"]
    assert (
        f"The best AP, {best[0]:.3f}, is above chance; {n_above} of 480 units reach "
        "the 5% threshold, 0.420."
    ) in text
    assert f"The best AP, {best[1]:.3f}, is below the 5% threshold, 0.999:" in text
    assert text.count("These are so few sentences that no AP could be above") == 1


def test_best_ap_at_the_threshold_is_above_chance(make_data, read):
    best = make_data(1).ap_CxU.max(1)
    text = text_of(read(make_data(1, null_threshold=best)))
    assert "1 of 1 concepts above chance" in text
    assert "1 of 480 units reaches the 5% threshold" in text


def test_infinite_threshold_has_no_margin(make_data, tmp_path):
    data = make_data(2, n_pos=[1, 175], n_neg=[4, 325], null_threshold=[np.inf, 0.5])
    page = write_report(tmp_path / "r", data).read_text(encoding="utf-8")
    row = page[page.index('<a href="#concept-0">') :].split("</tr>")[0]
    cells = re.findall(r">\s*([^<>]+?)\s*</(?:td|span)>", row)
    assert cells[1:5] == ["n/a", "n/a", "no", "0"]
    shown = Reader(page).having("data-value")
    assert {"inf", "-inf"} <= set(shown)  # sorted last: no numbers to a browser


def test_interval_and_flags_of_top_units(make_data, read):
    data = make_data(1, n_units=2000)
    name = data.concepts["concept"][0]
    table = data.experts[name].iloc[:2].copy()
    table["ap"] = np.float32([0.9411, 0.4])
    table["above_chance"] = [True, False]
    table["ap_low"], table["ap_high"] = [0.9123, np.nan], [0.9501, np.nan]
    data.experts[name] = table
    text = text_of(read(data))
    assert "rank AP interval above chance expert module" in text
    assert "1 0.941 0.91–0.96 yes yes transformer" in text
    assert "2 0.400 n/a no no transformer" in text


def test_interval_holds_what_it_held():
    assert interval(0.29, 0.57) == "0.29–0.57"
    assert interval(np.float32(0.29), np.float32(0.57)) == "0.29–0.57"
    assert interval(0.9951, 0.9999) == "0.99–1.00"
    assert interval(1.0, 1.0) == "1.00–1.00"
    assert interval(np.nan, 0.5) == "n/a"


@pytest.mark.parametrize("held_out", [True, False])
def test_held_out_is_shown_where_it_is(make_data, read, held_out):
    data = make_data(2)
    if held_out:
        for table in data.experts.values():
            table["ap_heldout"] = 0.8771
            table.loc[table.index[1], "ap_heldout"] = np.nan
    assert data.has_held_out == held_out
    text = text_of(read(data))
    assert ("interval held-out AP above chance" in text) == held_out
    assert text.count("0.90–0.96 0.877") == (38 if held_out else 0)
    assert text.count("0.90–0.96 n/a") == (2 if held_out else 0)
    assert ("took no part" in text) == held_out


def test_words_say_what_the_threshold_is(make_data, read):
    text = text_of(read(make_data(1)))
    assert "even the best of all 480 units would reach with a probability" in text
    assert "95% of resamplings of the concept’s sentences; not corrected" in text


def test_concept_without_units_or_sentences(make_data, read):
    data = make_data(2)
    name = data.concepts["concept"][0]
    data.excited.clear()
    data.experts.pop(name)
    assert "Sentences that excite" not in "".join(read(data).text)


def test_threshold_is_compared_in_the_dtype_of_the_array(make_data, read):
    data = make_data(1, gamma=0.9)
    data.ap_CxU.clip(0, np.float32(0.85), out=data.ap_CxU)
    data.ap_CxU[0, 7] = 0.9  # as float32 a little less than 0.9
    data.concepts["max_ap"] = data.ap_CxU.max(1).astype(float)
    name = data.concepts["concept"][0]
    data.experts[name] = data.experts[name].head(1).assign(ap=data.ap_CxU[0, 7])
    text = " ".join("".join(read(data).text).split())
    assert "1 of 480 units is an expert at γ = 0.9" in text
    assert "1 of 1 acquired concepts" in text
    assert "1 0.900 0.90–0.96 yes yes" in text


def test_long_sentences_are_cut(make_data, read):
    page = read(make_data(1, sentences=["word " * 500]))
    assert max(len(text) for text in page.text) < 300


def _with_first(data, change):
    """The tables of experts, the first one changed."""
    first = next(iter(data.experts))
    return data.experts | {first: change(data.experts[first])}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda d: {"ap_CxU": d.ap_CxU[:, 1:]}, "shape"),
        (lambda d: {"ap_CxU": d.ap_CxU * np.float32(np.nan)}, "spans nan"),
        (lambda d: {"ap_CxU": d.ap_CxU[::-1]}, "max_ap"),
        (lambda d: {"units": d.units.drop(columns="site")}, "units has no column site"),
        (lambda d: {"concepts": d.concepts.drop(columns="max_ap")}, "max_ap"),
        (lambda d: {"gamma": 90}, "gamma is 90"),
        (lambda d: {"null": d.null.drop(columns="tail")}, "null has no column tail"),
        (lambda d: {"null": d.null.assign(n_pos=9)}, "no rows for n_pos 175 and n_neg"),
        (lambda d: {"null": d.null.iloc[::-1]}, "expected ap to ascend"),
        (lambda d: {"concepts": d.concepts.assign(n_above=1)}, "n_above 1, but"),
        (
            lambda d: {"concepts": d.concepts.assign(null_threshold=np.nan)},
            "null_threshold is nan",
        ),
        (
            lambda d: {"concepts": d.concepts.drop(columns="null_threshold")},
            "concepts has no column null_threshold",
        ),
        (
            lambda d: {"experts": _with_first(d, lambda t: t.drop(columns="ap_low"))},
            "no column ap_low",
        ),
        (
            lambda d: {"experts": _with_first(d, lambda t: t.assign(ap_heldout=0.5))},
            "some tables have a column ap_heldout, not all",
        ),
    ],
)
def test_unusable_results_are_refused(make_data, spoil, message):
    data = make_data()
    with pytest.raises(ValueError, match=message):
        type(data)(**(vars(data) | spoil(data)))


def test_failure_leaves_the_old_report(make_data, tmp_path, monkeypatch):
    folder = tmp_path / "report"
    before = write_report(folder, make_data(3)).read_bytes()
    (folder / "notes.txt").write_text("mine")

    def full_disk(*_, **__):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(write.Path, "write_text", full_disk)
        with pytest.raises(OSError, match="No space left"):
            write_report(folder, make_data(2))
        with pytest.raises(OSError, match="No space left"):
            write_report(tmp_path / "new", make_data(2))
    assert (folder / "index.html").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report"]

    write_report(folder, make_data(2))
    assert not (folder / "ap_concept-2.png").exists()
    assert (folder / "notes.txt").read_text() == "mine"


def test_folder_that_is_a_file(make_data, tmp_path):
    (tmp_path / "report").write_text("")
    with pytest.raises(InputError, match="report: is a file"):
        write_report(tmp_path / "report", make_data())


def test_large_report_stays_small(make_data, tmp_path):
    sentence = ExcitedSentence("A long sentence with many words in it. " * 10, 1.0, 1)
    data = make_data(300, 100_000, n_layers=12)
    for units in data.excited.values():
        units.update(dict.fromkeys(units, [sentence] * 20))
    start = time.perf_counter()
    page = write_report(tmp_path / "report", data)
    assert time.perf_counter() - start < 60  # about 10 s on two quiet cores
    assert page.stat().st_size < 10e6
