"""The studio in a real browser, from sentences to snippet.

On the model that ships, or on another one: EXPERTJAX_STUDIO_MODEL=FOLDER.
"""

import csv
import io
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import expertjax as ej
from expertjax.workshop.find import Library
from expertjax.workshop.limits import MOST_BODY
from tests.data import REPOSITORY
from tests.programs import environment
from tests.report.test_browser import CHROMIUM, serious_violations

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
pytest.importorskip("gradio", reason="needs Gradio: pip install 'expertjax[studio]'")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

WAIT = 120_000  # milliseconds; a first request compiles
SCRIPT = "<script>alert(1)</script> ${alert(2)} {{constructor}}"


@pytest.fixture(scope="module")
def served() -> Iterator[Any]:
    path = os.environ.get("EXPERTJAX_STUDIO_MODEL", ej.EXAMPLE_MODEL)
    made = ej.studio(ej.load_model(path))
    yield made
    made.close()


@pytest.fixture(scope="module")
def page(served: Any) -> Iterator[Any]:
    """One tab; `wrong` has errors of the console and requests to other hosts."""
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
        tab.set_default_timeout(WAIT)
        tab.wrong = []
        tab.on("pageerror", lambda error: tab.wrong.append(str(error)))
        tab.on("dialog", lambda dialog: tab.wrong.append(dialog.message))
        tab.on(
            "console", lambda said: said.type == "error" and tab.wrong.append(said.text)
        )
        tab.on("request", lambda request: _note_request(tab, served.url, request.url))
        tab.goto(served.url)
        tab.wait_for_selector("text=Find units")
        yield tab
        browser.close()


def _note_request(tab: Any, url: str, asked: str) -> None:
    if not asked.startswith((url, "data:", "blob:")):
        tab.wrong.append(asked)


def open_tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def test_from_sentences_to_a_snippet_that_writes_the_same(
    page: Any, served: Any, tmp_path: Path
) -> None:
    positives, negatives = Library().sentences("dog")
    page.get_by_label("Sentences with it").fill("\n".join([SCRIPT, *positives[:30]]))
    page.get_by_label("Sentences without it").fill("\n".join(negatives[:30]))
    page.get_by_role("button", name="Find units").click()
    page.wait_for_selector("#found .verdict")
    assert "31 with it, 30 without; 61 of these were run now" in page.inner_text(
        "#found"
    )
    assert page.locator("#found tbody tr").count() == 12
    assert serious_violations(page) == []

    open_tab(page, "Look")
    page.get_by_label("Text", exact=True).fill(SCRIPT)
    assert len(page.get_by_label("Units", exact=True).input_value().split(",")) == 3
    page.get_by_role("button", name="Look", exact=True).click()
    page.locator("#heat [data-token]").nth(2).click()
    page.wait_for_selector("#token table")
    assert page.locator("#heat h4").count() == 3
    assert serious_violations(page) == []

    open_tab(page, "Steer")
    if not served.studio.model.family.causal:
        page.wait_for_selector("text=with a causal model")
        assert page.wrong == []
        return
    page.get_by_label("Prompt").fill("a kind of")
    page.get_by_role("button", name="Write", exact=True).click()
    page.wait_for_selector("#texts .text >> text=perplexity")
    shown = page.locator("#texts .written").all_inner_texts()
    page.get_by_text("Save and reproduce").click()
    with page.expect_download() as download:
        page.get_by_text("Save all as a ZIP file").click()
    assert serious_violations(page) == []
    zipfile.ZipFile(download.value.path()).extractall(tmp_path)
    said = subprocess.run(
        [sys.executable, tmp_path / "steer.py"],
        env=environment() | {"PYTHONPATH": str(REPOSITORY)},
        text=True,
        capture_output=True,
        check=True,
    ).stdout
    rows = list(csv.DictReader(io.StringIO(said)))
    assert [row["sentence"] for row in rows] == shown
    assert page.locator("#snippet").inner_text() == (tmp_path / "steer.py").read_text()
    assert page.wrong == []


def test_a_closed_page_stops_its_writing(page: Any, served: Any) -> None:
    if not served.studio.model.family.causal:
        pytest.skip("writes no text")
    page.get_by_role("button", name="More").click()
    page.get_by_label("Tokens to write").first.fill("100")
    page.get_by_role("button", name="Write", exact=True).click()
    until(lambda: served.studio.num_writing == 1)
    kept = set(served.studio.place.glob("*/steered.zip"))
    page.goto("about:blank")
    until(lambda: served.studio.num_writing == 0)
    assert set(served.studio.place.glob("*/steered.zip")) == kept  # it was not finished


def until(holds: Any) -> None:
    deadline = time.monotonic() + WAIT / 1000
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_too_large_is_refused(served: Any) -> None:
    call = urllib.request.Request(
        f"{served.url}gradio_api/queue/join", data=b"x" * (MOST_BODY + 1)
    )
    with pytest.raises((urllib.error.HTTPError, urllib.error.URLError)) as refused:
        urllib.request.urlopen(call)
    if isinstance(refused.value, urllib.error.HTTPError):
        assert refused.value.code == 413
    config = json.loads(urllib.request.urlopen(f"{served.url}config").read())
    assert config["analytics_enabled"] is False
