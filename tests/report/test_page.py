"""The page: escaped, self-contained, small; what may run in it is known by hash."""

import base64
import hashlib
import json
import re

import pytest

from expertjax.report import page as page_room
from expertjax.report import payload, sweep_page
from expertjax.report.limits import limits_for
from expertjax.report.page import model_part, render
from expertjax.report.rendering import templates
from tests.report.conftest import make_units
from tests.report.packed import Reader, model_of, unpack

SCRIPT = "<script>alert(1)</script>"
LINES = "\u2028 \u2029 </script><!--"


def page_of(data):
    limits = limits_for(len(data.concepts))
    return render([model_part(data, limits, top_k=20)])


def test_text_from_data_is_no_markup(make_data):
    names = ['sense/"quoted"', f"sense/{SCRIPT}", "sense/$\\frac{$", "sense/'><b>"]
    sentences = [SCRIPT, '" onload="x', "{{ 7 * 7 }}", "</details></main>", LINES]
    html = page_of(make_data(4, names=names, sentences=sentences, model_name=SCRIPT))
    page = Reader(html)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 4 and "b" not in tags
    assert not any(name.startswith("on") for _, a in page.elements for name in a)
    assert SCRIPT in "".join(page.text)  # the model's name, as text
    model = model_of(html)
    assert model["concepts"]["key"] == names
    assert model["sentences"] == sentences and model["name"] == SCRIPT


def test_is_self_contained(make_data):
    html = page_of(make_data())
    page = Reader(html)
    tags = [tag for tag, _ in page.elements]
    assert not {"link", "iframe", "base", "img", "object"} & set(tags)
    assert not page.having("src")
    assert all(href.startswith("#") for href in page.having("href"))
    ours = html.replace(page.scripts["chart-library"], "")
    ours = re.sub(r"<pre>.*?</pre>", "", ours, flags=re.DOTALL)  # the licence's text
    assert not re.search(r"https?://|url\(|@import|\bfetch\(|\bimport\(", ours)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write", ours)


def test_policy_lets_run_our_script_and_the_library_alone(make_data):
    page = Reader(page_of(make_data(1)))
    (policy,) = [a["content"] for _, a in page.elements if a.get("http-equiv")]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'" and "connect-src" not in rules
    sources = [page.scripts[""], unpack(page.scripts["chart-library"])]
    hashes = [hashlib.sha256(source.encode()).digest() for source in sources]
    digests = [f"'sha256-{base64.b64encode(each).decode()}'" for each in hashes]
    assert rules["script-src"] == " ".join(digests)


def test_the_library_brings_its_licence(make_data):
    page = Reader(page_of(make_data(1)))
    assert "Permission is hereby granted, free of charge" in "".join(page.text)
    assert re.search(r"plotly\.js \d+\.\d+", "".join(page.text))


def test_landmarks_and_ids(make_data):
    page = Reader(page_of(make_data()))
    tags = [tag for tag, _ in page.elements]
    assert page.elements[tags.index("html")][1]["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert tags.count(landmark) == 1
    ids = page.having("id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in page.having("href")} <= set(ids)
    assert {"search"} <= set(page.having("role"))


def test_same_data_same_bytes(make_data):
    assert page_of(make_data(2)) == page_of(make_data(2))


def test_several_models_stand_in_one_page(make_data):
    parts = [
        model_part(make_data(2, model_name=name), limits_for(2, 2), top_k=5)
        for name in ("one", "two")
    ]
    html = render(parts, {"models": ["one", "two"]})
    index = json.loads(unpack(Reader(html).scripts["index"]))
    assert index == {"models": ["one", "two"], "comparison": {"models": ["one", "two"]}}
    assert [model_of(html, i)["name"] for i in (0, 1)] == ["one", "two"]


@pytest.mark.parametrize("held_out", [True, False])
def test_words_name_held_out_where_it_is(make_data, held_out):
    data = make_data(2)
    if held_out:
        for key, table in data.experts.items():
            data.experts[key] = table.assign(ap_heldout=0.8771)
    text = "".join(Reader(page_of(data)).text)
    assert ("took no part in selecting" in text) == held_out


def test_scripts_are_all_used():
    folder = templates().loader.list_templates()
    scripts = {f"js/{name}.js" for name in page_room._SCRIPTS}
    styles = {f"css/{name}.css" for name in (*page_room._STYLES, *sweep_page.STYLES)}
    pages = {"page.html", "about.html", "sweep.html"}
    assert scripts | styles | pages == set(folder)


def test_many_concepts_stay_small(make_data):
    texts = [f"A long sentence, number {i}, with many words. " * 6 for i in range(9000)]
    data = make_data(300, 20_000, 12, sentences=texts, top=limits_for(300).units)
    html = page_of(data)
    assert 2e6 < len(html.encode()) < 10e6
    model = model_of(html)
    assert len(model["sentences"]) == 9000
    assert len(model["map"]["shared"]) == len(model["top"]) == 300


def test_module_names_are_runs_of_units(make_data):
    data = make_data(1, 1000, 4)
    runs = model_of(page_of(data))["runs"]
    assert sum(runs["count"]) == 1000 and len(runs["unit"]) == 16
    units = make_units(1000, 4).iloc[[0, 3, 4, 5, 90, 91]]  # a part was scored
    pieces = payload.runs(units)
    assert pieces["unit"] == [0, 3, 90] and pieces["count"] == [1, 3, 2]
