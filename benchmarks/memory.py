"""Memory of web and trainer while a run is watched live by several tabs: flat, or not.

    python -m benchmarks.memory --minutes 30 --tabs 5

Starts a dashboard, a worker and a long run in a temporary folder, opens the tabs in Chromium, and prints the
resident memory of both processes every half minute.
"""

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = (
    "training.steps=10000000", "training.threads=1", "reduction.policy='keep'", "reduction.steps=[500, 5000]",
    "training.spectra_every=500", "training.checkpoint_every=2000",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--tabs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        runs.mkdir()
        measure(runs, options.minutes, options.tabs)


def measure(runs: Path, minutes: float, tabs: int) -> None:
    from playwright.sync_api import sync_playwright

    environment = {
        **os.environ,
        "HANKELBOARD_RUNS": str(runs),
        "HANKELBOARD_STATE": str(runs.parent / "state"),
    }
    port = free_port()
    web = spawn(["-P", "-m", "hankelboard", "web", "--port", str(port)], environment, runs)
    worker = spawn(["-P", "-m", "hankelboard", "worker"], environment, runs)
    try:
        keys = [part for key in RUN for part in ("--set", key)]
        command = [
            sys.executable,
            "-P",
            "-m",
            "hankelboard",
            "new",
            "--preset",
            "digits-lru",
            *keys,
            "--json",
        ]
        run = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)[
            "run"
        ]
        time.sleep(20)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            token = (runs.parent / "state" / "token").read_text().strip()
            pages = ["run", "run", "checkpoints", "truncation", ""]
            for number in range(tabs):
                page = browser.new_page()
                address = f"http://127.0.0.1:{port}/{pages[number % len(pages)]}?run={run}&token={token}"
                page.goto(address, timeout=60_000)
            watch(runs / run, web.pid, minutes)
    finally:
        for process in (web, worker):
            process.terminate()
        for process in (web, worker):
            process.wait(60)


def watch(run: Path, web: int, minutes: float) -> None:
    started = time.monotonic()
    print("minute   step  web MB  trainer MB", flush=True)
    while time.monotonic() - started < 60 * minutes:
        status = json.loads((run / "status.json").read_text())
        minute = (time.monotonic() - started) / 60
        print(
            f"{minute:6.1f} {status['step']:6} {resident(web):7.1f} {resident(status['pid']):11.1f}",
            flush=True,
        )
        time.sleep(30)


def resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def spawn(arguments: list[str], environment: dict[str, str], folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
