import asyncio
import os
import threading
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from hankelboard.app import pages
from hankelboard.app.data import runs as data
from hankelboard.app.data.run_cache import RunCache
from hankelboard.app.data.run_index import RunIndex
from hankelboard.app.data.run_list import SETTLED_S, RunList
from tests.app.synthetic_run import SyntheticRun, showcase, with_history
from tests.waiting import PATIENCE_S, until

MAIN = Path(__file__).parents[2] / "app" / "main.py"
__all__ = ["SyntheticRun", "showcase", "with_history"]


@pytest.fixture(autouse=True)
def runs(tmp_path, tmp_path_factory, monkeypatch):
    """An empty folder of runs; nothing is remembered of other tests, and reading ahead ends with its test."""
    folder = tmp_path / "runs"
    folder.mkdir()
    monkeypatch.setenv("HANKELBOARD_RUNS", str(folder))
    monkeypatch.setenv("HANKELBOARD_USER", "ada")
    monkeypatch.setenv("HANKELBOARD_STATE", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setenv("HANKELBOARD_NO_TOKEN", "1")  # ada is the owner, without a cookie
    monkeypatch.setattr(data, "PATIENCE_S", 0.0)
    data._caches.clear()
    data._refreshed.clear()
    yield folder
    until(data._prefetch.is_idle)


@pytest.fixture
def index():
    """An index with a watch that reports, and one cache per run."""
    caches = {}

    def refreshed(paths):
        cache = caches.setdefault(paths.run_id, RunCache(paths))
        cache.refresh()
        return cache

    index = RunIndex(refreshed)
    index.watched()
    return index


@pytest.fixture
def stats(monkeypatch):
    """Paths that the file system was asked about, by this thread: what watches for others is at work too."""
    asked = []
    stat, me = os.stat, threading.get_ident()

    def noted(path, *args, **kwargs):
        if threading.get_ident() == me:
            asked.append(str(path))
        return stat(path, *args, **kwargs)

    monkeypatch.setattr(os, "stat", noted)
    return asked


@pytest.fixture
def open_page():
    """Runs a page: open_page("run", run=ID). Fails on any exception that the page shows.

    The runs were read before: a page that comes to them first shows what it can read in its time.
    """

    def run(name, **query):
        data.summaries()
        page = AppTest.from_file(MAIN, default_timeout=PATIENCE_S).run()
        page.switch_page(pages.named(name).path)
        for key, value in query.items():
            page.query_params[key] = value
        page.run()
        assert not page.exception, [item.value for item in page.exception]
        return page

    return run


def text_of(page):
    """Everything that a person reads on a page, as one text."""
    kinds = ("title", "subheader", "markdown", "caption", "info", "warning", "error", "metric", "button")
    parts = []
    for kind in kinds:
        for element in getattr(page, kind):
            parts += [str(getattr(element, name, "")) for name in ("label", "value", "delta")]
    return "\n".join(parts).replace("\\", "")


def of_choice(page, name):
    """The widget of the choice of ranks with this name, whatever its edition (app/panels/rank_sliders.py)."""
    widgets = [*page.select_slider, *page.segmented_control]
    return next(widget for widget in widgets if widget.key and widget.key.split("-")[0] == name)


def state(index, runs, run):
    rows = {row["run"]: row for row in index.rows(RunList().of(runs))[0]}
    return rows[run.id]["state"]


def settle(folder):
    """Let the folder be as old as if nothing had been created in it for a while."""
    before = time.time() - SETTLED_S - 1
    os.utime(folder, (before, before))


async def comes_true(condition):
    """As `until`, while the loop goes on."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def ready(watch):
    """Wait until whatever changes from now on is noticed: all that is there was looked at."""
    await comes_true(lambda: watch._safety._marks.keys() == _listed(watch))


def _listed(watch):
    """The runs that the scan found; None before its first look."""
    return None if watch._safety._listed is None else watch._safety._listed.keys()
