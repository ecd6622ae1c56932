"""The page in a real browser: at a desk and on a phone, by link, search, keyboard."""

import dataclasses
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from expertjax.analysis.compare import CompareSettings, compare
from expertjax.analysis.expertise import Expertise
from expertjax.report.build import build_comparison
from expertjax.report.limits import limits_for
from expertjax.report.page import model_part, render

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

SCRIPT = "<script>alert(1)</script>"
QUOTED = "sense/\"a\" & 'b' <i>-1_04_00__"
SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
ROUTES = (
    "#/overview", "#/concept/sense%2Fconcept_1", "#/unit/UNIT", "#/sentence/10",
    "#/map", "#/search?q=bird", "#/about", "#/unit/99999", "#/concept/none",
)  # fmt: skip
SEARCH_MS, PAINT_MS = 100, 2000
SURFACE = "section:has(#surface)"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A report of six concepts, and the number of a unit that it keeps."""
    from tests.report.conftest import make_data

    names = [QUOTED, *(f"sense/concept_{c}" for c in range(1, 6))]
    texts = [SCRIPT, *(f"The bird number {i} flew away." for i in range(12))]
    data = make_data(6, names=names, sentences=texts)
    data = dataclasses.replace(data, num_sentences=6815)
    path = tmp_path_factory.mktemp("site") / "index.html"
    path.write_text(render([model_part(data, limits_for(6), 20)]), encoding="utf-8")
    return path, str(data.experts[names[1]]["unit"].iloc[0])


class Visit:
    """One tab, and everything that went wrong in it."""

    def __init__(self, browser: Any, path: Path, size: str, scheme: str) -> None:
        width, height = SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            is_mobile=size == "phone",
            has_touch=size == "phone",
        )
        self.page = context.new_page()
        self.path, self.wrong = path, []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.on("request", self._request)

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(message.text)

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.wrong.append(request.url)

    def open(self, route: str = "") -> Any:
        self.page.goto("about:blank")
        self.page.goto(f"file://{self.path}{route}")
        self.page.wait_for_selector("html[data-ready]")
        return self.page

    def draw(self) -> None:
        """Brings every chart into view and waits for it."""
        for plot in self.page.query_selector_all(".plot"):
            plot.scroll_into_view_if_needed()
        drawn = "[...document.querySelectorAll('.plot')].every(p => p.dataset.drawn)"
        self.until(drawn)

    def until(self, expression: str) -> None:
        """Waits for it to be true. Asked from outside: the page may not use eval."""
        deadline = time.monotonic() + 30
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, expression
            self.page.wait_for_timeout(50)


@pytest.fixture
def visit(browser: Any, site: tuple[Path, str]) -> Iterator[Callable[..., Visit]]:
    visits = []

    def start(
        size: str = "desktop", scheme: str = "light", path: Path | None = None
    ) -> Visit:
        visits.append(Visit(browser, path or site[0], size, scheme))
        return visits[-1]

    yield start
    for each in visits:
        each.page.context.close()


OVERLAPS = """([a, b]) => {
  const boxes = (what) => [...document.querySelectorAll(what)]
    .map((e) => e.getBoundingClientRect()).filter((r) => r.width && r.height);
  const cross = (r, s) => Math.min(r.right, s.right) - Math.max(r.left, s.left) > 1
    && Math.min(r.bottom, s.bottom) - Math.max(r.top, s.top) > 1;
  const [first, second] = [boxes(a), boxes(b)];
  const found = a === b
    ? first.filter((r, i) => first.slice(i + 1).some((s) => cross(r, s)))
    : first.filter((r) => second.some((s) => cross(r, s)));
  return [first.length, second.length, found.length];
}"""


def overlaps(page: Any, a: str, b: str) -> tuple[int, int, int]:
    """How many elements there are of two kinds, and how many lie over another."""
    return tuple(page.evaluate(OVERLAPS, [a, b]))


@pytest.mark.parametrize("route", ["#/overview", "#/concept/sense%2Fconcept_1"])
def test_buttons_of_a_chart_cover_no_legend(visit, route: str) -> None:
    tab = visit()
    page = tab.open(route)
    tab.draw()
    for plot in page.query_selector_all(".plot"):
        plot.hover()
    heights = "[...document.querySelectorAll('.plot')].map(p => p.offsetHeight)"
    before = page.evaluate(heights)
    for shown in (".legend .traces", ".plot .xtick", ".plot .draglayer"):
        buttons, others, over = overlaps(page, ".modebar-btn", shown)
        assert buttons >= 12 and others and not over, shown
    page.set_viewport_size({"width": 1100, "height": 2000})
    page.wait_for_timeout(300)
    assert page.evaluate(heights) == before


@pytest.mark.parametrize(("num_concepts", "named"), [(34, 34), (200, 15)])
def test_names_of_the_map_on_a_phone(
    visit, tmp_path: Path, num_concepts: int, named: int
) -> None:
    from tests.report.conftest import make_data

    keys = [f"sense/a_rather_long_name_{c}-1_05_00__" for c in range(num_concepts)]
    data = make_data(num_concepts, names=keys)
    path = tmp_path / "index.html"
    path.write_text(render([model_part(data, limits_for(num_concepts), 20)]), "utf-8")
    tab = visit("phone", path=path)
    page = tab.open("#/map")
    tab.draw()
    labels = page.locator(".cartesianlayer .ytick text").all_text_contents()
    assert len(labels) >= named and set(labels) == {"a rather long n…"}
    assert (
        overlaps(page, ".cartesianlayer .ytick text", ".cartesianlayer .ytick text")[2]
        == 0
    )
    assert page.locator(".cartesianlayer .xtick text").count() == 0
    plot = page.locator(".plot .nsewdrag").bounding_box()
    assert plot["width"] > 190  # of 390
    assert tab.wrong == []


def test_concepts_have_names_beside_their_keys(visit, tmp_path: Path) -> None:
    from tests.report.conftest import make_data

    keys = [
        "sense/bank-1_14_00__", "sense/bank-1_17_01__", "mine/bird",
        "sense/musical_instrument-1_06_00__",
    ]  # fmt: skip
    path = tmp_path / "index.html"
    data = make_data(4, names=keys)
    path.write_text(render([model_part(data, limits_for(4), 20)]), "utf-8")
    tab = visit(path=path)
    page = tab.open("#/overview?sort.concepts=concept.asc")
    cells = page.locator("main table >> nth=0").locator("tbody th")
    assert cells.all_inner_texts() == [
        f"bank (1:14:00) {keys[0]}", f"bank (1:17:01) {keys[1]}", "bird",
        f"musical instrument {keys[3]}",
    ]  # fmt: skip
    page.click("main table a:has-text('musical instrument') >> nth=0")
    page.wait_for_selector("main h1:text-is('musical instrument')")
    assert "sense%2Fmusical_instrument-1_06_00__" in page.url
    page.fill("#search", "musical inst")
    page.wait_for_selector("#found-concept")
    assert tab.wrong == []


def test_intervals_that_are_not_known_are_explained(visit, tmp_path: Path) -> None:
    from tests.report.conftest import make_data

    data = make_data(3)
    for i, (key, table) in enumerate(data.experts.items()):
        known = np.arange(len(table)) < (len(table), 3, 0)[i]
        data.experts[key] = table.assign(
            ap_low=table["ap_low"].where(known), ap_high=table["ap_high"].where(known)
        )
    path = tmp_path / "index.html"
    path.write_text(render([model_part(data, limits_for(3), 20)]), "utf-8")
    page = visit(path=path).open()
    words = ("resamplings of the sentences. on_p50",
             "for the first 3 units alone (--bootstrap_top); n/a from there on",
             "n/a, none was computed (--bootstrap_top)")  # fmt: skip
    for key, said in zip(data.experts, words, strict=True):
        page.goto(f"file://{path}#/concept/{key.replace('/', '%2F')}")
        page.wait_for_selector(f"main .kicker:text('{key}')")
        assert said in page.inner_text("caption:has-text('Units of highest AP')")


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_every_page_opens(visit, site, size: str, scheme: str) -> None:
    tab = visit(size, scheme)
    for route in ROUTES:
        page = tab.open(route.replace("UNIT", site[1]))
        tab.draw()
        assert page.inner_text("main h1").strip(), route
        assert tab.wrong == [], route
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= SIZES[size][0], f"{route} is wider than the screen"
    theme = page.evaluate("document.documentElement.dataset.theme")
    assert theme == scheme
    page.click("#theme")
    assert page.evaluate("document.documentElement.dataset.theme") != scheme


def test_sorting_says_so_and_is_kept_by_the_link(visit) -> None:
    tab = visit()
    page = tab.open("#/overview")
    first = "main table tbody tr:first-child th"
    heads = page.locator("main table thead th").filter(has_text="experts at")
    before = page.inner_text(first)
    heads.first.locator("button").click()
    assert heads.first.get_attribute("aria-sort") == "descending"
    heads.first.locator("button").click()
    assert heads.first.get_attribute("aria-sort") == "ascending"
    counts = (
        page.locator("main table")
        .first.locator("tbody tr")
        .evaluate_all("rows => rows.map(row => Number(row.cells[2].textContent))")
    )
    assert counts == sorted(counts) and len(counts) == 6
    after = page.inner_text(first)
    link = page.url.partition("#")[2]
    assert "sort.concepts=experts.asc" in link
    again = visit().open(f"#{link}")
    assert again.inner_text(first) == after and before
    assert tab.wrong == []


def test_search_finds_concepts_units_and_words(visit, site) -> None:
    tab = visit()
    page = tab.open()
    page.keyboard.press("/")
    page.keyboard.type("number 7")
    page.wait_for_selector("#found-sentence")
    assert page.inner_text("main [role=status]").startswith("0 concepts")
    words = "Of sentences, the 13 that this report keeps are searched, of 6,815 in"
    assert words in page.inner_text("main .note")
    page.fill("#search", "concept_3")
    page.wait_for_selector("#found-concept")
    page.fill("#search", "transformer.h.1.mlp.c_fc[0]")  # has no page of its own
    page.wait_for_selector("#found-unit")
    page.fill("#search", site[1])
    page.wait_for_selector("#found-unit")
    assert "q=" in page.url
    page.click("#found-unit ~ ul a >> nth=0")
    page.wait_for_selector("text=What excites it")
    page.go_back()
    page.wait_for_selector("main [role=status]")
    assert tab.wrong == []


def test_text_stays_text(visit) -> None:
    tab = visit()
    page = tab.open("#/sentence/10")
    assert page.inner_text("blockquote") == SCRIPT
    page = tab.open("#/overview")
    page.click(f"main table a:has-text('{QUOTED[6:9]}')")
    page.wait_for_selector("text=Nearest concepts")
    assert page.inner_text("main h1") == QUOTED[6:].removesuffix("-1_04_00__")
    assert page.inner_text("main .kicker") == f"Concept · {QUOTED}"
    tab.draw()
    assert page.query_selector("main i") is None
    assert tab.wrong == []


def test_marks_a_token(visit, site) -> None:
    page = visit().open(f"#/unit/{site[1]}")
    marks = page.locator("main mark").all_inner_texts()
    assert marks and set(marks) <= {"bird", SCRIPT[4:8]}


def test_table_leaves_as_csv(visit) -> None:
    page = visit().open("#/overview")
    with page.expect_download() as download:
        page.locator("main .table").first.get_by_text("Save as CSV").click()
    text = Path(download.value.path()).read_bytes().decode()
    lines = text.split("\r\n")
    assert lines[0].startswith("concept,best AP,surface,by,above surface,")
    assert len(lines) == 6 + 2 and '"sense/""a"" & \'b\' <i>-1_04_00__"' in text


def test_a_click_on_the_map_shows_the_shared_units(visit) -> None:
    tab = visit()
    page = tab.open("#/map?a=sense%2Fconcept_1&b=sense%2Fconcept_2")
    tab.draw()
    chosen = page.eval_on_selector_all("main select", "all => all.map(s => s.value)")
    assert chosen == ["sense/concept_1", "sense/concept_2"]
    box = page.locator(".plot .nsewdrag").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.92, box["y"] + box["height"] * 0.08)
    tab.until(
        "[...document.querySelectorAll('main select')]"
        ".map(s => s.value).join() !== 'sense/concept_1,sense/concept_2'"
    )
    assert "a=" in page.url and tab.wrong == []


def test_keyboard_reaches_the_results_first(visit) -> None:
    page = visit().open("#/overview")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.locator("main table a").first.press("Enter")
    page.wait_for_selector("text=Nearest concepts")
    assert page.evaluate("document.activeElement.tagName") == "H1"


def test_models_side_by_side(visit, scored: Expertise, tmp_path: Path) -> None:
    names = ("first", "second", "third <b>")
    results = [
        Expertise.open(shutil.copytree(scored.folder.path, tmp_path / name))
        for name in names
    ]
    scores = tmp_path / "glue.csv"
    rows = [f"{name},{i}" for i, name in enumerate(names)]
    scores.write_text("\n".join(["model,score", *rows]))
    settings = CompareSettings(gamma=0.7, top_k=20, benchmarks=(str(scores),))
    path = build_comparison(results, tmp_path / "all", compare(results, settings))
    tab = visit(path=path)
    page = tab.open()
    tab.draw()
    assert page.inner_text("main h1") == "Models compared"
    assert serious_violations(page) == []
    assert "nothing can be concluded" in page.inner_text("main .warning >> nth=0")
    page.select_option("main label:has-text('Measure') select", "units_share")
    tab.draw()
    assert "measure=units_share" in page.url
    page.click(".numbers summary >> nth=0")
    shares = page.locator("main figure >> nth=0").locator("tbody td:nth-child(2)")
    counts = compare(results, settings).presence.counts("units_share")[0]
    texts = shares.all_inner_texts()
    assert len(texts) == 100  # of the thresholds, at first
    for text, share in zip(texts, counts, strict=False):
        assert text.endswith("%")
        assert float(text[:-1]) == pytest.approx(100 * share, rel=0.06)
    assert page.locator("main figure:has-text('by depth')").count() == 1
    heads = page.locator("#best ~ .table thead").inner_text()
    assert "held out" not in heads
    page.click("main table a:has-text('third <b>')")
    page.wait_for_selector("main h1:has-text('third <b>')")
    page.click("main table a >> nth=0")
    page.wait_for_selector("text=Nearest concepts")
    again = visit(path=path)
    assert (
        again.open(page.url[page.url.index("#") :]).input_value("#model-choice select")
        == "third <b>"
    )
    assert tab.wrong == [] and again.wrong == []


def axe_source() -> str:
    """Axe-core, from its Python package or from a file."""
    given = os.environ.get("EXPERTJAX_AXE")
    if given:
        return Path(given).read_text("utf-8")
    package = pytest.importorskip("axe_playwright_python", reason="needs axe-core")
    return (Path(package.__file__).parent / "axe.min.js").read_text("utf-8")


def serious_violations(page: Any) -> list[tuple[str, list[str]]]:
    """What axe-core finds wrong with a page as it stands."""
    page.evaluate(axe_source())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        (rule["id"], [node["html"][:200] for node in rule["nodes"][:3]])
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "dark"), ("phone", "light")])
def test_nothing_serious_bars_anyone(visit, site, size: str, scheme: str) -> None:
    tab = visit(size, scheme)
    for route in ROUTES:
        page = tab.open(route.replace("UNIT", site[1]))
        tab.draw()
        for details in page.query_selector_all(".numbers summary"):
            details.click()
        assert serious_violations(page) == [], route


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 concepts x 100,000 units, with sentences of random words."""
    from tests.report.conftest import make_data

    draw = np.random.default_rng(0)
    letters = draw.integers(97, 123, (4000, 7)).astype(np.uint8)
    words = [bytes(row).decode() for row in letters]
    rows = draw.integers(0, len(words), (20_000, 18))
    texts = [" ".join(words[i] for i in row) for row in rows]
    limits = limits_for(300)
    data = make_data(300, 100_000, 12, sentences=texts, top=limits.units)
    path = tmp_path_factory.mktemp("large") / "index.html"
    path.write_text(render([model_part(data, limits, 50)]), encoding="utf-8")
    return path


def test_a_large_report_is_quick(visit, large: Path) -> None:
    tab = visit(path=large)
    page = tab.open()
    paint = page.evaluate(
        "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    )
    ready = page.evaluate("performance.now()")
    taken = []
    for query in ("qu", "concept_1", "mlp.c_fc[", "ab cd", "e"):
        page.fill("#search", query)
        shown = page.locator("main [role=status]")
        shown.filter(has_text=f"“{query}”").wait_for()
        taken.append(float(shown.get_attribute("data-milliseconds")))
    size = large.stat().st_size
    print(f"{size:,} bytes; first paint {paint:.0f} ms, ready {ready:.0f} ms;")
    print(f"search {', '.join(f'{ms:.1f}' for ms in taken)} ms")
    assert size < 10e6 and paint < PAINT_MS
    assert max(taken) < SEARCH_MS
    assert re.search(r"1\d,\d{3} sentences", page.inner_text("main [role=status]"))
    assert tab.wrong == []


def test_a_concept_page_says_what_its_surface_tells(visit) -> None:
    tab = visit()
    page = tab.open("#/concept/sense%2Fconcept_1")
    section = page.inner_text(SURFACE)
    assert "Without a model, the word <script> reaches" in section
    assert "No unit is above the surface: the best unit" in section
    assert "No unit is above the surface" in page.inner_text("main .lead")
    assert page.locator(f"{SURFACE} tbody tr").count() == 3  # with the best unit
    page = tab.open("#/concept/sense%2Fconcept_2")
    section = page.inner_text(SURFACE)
    assert "it is above the surface, as are 3 of 480 units" in section
    assert (
        "all words, fitted to the concept with a weight for each, reaches 0.900"
        in section
    )
    assert "On the 20 positives and 60 negatives without years" in section
    assert "where chance is 0.250" in section
    page = tab.open("#/overview")
    assert "no unit above the surface" in page.inner_text("main .warning >> nth=0")
    assert not tab.wrong
