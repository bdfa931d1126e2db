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

Row = tuple[str, ...]
RERUNS = 5
PAGES = (
    (reading.make_scalars, "run", "1,000,000 scalars"),
    (reading.make_decisions, "run", "20,000 proposals, decisions, commands"),
    (reading.make_decisions, "truncation", "20,000 proposals, decisions, commands"),
    (reading.make_spectra, "spectra", "500 snapshots of 12 layers x N 1,024"),
    (reading.make_many, "runs", "1,000 runs"),
    (reading.make_many, "run", "one of 1,000 runs"),
    (partial(reading.make_many, count=10_000), "runs", "10,000 runs"),
    (partial(reading.make_many, count=10_000), "run", "one of 10,000 runs"),
)


def rows() -> list[Row]:
    return [("page", "runs", "cold, s", "rerun, ms"), *measured()]


def measured() -> Iterator[Row]:
    from streamlit.testing.v1 import AppTest

    from hankelboard.app.data import runs

    main = Path(__file__).parents[1] / "app" / "main.py"
    for make, name, told in PAGES:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["HANKELBOARD_RUNS"] = folder
            make(Path(folder))
            page = AppTest.from_file(main, default_timeout=120)
            page.switch_page("views/installation.py").run()  # a page without runs: imports and the router
            runs._caches.clear()
            page.switch_page(f"views/{name}.py")
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
