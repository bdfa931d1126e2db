"""What a page costs that nothing happens on: a finished run, and the list of runs, open in Chromium.

A minute after the page has settled: messages that came, with their kilobytes, seconds that the page's script
ran, and processor time of the web process. Before that the web process alone, without any page.
"""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.dashboard import Dashboard, Tab, chromium, dashboard
from benchmarks.fast_forward import make
from hankelboard.storage.journal import Journal

MINUTE_MS = 60_000
SETTLE_MS = 15_000
PAGES = ("run", "truncation", "spectra", "checkpoints", "")
Row = tuple[str, ...]


def rows() -> list[Row]:
    table: list[Row] = [("page", "messages", "kB", "script, s", "web process, s")]
    with tempfile.TemporaryDirectory() as folder:
        run = make(Path(folder), 0.1)
        with Journal(run.paths.events) as events:
            events.append({"kind": "run_finished", **run.where(), "best": run.best, "train_s": run.clock()})
        with dashboard(Path(folder)) as served, chromium() as browser:
            blank = browser.new_page()
            blank.wait_for_timeout(SETTLE_MS)
            before = served.cpu_s()
            blank.wait_for_timeout(MINUTE_MS)
            table.append(("none", "", "", "", f"{served.cpu_s() - before:.2f}"))
            for page in PAGES:
                table.append(measured(served, browser, page, run.paths.run_id))
    return table


def measured(served: Dashboard, browser: Any, page: str, run_id: str) -> Row:
    """One minute of one page at rest."""
    tab = Tab.of(browser, served)
    tab.open(f"{served.url}/{page}?run={run_id}")
    tab.page.wait_for_timeout(SETTLE_MS)
    session = tab.page.context.new_cdp_session(tab.page)
    session.send("Performance.enable")
    script, cpu, messages, received = script_s(session), served.cpu_s(), tab.messages, tab.received
    tab.page.wait_for_timeout(MINUTE_MS)
    row = (
        page or "runs", str(tab.messages - messages), f"{(tab.received - received) / 1e3:.1f}",
        f"{script_s(session) - script:.3f}", f"{served.cpu_s() - cpu:.2f}",
    )  # fmt: skip
    tab.page.close()
    return row


def script_s(session: Any) -> float:
    """Seconds that the page's script has run."""
    found = {item["name"]: item["value"] for item in session.send("Performance.getMetrics")["metrics"]}
    return float(found["ScriptDuration"])


if __name__ == "__main__":
    for line in rows():
        print(" | ".join(line), flush=True)
