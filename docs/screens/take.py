"""Full-page screenshots of all pages, light and dark, wide and narrow.

    HANKELBOARD_USER=ada unshare --uts sh -c 'hostname lab && exec hankelboard up --runs-dir /srv/runs'
    python docs/screens/take.py ADDRESS --cut RUN --waiting RUN --back RUN --group GROUP
    python docs/screens/take.py ADDRESS --cut RUN --page spectra      # one page; repeatable

ADDRESS is the one that it prints, with the token: http://127.0.0.1:8501/?token=…
Pictures are of real runs: one that was cut, one that waits for a decision, one that was rolled back, and a
group. The page System names the machine, the folder and the user: on Linux `unshare` (as root) lends another
host name. Runs that were going on elsewhere show no sign of life there; those that should live are started in
the same way.
"""

import argparse
import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from hankelboard.app import pages as registry

FOLDER = Path(__file__).parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
SHOWN = ("cut", "waiting", "back", "group")
SHOWS = {"truncation": "waiting", "checkpoints": "back", "compare": "group"}
"""Which of these a page shows; other pages of one run show the one that was cut."""
HIGHEST = 4200
"""Pixels; what is below of a longer page is left out."""


def chosen_pages(names: Sequence[str], shown: Mapping[str, str | None]) -> dict[str, str]:
    """Return the address of each of these pages; without names of all. Raise KeyError for what it needs."""
    return {page.name: address(page, shown) for page in registry.PAGES if not names or page.name in names}


def address(page: registry.Page, shown: Mapping[str, str | None]) -> str:
    """Return the address of a page below that of the dashboard, with the run or group that it shows."""
    path = "" if page.default else page.name
    if not page.of_one_run and page.name != "compare":
        return path
    option = SHOWS.get(page.name, "cut")
    value = shown[option]
    if value is None:
        raise KeyError(f"page {page.name} needs --{option}")
    return f"{path}?{'group' if option == 'group' else 'run'}={quote(value)}"


def settle(page: Page) -> None:
    """Wait until the page has run and its charts are drawn."""
    page.wait_for_timeout(700)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    expect(page.locator("[data-testid=stSkeleton]")).to_have_count(0, timeout=60_000)
    page.wait_for_timeout(700)


def take(page: Page, address: str, width: int) -> Image.Image:
    page.set_viewport_size({"width": width, "height": 920})
    page.goto(address)
    settle(page)
    height = 0
    while height != (grown := page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")):
        height = grown
        page.set_viewport_size({"width": width, "height": min(height, HIGHEST)})
        settle(page)  # charts are drawn anew where the page grows, and its regions come one by one
    return Image.open(io.BytesIO(page.screenshot()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url", metavar="ADDRESS")
    for name in SHOWN:
        parser.add_argument(f"--{name}")
    parser.add_argument("--page", action="append", default=[], choices=[page.name for page in registry.PAGES],
                        help="only this page; may be given again")  # fmt: skip
    asked = parser.parse_args()
    try:
        pages = chosen_pages(asked.page, vars(asked))
    except KeyError as error:
        parser.error(error.args[0])
    base = asked.url.partition("?")[0].rstrip("/")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme)
            page.set_default_timeout(60_000)
            page.goto(asked.url)  # signs in
            for width in (1280, 390):
                for name, path in pages.items():
                    image = (
                        take(page, f"{base}/{path}", width)
                        .convert("RGB")
                        .quantize(255, Image.Quantize.MAXCOVERAGE)
                    )
                    image.save(FOLDER / f"{name}-{scheme}-{width}.png", optimize=True)


if __name__ == "__main__":
    main()
