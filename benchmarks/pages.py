"""Whole pages on large runs: seconds until a page has run cold, and milliseconds of server time per rerun.

The runs of `benchmarks.reading`, opened by Streamlit's AppTest, which runs the whole script of a page and
reads back everything it sends: an upper bound of what an interaction costs the server. The first page
of all, with imports, is not counted.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import reading
from hankelboard.app.pages import named, of_one_run

Row = tuple[str, ...]
Case = tuple[Callable[[Path], object], str, str]
RERUNS = 5
DECISIONS = "20,000 proposals, decisions, commands"
HEAVIEST: tuple[Case, ...] = (
    (reading.make_scalars, "run", "1,000,000 scalars"),
    (reading.make_decisions, "run", DECISIONS),
    (reading.make_decisions, "truncation", DECISIONS),
    (reading.make_spectra, "spectra", "500 snapshots of 12 layers x N 1,024"),
    (reading.make_many, "runs", "1,000 runs"),
    (reading.make_many, "run", "one of 1,000 runs"),
    (partial(reading.make_many, count=10_000), "runs", "10,000 runs"),
    (partial(reading.make_many, count=10_000), "run", "one of 10,000 runs"),
)
"""Runs, page, words: what each page reads most of. Other pages of one run are opened on DECISIONS."""


def rows() -> list[Row]:
    return [("page", "runs", "cold, s", "rerun, ms"), *measured()]


def measured() -> Iterator[Row]:
    from streamlit.testing.v1 import AppTest

    from hankelboard.app.data import runs

    main = Path(__file__).parents[1] / "app" / "main.py"
    heavy = {name for _, name, _ in HEAVIEST}
    others: list[Case] = [
        (reading.make_decisions, page.name, DECISIONS) for page in of_one_run() if page.name not in heavy
    ]
    for make, name, told in (*HEAVIEST, *others):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["HANKELBOARD_RUNS"] = folder
            make(Path(folder))
            page = AppTest.from_file(main, default_timeout=120)
            page.switch_page("views/installation.py").run()  # a page without runs: imports and the router
            runs._caches.clear()
            page.switch_page(named(name).path)
            page.query_params["run"] = sorted(os.listdir(folder))[-1]
            cold = timed(page.run)
            assert not page.exception, page.exception
            while not runs._prefetch.is_idle():
                time.sleep(0.1)
            runs.index.watched()  # as in the server, where a watch tells what changed
            reruns = [timed(page.run) for _ in range(RERUNS)]
        yield (name, told, f"{cold:.2f}", f"{statistics.median(reruns) * 1e3:.0f}")


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    for row in rows():
        print(" | ".join(row), flush=True)
