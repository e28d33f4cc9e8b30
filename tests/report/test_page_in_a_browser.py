"""A page as chromium shows it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from pages import EVIL, lists, write_run
from playwright.sync_api import Browser, expect

from experiments.screenshots import PICTURES, chromium, take_pictures
from pfr_jax.errors import InputError
from pfr_jax.report.page.build import page, write_page
from pfr_jax.report.page.finished import read_runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless; the tests are skipped where there is none."""
    try:
        with chromium() as found:
            yield found
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_works(
    tmp_path: Path, browser: Browser, width: int, scheme: Literal["light", "dark"]
) -> None:
    """Plots are drawn, fields work by keyboard, nothing is wider than the window or asked for."""
    runs = [write_run(tmp_path / "one"), write_run(tmp_path / "two", algorithm="fedavg")]
    runs.append(write_run(tmp_path / "three", seed=1))
    write_page(page(read_runs(runs), [lists([EVIL, "plain"])]), tmp_path / "page.html")
    shown = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    faults: list[str] = []
    shown.on("console", lambda message: faults.append(message.text))
    shown.on("pageerror", lambda error: faults.append(str(error)))
    shown.on("request", lambda request: faults.append(request.url))
    shown.goto(f"file://{tmp_path}/page.html")
    faults.remove(f"file://{tmp_path}/page.html")
    # Two curves of a band, two lines and the baseline; 2 lines twice; 3 pairs, three times.
    shown.wait_for_selector("#chart-pairs-deciles .trace")
    assert shown.locator(".scatterlayer .trace").count() == 2 * 4 + 2 * 2 + 3 * 3
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    shown.keyboard.press("Tab")
    assert shown.evaluate("document.activeElement.className") == "skip"
    rows = shown.locator("#settings-table-2 tbody tr:visible")
    total = rows.count()
    shown.get_by_label("Show settings with").focus()
    shown.keyboard.type("split_seed")
    assert 0 < rows.count() < total
    field = shown.get_by_label("User", exact=True)
    assert field.input_value() == "7"
    assert shown.locator("#recommended li").inner_text().endswith(EVIL)
    field.focus()
    shown.keyboard.press("Control+A")
    shown.keyboard.type("8")
    assert "plain" in shown.locator("#recommended li").inner_text()
    shown.keyboard.press("Tab")
    shown.keyboard.press("Enter")
    assert field.input_value() == "7"
    shown.set_viewport_size({"width": 700, "height": 900})
    wide = shown.evaluate("document.querySelector('#chart-pairs').clientWidth")
    drawn = shown.locator("#chart-pairs .main-svg").first
    expect(drawn).to_have_attribute("width", str(wide))
    assert faults == []


def test_pictures_are_taken(tmp_path: Path, browser: Browser) -> None:
    runs = [write_run(tmp_path / "one"), write_run(tmp_path / "two", algorithm="fedavg")]
    write_page(page(read_runs(runs)), tmp_path / "page.html")
    taken = take_pictures(browser, tmp_path / "page.html", tmp_path)
    assert [path.stem for path in taken] == list(PICTURES)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in taken)
