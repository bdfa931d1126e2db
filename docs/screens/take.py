"""Full-page screenshots of all pages, light and dark, wide and narrow.

    HANKELBOARD_USER=ada unshare --uts sh -c 'hostname lab && exec hankelboard up --runs-dir /srv/runs'
    python docs/screens/take.py http://127.0.0.1:8501 --cut RUN --waiting RUN --back RUN --group GROUP

of real runs: one that was cut, one that waits for a decision, one that was rolled back, and a group. The page
System names the machine, the folder and the user: on Linux `unshare` (as root) lends another host name. Runs
that were going on elsewhere show no sign of life there; those that should live are started in the same way.
"""

import argparse
import io
import shutil
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

FOLDER = Path(__file__).parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
HIGHEST = 4200
"""Pixels; what is below of a longer page is left out."""


def addresses(cut: str, waiting: str, back: str, group: str) -> dict[str, str]:
    return {
        "runs": "",
        "run": f"run?run={cut}",
        "spectra": f"spectra?run={cut}",
        "truncation": f"truncation?run={waiting}",
        "checkpoints": f"checkpoints?run={back}",
        "compare": f"compare?group={quote(group)}",
        "new_run": "new_run",
        "glossary": "glossary",
        "system": "system",
    }


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
    parser.add_argument("url")
    for name in ("cut", "waiting", "back", "group"):
        parser.add_argument(f"--{name}", required=True)
    asked = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    pages = addresses(asked.cut, asked.waiting, asked.back, asked.group)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme)
            page.set_default_timeout(60_000)
            for width in (1280, 390):
                for name, path in pages.items():
                    image = (
                        take(page, f"{asked.url}/{path}", width)
                        .convert("RGB")
                        .quantize(255, Image.Quantize.MAXCOVERAGE)
                    )
                    image.save(FOLDER / f"{name}-{scheme}-{width}.png", optimize=True)


main()
