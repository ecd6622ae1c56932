"""The page of a sweep in a real browser: at a desk and on a phone, light and dark."""

from pathlib import Path
from typing import Any

import pytest

from expertjax.report.sweep_page import render_sweep
from tests.report.test_browser import SIZES, browser, pytestmark, serious_violations
from tests.report.test_sweep_page import FACTS, make_scores, make_texts

__all__ = ["browser", "pytestmark"]  # a fixture, and what may skip these tests


@pytest.mark.parametrize(("size", "scheme"), [("desktop", "light"), ("phone", "dark")])
def test_the_page_fits_and_bars_no_one(
    browser: Any, tmp_path: Path, size: str, scheme: str
) -> None:
    path = tmp_path / "sweep.html"
    path.write_text(render_sweep(make_texts(), make_scores(), FACTS), "utf-8")
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme
    )
    page, wrong = context.new_page(), []
    page.on("console", lambda message: wrong.append(message.text))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    page.on("request", lambda request: wrong.append(request.url))
    page.goto(f"file://{path}")
    for summary in page.query_selector_all("summary"):
        summary.evaluate("summary => { summary.parentElement.open = true }")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("mark").count() == 70
    assert [url for url in wrong if not url.startswith(("file:", "data:"))] == []
    assert serious_violations(page) == []
    context.close()
