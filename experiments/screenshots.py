"""Takes the pictures of a report that README and docs/report.md show.

    python -m experiments.screenshots

Two short runs on generated ratings (--preset=quick), a page about them, and pictures of it in
chromium, which must be installed, as must playwright (pip install ".[test]").
"""

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from absl import app
from playwright.sync_api import Browser, sync_playwright

from pfr_jax.errors import InputError
from pfr_jax.programs.flags import one_line_errors

FOLDER = Path("docs/plots")
ALGORITHMS = "personalfr", "fedavg"
# Name of the picture -> the part of the page, and the reader's choice of colours.
PICTURES: dict[str, tuple[str, Literal["light", "dark"]]] = {
    "report_curves": ("#curves figure:last-of-type", "light"),
    "report_comparison": ("#comparison", "dark"),
}


def main(argv: Sequence[str]) -> None:
    del argv
    with one_line_errors(), tempfile.TemporaryDirectory() as scratch, chromium() as browser:
        for path in take_pictures(browser, make_page(Path(scratch)), FOLDER):
            print(f"{path}, {path.stat().st_size / 1000:.0f} kB")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's own, without a window. Raises InputError where there is none."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        raise InputError("there is no chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])


def make_page(scratch: Path) -> Path:
    """A page about a run of each algorithm; all of it in this folder."""
    runs = [scratch / name for name in ALGORITHMS]
    pfr = sys.executable, "-m", "pfr_jax"
    for run in runs:
        chosen = f"--algorithm={run.name}", f"--output_dir={run}"
        subprocess.run([*pfr, "run", "--preset=quick", *chosen], check=True)
    page = scratch / "page.html"
    subprocess.run([*pfr, "report", *map(str, runs), f"--output={page}"], check=True)
    return page


def take_pictures(browser: Browser, page: Path, folder: Path) -> list[Path]:
    """The PICTURES of a page, NAME.png each, in this folder."""
    taken = []
    for name, (part, scheme) in PICTURES.items():
        shown = browser.new_page(viewport={"width": 1000, "height": 800}, color_scheme=scheme)
        shown.goto(page.as_uri())
        shown.wait_for_selector(f"{part} .trace")
        taken.append(folder / f"{name}.png")
        shown.locator(part).screenshot(path=taken[-1])
    return taken


if __name__ == "__main__":
    app.run(main)
