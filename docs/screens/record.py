"""The moving picture of the README: proposal, evidence, approval, curve, rollback, from a real run.

    hankelboard up --runs-dir runs &
    hankelboard new --runs-dir runs --preset digits-lru --set reduction.steps=[450] --set training.steps=6000
    python docs/screens/record.py ADDRESS RUN      # that `up` printed, when RUN waits for a decision

Every frame is a screenshot of the page as it is; how long it is shown is chosen here. A dot stands for the
mouse, which screenshots do not have.
"""

import argparse
import io
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, ViewportSize, sync_playwright

FOLDER = Path(__file__).parent.parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
SIZE: ViewportSize = {"width": 1180, "height": 700}
COLOURS = 96
FRAME_MS = 200
DECORATION = """
if (!document.getElementById("tour-dot")) {
  const dot = document.createElement("div"); dot.id = "tour-dot";
  dot.style.cssText = "position:fixed;z-index:10000000;width:22px;height:22px;margin:-11px;" +
    "border-radius:50%;background:#e0591b66;border:2px solid #e0591b;pointer-events:none;left:70%;top:45%";
  const text = document.createElement("div"); text.id = "tour-text";
  text.style.cssText = "position:fixed;z-index:10000000;left:0;right:0;bottom:0;padding:12px 24px;" +
    "background:#101828;color:#fff;font:500 19px Inter,sans-serif;pointer-events:none";
  document.body.append(dot, text);
  document.addEventListener("mousemove", e => {
    dot.style.left = e.clientX + "px"; dot.style.top = e.clientY + "px"
  });
}
"""


@dataclass
class Film:
    """Frames with the time that each is shown."""

    page: Page
    frames: list[Image.Image] = field(default_factory=list)
    shown_ms: list[int] = field(default_factory=list)
    caption: str = ""

    def shoot(self, milliseconds: int = FRAME_MS) -> None:
        """Add the page as it is now; an unchanged page is shown longer instead."""
        self.page.evaluate(DECORATION)
        self.page.evaluate("text => {document.getElementById('tour-text').textContent = text}", self.caption)
        frame = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        if self.frames and frame.tobytes() == self.frames[-1].tobytes():
            self.shown_ms[-1] += milliseconds
        else:
            self.frames.append(frame)
            self.shown_ms.append(milliseconds)

    def watch(self, frames: int, milliseconds: int = FRAME_MS) -> None:
        for _ in range(frames):
            self.shoot(milliseconds)
            self.page.wait_for_timeout(milliseconds)

    def scroll(self, pixels: int, frames: int) -> None:
        for _ in range(frames):
            self.page.locator("[data-testid=stMain]").evaluate("(e, y) => e.scrollBy(0, y)", pixels / frames)
            self.page.wait_for_timeout(120)
            self.shoot(140)

    def click(self, target: Locator) -> None:
        target.scroll_into_view_if_needed()
        target.hover()
        self.shoot(500)
        target.click()

    def save(self, path: Path) -> None:
        """Write the frames with one palette, so that what did not change costs nothing."""
        montage = Image.new("RGB", (SIZE["width"], SIZE["height"] * 4))
        for place, index in enumerate((0, len(self.frames) // 3, 2 * len(self.frames) // 3, -1)):
            montage.paste(self.frames[index], (0, place * SIZE["height"]))
        palette = montage.quantize(COLOURS, Image.Quantize.MEDIANCUT)
        drawn = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self.frames]
        drawn[0].save(path, save_all=True, append_images=drawn[1:], duration=self.shown_ms, loop=0)
        seconds, megabytes = sum(self.shown_ms) / 1000, path.stat().st_size / 1e6
        print(f"{path}: {len(drawn)} frames, {seconds:.0f} s, {megabytes:.2f} MB")


def ready(page: Page) -> None:
    page.wait_for_timeout(800)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
    page.wait_for_timeout(1200)


def record(page: Page, url: str, run: str) -> Film:
    film = Film(page)
    film.caption = "1  Training stopped by itself and proposes a cut."
    page.goto(f"{url}/truncation?run={run}")
    ready(page)
    film.watch(1, 2600)
    film.caption = "2  What would it cost? Spectrum, error bound, measured loss for every rank."
    film.scroll(900, 12)
    film.watch(1, 1500)
    film.scroll(900, 12)
    film.watch(1, 1500)
    film.caption = "3  Approve: nothing happens before you do."
    film.scroll(-9000, 1)
    film.click(page.locator(".st-key-approve button").first)
    page.locator(".st-key-confirm button").wait_for()
    film.watch(1, 1200)
    film.click(page.locator(".st-key-confirm button"))
    page.get_by_text("It is applied").first.wait_for()
    film.watch(1, 1200)
    film.caption = "4  The small model trains on; the cut is marked on the curve."
    page.goto(f"{url}/run?run={run}")
    ready(page)
    film.watch(1, 500)
    film.scroll(640, 4)
    film.watch(8, 350)
    film.caption = "5  A mistake? Roll back: the model from before the cut, on a new branch."
    page.goto(f"{url}/checkpoints?run={run}")
    ready(page)
    film.watch(1, 900)
    film.click(page.locator(".st-key-rollback button").first)
    page.locator(".st-key-confirm_rollback button").wait_for()
    film.watch(1, 1000)
    film.click(page.locator(".st-key-confirm_rollback button"))
    page.get_by_text("branch 1").first.wait_for()
    ready(page)
    film.watch(1, 2000)
    return film


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("url", metavar="ADDRESS")
    parser.add_argument("run")
    parser.add_argument("--to", type=Path, default=FOLDER / "tour.gif")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.set_default_timeout(120_000)
        page.goto(options.url)  # signs in
        record(page, options.url.partition("?")[0].rstrip("/"), options.run).save(options.to)


main()
