"""A real dashboard and a real Chromium, for benchmarks: what a page costs, and what travels to it."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.repetitions import Missing

QUIET_S = 0.7
"""A page that got nothing for so long has got everything."""


@contextlib.contextmanager
def dashboard(runs: Path) -> Iterator["Dashboard"]:
    """The web process on a folder of runs, for as long as the block takes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = ["-P", "-m", "hankelboard", "web", "--port", str(port)]
    state = runs.with_name(f"{runs.name}-state")
    environment = {**os.environ, "HANKELBOARD_RUNS": str(runs), "HANKELBOARD_STATE": str(state)}
    process = subprocess.Popen(
        [sys.executable, *command], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        served = Dashboard(f"http://127.0.0.1:{port}", process.pid, state / "token")
        served.wait()
        yield served
    finally:
        process.terminate()
        process.wait(30)
        shutil.rmtree(state, ignore_errors=True)


@dataclass
class Dashboard:
    url: str
    pid: int
    token_file: Path

    def wait(self) -> None:
        """Until it answers."""
        for _ in range(300):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/_stcore/health") as answer:
                if answer.status == 200:
                    return
            time.sleep(0.1)
        raise RuntimeError("the dashboard did not start within 30 s")

    def sign_in(self, page: Any) -> None:
        """Give the profile of a tab the cookie of the owner."""
        page.context.request.get(f"{self.url}/?token={self.token_file.read_text().strip()}")

    def cpu_s(self) -> float:
        """Seconds of processor that the web process has used."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        resident = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return resident * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """A browser. Raises Missing where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Missing("playwright is not installed: run `make test`") from None
    found = os.environ.get("HANKELBOARD_CHROMIUM") or shutil.which("chromium")
    if found is None:
        raise Missing("no Chromium: run `make test`, or set HANKELBOARD_CHROMIUM to one")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@dataclass
class Tab:
    """A tab and the bytes of the pages' socket to it."""

    page: Any
    received: int = 0
    messages: int = 0
    last: float = 0.0
    sizes: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, browser: Any, served: Dashboard) -> "Tab":
        tab = cls(browser.new_page(viewport={"width": 1280, "height": 900}))
        served.sign_in(tab.page)
        tab.page.set_default_timeout(60_000)
        tab.page.on("websocket", tab._listen)
        return tab

    def _listen(self, connection: Any) -> None:
        if "_stcore/stream" in connection.url:
            connection.on("framereceived", self._take)

    def _take(self, frame: str | bytes) -> None:
        self.received += len(frame)
        self.messages += 1
        self.sizes.append(len(frame))
        self.last = time.perf_counter()

    def traffic(self, act: Callable[[], object], wait_s: float = 10.0) -> tuple[float, int]:
        """Seconds from an act until the last message that it caused, and the bytes of all; 0: none."""
        started, before = time.perf_counter(), self.received
        self.last = 0.0
        act()
        while self.last == 0.0 and time.perf_counter() - started < wait_s:
            self.page.wait_for_timeout(10)
        while self.last and time.perf_counter() - self.last < QUIET_S:
            self.page.wait_for_timeout(20)
        return max(0.0, self.last - started), self.received - before

    def open(self, url: str) -> float:
        """Seconds until the page is there: its script ran, and its charts are drawn."""
        started = time.perf_counter()
        self.page.goto(url)
        self.page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        self.page.wait_for_function(
            "() => document.querySelector('h1') && "
            "[...document.querySelectorAll('[data-testid=stVegaLiteChart]')]"
            ".every(chart => chart.querySelector('svg, canvas'))"
        )
        return time.perf_counter() - started
