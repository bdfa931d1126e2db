"""The tour of one value in CONTRIBUTING.md leads through files and functions that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROWS = [line.split("|")[1] for line in (ROOT / "CONTRIBUTING.md").read_text().splitlines() if "|" in line]
STOPS = [re.findall(r"`([^`]+)`", cell) for cell in ROWS if ".py`" in cell]


def test_the_tour_leads_through_files_and_functions_that_are_there():
    assert len(STOPS) > 20
    for stop in STOPS:
        source = ""
        for name in stop:
            if name.endswith(".py"):
                source = (ROOT / name).read_text()
            else:
                assert re.search(rf"def {name.rpartition('.')[2]}\b", source), f"{stop[0]}: no {name}"
