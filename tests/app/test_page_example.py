"""The example of docs/PAGES.md is a page that works: as it stands there, registered and opened."""

import dataclasses
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hankelboard.app import pages
from tests.app.conftest import SyntheticRun, showcase, text_of
from tests.app.test_charts import check

DOCUMENT = (Path(__file__).parents[2] / "docs" / "PAGES.md").read_text(encoding="utf-8")
FILES = {
    (wing, name): source
    for name, wing, source in re.findall(
        r"^`(\w+)\.py` in `app/(\w+)/`\n\n```python\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL
    )
}
ROW = re.search(r"^```python\n(Page\(.*?\))\n```", DOCUMENT, re.MULTILINE | re.DOTALL)[1]


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The modules of the example, importable, and its page in the registry; returns the row."""
    for (wing, name), source in FILES.items():
        if wing != "views":
            module = ModuleType(f"hankelboard.app.{wing}.{name}")
            monkeypatch.setitem(sys.modules, module.__name__, module)
            exec(compile(source, f"{name}.py", "exec"), vars(module))
    row = eval(ROW, {"Page": pages.Page})
    script = tmp_path / Path(row.path).name
    script.write_text(FILES["views", row.name], encoding="utf-8")
    monkeypatch.setattr(pages, "PAGES", (*pages.PAGES, dataclasses.replace(row, path=str(script))))
    return row


def test_the_example_counts_events_by_kind(example, open_page, runs):
    run = SyntheticRun(runs).start()
    run.event("paused")
    run.event("paused")
    page = open_page(example.name, run=run.id)
    counts = dict(page.dataframe[0].value.itertuples(index=False, name=None))
    assert counts == {"paused": 2, "process started": 1, "training started": 1, "checkpoint": 1}
    assert next(iter(counts)) == "paused" and page.get("vega_lite_chart")
    links = [link.proto.label for link in open_page("run", run=run.id).get("page_link")]
    assert example.title in links


def test_the_example_opens_on_all_kinds_of_runs(example, open_page, runs):
    showcase(runs)
    assert "No event yet" in text_of(open_page(example.name, run=SyntheticRun(runs).id))
    for folder in runs.iterdir():
        if not folder.name.startswith("."):
            assert text_of(open_page(example.name, run=folder.name))


def test_the_chart_of_the_example_keeps_to_what_all_charts_do(example):
    check(importlib.import_module("hankelboard.app.charts.event_kinds").kinds_spec)
